"""Several base resolutions of one decode: what one export of each would hold, at one place each."""

from __future__ import annotations

import json
import shutil
import signal
import tarfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import exported
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Export, long
from hypothesis import given
from hypothesis import strategies as st
from shardtasks import Planned, Unheard
from test_crashes import die
from test_pruning_crashes import KILLED, launch
from test_resume import start, wait_for_shards

import fastbucket
from fastbucket import Recipe, Resources, RunError, Transcoder, gaps
from fastbucket.buckets import CHOICES, Shape, buckets, ladder, protos
from fastbucket.captions import application, workspace
from fastbucket.captions.store import Store
from fastbucket.draw import draw
from fastbucket.drawn_source import photo_jpeg
from fastbucket.format import FORMAT, FORMAT_V2, at_smaller_bases
from fastbucket.geometry import Size
from fastbucket.kernels.fit import fit_bases, fit_image, targets
from fastbucket.overview import page
from fastbucket.overview.facts import meta_facts
from fastbucket.progress import Silent
from fastbucket.pruning import prune
from fastbucket.suspects import looks
from fastbucket.verification import manifest, verify
from fastbucket.verification.placement import Placement

BASES = (256, 384, 512)
# Every side of the family is a multiple of 64 at base 1024, and so of 8 at all of BASES: no
# rounding moves a ratio, and a sample falls into the same bucket at each of them.
ONE = {"divisible": 8, "fidelity": "exact", "shard_size": 2}
RECIPE = Recipe(base_resolutions=BASES, **ONE)
TWO = Resources(workers=2)


@pytest.fixture(scope="module")
def several(drawn, tmp_path_factory) -> Export:
    """The drawn source at three bases, with gaps; to be copied, not changed."""
    out = tmp_path_factory.mktemp("several") / "out"
    return Export(out, fastbucket.export(drawn.paths, out, RECIPE, TWO), drawn.paths)


@pytest.fixture
def copy(several, tmp_path) -> Path:
    return Path(shutil.copytree(several.out, tmp_path / "copy"))


def by_base(export: Export) -> dict[int, list[exported.Sample]]:
    found: dict[int, list[exported.Sample]] = {base: [] for base in BASES}
    for sample in export.samples:
        found[int(sample.json["bucket_id"].partition("-")[0])].append(sample)
    return found


# What it holds


@pytest.mark.parametrize("base", BASES)
def test_members_are_those_of_an_export_of_one_base(several, drawn, tmp_path, base):
    """Byte for byte, but for the base before the bucket_id: decoding once costs no pixel."""
    recipe = Recipe(base_resolution=base, **ONE)
    alone = Export(
        tmp_path / "out", fastbucket.export(drawn.paths, tmp_path / "out", recipe, TWO), ()
    )
    expected = {}
    for sample in alone.samples:
        document = {**sample.json, "bucket_id": f"{base}-{sample.json['bucket_id']}"}
        expected[sample.key] = (sample.jpg, sample.txt, list(document.items()))
    samples = by_base(several)[base]
    assert {s.key: (s.jpg, s.txt, list(s.json.items())) for s in samples} == expected
    assert len(samples) == len(expected) > 20


def test_a_sample_has_one_place_at_all_its_bases(several):
    """The same shard number and index, in the bucket of the same proto; the bases are nested."""
    places: dict[str, dict[int, tuple]] = {}
    for base, samples in by_base(several).items():
        assert len({sample.key for sample in samples}) == len(samples)
        for sample in samples:
            folder, name = sample.path.split("/")[1:]
            own, _, proto = folder.partition("-")
            assert int(own) == base
            places.setdefault(sample.key, {})[base] = (proto, name, sample.index)
    assert all(len(set(where.values())) == 1 for where in places.values())
    reached = Counter(tuple(where) for where in places.values())
    assert set(reached) == {BASES[:1], BASES[:2], BASES}, "the source is to have all of them"
    report = several.report
    assert len(places) == report.exported == report.scanned - sum(report.dropped.values())
    assert report.dropped["undecodable"] == 2, "gaps were filled"


def test_shards_are_full_and_those_of_the_most_bases_come_first(several):
    sizes: dict[str, list[int]] = {}
    for path in exported.shards(several.out):
        name = path.relative_to(several.out).as_posix()
        count = sum(sample.path == name for sample in several.samples)
        sizes.setdefault(path.parent.name, []).append(count)
    assert any(len(counts) > 2 for counts in sizes.values())
    for counts in sizes.values():
        assert all(count == 2 for count in counts[:-1])
        assert 1 <= counts[-1] <= 2


