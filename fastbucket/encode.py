"""Pixels of the bucket to a baseline JPEG: JFIF, no EXIF, no profile.

By Pillow's libjpeg-turbo. simplejpeg, which decodes, asks it for the fast DCT at every quality
below 96, and has no way to ask for the accurate one. On 60 photos at quality 95, 4:4:4 or 4:2:0,
each by its own `save`:

|            | ms an image | dB to the pixels | bytes an image |
|------------|------------:|-----------------:|---------------:|
| Pillow     |        1.24 |             43.9 |        117,443 |
| simplejpeg |        1.21 |             43.2 |        118,045 |
| libvips    |        1.69 |             43.9 |        117,425 |

What `save` does around its encoder is left out here: the encoder's own functions are called, with
the settings that `save` hands to them and with RGBX as it is, which libjpeg-turbo takes as well.
The same bytes; 80 to 236 photos, in turn, medians, us a sample of some 4,000 in all:

| left out                                                           | spared |
|--------------------------------------------------------------------|-------:|
| `save`: files, metadata, checks (by `Image.tobytes`)               |     50 |
| packing rows to RGB                                                |     45 |
| `Image.frombuffer`, `Image.tobytes`                                |     47 |
| output in pieces of 64 KiB, and their copy into the whole          |     46 |
"""

from __future__ import annotations

import io
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, features

_SUBSAMPLING = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
"""Pillow's numbers."""

_LEAST = 1 << 16
"""Bytes of room for a piece of output, as Pillow has it: the header must fit into the first."""

_SAMPLE = (np.arange(40 * 24 * 4) * 37 % 251).astype(np.uint8).reshape(24, 40, 4)
"""Pixels on which the short way is held against the long one."""


def turbo_version() -> str:
    """Of the libjpeg-turbo that encodes; "unknown" where Pillow was built with another libjpeg."""
    return str(features.version_feature("libjpeg_turbo") or "unknown")


def encode(rgbx: np.ndarray, quality: int, subsampling: str) -> bytes:
    """JPEG bytes of RGBX uint8 (H, W, 4), contiguous; subsampling as in "4:2:0"."""
    if (settings := encoder_settings(quality, subsampling)) is None:
        return _saved(_image(rgbx), quality, subsampling)
    return _encoded(rgbx, settings)


@lru_cache
def encoder_settings(quality: int, subsampling: str) -> tuple[Any, ...] | None:
    """What `save` hands to Pillow's encoder, of which it leaves a copy at the image, with RGBX in
    the place of RGB where the libjpeg takes it (IJG's takes four channels for CMYK). None where
    this Pillow leaves no copy, has other functions, or where not the same bytes come of it."""
    image = _image(_SAMPLE)
    expected = _saved(image, quality, subsampling)
    for layout in ("RGBX", "RGB"):
        with suppress(AttributeError, TypeError, ValueError, OSError, SystemError, RuntimeError):
            settings = (layout, *image.encoderconfig)
            if _encoded(_SAMPLE, settings) == expected:
                return settings
    return None


def _encoded(rgbx: np.ndarray, settings: tuple[Any, ...]) -> bytes:
    """By the functions that `Image.frombuffer` and `Image.tobytes` call. RuntimeError where the
    encoder fails."""
    height, width, _ = rgbx.shape
    core = Image.core  # type: ignore[attr-defined]
    pixels = core.map_buffer(rgbx, (width, height), "raw", 0, ("RGBX", 0, 1))
    encoder = core.jpeg_encoder("RGBX", *settings)
    room = max(width * height, _LEAST)  # that of nearly every JPEG: 0.4 bytes a pixel on average
    jpeg: bytes
    try:
        encoder.setimage(pixels, (0, 0, width, height))
        _, done, jpeg = encoder.encode(room)
        while not done:
            _, done, piece = encoder.encode(room)
            jpeg += piece
        if done < 0:
            raise RuntimeError(f"encoder error {done}")
    finally:
        encoder.cleanup()
    return jpeg


def _image(rgbx: np.ndarray) -> Image.Image:
    """The array as Pillow sees it, without a copy."""
    height, width, _ = rgbx.shape
    return Image.frombuffer("RGBX", (width, height), rgbx, "raw", "RGBX", 0, 1)


def _saved(image: Image.Image, quality: int, subsampling: str) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=_SUBSAMPLING[subsampling])
    return file.getvalue()
