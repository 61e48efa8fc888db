"""The page of `fastbucket report`: its numbers against the export read by other means."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import exported
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import fastbucket
from fastbucket import Recipe, Resources, RunError
from fastbucket.buckets import CHOICES, buckets
from fastbucket.overview import facts, html, page, regions, sizes
from fastbucket.overview.selection import places, shares
from fastbucket.progress import Silent

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>&amp;\'"</style></title>'


class Read(HTMLParser):
    """A page as a parser sees it: elements in order, text of each table cell and figure."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._in: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "script":
            self.scripts.append("")
        self._in.append(tag)

    def handle_endtag(self, tag):
        while self._in and self._in.pop() != tag:
            pass

    def handle_data(self, data):
        if "script" in self._in:
            self.scripts[-1] += data
        elif "td" in self._in or "th" in self._in:
            self.rows[-1][-1] += data
        if "style" not in self._in and "script" not in self._in:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


NOWHERE = ("nowhere/*.tar",)
"""Sources that save a test the worker that would look into those of run.json."""


def written(out: Path, tmp_path: Path, sources=NOWHERE, **options) -> tuple[Read, page.Written]:
    done = page.write(out, tmp_path / "page.html", sources, **options)
    return Read((tmp_path / "page.html").read_text(encoding="utf-8")), done


def meta_rows(out: Path) -> list[dict]:
    """Read by another way than the page does it: every column, as Python's own values."""
    files = sorted((out / "meta").glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


@pytest.fixture
def copy(drawn_export, tmp_path):
    """A copy of a finished export, to be changed."""
    return Path(shutil.copytree(drawn_export.out, tmp_path / "copy"))


# Facts


def test_sums_of_meta(any_export):
    rows = meta_rows(any_export.out)
    kept = [row for row in rows if not row["reason"]]
    found = facts.meta_facts(any_export.out, any_export.manifest, 0)
    assert found.rows == len(rows) == any_export.manifest["source"]["samples"]
    assert found.reasons == Counter(row["reason"] for row in rows)
    assert found.formats == Counter(row["format"] for row in kept)
    assert found.splits == Counter(row["source_split"] for row in kept)
    assert found.turned == sum(row["orientation"] > 1 for row in kept)
    assert found.source_bytes == sum(row["source_bytes"] for row in kept)
    assert found.source_pixels == sum(row["source_w"] * row["source_h"] for row in kept)
    for wanted, counts in ((True, found.kept_map), (False, found.dropped_map)):
        sized = [r for r in rows if r["source_w"] > 0 and (r["reason"] == "") == wanted]
        assert counts.sum() == len(sized)
        for row in sized:
            at = [facts.cell(np.array([row[side]]))[0] for side in ("source_h", "source_w")]
            assert counts[tuple(at)] > 0


def test_scales_and_chroma_are_those_of_the_samples(any_export):
    found = facts.meta_facts(any_export.out, any_export.manifest, 0)
    scales = np.array([sample.json["scale"] for sample in any_export.samples])
    edges = np.arange(facts.SCALE_BINS + 1) / facts.SCALE_BINS
    # A scale on an edge belongs to the bin below it: negated, so that histogram agrees.
    want = np.histogram(-scales, -edges[::-1])[0][::-1]
    assert found.scales.tolist() == want.tolist()
    by_bucket: dict[str, float] = {}
    for sample in any_export.samples:
        name = sample.json["bucket_id"]
        by_bucket[name] = by_bucket.get(name, 0.0) + sample.json["scale"]
    assert {k: v for k, v in found.scale_of.items() if v} == pytest.approx(by_bucket)
    gathered = page.gather(any_export.out, any_export.manifest, NOWHERE, 4, 0, Silent())
    chroma, everything = sizes.chroma(gathered)
    assert everything
    assert +Counter(chroma) == Counter(s.json["jpeg"]["subsampling"] for s in any_export.samples)


def test_a_cell_is_a_part_of_an_octave():
    pixels = 2 ** np.arange(facts.LOWEST, facts.LOWEST + facts.OCTAVES)
    at = facts.cell(pixels)
    assert np.diff(at).tolist() == [facts.OCTAVE] * (len(pixels) - 1)
    assert facts.cell(np.array([1, 1 << 30])).tolist() == [0, facts.OCTAVE * facts.OCTAVES - 1]


def test_dropped_samples_are_named_as_in_meta(any_export):
    found = facts.meta_facts(any_export.out, any_export.manifest, 0)
    rows = {row["image_id"]: row for row in meta_rows(any_export.out) if row["reason"]}
    of: Counter[str] = Counter()
    for dropped in found.dropped:
        row = rows.pop(dropped.image_id)  # each once
        of[dropped.reason] += 1
        assert dropped == facts.Dropped(
            row["reason"], row["image_id"], row["source_archive"], row["source_member"],
            row["source_bytes"], row["source_w"], row["source_h"], row["detail"],
        )  # fmt: skip
    for reason, count in any_export.manifest["counts"]["dropped"].items():
        per_archive = Counter(
            r["source_archive"] for r in meta_rows(any_export.out) if r["reason"] == reason
        )
        most = sum(min(n, facts.DROPS_OF_ARCHIVE) for n in per_archive.values())
        assert of[reason] == min(count, facts.DROPS, most)


def test_columns_may_be_absent_and_others_there(drawn_export, copy):
    whole = facts.meta_facts(drawn_export.out, drawn_export.manifest, 0)
    (path,) = (copy / "meta").glob("*.parquet")
    table = pq.read_table(path)
    table = table.drop_columns(["format", "orientation", "source_split", "detail"])
    table = table.append_column("phash", pa.array(range(len(table)), pa.uint64()))
    pq.write_table(table, path)
    found = facts.meta_facts(copy, drawn_export.manifest, 0)
    assert found.reasons == whole.reasons
    assert (found.kept_map == whole.kept_map).all()
    assert found.turned == 0
    assert found.formats == {"": drawn_export.report.exported}
    pq.write_table(table.drop_columns(["reason"]), path)
    assert facts.meta_facts(copy, drawn_export.manifest, 0) is None


# Which samples


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(0, 200))
def test_shares_are_even(counts, total):
    got = shares(counts, total)
    assert sum(got) == min(total, sum(counts))
    assert all(0 <= g <= c for g, c in zip(got, counts, strict=True))
    short = [g for g, c in zip(got, counts, strict=True) if g < c]
    assert max(short, default=0) - min(short, default=0) <= 1
    assert all(g >= max(short, default=0) - 1 or g == c for g, c in zip(got, counts, strict=True))