def test_manifest(several):
    facts = several.manifest
    samples = by_base(several)
    assert facts["format"] == FORMAT_V2
    at = list(facts).index("base_resolution")
    assert list(facts)[at : at + 2] == ["base_resolution", "base_resolutions"]
    assert (facts["base_resolution"], facts["base_resolutions"]) == (512, [256, 384, 512])
    assert facts["counts"]["exported"] == len(samples[256])
    assert facts["counts"]["images"] == sum(map(len, samples.values()))
    for bucket in facts["buckets"]:
        base = bucket["base_resolution"]
        assert bucket["bucket_id"].startswith(f"{base}-p")
        assert bucket["count"] == sum(
            s.json["bucket_id"] == bucket["bucket_id"] for s in samples[base]
        )
    assert Recipe.from_json(facts) == RECIPE
    assert several.report.captions == sum(s.txt != b"\n" for s in samples[256])


def test_meta_names_the_place_at_the_largest_base(several):
    rows = {r["key"]: r for r in pq.read_table(several.out / "meta").to_pylist() if r["key"]}
    largest = {}
    for samples in by_base(several).values():  # ascending
        largest.update({sample.key: sample for sample in samples})
    assert rows.keys() == largest.keys()
    for key, sample in largest.items():
        row = rows[key]
        path = f"buckets/{row['bucket_id']}/shard-{row['shard']:06d}.tar"
        assert (path, row["position"]) == (sample.path, sample.index)


# One decode


def test_an_image_is_decoded_once(drawn, tmp_path, monkeypatch):
    """However many bases it goes to."""
    planned = Planned(list(drawn.paths), tmp_path / "out", RECIPE)
    decoded = []
    decoder = planned.task._maker.transcoder._decoder
    decode = decoder.decode
    monkeypatch.setattr(decoder, "decode", lambda *a: decoded.append(a) or decode(*a))
    tasks = planned.plan.tasks()
    records = [record for task in tasks for record in planned.task(task, Unheard())]
    assert len(records) == len(planned.plan.shards)
    assert len(decoded) == len(planned.plan.order)
    assert sum(record.samples for record in records) > 2 * len(decoded)


def test_shrinking_leaves_twice_the_largest_target():
    """Fast: what is decoded for the largest target serves the others, who get no less of it."""
    image = photo_jpeg(draw(2400, 1800, 0))
    fast = Transcoder(Recipe(base_resolutions=(128, 512), divisible=8))
    small, large = fast.transcode_bases(image, "image")
    alone = Transcoder(Recipe(base_resolution=512, divisible=8)).transcode(image, "image")
    assert large.jpeg == alone.jpeg == fast.transcode(image, "image").jpeg
    exact = Transcoder(Recipe(base_resolution=128, divisible=8, fidelity="exact"))
    alone = Transcoder(Recipe(base_resolution=128, divisible=8))
    reference = exact.transcode(image, "image")
    errors = [
        np.square(pixels(done.jpeg) - pixels(reference.jpeg)).mean()
        for done in (small, alone.transcode(image, "image"))
    ]
    assert errors[0] < errors[1]
    assert (small.size, small.crop) == (reference.size, reference.crop)


def pixels(jpeg: bytes) -> np.ndarray:
    import simplejpeg

    return simplejpeg.decode_jpeg(jpeg).astype(float)


def test_an_image_goes_to_the_bases_that_it_fits():
    transcoder = Transcoder(RECIPE)
    for (width, height), bases in {(640, 480): 3, (500, 375): 2, (300, 225): 1}.items():
        image = photo_jpeg(draw(width, height, 0))
        done = transcoder.transcode_bases(image, "image")
        assert [one.bucket.base for one in done] == list(BASES[:bases])
        assert transcoder.transcode(image, "image") == done[-1]
    with pytest.raises(fastbucket.SampleError, match="would need upsampling to 288x208"):
        transcoder.transcode_bases(photo_jpeg(draw(200, 150, 0)), "image")


# Buckets


