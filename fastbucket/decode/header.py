"""Headers through libvips, for every image that is no plain JPEG. No pixel is decoded."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..catalogue import KIND
from ..errors import SampleError
from .icc import classify
from .library import LOADERS, one_line, vips

DETAIL_LIMIT = 160
"""Characters of libvips' message that are kept."""


class Header(NamedTuple):
    """What a header says. Width and height are as stored, before `orientation` (EXIF, 1 to 8)."""

    width: int
    height: int
    orientation: int
    components: int
    profile: str  # catalogue.PROFILES
    pages: int  # frames or pages; the first is used


def header(data: bytes | memoryview, kind: int) -> Header:
    """The header of an image of this kind (a code of `catalogue.KIND`).

    heif: libvips turns the image as its boxes say, so the size is upright and the orientation 1.
    Raises SampleError("unreadable") with libvips' words.
    """
    pyvips = vips()
    pyvips.vips_lib.vips_error_clear()
    try:
        image = getattr(pyvips.Image, LOADERS[kind])(data)
        orientation = 1 if kind == KIND["heif"] else _integer(image, "orientation", 1)
        profile = "none"
        if image.get_typeof("icc-profile-data"):
            colours = image.bands - (1 if image.hasalpha() else 0)
            profile = classify(bytes(image.get("icc-profile-data")), colours)
        return Header(
            image.width,
            image.height,
            orientation if 1 <= orientation <= 8 else 1,
            image.bands,
            profile,
            _integer(image, "n-pages", 1),
        )
    except pyvips.Error as error:
        text = one_line(error)
        if len(text) > DETAIL_LIMIT:
            text = text[: DETAIL_LIMIT - 3] + "..."
        raise SampleError("unreadable", text) from None


def _integer(image: Any, name: str, default: int) -> int:
    return int(image.get(name)) if image.get_typeof(name) else default
