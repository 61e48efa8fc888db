"""The drawn source, read with tarfile and judged with Pillow: every stated fate is true."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageOps
from reference import choose, fit

from fastbucket.draw import draw
from fastbucket.drawn_source import DRAWINGS, DROPPED, KINDS, REPEATED, drawn_source


def read(source) -> dict[str, dict[str, bytes]]:
    """image_id -> suffix -> bytes, in tar order, by the standard library."""
    samples: dict[str, dict[str, bytes]] = {}
    for path in source.paths:
        with tarfile.open(path) as tar:
            for member in tar:
                key, suffix = member.name.split(".")
                content = tar.extractfile(member).read()
                samples.setdefault(f"{path.stem}/{key}", {})[suffix] = content
    return samples


def image_of(sample: dict[str, bytes]) -> bytes | None:
    return next((sample[suffix] for suffix in ("jpg", "png", "webp") if suffix in sample), None)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return drawn_source(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def samples(source):
    return read(source)


def test_names_and_counts(source, samples):
    assert [path.name for path in source.paths] == [
        f"imagenet22k-train-000{n}.tar" for n in range(3)
    ]
    assert list(samples) == list(source.fates)
    assert source.samples == 60 == len(DRAWINGS) + len(REPEATED)
    assert source.samples == source.kept + source.small + source.duplicates + source.broken
    assert (source.small, source.duplicates, source.broken) == (7, 5, 5)
    assert set(source.kinds) == set(KINDS)


def test_same_seed_same_bytes_and_another_seed_others(source, tmp_path):
    def digests(made):
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in made.paths]

    again = drawn_source(tmp_path / "again")
    assert digests(again) == digests(source)
    assert again.fates == source.fates
    assert digests(drawn_source(tmp_path / "few", samples=4, seed=1)) != digests(
        drawn_source(tmp_path / "few2", samples=4, seed=2)
    )


def test_json_says_what_pillow_sees(source, samples):
    for name, sample in samples.items():
        facts = json.loads(sample["json"])
        assert list(facts) == [
            "label", "label_12k", "class_name", "width", "height", "filename"
        ]  # fmt: skip
        assert int(sample["cls"]) == facts["label"]
        key = name.split("/")[1]
        assert key.rsplit("_", 1)[0] == facts["class_name"]
        assert facts["filename"] == f"{key}.JPEG"
        if source.fates[name] in ("", "too_small", "duplicate"):
            image = Image.open(io.BytesIO(image_of(sample)))
            assert image.size == (facts["width"], facts["height"])
            image.load()


def test_fates_follow_from_size_and_equality(source, samples):
    """The oracle: Pillow's upright size, the reference's fit, SHA-256."""
    seen: set[bytes] = set()
    buckets = set()
    for name, sample in samples.items():
        if source.fates[name] not in ("", "too_small", "duplicate"):
            continue
        content = image_of(sample)
        w, h = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).size
        digest = hashlib.sha256(content).digest()
        expected = "duplicate" if digest in seen else ""
        if fit(w, h) == "too_small":
            expected = "too_small"
        assert source.fates[name] == expected, (name, w, h)
        seen.add(digest)
        if not expected:
            buckets.add(choose(w, h).bucket_id)
    assert len(buckets) >= 15


def test_the_tie_is_there(samples):
    assert choose(640, 480).bucket_id == "p1152x832"
    sizes = Counter(
        Image.open(io.BytesIO(sample["jpg"])).size
        for sample in samples.values()
        if sample.get("jpg", b"").startswith(b"\xff\xd8")
    )
    assert sizes[640, 480] == 3  # and two repetitions


def test_broken_ones_are_broken_as_stated(source, samples):
    for name, sample in samples.items():
        content = image_of(sample)
        match source.fates[name]:
            case "unreadable":
                with pytest.raises(OSError, match="cannot identify"):
                    Image.open(io.BytesIO(content))
            case "undecodable":
                image = Image.open(io.BytesIO(content))
                with pytest.raises(OSError, match="truncated"):
                    image.load()
            case "no_image":
                assert content is None
                assert {"cls", "json"} <= set(sample)
    fates = Counter(source.fates.values())
    assert (fates["unreadable"], fates["undecodable"], fates["no_image"]) == (2, 2, 1)
    assert any(sample.get("jpg") == b"" for sample in samples.values())
    assert any(b"<html>" in sample.get("jpg", b"") for sample in samples.values())


def test_variety(source, samples):
    """What Pillow finds among the intact: modes, formats, orientations, sampling, progression."""
    found = Counter()
    for name, sample in samples.items():
        if source.fates[name]:
            continue
        image = Image.open(io.BytesIO(image_of(sample)))
        found[image.format, image.mode] += 1
        if 0x0112 in image.getexif():
            found["orientation", image.getexif()[0x0112]] += 1
        if image.format == "JPEG":
            found["progressive"] += "progressive" in image.info
            found["sampling", image.layer[0][1:3] if image.mode == "RGB" else ()] += 1
    for orientation in range(1, 9):
        assert found["orientation", orientation] == 1
    assert found["JPEG", "L"] == found["JPEG", "CMYK"] == found["PNG", "RGBA"] == 2
    assert found["WEBP", "RGB"] == 2
    assert found["progressive"] == 3
    assert found["sampling", (1, 1)] >= 5  # 4:4:4
    assert found["sampling", (2, 2)] >= 15  # 4:2:0
    assert found["sampling", (2, 1)] == 1  # 4:2:2


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(DROPPED) - {"large", "grey", "card"}))
def test_what_was_encoded_is_what_was_drawn(kind):
    """No negative, no swapped channel: Pillow's plain conversion comes near the drawing."""
    drawing = draw(160, 96, 2)
    image = Image.open(io.BytesIO(KINDS[kind][1](drawing)))
    pixels = np.asarray(image.convert("RGB"), np.float64)
    assert np.abs(pixels - drawing).mean() < 6  # levels of 255; the drawing's own spread is 45


