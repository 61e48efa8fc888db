"""Resize and crop alone, by size: the kernel against torch's uint8 kernel, in turn in one process.

`ms`: the size has been met, weights are known. `ms, new size`: they are computed; torch computes
its own in every call. torch resizes whole images: it cannot crop before.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

from .. import process
from ..figures import Bench, versions
from ..options import parse

CASES = (
    ((640, 480), 1, (576, 416)),
    ((700, 525), 1, (576, 416)),
    ((1024, 768), 1, (576, 416)),
    ((1600, 900), 1, (672, 384)),
    ((2400, 1800), 2, (576, 416)),
    ((4000, 3000), 2, (576, 416)),
    ((6000, 4000), 4, (640, 416)),
)
"""Size of the photo, what the decoder divides it by, target (of SDXL's family at base 512)."""

REPEATS = {False: 60, True: 3}
TORCH = "torch uint8"


def main() -> None:
    options = parse(__doc__)
    bench = Bench("stage/resample", options.quick, versions(["fastbucket", "numba", "torch"]))
    repeats = REPEATS[options.quick]
    rounds = [process.call(measure, repeats=repeats) for _ in range(options.rounds)]
    for name, found in rounds[0].items():
        for metric in found:
            unit = "" if metric.startswith("torch /") else "ms/image"
            bench.show(name, metric, [r[name][metric] for r in rounds], unit)


def measure(repeats: int) -> dict[str, Any]:
    """By case: median milliseconds."""
    import numpy as np

    from fastbucket.draw import draw
    from fastbucket.geometry import Size, cover
    from fastbucket.resize import Resizer, weights

    found: dict[str, Any] = {}
    for stored, shrink, target in CASES:
        width, height = (-(-side // shrink) for side in stored)
        rgb = np.asarray(draw(width, height, 3))[..., :3]
        rgbx = np.dstack([rgb, np.full((height, width), 255, np.uint8)])
        span = Fraction(stored[0], shrink), Fraction(stored[1], shrink)
        resized = cover(Size(*stored), Size(*target)).resized
        corner = (resized.width - target[0], resized.height - target[1])
        resizer = Resizer()
        ours = partial(resizer, rgbx, span, resized, corner, Size(*target))
        theirs = _torch(rgb, resized)
        # Torch before each: both times it is another that was last to use the caches.
        work = [*theirs, ("ms, new size", ours), *theirs, ("ms", ours)]
        taken: dict[str, list[float]] = {name: [] for name, _ in work}
        for _ in range(repeats + 1):  # the first one warms up
            for name, run in work:
                if name == "ms, new size":
                    weights.cache_clear()
                start = time.perf_counter()
                run()
                taken[name].append(1e3 * (time.perf_counter() - start))
        ms = {name: statistics.median(times[1:]) for name, times in taken.items()}
        if TORCH in ms:
            ms |= {f"torch / {name}": ms[TORCH] / ms[name] for name in ("ms", "ms, new size")}
        whole = f"{stored[0]}x{stored[1]}" + (f" at 1/{shrink}" if shrink > 1 else "")
        found[f"{whole} to {target[0]}x{target[1]}"] = ms
    return found


def _torch(rgb: Any, resized: tuple[int, int]) -> list[tuple[str, Callable[[], Any]]]:
    """torch's antialiased bicubic of uint8, channels last, one thread; none where it is absent."""
    try:
        import torch
    except ModuleNotFoundError:
        return []
    torch.set_num_threads(1)
    planes = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None]
    planes = planes.contiguous(memory_format=torch.channels_last)
    interpolate, size = torch.nn.functional.interpolate, resized[::-1]
    return [(TORCH, lambda: interpolate(planes, size=size, mode="bicubic", antialias=True))]


if __name__ == "__main__":
    main()
