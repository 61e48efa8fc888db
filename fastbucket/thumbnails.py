"""Small JPEGs of an export's samples, for pages that show them.

Decoded with shrink-on-load: of a stored image of 576x416 a thumbnail of 160 pixels takes some
milliseconds, most of it decoding at half the size.
"""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from .errors import SampleError
from .stored import Images, Placed

SIDE = 160
"""Pixels of a thumbnail's longer side."""

QUALITY = 75
"""JPEG quality: some 5 kB a thumbnail of a photo."""


class Thumbnail(NamedTuple):
    """A thumbnail and what stands beside it. jpeg: b"" where the stored one cannot be decoded;
    stored: bytes of the latter.

    caption, facts, key: the .txt without its newline, the .json and the name before them, where
    they were asked for; "" else.
    """

    jpeg: bytes
    stored: int = -1
    caption: str = ""
    facts: str = ""
    key: str = ""


def thumbnail(jpeg: bytes, side: int = SIDE, quality: int = QUALITY, limit: int = 0) -> bytes:
    """A small JPEG of a JPEG: RGB, upright, its longer side `side` pixels, never enlarged.

    limit: bytes, above which the quality falls as far as it has to and can; 0: none.
    Raises SampleError("undecodable").
    """
    try:
        with JpegImageFile(io.BytesIO(jpeg)) as image:  # it grants any size: a draft is small
            image.draft("RGB", (side, side))
            turn = _turn(image)
            small: Image.Image = image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise SampleError("undecodable", str(error)) from None
    return _small(small, turn, side, quality, limit)


def of_pixels(
    rgbx: np.ndarray, orientation: int, side: int = SIDE, quality: int = QUALITY, limit: int = 0
) -> bytes:
    """The same of pixels as stored, uint8 (h, w, 4), of an EXIF orientation of 1 to 8."""
    height, width, _ = rgbx.shape
    image = Image.frombuffer("RGBX", (width, height), rgbx, "raw", "RGBX", 0, 1).convert("RGB")
    return _small(image, _TURNS.get(orientation), side, quality, limit)


def _small(
    image: Image.Image, turn: Image.Transpose | None, side: int, quality: int, limit: int
) -> bytes:
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=None)
    image = image if turn is None else image.transpose(turn)
    image.info.clear()  # no EXIF, no profile: what a page shows is pixels
    while True:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        if not 0 < limit < file.tell() or quality <= _WORST:
            return file.getvalue()
        quality = max(_WORST, quality - 20)


_WORST = 5
"""The lowest quality that a limit of bytes leads to: 192x192 pixels of noise are 5 kB of it."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes it upright. Only passthrough_jpeg stores images with EXIF."""

_ORIENTATION = 0x0112
"""The EXIF tag."""


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, struct.error):
        return None  # EXIF that cannot be read turns nothing


def thumbnails(
    out: Path | str,
    places: Sequence[Placed],
    side: int = SIDE,
    quality: int = QUALITY,
    words: bool = False,
    limit: int = 0,
) -> list[Thumbnail]:
    """Thumbnails of stored samples, in the order of `places`, which may be any: shards are read
    one after the other, each forwards. words: with caption, facts and key. limit: see `thumbnail`.

    Raises RunError for a shard that is missing or damaged, or a place that has another key.
    """
    found: list[Thumbnail] = [Thumbnail(b"")] * len(places)
    forwards = sorted(
        range(len(places)),
        key=lambda i: (places[i].bucket_id, places[i].shard, places[i].position),
    )
    with closing(Images(Path(out), "meta/", "fastbucket verify says more")) as images:
        for index in forwards:
            caption = facts = key = ""
            if words:
                members = images.members(places[index])
                image = members.jpg
                caption = members.txt.decode("utf-8", "replace").rstrip("\n")
                facts, key = members.json.decode("utf-8", "replace"), members.key
            else:
                image = images.read(places[index])
            try:
                small = thumbnail(image, side, quality, limit)
            except SampleError:
                small = b""
            found[index] = Thumbnail(small, len(image), caption, facts, key)
    return found


def data_uri(jpeg: bytes) -> str:
    """A JPEG as an address that a page carries within itself; "" of nothing."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" if jpeg else ""
