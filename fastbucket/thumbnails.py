"""Small JPEGs of an export's samples, for pages that show them.

Decoded with shrink-on-load: of a stored image of 576x416 a thumbnail of 160 pixels takes about
1.5 ms, most of it decoding at half the size.
"""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from .errors import SampleError
from .stored import Images, Placed

SIDE = 160
"""Pixels of a thumbnail's longer side."""

QUALITY = 75
"""JPEG quality: some 5 kB a thumbnail of a photo."""


class Thumbnail(NamedTuple):
    """A thumbnail and what stands beside it. jpeg: b"" where the stored one cannot be decoded.

    caption, facts: the .txt without its newline and the .json, where they were asked for; "" else.
    """

    jpeg: bytes
    caption: str = ""
    facts: str = ""


def thumbnail(jpeg: bytes, side: int = SIDE, quality: int = QUALITY) -> bytes:
    """A small JPEG of a JPEG: RGB, upright, its longer side `side` pixels, never enlarged.

    Raises SampleError("undecodable").
    """
    try:
        with JpegImageFile(io.BytesIO(jpeg)) as image:  # it grants any size: a draft is small
            image.draft("RGB", (side, side))
            turn = _turn(image)
            small: Image.Image = image.convert("RGB")
            small.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=None)
            small = small if turn is None else small.transpose(turn)
            small.info.clear()  # no EXIF, no profile: what a page shows is pixels
            file = io.BytesIO()
            small.save(file, "JPEG", quality=quality, optimize=True)
    except (OSError, SyntaxError, ValueError) as error:
        raise SampleError("undecodable", str(error)) from None
    return file.getvalue()


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
) -> list[Thumbnail]:
    """Thumbnails of stored samples, in the order of `places`, which may be any: shards are read
    one after the other, each forwards. words: with caption and facts.

    Raises RunError for a shard that is missing or damaged, or a place that has another key.
    """
    found: list[Thumbnail] = [Thumbnail(b"")] * len(places)
    forwards = sorted(
        range(len(places)),
        key=lambda i: (places[i].bucket_id, places[i].shard, places[i].position),
    )
    with closing(Images(Path(out), "meta/", "fastbucket verify says more")) as images:
        for index in forwards:
            caption = facts = ""
            if words:
                members = images.members(places[index])
                image = members.jpg
                caption = members.txt.decode("utf-8", "replace").rstrip("\n")
                facts = members.json.decode("utf-8", "replace")
            else:
                image = images.read(places[index])
            try:
                small = thumbnail(image, side, quality)
            except SampleError:
                small = b""
            found[index] = Thumbnail(small, caption, facts)
    return found


def data_uri(jpeg: bytes) -> str:
    """A JPEG as an address that a page carries within itself; "" of nothing."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" if jpeg else ""