@pytest.mark.parametrize("divisible", [8, 32, 64])
def test_targets_grow_with_the_base(divisible):
    """So the bases that a sample fits are the smallest ones, whatever the rounding does."""
    bases = (64, 200, 256, 500, 512, 768, 1024)
    families = ladder(protos("sdxl", Shape()), bases, divisible)
    for smaller, larger in pairwise(families):
        for one, other in zip(smaller, larger, strict=True):
            assert one.proto == other.proto
            assert one.target.width <= other.target.width
            assert one.target.height <= other.target.height
    assert [b.target for b in families[-1]] == [b.target for b in buckets("sdxl", 1024, divisible)]
    assert len({bucket.id for family in families for bucket in family}) == sum(map(len, families))


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("policy", ["drop", "next_bucket"])
def test_choice_agrees_with_the_verification(choice, policy):
    """Written twice; at bases where rounding moves ratios and two protos share a target."""
    recipe = Recipe(
        base_resolutions=(200, 256, 500), choice=choice, too_small_policy=policy,
        next_bucket_max_crop=0.3,
    )  # fmt: skip
    families = recipe.ladder()
    assert len({bucket.target for bucket in families[0]}) < len(families[0])
    sizes = np.random.default_rng(0).integers(1, 1200, (1500, 2)).astype(np.int32)
    found = fit_bases(
        sizes[:, 0].copy(), sizes[:, 1].copy(), families, choice, policy == "next_bucket", 0.3
    )
    placement = Placement(recipe)
    levels = set()
    indices, levels_found = (column.tolist() for column in found)
    prepared = [targets(family) for family in families]
    for (width, height), index, level in zip(sizes.tolist(), indices, levels_found, strict=True):
        size = Size(width, height)
        assert fit_image(size, prepared, choice, policy == "next_bucket", 0.3) == (index, level)
        assert placement.chosen(size) == tuple(family[index] for family in families[:level])
        levels.add(level)
    assert levels == {0, 1, 2, 3}


@pytest.mark.parametrize("bases", [(256,), (256, 512)])
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("policy", ["drop", "next_bucket"])
def test_one_image_is_fitted_as_columns_are(bases, choice, policy):
    """Where rules of the next bucket differ; sizes of zero have no bucket."""
    families = ladder(protos("sdxl", Shape()), bases, 32)
    sizes = np.random.default_rng(1).integers(0, 900, (1500, 2)).astype(np.int32)
    sizes[:3] = (0, 0), (0, 500), (500, 0)
    words = choice, policy == "next_bucket", 0.2
    found = fit_bases(sizes[:, 0].copy(), sizes[:, 1].copy(), families, *words)
    prepared = [targets(family) for family in families]
    rows = zip(*(column.tolist() for column in found), strict=True)
    assert [fit_image(Size(*size), prepared, *words) for size in sizes.tolist()] == list(rows)
    assert set(found[1].tolist()) == set(range(len(bases) + 1))
    assert -1 in found[0]


def test_next_bucket_is_tried_where_no_base_is_fit():
    """A sample that fits its bucket at the smallest base stays in it, though at the larger one
    another would do."""
    image = photo_jpeg(draw(1000, 250, 0))  # 512x128 at 256; 1024x256 at 512
    recipe = Recipe(base_resolutions=(256, 512), divisible=8, too_small_policy="next_bucket")
    (done,) = Transcoder(recipe).transcode_bases(image, "image")
    assert done.bucket.id == "256-p2048x512"
    image = photo_jpeg(draw(490, 128, 0))  # nearest: 496x128
    (done,) = Transcoder(recipe).transcode_bases(image, "image")
    assert done.bucket.id == "256-p1920x512"
    alone = Recipe(base_resolution=256, divisible=8, too_small_policy="next_bucket")
    assert done.jpeg == Transcoder(alone).transcode(image, "image").jpeg


# Gaps


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=4).flatmap(
        lambda more: st.tuples(
            st.just(np.cumsum(more).tolist()), st.sets(st.integers(0, max(sum(more) - 1, 0)))
        )
    )
)
def test_order(case):
    """The first N are those of each base; of one base alone the rule is the one written out in
    format.md; and what is at a place where it may stay stays."""
    counts, gone = case
    gone = {p for p in gone if p < counts[-1]}
    taken = gaps.order(counts, gone).tolist()
    for count in counts:
        left = [p for p in range(count) if p not in gone]
        assert sorted(taken[: len(left)]) == left
    n, before = counts[-1], 0
    total = len(taken)
    if len(counts) == 1:
        spare = iter(p for p in range(total, n) if p not in gone)
        assert taken == [p if p not in gone else next(spare) for p in range(total)]
    for count in counts:
        size = sum(p not in gone for p in range(count))
        for place in range(before, size):
            if place not in gone:
                assert taken[place] == place
        before = count


