"""Bytes to RGBX pixels: which decoder, how far it may shrink, and what counts as damage.

| image                                             | decoder                        |
|---------------------------------------------------|--------------------------------|
| plain JPEG, no foreign profile to convert         | libjpeg-turbo (`turbo`)        |
| the same with `decoder: vips`                     | libvips (`vips`)               |
| every other JPEG, PNG, GIF, WebP, TIFF, HEIF/AVIF | libvips                        |

Measured on 0.5 megapixel photos libjpeg-turbo takes half of libvips' time, and less than it at
every size where both shrink on load; so `auto` and `turbo` agree today, and both names stand for
a decision that may differ on another machine.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from ..catalogue import KIND, PROFILES
from ..errors import SampleError
from ..geometry import Size
from ..recipe import Recipe
from . import limits, mend, turbo, vips

SHRINKS = (8, 4, 2)
"""What the JPEG decoders can divide a size by while they decode."""

LEAVES = 2
"""Shrink-on-load leaves at least this factor to the resize; measured, format.md section 5."""


LARGE = 12_000_000
"""Pixels of an image, other than JPEG, above which it is shrunk while it is read: 48 MB as RGBX.
At 20 million WebP and HEIF of 17 megapixels were refused, and 24, shrunken, were not."""

SMALL, SMALL_FILE = 2_000_000, 4_000_000
"""Pixels and bytes of a JPEG that needs no look at what decoding it may take."""

_JPEGS = (KIND["jpeg"], KIND["jpeg_other"])


class Pixels(NamedTuple):
    """Decoded pixels before EXIF orientation.

    rgbx: uint8 (h, w, 4), valid until the next decode. span: extent of the whole image in units of
    these pixels, (width, height); a fraction where shrink-on-load met a size it does not divide.
    mended: they are of a copy without the flaws of the file.
    """

    rgbx: np.ndarray
    span: tuple[float, float]
    mended: bool = False


class Decoder:
    """Decodes for one recipe, into a buffer of its own that grows to the largest image met."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._turbo = turbo.Turbo()

    def shrink(self, kind: int, scale: float, stored: Size) -> int:
        """The largest shrink-on-load that leaves a factor of LEAVES to the resize.

        Of JPEGs, where it costs nothing, and of what is so LARGE that its pixels would cost memory.
        """
        pays = kind in _JPEGS or stored.width * stored.height > LARGE
        if self._recipe.fidelity == "fast" and pays:
            for shrink in SHRINKS:
                if scale * shrink * LEAVES <= 1:
                    return shrink
        return 1

    def decode(
        self,
        data: bytes | memoryview,
        kind: int,
        profile: int,
        stored: Size,
        shrink: int = 1,
        progressive: bool = True,
    ) -> Pixels:
        """Decode an image whose header said `kind`, `profile` and the size `stored`.

        progressive: False where the header is known to say that it is not; see `turbo`.
        Raises SampleError("undecodable") where the file is cut short, damaged, or not of the size
        that its header promised; where it has too many scans; or where decoding it would take more
        memory than `limits` grants.
        """
        is_jpeg = kind in _JPEGS
        self._make_room(data, kind, stored, shrink)
        convert = self._recipe.icc == "srgb" and PROFILES[profile] == "other"
        by_turbo = kind == KIND["jpeg"] and self._recipe.decoder != "vips" and not convert
        read: Callable[[bytes | memoryview, Size, int], np.ndarray]
        if by_turbo:
            read = partial(self._turbo.decode, progressive=progressive)
        else:
            read = vips.decoder(kind, convert)
        mended = None
        try:
            if is_jpeg and not by_turbo:
                turbo.check(data)
            rgbx = read(data, stored, shrink)
        except SampleError as error:
            mended = mend.mended(data) if is_jpeg else None
            if mended is None:
                raise
            try:
                turbo.check(mended)  # at full size: shrunken, missing codes may pass unnoticed
                rgbx = read(mended, stored, shrink)
            except SampleError:
                raise error from None  # what is wrong with the file, not with our copy of it
        expected = (-(-stored.height // shrink), -(-stored.width // shrink), 4)
        if by_turbo and rgbx.shape != expected:
            raise SampleError(
                "undecodable",
                f"decoded {rgbx.shape[1]}x{rgbx.shape[0]}, the header promised "
                f"{expected[1]}x{expected[0]}",
            )
        # Exact in floats: a shrink is a power of two.
        span = stored.width / shrink, stored.height / shrink
        return Pixels(rgbx, span, mended is not None)

    def _make_room(self, data: bytes | memoryview, kind: int, stored: Size, shrink: int) -> None:
        """Let go of other images; SampleError("undecodable") where decoding would take too much.

        fidelity `exact` has asked for all pixels at once: there only what is beside them counts.
        """
        if kind in _JPEGS and stored.width * stored.height <= SMALL and len(data) <= SMALL_FILE:
            return  # whatever its scans, within 100 MB and a second
        needed = limits.working_bytes(data, kind, stored)
        if self._recipe.fidelity == "fast":
            needed += 4 * -(-stored.width // shrink) * -(-stored.height // shrink)
        granted = limits.MEMORY + limits.TARGET_BYTES * self._recipe.base_resolution**2
        if needed > granted:
            raise SampleError(
                "undecodable",
                f"decoding {stored.width}x{stored.height} pixels of this kind takes some "
                f"{needed // 1_000_000} MB, more than the {granted // 1_000_000} MB granted",
            )
        if needed > limits.TRIM:
            self._turbo = turbo.Turbo()
            limits.trim()
