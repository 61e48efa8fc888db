"""What stands in an export: layout, tars, JSON, captions, counts; and what the recipe changes."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import Counter
from pathlib import Path

import exported
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import fastbucket
from fastbucket import Recipe, Resources, RunError

ONE = Resources(workers=1)

# Section 6 of the specification, typed out: the package's own table is what is tested.
FIELDS = {
    "image_id": str, "w": int, "h": int, "image_mode": str, "jpeg": dict, "bucket_id": str,
    "target_w": int, "target_h": int, "scale": float, "crop_x": int, "crop_y": int,
    "resized_w": int, "resized_h": int, "source_split": str, "source_archive": str,
    "source_member": str, "source_w": int, "source_h": int, "source_bytes": int,
    "source_sha256": str, "class_id": int, "label": int, "label_12k": int, "class_name": str,
}  # fmt: skip
CAPTIONS = {"caption_variant": str, "caption_selector_index": int, "caption_source_id": int}
CARRIED = {"filename": str, "height": int, "width": int}  # `auto` of a source as timm's

MANIFEST = (
    "format created_at export_id base_resolution divisible image_codec crop caption_priority "
    "missing_caption_policy too_small_policy export_settings proto_buckets_1024 recipe source "
    "counts buckets caption_sources software"
).split()

META = (
    "image_id key source_archive source_member source_split source_bytes source_w source_h "
    "orientation format reason detail bucket_id shard position "
    "phash luma_range modal_share bimodal_share edge_share border_share"
).split()

CHROMA = {((2, 2), (1, 1), (1, 1)): "4:2:0", ((1, 1), (1, 1), (1, 1)): "4:4:4"}


def rows(out: Path) -> list[dict]:
    files = sorted((out / "meta").glob("samples-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


# Layout


def test_nothing_but_the_format_lies_in_the_folder(any_export):
    out = any_export.out
    names = {"manifest.json", "README.md", "run.json", "buckets", "index", "meta"}
    assert {p.name for p in out.iterdir()} == names
    listed = [s["path"] for b in any_export.manifest["buckets"] for s in b["shards"]]
    found = [p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()]
    meta = [p.relative_to(out).as_posix() for p in (out / "meta").glob("samples-*.parquet")]
    index = [p.replace("buckets/", "index/webshart/").replace(".tar", ".json") for p in listed]
    files = [*listed, *meta, *index, "index/wids.json", "manifest.json", "README.md", "run.json"]
    assert sorted(found) == sorted(files)
    assert meta
    assert not [p for p in out.rglob("*") if p.name.startswith(".")]


def test_numbers_restart_in_every_bucket_and_only_the_last_shard_is_short(any_export):
    size = any_export.manifest["export_settings"]["shard_size"]
    for bucket in any_export.manifest["buckets"]:
        folder = any_export.out / "buckets" / bucket["bucket_id"]
        names = [f"shard-{n:06d}.tar" for n in range(len(bucket["shards"]))]
        assert sorted(p.name for p in folder.iterdir()) == names
        counts = [shard["count"] for shard in bucket["shards"]]
        assert counts[:-1] == [size] * (len(counts) - 1)
        assert 0 < counts[-1] <= size
        assert bucket["count"] == sum(counts)


def test_the_drawn_export_has_gaps_that_were_filled(drawn_export):
    """Else the test above proves less than it seems to."""
    undecodable = [r for r in rows(drawn_export.out) if r["reason"] == "undecodable"]
    full = {b["bucket_id"] for b in drawn_export.manifest["buckets"] if len(b["shards"]) > 1}
    assert {row["bucket_id"] for row in undecodable} & full


def test_tars_are_what_the_format_says(any_export):
    """Read block by block: ustar, 0644, nobody's, of no time, and two zero blocks at the end."""
    for path in exported.shards(any_export.out):
        data, at = path.read_bytes(), 0
        while any(data[at : at + 512]):
            block = data[at : at + 512]
            size = int(block[124:135], 8)
            assert block[100:124] == b"0000644\0" + b"0000000\0" * 2
            assert block[136:148] == b"00000000000\0"
            assert int(block[148:154], 8) == sum(block[:148] + b" " * 8 + block[156:])
            assert block[156:157] == b"0"
            assert block[257:265] == b"ustar\00000"
            assert not any(block[265:])
            end = at + 512 + -(-size // 512) * 512
            assert not any(data[at + 512 + size : end])
            at = end
        assert data[at:] == bytes(1024), path


# Samples


def test_json_has_one_schema(any_export):
    schema = {**FIELDS, **CARRIED, **CAPTIONS}
    assert any_export.samples
    for sample in any_export.samples:
        assert list(sample.json) == list(schema)
        assert {name: type(value) for name, value in sample.json.items()} == schema
        jpeg = sample.json["jpeg"]
        assert list(jpeg) == ["quality", "subsampling"]
        assert (type(jpeg["quality"]), type(jpeg["subsampling"])) == (int, str)


def test_json_is_one_line_of_utf_8(drawn_export):
    import tarfile

    for path in exported.shards(drawn_export.out):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    text = tar.extractfile(member).read().decode()
                    assert "\n" not in text
                    # Pairs, not a dictionary: a name that stands twice would not show in one.
                    fields = json.loads(text, object_pairs_hook=list)
                    assert len(fields) == len(FIELDS) + len(CARRIED) + len(CAPTIONS)
                    assert len(fields) == len(dict(fields))


def test_keys_are_digests_of_image_ids(any_export):
    keys = [sample.key for sample in any_export.samples]
    assert len(set(keys)) == len(keys)
    for sample in any_export.samples:
        name = sample.json["image_id"]
        assert sample.key == hashlib.sha256(name.encode()).hexdigest()
        assert name in any_export.source


def test_jpegs_are_baseline_jfif_and_nothing_else(any_export):
    """Markers by Pillow: JFIF, no EXIF, no profile, no comment, chroma and tables as promised."""
    tables = {}
    for sample in any_export.samples:
        image = Image.open(io.BytesIO(sample.jpg))
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert image.size == (sample.json["w"], sample.json["h"])
        assert image.size == (sample.json["target_w"], sample.json["target_h"])
        assert image.info["jfif_version"]
        assert not {"progression", "progressive", "exif", "icc_profile", "comment"} & set(
            image.info
        )
        assert [name for name, _ in image.applist] == ["APP0"]
        assert CHROMA[tuple(c[1:3] for c in image.layer)] == sample.json["jpeg"]["subsampling"]
        tables[str(image.quantization)] = image.quantization
        image.load()
    (found,) = tables.values()
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=95)
    assert found == Image.open(file).quantization


