"""One contender, in this process, on the images of a corpus.

    python -m benchmarks.contenders pillow_simd CORPUS speed|resize
    python -m benchmarks.contenders pillow_simd CORPUS quality

`speed` and `resize` work when they are told to (`turns.py` has the other end): after a warm-up on
images that are there for nothing else they say how many images there are, and then answer every
line `start stop` with the seconds of each of these images. In the first pass over the images
most of what depends on an image's size is new (weights, say), in the second it has been met:
real sources lie between. `quality` prints one JSON object and ends.
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
"""Every so-manyth image by size, the largest first, is there for the warm-up alone. What an image
takes is then there for all that follow, as after the first minute of a job: 236 photos in order of
name had our process ask for 110 MB of new pages in the first pass, 2.5 % of its time, and none in
the second."""

IDENTICAL_DB = 100.0
"""PSNR that counts for pixels without any difference; its own formula gives infinity."""

Images = list[tuple[bytes, Plan]]
Part = Callable[[Any, bytes, Plan], float]


def main() -> None:
    name, folder, what = sys.argv[1:]
    module, corpus = contender(name), Corpus(Path(folder))
    images = list(corpus.images())
    if what == "quality":
        _say(quality(module, images, corpus) | {"versions": _versions(module)})
    else:
        _answer(module, PARTS[what], images)


def _say(answer: Any) -> None:
    print(json.dumps(answer), flush=True)


def _versions(module: Any) -> dict[str, str]:
    found = versions(getattr(module, "DISTRIBUTIONS", ()))
    return {**found, **(module.versions() if hasattr(module, "versions") else {})}


def _answer(module: Any, once: Part, images: Images) -> None:
    """Seconds of images, as they are asked for; {seconds: [...], waited: for the core}."""
    prepare = getattr(module, "prepare", None) if once is speed else None
    warm_up, rest = parted(images)
    for data, plan in warm_up:
        if prepare:
            prepare(data, plan)
        once(module, data, plan)
    gc.collect()
    _say({"images": len(rest), "versions": _versions(module)})
    for line in sys.stdin:
        start, stop = map(int, line.split())
        # Before the turn, not before each image: that would leave the image in the caches.
        for data, plan in rest[start:stop] if prepare else ():
            prepare(data, plan)
        before = waiting()
        seconds = [once(module, data, plan) for data, plan in rest[start:stop]]
        _say({"seconds": seconds, "waited": waiting() - before})


def parted(images: Images) -> tuple[Images, Images]:
    """Those of the warm-up, the largest first, and those that are measured, in order."""
    by_size = sorted(images, key=lambda image: -image[1].source[0] * image[1].source[1])
    warm_up = by_size[::WARM_UP]
    names = {plan.name for _, plan in warm_up}
    return warm_up, [image for image in images if image[1].name not in names] or images


def speed(module: Any, data: bytes, plan: Plan) -> float:
    """Seconds of the whole job."""
    start = time.perf_counter()
    jpeg = module.transcode(data, plan)
    seconds = time.perf_counter() - start
    check(module.NAME, jpeg, plan)
    own: float = module.seconds() if hasattr(module, "seconds") else seconds
    return own


def resize(module: Any, data: bytes, plan: Plan) -> float:
    """Seconds of resize and crop alone."""
    pixels = module.decode(data, plan)
    start = time.perf_counter()
    module.resize(pixels, plan)
    return time.perf_counter() - start


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


PARTS: dict[str, Part] = {"speed": speed, "resize": resize}


if __name__ == "__main__":
    main()
