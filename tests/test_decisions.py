"""Every decision of an export against the reference: fate, bucket, scale, crop, chroma, exactly."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from functools import lru_cache, partial

import exported
import numpy as np
import pyarrow.parquet as pq
import pytest
import reference

import fastbucket
from fastbucket import Recipe, Resources
from fastbucket.crop import CROPS
from fastbucket.geometry import Size


@lru_cache(maxsize=4)
def _decided(ids: tuple[str, ...], images: tuple[bytes | None, ...], **options):
    return reference.reference_export(zip(ids, images, strict=True), **options)


def decisions(export, **options):
    """What the reference makes of the source of an export; the default recipe's only once."""
    ids = tuple(export.source)
    images = tuple(exported.image_of(members) for members in export.source.values())
    if options:
        return reference.reference_export(zip(ids, images, strict=True), **options)
    return _decided(ids, images)


def meta(out) -> dict[str, dict]:
    table = pq.read_table(out / "meta")
    return {row["image_id"]: row for row in table.to_pylist()}


def check(decided, rows, samples) -> Counter[str]:
    """Compare all of it; the reasons that occurred."""
    found = {sample.json["image_id"]: sample.json for sample in samples}
    assert list(rows) == [decision.image_id for decision in decided]
    for decision in decided:
        name, row = decision.image_id, rows[decision.image_id]
        assert row["reason"] == decision.reason, name
        assert (name in found) == (not decision.reason), name
        if decision.source != (-1, -1):
            assert (row["source_w"], row["source_h"]) == decision.source, name
        if decision.reason:
            continue
        ours = found[name]
        assert dataclasses.asdict(decision) == {
            "image_id": ours["image_id"],
            "reason": "",
            "key": row["key"],
            "source": (ours["source_w"], ours["source_h"]),
            "bucket_id": ours["bucket_id"],
            "target": (ours["target_w"], ours["target_h"]),
            "scale": ours["scale"],
            "resized": (ours["resized_w"], ours["resized_h"]),
            "crop": (ours["crop_x"], ours["crop_y"]),
            "subsampling": ours["jpeg"]["subsampling"],
        }, name
    return Counter(decision.reason for decision in decided)


def test_drawn(drawn_export):
    met = check(decisions(drawn_export), meta(drawn_export.out), drawn_export.samples)
    assert set(met) == {"", "too_small", "duplicate", "no_image", "unreadable", "undecodable"}
    assert {s.json["jpeg"]["subsampling"] for s in drawn_export.samples} == {"4:4:4", "4:2:0"}


def test_photos(photo_export):
    met = check(decisions(photo_export), meta(photo_export.out), photo_export.samples)
    assert met[""] >= 200
    assert met["too_small"] >= 50
    assert met["duplicate"] >= 1
    assert {s.json["jpeg"]["subsampling"] for s in photo_export.samples} == {"4:4:4", "4:2:0"}


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        (
            {"base_resolution": 256, "crop_strategy": "center"},
            {"strategy": "center", "place": partial(reference.fit, buckets=reference.targets(256))},
        ),
        (
            {"choice": "log_ratio", "divisible": 64, "base_resolution": 384},
            {"place": partial(reference.fit, rule="log_ratio", buckets=reference.targets(384, 64))},
        ),
    ],
    ids=["256-center", "384-log_ratio-64"],
)
def test_other_recipes(drawn, drawn_export, tmp_path, fields, options):
    fastbucket.export(drawn.paths, tmp_path / "out", Recipe(**fields), Resources(workers=1))
    samples = list(exported.samples(tmp_path / "out"))
    met = check(decisions(drawn_export, **options), meta(tmp_path / "out"), samples)
    assert met[""] > drawn.kept  # a smaller base keeps more of the small


def test_samples_stand_in_source_order_within_their_bucket(photo_export, drawn_export):
    """The rule of the layout: gaps apart (a bucket with undecodable ones), source order."""
    for export in (photo_export, drawn_export):
        gaps = {r["bucket_id"] for r in meta(export.out).values() if r["reason"] == "undecodable"}
        place = {name: number for number, name in enumerate(export.source)}
        buckets: dict[str, list[int]] = {}
        for sample in export.samples:
            at = place[sample.json["image_id"]]
            buckets.setdefault(sample.json["bucket_id"], []).append(at)
        assert set(buckets) - gaps
        for bucket_id, places in buckets.items():
            if bucket_id not in gaps:
                assert places == sorted(places)


