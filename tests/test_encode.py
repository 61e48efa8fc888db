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


class Watched:
    """An encoder of Pillow's whose pieces are noted."""

    def __init__(self, encoder, pieces):
        self._encoder, self._pieces = encoder, pieces

    def encode(self, room):
        answer = self._encoder.encode(room)
        self._pieces.append(answer[2])
        return answer

    def __getattr__(self, name):
        return getattr(self._encoder, name)


class Failing(Watched):
    """One that says that it cannot."""

    def encode(self, room):
        return 0, -8, b""


@pytest.fixture
def pieces(monkeypatch):
    """Those of all encoders of a test."""
    seen = []
    real = Image.core.jpeg_encoder
    monkeypatch.setattr(Image.core, "jpeg_encoder", lambda *words: Watched(real(*words), seen))
    return seen


def test_a_photo_comes_in_one_piece(pieces):
    jpeg = encode(rgbx(576, 416), 95, "4:4:4")
    assert len(jpeg) > room._LEAST
    assert pieces[-1] is jpeg


def test_more_output_than_room(pieces):
    """Noise takes more than a byte a pixel."""
    noise = np.random.default_rng(5).integers(0, 256, (416, 576, 4), np.uint8)
    assert encoder_settings(100, "4:4:4") is not None
    pieces.clear()
    jpeg = encode(noise, 100, "4:4:4")
    assert len(pieces[0]) > room._LEAST
    assert len(pieces) > 1
    assert b"".join(pieces) == jpeg == saved(noise, 100, "4:4:4")


@pytest.fixture
def ours(monkeypatch):
    """Lets a test put a function in the place of Pillow's encoder for all but `save`; it is given
    the real one, the mode and the settings."""
    room.encoder_settings.cache_clear()
    real = Image.core.jpeg_encoder
    saving = []
    save = Image.Image.save

    def watched_save(*arguments, **options):
        saving.append(1)
        save(*arguments, **options)
        saving.pop()

    def put(made):
        def jpeg_encoder(*words):
            return real(*words) if saving else made(real, *words)

        monkeypatch.setattr(Image.Image, "save", watched_save)
        monkeypatch.setattr(Image.core, "jpeg_encoder", jpeg_encoder)

    yield put
    room.encoder_settings.cache_clear()


def missing(real, *words):
    raise AttributeError("module has no such function")


def refusing(real, mode, layout, *settings):
    raise TypeError("function takes exactly 15 arguments")


def failing(real, mode, layout, *settings):
    return Failing(real(mode, layout, *settings), [])


def of_another_quality(real, mode, layout, quality, *settings):
    return real(mode, layout, 50, *settings)


@pytest.mark.parametrize("fault", [missing, refusing, failing, of_another_quality])
def test_another_pillow_goes_the_long_way(ours, fault):
    expected = saved(rgbx(64, 48), 91, "4:2:0")
    ours(fault)
    assert room.encoder_settings(91, "4:2:0") is None
    assert encode(rgbx(64, 48), 91, "4:2:0") == expected


def test_a_pillow_that_leaves_no_settings_goes_the_long_way(ours, monkeypatch):
    expected = saved(rgbx(64, 48), 91, "4:2:0")
    save = Image.Image.save

    def forgetful(image, *arguments, **options):
        save(image, *arguments, **options)
        del image.encoderconfig

    monkeypatch.setattr(Image.Image, "save", forgetful)
    assert room.encoder_settings(91, "4:2:0") is None
    assert encode(rgbx(64, 48), 91, "4:2:0") == expected


def of_another_quality_from_rgbx(real, mode, layout, quality, *settings):
    return real(mode, layout, 50 if layout == "RGBX" else quality, *settings)


def failing_from_rgbx(real, mode, layout, *settings):
    encoder = real(mode, layout, *settings)
    return Failing(encoder, []) if layout == "RGBX" else encoder


@pytest.mark.parametrize("fault", [of_another_quality_from_rgbx, failing_from_rgbx])
def test_a_libjpeg_that_takes_no_rgbx_is_given_rgb(ours, fault):
    expected = saved(rgbx(64, 48), 91, "4:2:0")
    ours(fault)
    found = room.encoder_settings(91, "4:2:0")
    assert found is not None
    assert found[0] == "RGB"
    assert encode(rgbx(64, 48), 91, "4:2:0") == expected


def test_an_encoder_that_fails_is_an_error(ours):
    assert encoder_settings(95, "4:2:0") is not None
    ours(failing)
    with pytest.raises(RuntimeError, match="encoder error -8"):
        encode(rgbx(64, 48), 95, "4:2:0")
