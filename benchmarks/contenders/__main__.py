"""Measures one contender, in this process, on the images of a corpus; prints one JSON object.

    python -m benchmarks.contenders pillow_simd CORPUS speed|resize|quality

`speed` and `resize` go over the images twice, after a warm-up on other images. In the first pass
everything that depends on an image's size is new (weights, say), in the second it has been met:
real sources lie between. The first is the one that is compared.
"""

from __future__ import annotations

import gc
import io
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..corpus import Corpus, Plan
from ..figures import versions
from ..sof import frame
from . import contender

WARM_UP = 8
"""Every so-manyth image is there for the warm-up alone."""

IDENTICAL_DB = 100.0
"""PSNR that counts for pixels without any difference; its own formula gives infinity."""

Images = list[tuple[bytes, Plan]]


def main() -> None:
    name, folder, what = sys.argv[1:]
    module = contender(name)
    images = list(Corpus(Path(folder)).images())
    found = MEASURES[what](module, images, Corpus(Path(folder)))
    found["versions"] = versions(getattr(module, "DISTRIBUTIONS", ()))
    if hasattr(module, "versions"):
        found["versions"].update(module.versions())
    print(json.dumps(found))


def speed(module: Any, images: Images, corpus: Corpus) -> dict[str, Any]:
    """Seconds of the whole job, a value an image."""

    def once(data: bytes, plan: Plan) -> float:
        if hasattr(module, "prepare"):
            module.prepare(data, plan)
        start = time.perf_counter()
        jpeg = module.transcode(data, plan)
        seconds = time.perf_counter() - start
        check(module.NAME, jpeg, plan)
        own: float = module.seconds() if hasattr(module, "seconds") else seconds
        return own

    return _passes(once, images)


def resize(module: Any, images: Images, corpus: Corpus) -> dict[str, Any]:
    """Seconds of resize and crop alone."""

    def once(data: bytes, plan: Plan) -> float:
        pixels = module.decode(data, plan)
        start = time.perf_counter()
        module.resize(pixels, plan)
        return time.perf_counter() - start

    return _passes(once, images)


def _passes(once: Callable[[bytes, Plan], float], images: Images) -> dict[str, Any]:
    for data, plan in images[::WARM_UP]:
        once(data, plan)
    rest = [image for number, image in enumerate(images) if number % WARM_UP] or images
    gc.collect()
    waited, start = waiting(), time.perf_counter()
    first = [once(data, plan) for data, plan in rest]
    waited, wall = waiting() - waited, time.perf_counter() - start
    second = [once(data, plan) for data, plan in rest]
    return {
        "ms": 1e3 * statistics.fmean(first),
        "ms_again": 1e3 * statistics.fmean(second),
        "waited": waited / wall,
        "images": len(rest),
        "megapixels": statistics.fmean(p.source[0] * p.source[1] / 1e6 for _, p in rest),
    }


def waiting() -> float:
    """Seconds this thread was ready and something else had its core, so far; 0 if unknown."""
    try:
        with open("/proc/self/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def quality(module: Any, images: Images, corpus: Corpus) -> dict[str, Any]:
    """Mean PSNR against the float reference, before and after JPEG, and bytes an image."""
    import numpy as np
    from PIL import Image

    before: list[float] = []
    after: list[float] = []
    sizes: list[int] = []
    for data, plan in images:
        reference = np.load(corpus.reference(plan))
        if hasattr(module, "pixels"):
            before.append(psnr(reference, module.pixels(data, plan)))
        if hasattr(module, "prepare"):
            module.prepare(data, plan)
        jpeg = module.transcode(data, plan)
        after.append(psnr(reference, np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))))
        sizes.append(len(jpeg))
    return {
        "db": statistics.fmean(before) if before else None,
        "db_worst": min(before) if before else None,
        "db_jpeg": statistics.fmean(after),
        "bytes": statistics.fmean(sizes),
    }


def psnr(a: Any, b: Any) -> float:
    """Peak signal to noise ratio in dB of two uint8 arrays of one shape."""
    import numpy as np

    if a.shape != b.shape:
        raise ValueError(f"{a.shape} and {b.shape} are not of one size")
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return min(IDENTICAL_DB, 10 * float(np.log10(255**2 / error))) if error else IDENTICAL_DB


def check(name: str, jpeg: bytes, plan: Plan) -> None:
    """Raises ValueError where a JPEG is not of the size and chroma that everyone is to make."""
    found = frame(jpeg)
    if (found.size, found.subsampling) != (tuple(plan.target), plan.subsampling):
        raise ValueError(f"{name} made {found} of {plan.name}, not {plan}")


MEASURES: dict[str, Callable[[Any, Images, Corpus], dict[str, Any]]] = {
    "speed": speed,
    "resize": resize,
    "quality": quality,
}


if __name__ == "__main__":
    main()
