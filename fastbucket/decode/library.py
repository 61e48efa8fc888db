"""libvips: set up once a process, its loaders named one by one, its words on one line."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

from ..catalogue import KIND

LOADERS = {
    KIND["jpeg"]: "jpegload_buffer",
    KIND["jpeg_other"]: "jpegload_buffer",
    KIND["png"]: "pngload_buffer",
    KIND["gif"]: "gifload_buffer",
    KIND["webp"]: "webpload_buffer",
    KIND["tiff"]: "tiffload_buffer",
    KIND["heif"]: "heifload_buffer",
}
"""Kind, known by its signature, to libvips' loader: libvips never guesses the format itself."""


@lru_cache(maxsize=1)
def vips() -> ModuleType:
    """The module pyvips. Its warnings go to the logger `pyvips`, which is silent by default.

    No operation cache: no image is met twice. One thread: processes are the unit of parallelism.
    Loaders that libvips marks as untrusted (SVG, PDF, ImageMagick and others) are blocked, though
    every call here names its loader anyway.
    """
    import pyvips

    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    pyvips.block_untrusted_set(True)
    module: ModuleType = pyvips
    return module


def one_line(error: Exception) -> str:
    """libvips' own words for an error, on one line, without pyvips' introduction.

    libvips gathers the words of all operations since its buffer was last read, warnings of
    successful ones included: call `vips().vips_lib.vips_error_clear()` before the operation.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("unable to call"):
        lines = lines[1:]
    told = [line for line in lines if not line.startswith("source: bad seek")]
    return "; ".join(dict.fromkeys(told or lines)) or "libvips gives no reason"