def test_sizes_at_random():
    """Header-only decisions of many more sizes than there are photos, in one call of the kernel."""
    from fastbucket.buckets import buckets
    from fastbucket.geometry import cover
    from fastbucket.kernels.fit import fit

    dice = random.Random(11)
    sizes = [(dice.randint(1, 4000), dice.randint(1, 4000)) for _ in range(2000)]
    sizes += [(3 * n, 4 * n) for n in range(130, 400, 7)] + [(n, n) for n in range(500, 530)]
    family = buckets("sdxl", 512, 32)
    width, height = (np.array(sides, np.int32) for sides in zip(*sizes, strict=True))
    index, fits = fit(width, height, family, "short_long")
    for (w, h), at, fitting in zip(sizes, index.tolist(), fits.tolist(), strict=True):
        expected = reference.fit(w, h)
        if expected == "too_small":
            assert not fitting
            assert family[at].id == reference.choose(w, h).bucket_id
            continue
        assert fitting
        found = cover(Size(w, h), family[at].target)
        assert (family[at].id, found.scale, *found.resized) == (
            expected.bucket.bucket_id,
            *expected[1:],
        )


@pytest.mark.parametrize("strategy", ["corner", "center"])
def test_crops_at_random(strategy):
    dice = random.Random(12)
    for n in range(500):
        name = reference.key(str(n))
        target = (dice.randint(200, 900), dice.randint(200, 900))
        resized = (
            target[0] + dice.choice((0, dice.randint(0, 90))),
            target[1] + dice.randint(0, 9),
        )
        allowed = tuple(sorted(dice.sample(range(4), dice.randint(1, 4))))
        room = Size(resized[0] - target[0], resized[1] - target[1])
        assert CROPS[strategy](room, name, allowed, 16) == reference.crop(
            strategy, resized, target, name, allowed
        )


# Folder of ../shared/hard, or folder and name, -> (Pillow's verdicts, ours): all the differences.
DIFFERENCES = {
    "arithmetic": ({"undecodable"}, {"ok"}),  # libvips' libjpeg-turbo knows arithmetic codes
    "bmp": ({"ok"}, {"unreadable"}),  # no loader of libvips that is let in
    "ico": ({"ok"}, {"unreadable"}),
    "jp2": ({"ok", "undecodable"}, {"unreadable"}),
    "psd": ({"ok"}, {"unreadable"}),
    "heic": ({"unreadable"}, {"undecodable"}),  # a header that libheif reads, codes that nobody
    "lossless_jpeg": ({"unreadable"}, {"undecodable"}),
    "precision12": ({"unreadable"}, {"undecodable"}),
    "progressive/pocs__aes-gcm__out__jpg-jpg2.jpg": ({"ok"}, {"undecodable"}),  # a polyglot
    "tiff_multipage/imagecodecs__tests__data__tiff__gray.lzma": ({"ok"}, {"undecodable"}),
    "wrong_extension/renamed_tiff__Pillow": ({"ok"}, {"unreadable"}),  # without tag 262
}


def test_unusual_images_get_pillows_verdict(hard):
    """Pillow's verdict on a file is the yardstick; where ours differs stands above."""
    transcoder = fastbucket.Transcoder(Recipe(base_resolution=32, divisible=1, fidelity="exact"))
    met: dict[str, int] = {}
    compared = 0
    for path in sorted(path for path in hard.rglob("*") if path.is_file()):
        data = path.read_bytes()
        theirs = reference.verdict(data)
        try:
            transcoder.transcode(data, path.name)
            ours = "ok"
        except fastbucket.SampleError as error:
            ours = error.reason
        if ours == "too_small":  # too small even for 32 pixels: its header was read
            continue
        compared += 1
        if ours == theirs:
            continue
        name = path.relative_to(hard).as_posix()
        (known,) = [d for d in DIFFERENCES if name.startswith(d)] or [name]
        assert known in DIFFERENCES, (name, theirs, ours)
        met[known] = met.get(known, 0) + 1
        assert (theirs in DIFFERENCES[known][0], ours in DIFFERENCES[known][1]) == (True, True), (
            name
        )
    assert compared > 200
    assert sum(met.values()) < 60