def test_order_by_hand():
    """Three at both bases, four more at the smaller: 1 gives way to 2, that one's place and 4's are
    taken by the last."""
    assert gaps.order([3, 7], {1, 4}).tolist() == [0, 2, 5, 3, 6]
    assert gaps.order([3, 7], set()).tolist() == list(range(7))
    assert gaps.order([0, 2], {0, 1}).tolist() == []


# The same bytes


@pytest.mark.long  # test_a_sample_of_all_crashes ends it at steps
def test_killed_and_a_shard_lost(drawn, several, tmp_path):
    """Killed; then a shard of one base is lost, and the run, of one worker, makes it again."""
    out = tmp_path / "out"
    process = start(drawn.paths, out, RECIPE)
    wait_for_shards(process, out, 12)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    assert not (out / "manifest.json").exists()
    lost = sorted(out.glob("buckets/384-*/*.tar"))[-1]
    lost.unlink()
    report = fastbucket.export(drawn.paths, out, RECIPE, Resources(workers=1))
    assert exported.digests(out) == exported.digests(several.out)
    assert 0 < report.resumed_shards < len(exported.digests(out))
    assert report.exported == several.report.exported
    assert report.captions == several.report.captions


@pytest.fixture(scope="module")
def crashing(tmp_path_factory) -> list[str]:
    """Squares that fit both bases or one, damaged ones among both, so that filling at both bases
    moves samples between shards and removes some."""
    members = []
    for number, side in enumerate((160, 90, 160, 90, 160, 90, 160, 160, 90, 90, 160)):
        jpeg = photo_jpeg(draw(side, side, number))
        cut = len(jpeg) // 2 if number in (0, 5, 6) else len(jpeg)
        members.append((f"{number:02d}.jpg", jpeg[:cut]))
    folder = tmp_path_factory.mktemp("crashing")
    return [str(exported.write_tar(folder / "part.tar", members))]


@pytest.mark.parametrize(("begun", "power"), [(0, True), (-30, False), *long((45, True))])
def test_a_sample_of_all_crashes(crashing, tmp_path, begun, power):
    recipe = {"base_resolutions": [64, 128], "shard_size": 2}
    case = {"recipe": recipe, "begun": begun, "power": power}
    found = die(crashing, tmp_path, case, 0.04)
    assert found["tried"] >= 2
    assert not found["failures"]


@pytest.mark.soak
@pytest.mark.parametrize("begun", [0, 45, -30])
@pytest.mark.parametrize("power", [False, True])
def test_every_crash(crashing, tmp_path, begun, power):
    recipe = {"base_resolutions": [64, 128], "shard_size": 2}
    case = {"recipe": recipe, "begun": begun, "power": power}
    found = die(crashing, tmp_path, case, 1)
    assert found["tried"] == found["steps"] > 50
    assert not found["failures"]


# The recipe


def test_recipe():
    recipe = Recipe(base_resolutions=(1024, 512, 768, 512))
    assert recipe.bases == recipe.base_resolutions == (512, 768, 1024)
    assert recipe.base_resolution == 1024
    assert Recipe.from_json(json.loads(recipe.canonical())) == recipe
    assert Recipe(base_resolutions=(768,)) == Recipe(base_resolution=768)
    with pytest.raises(RunError, match="base_resolution: 640 beside base_resolutions 512, 768"):
        Recipe(base_resolution=640, base_resolutions=(512, 768))
    with pytest.raises(RunError, match="passthrough_jpeg stores the source's bytes"):
        Recipe(base_resolutions=(512, 768), image_mode="passthrough_jpeg")
    with pytest.raises(RunError, match="not all between 32 and 8192"):
        Recipe(base_resolutions=(16, 768))
    with pytest.raises(RunError, match="not all between 32 and 8192"):
        Recipe.from_json({"base_resolutions": ["512", 768]})
    with pytest.raises(RunError, match="17, at most 16"):
        Recipe(base_resolutions=tuple(range(64, 81)))


def test_an_export_of_one_base_is_what_it_was(drawn_export):
    """No trace of it in the recipe that is hashed, nor in the manifest."""
    assert b"base_resolutions" not in Recipe().canonical()
    assert "base_resolutions" not in json.dumps(drawn_export.manifest)
    assert drawn_export.manifest["format"] == FORMAT
    assert not any("base_resolution" in bucket for bucket in drawn_export.manifest["buckets"])


def test_at_smaller_bases():
    assert at_smaller_bases("512-p1152x832", BASES) == ["256-p1152x832", "384-p1152x832"]
    assert at_smaller_bases("256-p1152x832", BASES) == []
    assert at_smaller_bases("p1152x832", [512]) == []