def test_cards_look_alike_and_are_not_equal(source, samples):
    """Each is in the bucket of the others; Pillow sees two colours in the same places."""
    cards = {}
    for name, sample in samples.items():
        image = Image.open(io.BytesIO(image_of(sample) or b"")) if not source.fates[name] else None
        if image is not None and image.size in {row[1:] for row in DRAWINGS if row[0] == "card"}:
            small = np.asarray(image.convert("L").resize((120, 90)), int)
            if np.median(small) == 236:
                cards[hashlib.sha256(image_of(sample)).digest()] = (small, choose(*image.size))
    assert len(cards) == source.kinds["card"] == 3
    first, *others = cards.values()
    for small, bucket in others:
        assert bucket.bucket_id == first[1].bucket_id
        assert np.abs(small - first[0]).mean() < 4
    assert (first[0] < 120).mean() > 0.05


def test_large_is_the_drawing_doubled():
    drawing = draw(160, 96, 2)
    image = Image.open(io.BytesIO(KINDS["large"][1](drawing)))
    assert image.size == (320, 192)
    halved = np.asarray(image.reduce(2), np.float64)
    assert np.abs(halved - drawing).mean() < 6


def test_some_captions_beyond_ascii(samples):
    captions = [sample["txt"].decode() for sample in samples.values() if "txt" in sample]
    assert len(captions) == 20
    assert all("à" in caption for caption in captions)


@pytest.mark.parametrize(("samples", "tars"), [(0, 0), (5, 1), (70, 4)])
def test_fewer_and_more_samples(tmp_path, samples, tars):
    source = drawn_source(tmp_path, samples=samples)
    assert (source.samples, len(source.paths)) == (samples, tars)
    assert list(read(source)) == list(source.fates)
    assert sum(source.kinds.values()) == samples
    if samples > 60:
        assert source.kept == 43 + samples - 60


def test_every_kind_is_drawn_and_every_drop_is_a_kind():
    assert {row[0] for row in DRAWINGS} == set(KINDS)
    assert set(DROPPED) | set(REPEATED) <= set(KINDS)
