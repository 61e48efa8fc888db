"""Pixels through libvips: every format and colour space that it reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..catalogue import KIND
from ..errors import SampleError
from ..geometry import Size
from .library import LOADERS, one_line, vips

_JPEGS = (KIND["jpeg"], KIND["jpeg_other"])
_INTEGERS_16 = ("ushort", "short")


def decoder(kind: int, convert: bool) -> Callable[[bytes | memoryview, Size, int], np.ndarray]:
    """decode(data, stored, shrink) for images of `kind`; `convert`: from their profile to sRGB."""
    return partial(_decode, kind, convert)


def _decode(
    kind: int, convert: bool, data: bytes | memoryview, stored: Size, shrink: int
) -> np.ndarray:
    """RGBX uint8 (h, w, 4) of the first frame or page, before EXIF orientation."""
    pyvips = vips()
    pyvips.vips_lib.vips_error_clear()
    options: dict[str, Any] = {"access": "sequential"}
    loaded = 1
    if kind in _JPEGS:
        # Any warning is an error, as in `turbo`; `mend` has the exceptions.
        options |= {"fail_on": "warning", "shrink": shrink}
        loaded = shrink
    else:
        options |= {"fail_on": "error"}
    try:
        load = getattr(pyvips.Image, LOADERS[kind])
        image = rgb(load(data, **options), convert)
        # Shrunken sides are rounded down here, where libjpeg-turbo rounds them up.
        if (image.width, image.height) != (stored.width // loaded, stored.height // loaded):
            raise SampleError(
                "undecodable",
                f"decodes to {image.width}x{image.height}, the header promised {stored.width}x"
                f"{stored.height} / {loaded}",
            )
        if loaded != shrink:  # no JPEG, and large: the mean of each shrink x shrink pixels
            image = image.shrink(shrink, shrink, ceil=True)
        memory = image.bandjoin(255).write_to_memory()
    except pyvips.Error as error:
        if convert:  # a profile that lcms cannot use counts as none; damaged pixels fail again
            return _decode(kind, False, data, stored, shrink)
        raise SampleError("undecodable", one_line(error)) from None
    return np.frombuffer(memory, np.uint8).reshape(image.height, image.width, 4)


def rgb(image: Any, convert: bool) -> Any:
    """An image of any kind as sRGB, 8 bit, three bands, flattened on white.

    Its embedded profile is used where `convert` says so, and always for CMYK, which means nothing
    without one; libvips' built-in CMYK profile stands in for a missing one.
    """
    if image.format in _INTEGERS_16 and image.interpretation not in ("rgb16", "grey16", "cmyk"):
        image = image.copy(interpretation="grey16" if image.bands < 3 else "rgb16")
    if (convert or image.interpretation == "cmyk") and image.get_typeof("icc-profile-data"):
        image = image.icc_transform(
            "srgb", embedded=True, intent="relative", black_point_compensation=False
        )
    if image.interpretation != "srgb":
        image = image.colourspace("srgb")
    if image.hasalpha():
        image = image.flatten(background=255)
    if image.format != "uchar":
        image = image.cast("uchar")
    if image.bands < 3:
        image = image[0].bandjoin([image[0], image[0]])
    return image if image.bands == 3 else image[:3]