# Verification


def test_it_verifies(several, drawn):
    found = verify(several.out, sources=drawn.paths)
    assert found.ok, found.problems[:5]
    assert found.samples == several.manifest["counts"]["images"]


def test_damage_is_found(copy):
    """A sample that stands elsewhere at one base, and numbers that do not add up."""
    path = next(
        p for p in exported.shards(copy) if p.parent.name.startswith("384-") and len(starts(p)) > 2
    )
    whole = path.read_bytes()
    _, one, two = starts(path)
    path.write_bytes(whole[one:two] + whole[:one] + whole[two:])
    found = "\n".join(map(str, verify(copy, fast=True, workers=1).problems))
    assert f"{path.relative_to(copy).as_posix()}: " in found
    assert "is elsewhere than meta says: at 1, not at 0" in found
    path.write_bytes(whole)
    facts = exported.manifest(copy)
    for change, words in (
        (lambda f: f.update(format=FORMAT), "base_resolutions does not belong here"),
        (lambda f: f.update(format=FORMAT), f"format is {FORMAT!r}, the recipe says {FORMAT_V2!r}"),
        (lambda f: f["counts"].update(images=7), "counts.images is 7, the buckets have"),
        (lambda f: f["counts"].update(exported=7), "counts.exported is 7, the buckets have"),
        (lambda f: f.update(base_resolutions=[256, 512]), "base_resolutions is [256, 512]"),
        (lambda f: f["buckets"][0].update(base_resolution=384), "base_resolution is 384, not 256"),
    ):
        changed = json.loads(json.dumps(facts))
        change(changed)
        (copy / "manifest.json").write_text(json.dumps(changed))
        loaded = manifest.load(copy)
        found = list[str]()
        manifest.check(loaded, found.append)
        assert any(words in text for text in found), found


