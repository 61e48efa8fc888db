"""The eight orientations, applied to the small image, against Pillow's exif_transpose."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

import fastbucket.transcode
from fastbucket import Recipe, Transcoder
from fastbucket.geometry import Size, oriented
from fastbucket.orientation import stored_window, upright
from fastbucket.segments import with_orientation

EIGHT = range(1, 9)


def transposed(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """By Pillow, through a lossless file with the tag in it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif, compress_level=0)
    with Image.open(file) as image:
        return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", EIGHT)
def test_upright_is_exif_transpose(orientation):
    pixels = np.random.default_rng(1).integers(0, 256, (37, 53, 4), dtype=np.uint8)
    found = upright(pixels, orientation)
    np.testing.assert_array_equal(found, transposed(pixels, orientation))
    assert found.flags.c_contiguous
    assert (found is pixels) == (orientation == 1)


@pytest.mark.parametrize("orientation", EIGHT)
def test_a_window_of_the_stored_image_is_the_window_of_the_upright_one(orientation):
    """Crop as stored, then turn: the same pixels as turn, then crop."""
    stored = np.random.default_rng(2).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    straight = transposed(stored, orientation)
    resized = oriented(Size(60, 40), orientation)
    target = Size(resized.width - 11, resized.height - 7)
    for corner in ((0, 0), (11, 7), (11, 0), (3, 5)):
        (x, y), stored_size, (w, h) = stored_window(corner, resized, target, orientation)
        assert stored_size == (60, 40)
        part = upright(stored[y : y + h, x : x + w], orientation)
        x, y = corner
        expected = straight[y : y + target.height, x : x + target.width]
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize(
    ("orientation", "fidelity"), [*((n, "exact") for n in EIGHT), (3, "fast"), (6, "fast")]
)
def test_a_turned_file_comes_out_as_its_upright_twin(orientation, fidelity, monkeypatch):
    """Through the whole transcoder: shrink-on-load, resize and crop commute with the turn.

    A weight may be rounded otherwise when it is met from the other side: one step of 255.
    """
    taken = []
    encode = fastbucket.transcode.encode

    def intercepted(rgbx, *settings):
        taken.append(rgbx.copy())
        return encode(rgbx, *settings)

    monkeypatch.setattr(fastbucket.transcode, "encode", intercepted)
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    size = (2400, 1808) if fidelity == "fast" else (1201, 803)
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0)
    with Image.open(file) as image:
        decoded = np.asarray(image)
    twin = io.BytesIO()
    Image.fromarray(transposed(decoded, orientation)).save(twin, "PNG", compress_level=0)
    transcoder = Transcoder(Recipe(fidelity=fidelity, crop_strategy="corner_jitter", jitter=40))
    turned = transcoder.transcode(with_orientation(file.getvalue(), orientation), "x")
    straight = transcoder.transcode(twin.getvalue(), "x")
    # All but the bytes: size, bucket, scale, crop, source; and nearly the same look.
    nothing = {"jpeg": b"", "look": None}
    assert turned._replace(**nothing) == straight._replace(**nothing)
    assert (turned.look.phash ^ straight.look.phash).bit_count() <= 2
    assert np.abs(np.subtract(turned.look[1:], straight.look[1:])).max() <= 5
    off = np.abs(taken[0].astype(int) - taken[1])
    assert off.max() <= (1 if fidelity == "exact" else 4)
