"""Samples read out of shards at an offset, held against tarfile, and thumbnails against Pillow."""

from __future__ import annotations

import base64
import io
import json
import random
import shutil
from contextlib import closing

import numpy as np
import pytest
from PIL import Image, ImageOps

from fastbucket import RunError
from fastbucket.errors import SampleError
from fastbucket.stored import Images, Place
from fastbucket.thumbnails import data_uri, thumbnail, thumbnails


def place(sample) -> Place:
    bucket, shard = sample.path.split("/")[1:]
    return Place(bucket, int(shard[len("shard-") : -len(".tar")]), sample.index, sample.key)


def opened(jpeg: bytes) -> Image.Image:
    with Image.open(io.BytesIO(jpeg)) as image:
        image.load()
        return image


def jpeg_of(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    """Smooth: what a thumbnail must show follows from its size alone."""
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([x, y, 255 - x], 2).round().astype(np.uint8))


# Stored samples


@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled"])
def test_members_are_what_tarfile_reads(any_export, order):
    samples = list(any_export.samples)
    if order == "backwards":
        samples.reverse()
    elif order == "shuffled":
        random.Random(1).shuffle(samples)
    with closing(Images(any_export.out)) as images:
        for sample in samples:
            members = images.members(place(sample))
            assert members.jpg == sample.jpg == images.read(place(sample)._replace(key=""))
            assert members.txt == sample.txt
            assert json.loads(members.json) == sample.json


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": "0" * 64}, "says 0000.*do this"),
        ({"position": 99}, "samples, the list knows of more; do this"),
        ({"shard": 99}, "shard-000099.tar: cannot be opened.*do this"),
    ],
)
def test_a_place_that_is_none_is_an_error_with_a_remedy(drawn_export, change, words):
    wrong = place(drawn_export.samples[0])._replace(**change)
    with (
        closing(Images(drawn_export.out, "the list", "do this")) as images,
        pytest.raises(RunError, match=words),
    ):
        images.read(wrong)


@pytest.mark.parametrize("cut", [100, 700, 5000])
def test_a_shard_cut_short_is_an_error_that_names_it(drawn_export, tmp_path, cut):
    sample = drawn_export.samples[0]
    copy = tmp_path / sample.path
    copy.parent.mkdir(parents=True)
    shutil.copy(drawn_export.out / sample.path, copy)
    with copy.open("r+b") as file:
        file.truncate(cut)
    with (
        closing(Images(tmp_path)) as images,
        pytest.raises(RunError, match=r"shard-000000\.tar: .* bytes at byte"),
    ):
        images.members(place(sample))


# Thumbnails


@pytest.mark.parametrize("side", [16, 100, 160])
def test_of_an_export(any_export, side):
    samples = list(any_export.samples)
    random.Random(side).shuffle(samples)
    made = thumbnails(any_export.out, [place(s) for s in samples], side, words=True)
    for sample, small in zip(samples, made, strict=True):
        width, height = opened(sample.jpg).size
        got = opened(small.jpeg)
        assert max(got.size) == side
        assert got.mode == "RGB"
        assert abs(got.width / got.height - width / height) < 2 * width / height / min(got.size)
        assert small.caption == sample.txt.decode().removesuffix("\n")
        assert json.loads(small.facts) == sample.json


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("size", [(576, 416), (416, 576), (97, 61), (3000, 40)])
def test_shows_what_a_whole_decode_shows(size, subsampling):
    stored = jpeg_of(gradient(*size), quality=95, subsampling=subsampling)
    got = opened(thumbnail(stored, 96, quality=95))
    want = opened(stored).resize(got.size, Image.Resampling.BICUBIC)
    assert max(got.size) == min(96, max(size))
    difference = np.asarray(got, int) - np.asarray(want, int)
    assert np.abs(difference).mean() < 4


def test_is_never_enlarged_and_keeps_nothing_but_pixels():
    stored = jpeg_of(gradient(40, 30), exif=b"Exif\0\0secret", icc_profile=b"profile")
    small = thumbnail(stored, 160)
    assert opened(small).size == (40, 30)
    assert b"secret" not in small
    assert b"profile" not in small


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stands_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = jpeg_of(gradient(400, 200), exif=exif, quality=95)
    got = opened(thumbnail(stored, 100, quality=95))
    want = ImageOps.exif_transpose(opened(stored)).resize(got.size, Image.Resampling.BICUBIC)
    assert got.size == ((100, 50) if orientation < 5 else (50, 100))
    assert np.abs(np.asarray(got, int) - np.asarray(want, int)).mean() < 4


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colours_become_rgb(mode):
    assert opened(thumbnail(jpeg_of(gradient(300, 200).convert(mode)), 64)).mode == "RGB"


@pytest.mark.parametrize("damage", [b"", b"no image", jpeg_of(gradient(400, 300))[:3000]])
def test_damage_is_a_sample_error(damage):
    with pytest.raises(SampleError, match="undecodable"):
        thumbnail(damage)


def test_a_damaged_sample_has_none_and_the_others_do(drawn_export, tmp_path):
    sample = next(s for s in drawn_export.samples if s.index == 0)
    copy = tmp_path / sample.path
    copy.parent.mkdir(parents=True)
    shard = (drawn_export.out / sample.path).read_bytes()
    copy.write_bytes(shard.replace(sample.jpg[:200], bytes(200)))
    places = [place(s) for s in drawn_export.samples if s.path == sample.path]
    made = thumbnails(tmp_path, places)
    assert [bool(small.jpeg) for small in made] == [False] + [True] * (len(places) - 1)
    assert made[0].caption == made[0].facts == ""


def test_a_data_uri_holds_the_bytes():
    stored = jpeg_of(gradient(40, 30))
    head, _, body = data_uri(stored).partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(body) == stored
    assert data_uri(b"") == ""
