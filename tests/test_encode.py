"""The encoder's short way around Pillow's `save` gives what `save` gives."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from fastbucket import encode as room
from fastbucket.draw import draw
from fastbucket.encode import encode, encoder_settings
from fastbucket.subsampling import SUBSAMPLINGS

SIZES = ((16, 16), (33, 7), (576, 416), (416, 576), (1, 1), (1024, 1024))


def rgbx(width: int, height: int) -> np.ndarray:
    pixels = np.full((height, width, 4), 255, np.uint8)
    pixels[..., :3] = draw(width, height, 5)
    return pixels


def saved(pixels: np.ndarray, quality: int, subsampling: str) -> bytes:
    """As everybody writes it."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., :3]).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return file.getvalue()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("quality", [30, 95, 100])
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_the_bytes_are_those_of_save(size, quality, subsampling):
    pixels = rgbx(*size)
    assert encode(pixels, quality, subsampling) == saved(pixels, quality, subsampling)


def test_the_array_is_read_anew_each_time():
    pixels = rgbx(64, 48)
    first = encode(pixels, 95, "4:4:4")
    pixels[:24] = 0
    assert encode(pixels, 95, "4:4:4") == saved(pixels, 95, "4:4:4") != first


def test_the_short_way_is_open_with_this_pillow():
    for subsampling in SUBSAMPLINGS:
        found = encoder_settings(95, subsampling)
        assert found is not None
        assert found[0] == "RGBX"


@pytest.mark.parametrize("fault", ["no settings", "other settings", "refused", "encoder error"])
def test_another_pillow_goes_the_long_way(monkeypatch, fault):
    expected = saved(rgbx(64, 48), 91, "4:2:0")
    real = Image.Image.tobytes

    def tobytes(image, name="raw", *arguments):
        if fault == "refused":
            raise TypeError("function takes exactly 15 arguments")
        if fault == "encoder error":
            raise RuntimeError("encoder error -8 in tobytes")
        (settings,) = arguments
        return real(image, name, (settings[0], 50, *settings[2:]))

    if fault == "no settings":
        save = Image.Image.save

        def forgetful(image, *arguments, **options):
            save(image, *arguments, **options)
            del image.encoderconfig

        monkeypatch.setattr(Image.Image, "save", forgetful)
    else:
        monkeypatch.setattr(Image.Image, "tobytes", tobytes)
    room.encoder_settings.cache_clear()
    try:
        assert room.encoder_settings(91, "4:2:0") is None
        assert encode(rgbx(64, 48), 91, "4:2:0") == expected
    finally:
        room.encoder_settings.cache_clear()


@pytest.mark.parametrize("fault", ["other bytes", "encoder error"])
def test_a_libjpeg_that_takes_no_rgbx_is_given_rgb(monkeypatch, fault):
    expected = saved(rgbx(64, 48), 91, "4:2:0")
    real = Image.Image.tobytes

    def tobytes(image, name="raw", *arguments):
        (settings,) = arguments
        if settings[0] == "RGBX" and fault == "encoder error":
            raise RuntimeError("encoder error -8 in tobytes")
        return real(image, name, settings) + (b"CMYK" if settings[0] == "RGBX" else b"")

    monkeypatch.setattr(Image.Image, "tobytes", tobytes)
    room.encoder_settings.cache_clear()
    try:
        found = room.encoder_settings(91, "4:2:0")
        assert found is not None
        assert found[0] == "RGB"
        assert encode(rgbx(64, 48), 91, "4:2:0") == expected
    finally:
        room.encoder_settings.cache_clear()