def test_json_tells_of_the_source(any_export):
    for sample in any_export.samples:
        facts = sample.json
        members = any_export.source[facts["image_id"]]
        archive, key = facts["image_id"].split("/")
        data = exported.image_of(members)
        suffix = next(s for s, content in members.items() if content is data)
        assert facts["source_archive"] == archive
        assert facts["source_member"].lower() == f"{key}.{suffix}".lower()
        assert facts["source_split"] == "train"
        assert facts["source_bytes"] == len(data)
        assert facts["source_sha256"] == hashlib.sha256(data).hexdigest()
        theirs = json.loads(members["json"])
        for name in ("label", "label_12k", "class_name", *CARRIED):
            assert facts[name] == theirs[name]
        assert facts["class_id"] == int(members["cls"])
        assert facts["image_mode"] == "reencode_jpeg"
        assert facts["jpeg"]["quality"] == 95


def test_captions(any_export):
    captioned = 0
    for sample in any_export.samples:
        caption = any_export.source[sample.json["image_id"]].get("txt", b"")
        assert sample.txt == caption + b"\n"
        captioned += bool(caption)
        found = [sample.json[name] for name in CAPTIONS]
        assert found == (["caption_source", 0, 1] if caption else ["", -1, -1])
    assert any_export.report.captions == captioned
    sources = any_export.manifest["caption_sources"]
    assert [source["count"] for source in sources] == ([captioned] if captioned else [])


def test_the_drawn_source_has_captions_beyond_ascii(drawn_export):
    assert any("à".encode() in sample.txt for sample in drawn_export.samples)


# Counts


def test_scanned_is_exported_and_dropped(any_export):
    """In the report, in the manifest, in meta/, and in what lies in the tars."""
    report, manifest, meta = any_export.report, any_export.manifest, rows(any_export.out)
    dropped = Counter(row["reason"] for row in meta if row["reason"])
    assert report.scanned == report.exported + sum(report.dropped.values())
    assert report.scanned == len(any_export.source) == len(meta)
    assert report.exported == len(any_export.samples) == len(meta) - sum(dropped.values())
    assert report.dropped == dict(dropped)
    assert manifest["source"]["samples"] == report.scanned
    assert manifest["counts"] == {"exported": report.exported, "dropped": report.dropped}
    assert manifest["source"]["splits"] == {"train": report.scanned}
    assert sum(bucket["count"] for bucket in manifest["buckets"]) == report.exported
    assert sum(bucket.samples for bucket in report.buckets) == report.exported
    assert report.status == "exported"
    assert report.archives == len(any_export.sources)