def starts(path: Path) -> list[int]:
    """Where each sample of a shard begins, and where the last one ends."""
    with tarfile.open(path, "r:") as tar:
        members = tar.getmembers()
    last = members[-1]
    return [m.offset for m in members[::3]] + [last.offset_data + -(-last.size // 512) * 512]


# Work on a finished one


def test_captions(copy, several):
    """A caption goes to the sample at every base; without one it goes, at every base; and then the
    rest stands again at one place at all of them."""
    workspace.init(copy)
    samples = by_base(several)
    captioned = sorted(sample.key for sample in samples[256])[::2]
    with Store.open(copy) as store:
        number = store.source("caption_test")
        store.put(number, [(key, f"words of {key}", "ok", "") for key in captioned])
        assert store.count() == len(samples[256])
    before = {s.key: s for s in samples[256]}
    report = application.apply(copy, ["caption_test", "caption_source"], "keep", workers=1)
    assert report.samples == len(before)
    assert report.counts["caption_test"] == len(captioned)
    assert verify(copy, workers=1).ok
    for sample in exported.samples(copy):
        wanted = f"words of {sample.key}\n".encode()
        assert sample.txt == (wanted if sample.key in captioned else before[sample.key].txt)
    report = application.apply(copy, ["caption_test"], "drop", workers=1)
    assert report.samples == len(captioned)
    check_left(copy, samples, set(captioned))


def test_prune(copy, several):
    """Samples go at every base, and the rest stands at one place at all of them."""
    samples = by_base(several)
    gone = {s.key for those in samples.values() for s in those[::5]}
    report = prune(copy, sorted(gone), workers=1)
    stay = {s.key for s in samples[256]} - gone
    assert report.removed == len(gone)
    assert report.samples == len(stay)
    check_left(copy, samples, stay)
    facts = exported.manifest(copy)
    assert facts["counts"]["images"] == sum(s.key in stay for s in several.samples)
    assert facts["counts"]["pruned"] == len(gone)


@pytest.mark.long  # test_pruning_crashes kills one of one base
def test_prune_killed(several, tmp_path):
    """Killed between any of its steps, then run again: the same shards, rows and manifest."""
    keys = sorted({s.key for those in by_base(several).values() for s in those[::5]})
    whole = tmp_path / "whole"
    shutil.copytree(several.out, whole)
    assert launch((whole, keys, "x", 0)) == [0]
    _, done = map(int, Path(f"{whole}.steps").read_text().split())
    runs = []
    for number, share in enumerate((0.2, 0.35, 0.5, 0.65, 0.8)):
        out = tmp_path / str(number)
        shutil.copytree(several.out, out)
        runs += [(out, keys, "x", int(share * done)), (out, [], "x", 0)]
    codes = launch(*runs)
    assert codes[::2] == [KILLED] * 5
    for (out, *_), code in zip(runs[1::2], codes[1::2], strict=True):
        if code:  # the marker was not there yet: nothing had been begun
            assert launch((out, keys, "x", 0)) == [0]
        assert exported.digests(out) == exported.digests(whole)
        assert exported.manifest(out) == exported.manifest(whole)
        rows = [pq.read_table(one / "meta").to_pylist() for one in (out, whole)]
        assert rows[0] == rows[1]
    assert codes.count(0) > 2


def test_report_and_suspects(copy, several):
    """Both count an image at the base that it stands at, or a sample once."""
    found = meta_facts(copy, several.manifest, 0)
    assert found is not None
    assert found.scales.sum() == several.manifest["counts"]["images"]
    for bucket in several.manifest["buckets"]:
        scales = [
            s.json["scale"] for s in several.samples if s.json["bucket_id"] == bucket["bucket_id"]
        ]
        assert found.scale_of[bucket["bucket_id"]] == pytest.approx(sum(scales))
    page.write(copy)
    text = (copy / "report.html").read_text()
    assert "base 256, 384, 512" in text
    assert '<path class="region used ' in text
    assert looks.samples(copy, 1, Silent()).rows.num_rows == several.report.exported


def check_left(out: Path, samples: dict[int, list[exported.Sample]], stay: set[str]) -> None:
    """It verifies, so rows, shards and bases agree; and of the samples these are there."""
    found = verify(out, workers=1)
    assert found.ok, found.problems[:5]
    keys: dict[int, list[str]] = {base: [] for base in samples}
    for sample in exported.samples(out):
        keys[int(sample.json["bucket_id"].partition("-")[0])].append(sample.key)
    for base, those in samples.items():
        assert sorted(keys[base]) == sorted(s.key for s in those if s.key in stay)


# Loading


IGNORED = [
    "ignore:unclosed file .*shard-:ResourceWarning",  # of the loaders, as in test_loading
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
]


@pytest.mark.filterwarnings(*IGNORED)
def test_datasets_loads_each_base_and_each_bucket(several, tmp_path):
    from datasets import get_dataset_config_names, load_dataset

    def keys(*config: str) -> list[str]:
        loaded = load_dataset(
            str(several.out), *config, split="train", cache_dir=str(tmp_path / "cache")
        )
        assert loaded.features["json"]["bucket_id"].dtype == "string"
        return sorted(loaded["__key__"])

    samples = by_base(several)
    names = get_dataset_config_names(str(several.out))
    assert set(names) == {*map(str, BASES), *(b["bucket_id"] for b in several.manifest["buckets"])}
    assert keys() == sorted(sample.key for sample in samples[256])
    assert keys("512") == sorted(sample.key for sample in samples[512])
    bucket = several.manifest["buckets"][-1]
    assert len(keys(bucket["bucket_id"])) == bucket["count"]


@pytest.mark.filterwarnings(*IGNORED)
def test_webdataset_and_the_snippets_of_the_card(several):
    import webdataset as wds

    shards = [str(path) for path in sorted(several.out.glob("buckets/384-*/*.tar"))]
    dataset = wds.WebDataset(shards, shardshuffle=False, empty_check=False)
    assert sorted(sample["__key__"] for sample in dataset) == sorted(
        sample.key for sample in by_base(several)[384]
    )
    card = (several.out / "README.md").read_text()
    assert "path/to/this/folder/buckets/256-*/*.tar" in card
    assert 'load_dataset("path/to/this/folder", "512", split="train")' in card
    assert f"{several.manifest['counts']['images']:,} images, each sample once at every" in card


def test_loader(several):
    """All of them, each at each base; or those of the bases that are named."""
    samples = by_base(several)
    for bases in ((), (512,), (256, 384)):
        loader = fastbucket.Loader(several.out, 4, fields=("__key__", "jpg"), bases=bases)
        found: Counter[tuple[str, int]] = Counter()
        for keys, images in loader:
            assert images.shape[1] * images.shape[2] <= 512 * 1100
            found.update((key, len(images[0])) for key in keys)
        expected = Counter((s.key, s.json["h"]) for base in bases or BASES for s in samples[base])
        assert found == expected
        assert loader.samples == sum(expected.values())
    with pytest.raises(RunError, match="bases: there is no 640, only 256, 384, 512"):
        fastbucket.Loader(several.out, 4, bases=(640,))