@given(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40), st.integers(0, 300))
def test_places_are_distinct_and_there(shards, size, last, wanted):
    counts = [*[size] * (shards - 1), min(last, size)]
    bucket = {
        "bucket_id": "p1024x1024",
        "count": sum(counts),
        "shards": [
            {"path": f"buckets/p1024x1024/shard-{n:06d}.tar", "count": count}
            for n, count in enumerate(counts)
        ],
    }
    wanted = min(wanted, sum(counts))
    found = places(bucket, wanted, 0)
    assert found == places(bucket, wanted, 0) == sorted(set(found))
    assert len(found) == wanted
    assert all(0 <= place.position < counts[place.shard] for place in found)


def test_places_are_near_the_front_of_many_shards():
    """A million samples must not be walked through for some."""
    bucket = {
        "bucket_id": "p1024x1024",
        "count": 1 << 20,
        "shards": [{"path": f"b/p/shard-{n:06d}.tar", "count": 1024} for n in range(1024)],
    }
    found = places(bucket, 24, 0)
    assert len({place.shard for place in found}) == 24
    assert max(place.position for place in found) < 16
    assert found != places(bucket, 24, 1)


# Regions: what the plan decided is the oracle


def inside(corners, w, h):
    """Which points (n,) lie in a polygon, by the crossings of a ray, in logarithms. bool (n,)."""
    x, y = np.log(w), np.log(h)
    points = np.log(np.array(corners, float))
    crossed = np.zeros(len(x), bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        between = (y0 > y) != (y1 > y)
        along = (y - y0) / ((y1 - y0) or 1)
        crossed ^= between & (x < x0 + along * (x1 - x0))
    return crossed


@pytest.mark.parametrize("rule", CHOICES)
@pytest.mark.parametrize(("base", "divisible"), [(512, 32), (256, 64)])
def test_regions_are_what_the_plan_decides(rule, base, divisible):
    from fastbucket.kernels.fit import fit

    family = buckets("sdxl", base, divisible)
    outlines = {region.name: region.corners for region in regions.regions(family, rule, {})}
    dice = np.random.default_rng(7)
    w, h = np.exp(dice.uniform(np.log(90), np.log(9000), (2, 5000))).astype(np.int32)
    index, fits = fit(w, h, family, rule, False, 0.0)
    decided = np.where(fits, index, -1)
    wrong = np.zeros(len(w), bool)
    for number, bucket in enumerate(family):
        corners = outlines.get(bucket.id, [(1, 1)])  # none where the rule never chooses it
        # Off the corner by less than a pixel, so that a size that is the target's is inside.
        wrong |= inside(corners, w + 1e-3, h + 1e-3) != (decided == number)
    assert wrong.sum() <= 5  # on a border, by the thousandth of a pixel
    assert (decided >= 0).sum() > 1000


# The page


def test_numbers_are_the_manifests(any_export, tmp_path):
    read, done = written(any_export.out, tmp_path)
    manifest = any_export.manifest
    rows = {row[0]: row for row in read.rows}
    for bucket in manifest["buckets"]:
        row = rows[bucket["bucket_id"]]
        size = sum(shard["bytes"] for shard in bucket["shards"])
        pixels = bucket["count"] * bucket["target_w"] * bucket["target_h"]
        assert row[1] == f"{bucket['target_w']}×{bucket['target_h']}"
        assert row[3] == f"{bucket['count']:,}"
        assert row[5] == str(len(bucket["shards"]))
        assert row[6] == html.size(size)
        assert float(row[8]) == pytest.approx(8 * size / pixels, abs=0.006)
    for reason, count in manifest["counts"]["dropped"].items():
        assert f"{reason} {count:,} ·" in read.text
    for name, value in manifest["recipe"].items():
        words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        assert rows[name][1].rstrip(" *") == (words or "–")
    exported_, scanned = manifest["counts"]["exported"], manifest["source"]["samples"]
    assert f"{exported_:,} samples {100 * exported_ / scanned:.1f} % of {scanned:,}" in read.text
    assert done.samples == exported_  # few enough to show them all
    assert done.bytes == (tmp_path / "page.html").stat().st_size


def test_every_card_is_the_sample_that_it_says(drawn_export, tmp_path):
    read, _ = written(drawn_export.out, tmp_path)
    details = json.loads(read.scripts[0])
    by_key = {sample.key: sample for sample in drawn_export.samples}
    assert {d["key"] for d in details} == set(by_key)
    pictures = [a["src"] for tag, a in read.attributes if tag == "img"]
    figures = [a for tag, a in read.attributes if tag == "figure" and "data-n" in a]
    assert [int(a["data-n"]) for a in figures] == list(range(len(details)))
    for detail, figure, src in zip(details, figures, pictures[-len(details) :], strict=True):
        sample = by_key[detail["key"]]
        assert (detail["shard"], detail["position"]) == (sample.path, sample.index)
        assert detail["bytes"] == len(sample.jpg)
        for name in ("image_id", "source_archive", "source_member", "source_w", "scale", "crop_x"):
            assert detail[name] == sample.json[name]
        assert figure["data-c"] == str(int(len(sample.txt) > 1))
        with Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2]))) as image:
            assert max(image.size) == 192
    captions = [s.txt.decode().strip() for s in drawn_export.samples if len(s.txt) > 1]
    assert captions
    assert all(caption in read.text for caption in captions)