def test_the_drawn_fates(drawn, drawn_export):
    assert {row["image_id"]: row["reason"] for row in rows(drawn_export.out)} == dict(drawn.fates)
    shown = {bad.image_id: bad.reason for bad in drawn_export.report.bad_inputs}
    assert shown == {
        name: fate for name, fate in drawn.fates.items() if fate in ("unreadable", "undecodable")
    }
    assert all(bad.detail for bad in drawn_export.report.bad_inputs)


def test_meta_has_a_row_for_every_sample_in_source_order(any_export):
    meta = rows(any_export.out)
    assert [row["image_id"] for row in meta] == list(any_export.source)
    by_id = {sample.json["image_id"]: sample for sample in any_export.samples}
    for row in meta:
        assert list(row) == META
        members = any_export.source[row["image_id"]]
        data = exported.image_of(members)
        assert row["source_bytes"] == (-1 if data is None else len(data))
        assert row["source_split"] == "train"
        if row["reason"]:
            assert (row["key"], row["shard"], row["position"]) == ("", -1, -1)
            continue
        sample = by_id[row["image_id"]]
        assert row["key"] == sample.key
        assert row["bucket_id"] == sample.json["bucket_id"]
        assert sample.path == f"buckets/{row['bucket_id']}/shard-{row['shard']:06d}.tar"
        assert row["position"] == sample.index
        assert (row["source_w"], row["source_h"]) == (
            sample.json["source_w"],
            sample.json["source_h"],
        )


def test_manifest_holds_what_lies_there(any_export):
    manifest = any_export.manifest
    assert list(manifest) == MANIFEST
    assert manifest["format"] == "bucketed_shards_v1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", manifest["created_at"])
    assert re.fullmatch(r"[0-9a-f]{16}", manifest["export_id"])
    assert len(manifest["proto_buckets_1024"]) == 40
    digests = exported.digests(any_export.out)
    for bucket in manifest["buckets"]:
        for shard in bucket["shards"]:
            path = any_export.out / shard["path"]
            assert shard["sha256"] == digests.pop(shard["path"])
            assert shard["bytes"] == path.stat().st_size
            assert shard["count"] == sum(s.path == shard["path"] for s in any_export.samples)
    assert not digests
    software = manifest["software"]
    assert {"fastbucket", "libvips", "libjpeg-turbo", "numba", "python"} <= set(software)
    assert all(re.match(r"\d+\.\d+", version) for version in software.values()), software


def test_manifest_of_the_default_recipe(photo_export):
    manifest = photo_export.manifest
    assert (manifest["base_resolution"], manifest["divisible"]) == (512, 32)
    assert manifest["image_codec"] == {
        "name": "jpeg",
        "mode": "reencode_jpeg",
        "quality": 95,
        "subsampling_policy": "adaptive_scale",
        "adaptive_scale_threshold": 0.85,
    }
    assert manifest["crop"] == {"strategy": "corner", "allowed_corners": [2, 3]}
    assert manifest["caption_priority"] == [{"variant": "caption_source"}]
    assert (manifest["missing_caption_policy"], manifest["too_small_policy"]) == ("keep", "drop")
    assert manifest["export_settings"] == {"shard_size": 1024, "workers": 2}
    assert Recipe.from_json(manifest) == Recipe()


class Watch:
    """A progress that notes its phases, their totals and how far they came."""

    def __init__(self, phases: list[tuple[str, int]]) -> None:
        self.phases = phases
        self.done: list[int] = []

    def phase(self, name: str, total: int, unit: str) -> None:
        self.phases.append((name, total))
        self.done.append(0)

    def advance(self, n: int) -> None:
        self.done[-1] += n

    def say(self, text: str) -> None: ...


