"""Plain JPEGs through libjpeg-turbo (simplejpeg), into one reused buffer.

Most of the time goes to Huffman codes: on 236 photos as in ImageNet 1.60 of 2.13 ms bring all of
them and the luma. A sketch of a kernel that reads them by tables of 12 bits (run, size and value in
one look) took 1.35 ms, and 0.10 to take out the stuffing: no gain to build a decoder on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import simplejpeg

from ..buffers import aligned
from ..errors import SampleError
from ..geometry import Size
from ..kernels import jpegheader as jpeg
from ..kernels.vectors import x86_bits

if TYPE_CHECKING:
    from .recode import Recoder


def check(data: bytes | memoryview) -> None:
    """Decode a JPEG whole and strictly for its verdict alone; SampleError("undecodable").

    For what is decoded elsewhere: libvips does not notice every damage, least of all when it
    shrinks on load. A JPEG that libjpeg-turbo cannot decode at all is left to libvips.
    """
    try:
        colours = simplejpeg.decode_jpeg_header(data, strict=False)[2]
    except KeyError:  # simplejpeg has no name for its sampling factors, and decodes it all the same
        colours = ""
    except (ValueError, RuntimeError):
        return
    try:
        # Damage shows in the entropy coding, whatever is made of it: grey takes a third of RGB.
        wanted = "GRAY" if colours in ("Gray", "YCbCr") else "RGB"
        simplejpeg.decode_jpeg(data, wanted, strict=True)
    except (ValueError, RuntimeError) as error:
        if str(error).startswith("Unsupported"):  # 12 bit, or lossless other than RGB
            return
        raise SampleError("undecodable", str(error)) from None


KEPT = 32 << 20
"""Bytes of pixels up to which their buffer is kept for the images to come: 8 megapixels."""

NEAR = 4 << 20 if x86_bits() else 0
"""Bytes of pixels up to which they are to stay in the caches: a megapixel.

On x86 libjpeg-turbo writes a row past the caches where it begins at a multiple of 32 bytes
(`vmovntdq`, 16 with SSE2), and never one at an odd address. So smaller images begin at one, though
the resize likes them aligned. Larger ones are aligned, which is better for widths of 8 n, as
cameras have them. Shares of a sample against all aligned, on one core of a Zen 4 EPYC, medians in
turn:

| pixels decoded                              | width of 8 n | other widths |
|---------------------------------------------|-------------:|-------------:|
| photos as in ImageNet: up to 0.4 MP         |        0.973 |        0.985 |
| 0.4 to 0.6 MP                               |        0.983 |        0.989 |
| 0.6 to 1 MP                                 |        0.991 |        0.988 |
| photos as they are: 1 to 1.3 MP             |        1.003 |        0.989 |
| 1.3 to 2 MP                                 |        1.003 |        0.984 |
| 2 to 5 MP                                   |        1.010 |        1.000 |

Beginning at an odd pixel instead, so that the resize's strips can stay aligned: 1.00.
"""


class Turbo:
    """A decoder with a buffer that grows to the largest image it has met, up to KEPT."""

    def __init__(self) -> None:
        self._buffer = np.empty(0, np.uint8)
        self._head = np.zeros(jpeg.FIELDS, np.int64)
        self._recoder: Recoder | None = None

    def decode(
        self, data: bytes | memoryview, stored: Size, shrink: int, progressive: bool = True
    ) -> np.ndarray:
        """RGBX uint8 (h, w, 4) of a JPEG, valid until the next call.

        progressive: False spares the look at the header that tells; the pixels are the same.
        Strict: the first warning of the decoder is an error, so nothing is ever half grey.
        """
        width, height = -(-stored.width // shrink), -(-stored.height // shrink)
        buffer, size = self._buffer, width * height * 4
        if buffer.size <= size:
            buffer = aligned(size + 1)
            if size <= KEPT:
                self._buffer = buffer
        if size <= NEAR:
            buffer = buffer[1:]
        recoded = self._recoded(data) if progressive else None
        try:
            pixels: np.ndarray = simplejpeg.decode_jpeg(
                data if recoded is None else recoded,
                "RGBX",
                # The smallest of the decoder's scales that is not below these: exactly 1/shrink.
                min_width=width if shrink > 1 else 0,
                min_height=height if shrink > 1 else 0,
                min_factor=shrink,
                buffer=buffer,
                strict=True,
            )
        except (ValueError, RuntimeError) as error:
            raise SampleError("undecodable", str(error)) from None
        return pixels

    def _recoded(self, data: bytes | memoryview) -> np.ndarray | None:
        """A progressive JPEG as a sequential one, where that is sure to have the same pixels."""
        view = np.frombuffer(data, np.uint8)
        code = jpeg.jpeg_header(view, 0, len(view), self._head)
        if code != jpeg.OK or self._head[jpeg.SOF] != jpeg.SOF2 or not self._head[jpeg.PLAIN]:
            return None
        if self._recoder is None:  # its kernels are loaded for the first that needs them
            from .recode import Recoder

            self._recoder = Recoder()
        return self._recoder(view)