def test_a_selection_is_seeded(drawn_export, tmp_path):
    def keys(**options):
        read, done = written(drawn_export.out, tmp_path, samples=12, **options)
        assert done.samples == 12
        return [d["key"] for d in json.loads(read.scripts[0])]

    assert keys() == keys() != keys(seed=1)
    assert len(set(keys())) == 12


def test_what_was_dropped_is_shown_from_its_source(drawn, drawn_export, tmp_path):
    """run.json knows where the source is; reasons that speak of damage have no picture."""
    read, done = written(drawn_export.out, tmp_path, sources=())
    assert done.dropped == drawn.small + drawn.duplicates
    assert "no picture" in read.text
    shown = page.gather(drawn_export.out, drawn_export.manifest, [], 0, 0, Silent())
    source = drawn_export.source
    for dropped in shown.meta.dropped:
        jpeg = shown.pictures.get((dropped.archive, dropped.member))
        assert (jpeg is not None) == (dropped.reason in ("too_small", "duplicate"))
        if jpeg:
            stored = exported.image_of(source[dropped.image_id])
            with Image.open(io.BytesIO(jpeg)) as image, Image.open(io.BytesIO(stored)) as whole:
                whole = whole.convert("RGBA")  # alpha on white, as exported
                flat = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole)
                if whole.getexif().get(0x0112, 1) == 1:
                    want = np.asarray(flat.convert("RGB").resize(image.size), int)
                    assert np.abs(np.asarray(image, int) - want).mean() < 8