def test_one_worker_and_the_recipe_of_a_manifest_repeat_the_export(drawn, drawn_export, tmp_path):
    """The bytes that two workers wrote; and progress that comes to its totals."""
    recipe, watch = Recipe.from_json(drawn_export.manifest), Watch([])
    report = fastbucket.export(drawn.paths, tmp_path / "again", recipe, ONE, progress=watch)
    assert report.export_id == drawn_export.manifest["export_id"]
    assert exported.digests(tmp_path / "again") == exported.digests(drawn_export.out)
    totals = dict(watch.phases)
    assert totals["scan"] == 3
    assert totals["export"] == drawn.kept + 2  # and two that turn out to be damaged
    assert watch.done == [total for _, total in watch.phases]


def test_report_is_json(any_export):
    values = json.loads(json.dumps(any_export.report.to_json()))
    assert values["scanned"] == any_export.report.scanned
    assert values["buckets"][0]["bucket_id"] == any_export.report.buckets[0].bucket_id
    assert values["bytes_out"] == sum(p.stat().st_size for p in exported.shards(any_export.out))


# Plan


def test_a_plan_says_what_an_export_finds_and_keeps_its_scan(drawn, drawn_export, tmp_path):
    planned = fastbucket.plan(drawn.paths, tmp_path / "out", Recipe(shard_size=2), ONE)
    done = drawn_export.report
    assert planned.status == "planned"
    assert planned.export_id == done.export_id
    assert planned.scanned == done.scanned == planned.exported + sum(planned.dropped.values())
    late = {"undecodable": done.dropped["undecodable"]}
    assert planned.dropped == {k: n for k, n in done.dropped.items() if k not in late}
    assert planned.exported == done.exported + sum(late.values())
    assert 0.3 < planned.bytes_out / done.bytes_out < 3
    assert not (tmp_path / "out" / "buckets").exists()
    assert not (tmp_path / "out" / "manifest.json").exists()
    phases: list[tuple[str, int]] = []
    report = fastbucket.export(
        drawn.paths, tmp_path / "out", Recipe(shard_size=2), ONE, progress=Watch(phases)
    )
    assert phases[0] == ("scan", 0)  # no archive is scanned again
    assert report.exported == done.exported
    assert exported.digests(tmp_path / "out") == exported.digests(drawn_export.out)


# What the recipe changes


@pytest.fixture
def few(drawn, tmp_path):
    """The drawn source exported with a recipe: report, samples by image_id, folder."""

    def run(**fields):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        arguments = {k: fields.pop(k) for k in ("exclude", "splits", "licence") if k in fields}
        report = fastbucket.export(drawn.paths, out, Recipe(**fields), ONE, **arguments)
        return report, {s.json["image_id"]: s for s in exported.samples(out)}, out

    return run


def test_settings_that_show_in_every_sample(few):
    import tarfile

    report, found, out = few(
        mtime=1_700_000_000,
        quality=80,
        subsampling_policy="422",
        carry=("filename", "nowhere"),
        caption_priority=("caption_other",),
        licence="cc-by-4.0",
    )
    for path in exported.shards(out):
        with tarfile.open(path) as tar:
            assert {member.mtime for member in tar} == {1_700_000_000}
    for sample in found.values():
        assert sample.json["jpeg"] == {"quality": 80, "subsampling": "4:2:2"}
        image = Image.open(io.BytesIO(sample.jpg))
        assert [c[1:3] for c in image.layer] == [(2, 1), (1, 1), (1, 1)]
        assert list(sample.json) == [*FIELDS, "filename", "nowhere", *CAPTIONS]
        assert sample.json["nowhere"] == ""
        assert (sample.txt, sample.json["caption_source_id"]) == (b"\n", -1)
    assert report.captions == 0
    assert "\nlicense: cc-by-4.0\n" in (out / "README.md").read_text()


def test_passthrough_stores_source_bytes(few, drawn_export):
    source = drawn_export.source
    encoded = {sample.json["image_id"]: sample for sample in drawn_export.samples}
    report, found, _ = few(image_mode="passthrough_jpeg", carry=("none",))
    assert set(found) == set(encoded)
    stored = 0
    for name, sample in found.items():
        facts = sample.json
        assert facts["bucket_id"] == encoded[name].json["bucket_id"]
        assert facts["scale"] == encoded[name].json["scale"]
        assert list(facts) == [*FIELDS, *CAPTIONS]
        data = exported.image_of(source[name])
        if facts["image_mode"] == "passthrough_jpeg":
            stored += 1
            assert sample.jpg == data
            image = Image.open(io.BytesIO(data))
            assert (facts["w"], facts["h"]) == image.size
            assert facts["jpeg"]["quality"] == -1
            assert [facts[f] for f in ("crop_x", "crop_y", "resized_w", "resized_h")] == [-1] * 4
        else:  # no plain JPEG
            assert sample.jpg == encoded[name].jpg
    assert stored > len(found) / 2
    assert report.dropped["undecodable"] == 2  # known though nothing is transcoded