def test_sources_that_are_gone_or_elsewhere(drawn, drawn_export, copy, tmp_path):
    facts_of = json.loads((copy / "run.json").read_text())
    facts_of["sources"] = ["../nowhere/*.tar"]
    (copy / "run.json").write_text(json.dumps(facts_of))
    read, done = written(copy, tmp_path, sources=())
    assert done.dropped == 0
    assert "the sources are not at hand: source" in read.text
    read, done = written(copy, tmp_path, sources=[str(path) for path in drawn.paths])
    assert done.dropped == drawn.small + drawn.duplicates
    read, done = written(copy, tmp_path, sources=[str(drawn.paths[0])])
    assert 0 < done.dropped < drawn.small + drawn.duplicates
    assert "archives are not at hand" in read.text


def test_an_export_with_the_manifest_alone(drawn_export, copy, tmp_path):
    """As an older version, or a hand, may have left it: what is absent is said."""
    shutil.rmtree(copy / "meta")
    (copy / "run.json").unlink()
    shutil.rmtree(copy / "buckets" / drawn_export.manifest["buckets"][0]["bucket_id"])
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["recipe"]["adaptive_content_threshold"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    read, done = written(copy, tmp_path)
    for words in ("stand in meta/, which", "stands in run.json, which", "There is no captions.sqli",
                  "cannot be opened"):  # fmt: skip
        assert words in read.text
    lost = drawn_export.manifest["buckets"][0]["count"]
    assert done.samples == drawn_export.report.exported - lost
    assert {entry.split(" ")[0] for entry in done.absent} >= {"meta/", "run.json"}


@pytest.mark.parametrize("content", ["", "[]", '{"phases": 1}', "[" * 9999, "NaN", "lacks one"])
def test_a_run_json_that_is_none_is_absent(copy, content):
    whole = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**whole, "more": 1}))
    assert facts.run_facts(copy) == whole
    del whole["cpus"]
    (copy / "run.json").write_text(json.dumps(whole) if content == "lacks one" else content)
    assert facts.run_facts(copy) is None


@pytest.mark.parametrize("part", ["counts", "source", "software", "created_at", "buckets"])
def test_a_manifest_that_lacks_something_is_an_error(copy, tmp_path, part):
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest[part]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=f"KeyError: '{part}'.*fastbucket verify says more"):
        written(copy, tmp_path, samples=0)


def test_numbers_that_json_does_not_have_are_left_out():
    from fastbucket.overview.contact import _card
    from fastbucket.stored import Place
    from fastbucket.thumbnails import Thumbnail

    facts_ = '{"scale": Infinity, "w": NaN, "h": 3, "jpeg": 4, "source_split": ["x"]}'
    card = _card(Place("p1024x1024", 0, 0), Thumbnail(b"", 7, "", facts_, "key"))
    assert card.facts == {"h": 3, "subsampling": ""}
    assert _card(Place("p1024x1024", 0, 0), Thumbnail(b"", 7, "", "[" * 9999, "key")).facts == {
        "subsampling": ""
    }