def test_missing_captions_can_be_dropped(few, drawn, drawn_export):
    """A duplicate with a caption takes the place of an earlier sample without one."""
    source, seen, expected = drawn_export.source, set(), set()
    for name, fate in drawn.fates.items():
        if fate in ("", "duplicate") and "txt" in source[name]:
            data = exported.image_of(source[name])
            expected |= {name} if data not in seen else set()
            seen.add(data)
    report, found, _ = few(missing_caption_policy="drop")
    assert set(found) == expected
    assert any(drawn.fates[name] == "duplicate" for name in found)
    assert report.dropped["no_caption"] > 0
    assert report.scanned == drawn.samples == report.exported + sum(report.dropped.values())


def test_a_field_of_the_json_is_the_caption_where_there_is_no_text(few, drawn, drawn_export):
    source = drawn_export.source
    report, found, _ = few(caption_field="class_name", missing_caption_policy="drop")
    for name, sample in found.items():
        theirs = source[name].get("txt") or json.loads(source[name]["json"])["class_name"].encode()
        assert sample.txt == theirs + b"\n"
        assert sample.json["caption_variant"] == "caption_source"
    assert "no_caption" not in report.dropped
    assert report.exported == report.captions == drawn.kept


def test_exclusion_by_key_and_by_id_and_duplicates_that_stay(few, drawn, drawn_export):
    small = next(name for name, fate in drawn.fates.items() if fate == "too_small")
    found = [sample.json["image_id"] for sample in drawn_export.samples]
    by_id, by_key = found[0], found[-1]
    key = hashlib.sha256(by_key.encode()).hexdigest()
    report, left, out = few(exclude=[by_id, key, small, "nobody"], duplicates="keep")
    assert {by_id, by_key, small}.isdisjoint(left)
    assert report.dropped["excluded"] == 3  # it stands before every other reason
    reasons = {row["image_id"]: row["reason"] for row in rows(out)}
    assert reasons[by_id] == reasons[by_key] == reasons[small] == "excluded"
    assert "duplicate" not in report.dropped
    assert report.exported == drawn.kept + drawn.duplicates - 2


def test_max_errors_stops_the_run_and_a_higher_limit_goes_on(drawn, tmp_path):
    def run(limit):
        return fastbucket.export(
            drawn.paths, tmp_path / "out", Recipe(), Resources(workers=1, max_errors=limit)
        )

    with pytest.raises(RunError, match="--max-errors allows 1"):
        run(1)
    with pytest.raises(RunError, match="--max-errors allows 3"):
        run(3)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert run(4).exported == drawn.kept


# The library's other door


def test_transcoder_does_what_an_export_does(any_export):
    """Bytes in, bytes out: the JPEG is that of the shard, to the last bit."""
    transcoder = fastbucket.Transcoder(Recipe())
    for sample in any_export.samples[::7]:
        data = exported.image_of(any_export.source[sample.json["image_id"]])
        done = transcoder.transcode(data, sample.json["image_id"])
        assert done.jpeg == sample.jpg
        assert (done.bucket.id, tuple(done.crop), done.scale) == (
            sample.json["bucket_id"],
            (sample.json["crop_x"], sample.json["crop_y"]),
            sample.json["scale"],
        )


def test_transcoder_gives_its_reason(drawn, drawn_export):
    transcoder = fastbucket.Transcoder(Recipe())
    tried = Counter()
    for name, fate in drawn.fates.items():
        if fate in ("unreadable", "undecodable", "too_small"):
            data = exported.image_of(drawn_export.source[name])
            with pytest.raises(fastbucket.SampleError) as caught:
                transcoder.transcode(data, name)
            assert caught.value.reason == fate
            assert caught.value.detail
            tried[fate] += 1
    assert set(tried) == {"unreadable", "undecodable", "too_small"}
    limited = fastbucket.Transcoder(Recipe(max_pixels=1000))
    file = io.BytesIO()
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(file, "PNG")
    with pytest.raises(fastbucket.SampleError, match="30x40 is more than 1000 pixels"):
        limited.transcode(file.getvalue(), "x")