def test_a_damaged_manifest_is_an_error(copy, tmp_path):
    (copy / "manifest.json").write_text('{"format": "bucketed_shards_v1"}')
    with pytest.raises(RunError, match="fastbucket verify says more"):
        page.write(copy, tmp_path / "page.html")
    (copy / "manifest.json").unlink()
    with pytest.raises(RunError, match="the export is not complete"):
        page.write(copy, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_captions_of_the_workspace(drawn_export, copy, tmp_path):
    from fastbucket.captions.store import Row, Store
    from fastbucket.captions.workspace import init

    init(copy)
    with Store.open(copy) as store:
        source = store.source("caption_other", "vendor/model<b>")
        keys = [sample.key for sample in drawn_export.samples]
        store.put(source, [Row(key, "four") for key in keys[:7]])
        store.put(source, [Row(keys[7], "", "refused", "no")])
    read, _ = written(copy, tmp_path)
    row = next(row for row in read.rows if row[0] == "caption_other")
    share = f"{100 * 7 / len(keys):.1f} %"
    assert row == ["caption_other", "vendor/model<b>", "7", share, "0", "1", "0", "4"]
    (copy / "captions.sqlite").write_bytes(b"no database" * 100)
    read, done = written(copy, tmp_path, samples=1)
    assert any(entry.startswith("captions.sqlite") for entry in done.absent)


# What comes from data is text


@pytest.fixture(scope="module")
def hostile_export(drawn, tmp_path_factory):
    """Names, captions and words of decoders that would be markup."""
    folder = tmp_path_factory.mktemp("hostile")
    name = HOSTILE.replace("/", "|").replace(".", "")
    image = next(
        exported.image_of(m)
        for i, m in exported.source_members(drawn.paths).items()
        if drawn.fates[i] == ""
    )
    small = io.BytesIO()
    Image.new("RGB", (100, 80), "red").save(small, "JPEG")
    noise = io.BytesIO()
    dice = np.random.default_rng(0)
    Image.fromarray(dice.integers(0, 256, (512, 512, 3), np.uint8)).save(noise, "JPEG", quality=95)
    long = "\u202e\U0001f600&<\"'" * 3000
    members = [
        (f"a{name}.jpg", image),
        (f"a{name}.txt", HOSTILE.encode()),
        (f"a{name}.json", json.dumps({"class_name": HOSTILE}).encode()),
        (f"b{name}.jpg", small.getvalue()),
        (f"c{name}.jpg", b"<html>" + HOSTILE.encode()),
        ("d.jpg", noise.getvalue()),
        ("d.txt", long.encode()),
        ("d.json", json.dumps({"class_name": long}).encode()),
    ]
    exported.write_tar(folder / "tars" / "x-train-0000.tar", members)
    out = folder / "out"
    fastbucket.export([folder / "tars"], out, Recipe(), Resources(workers=1))
    return out


def test_hostile_names_and_captions_are_text(hostile_export, tmp_path):
    read, done = written(hostile_export, tmp_path, sources=())
    text = (tmp_path / "page.html").read_text()
    assert (done.samples, done.dropped) == (2, 1)
    assert HOSTILE in " ".join(read.words)
    assert read.tags["script"] == 2
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert not [a for _, a in read.attributes if any(k.startswith("on") for k in a)]
    assert all(a["src"].startswith("data:image/jpeg;base64,")
               for tag, a in read.attributes if tag == "img")  # fmt: skip
    details = {d["source_member"]: d for d in json.loads(read.scripts[0])}
    member = f"a{HOSTILE.replace('/', '|').replace('.', '')}.jpg"
    assert details[member]["class_name"] == HOSTILE


def test_a_sample_takes_no_more_of_the_page_than_stated(hostile_export, tmp_path):
    """Noise hardly compresses, and a caption of signs that are escaped is as long as it gets."""
    _, none = written(hostile_export, tmp_path, samples=0)
    _, both = written(hostile_export, tmp_path)
    assert both.bytes - none.bytes < 2 * 30_000


def test_nothing_is_loaded(drawn_export, tmp_path):
    written(drawn_export.out, tmp_path)
    text = (tmp_path / "page.html").read_text()
    outside = re.findall(
        r"""(?:src|href|url|@import)\s*[=(]?\s*["']?\s*(?!data:|#)\w+:[^"')]*""", text
    )
    assert not outside
    assert "default-src 'none'" in text


# The command


def test_the_command(drawn_export, tmp_path):
    from click.testing import CliRunner

    from fastbucket.cli import cli

    path = tmp_path / "page.html"
    words = ["report", str(drawn_export.out), "--out", str(path), "--json", "-q", "--samples", "5"]
    words += ["--source", NOWHERE[0]]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["path"], told["samples"], told["bytes"]) == (str(path), 5, path.stat().st_size)
    assert not (drawn_export.out / "report.html").exists()
    words[2:4] = []
    copy = Path(shutil.copytree(drawn_export.out, tmp_path / "copy"))
    words[1] = str(copy)
    assert CliRunner().invoke(cli, words).exit_code == 0
    assert (copy / "report.html").stat().st_size > 20_000
    assert fastbucket.verify(copy, fast=True).ok  # the page is no part of what is verified
