"""What `suspects` costs: the look at every sample of an export, and the clustering afterwards.

The look is timed where it happens, in the transcoder, in thread CPU time, as a share of the whole
transcode. The clustering is of random hashes with clusters planted among them, one core.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from .. import process
from ..figures import Bench, versions
from ..options import parse

HASHES = {False: 5_000_000, True: 100_000}
PLANTED = 1000
"""Clusters of five: each member a few bits from the first."""

IMAGES = {False: 300, True: 10}


def main() -> None:
    options = parse(__doc__)
    bench = Bench("stage/suspects", options.quick, versions(["fastbucket", "numba"]))
    rounds = [process.call(look, images=IMAGES[options.quick]) for _ in range(options.rounds)]
    bench.show("look", "ms", [r["look"] for r in rounds], "ms/image")
    bench.show("look", "share", [r["look"] / r["transcode"] for r in rounds], "")
    n = HASHES[options.quick]
    found = process.call(cluster, hashes=n)
    bench.show(f"cluster {n:,} hashes", "seconds", found["seconds"], "s")
    bench.show(f"cluster {n:,} hashes", "found", found["found"], "")


def look(images: int) -> dict[str, Any]:
    """Median CPU milliseconds of a look and of the transcode that it is part of."""
    import fastbucket.transcode as room
    from fastbucket import Recipe, Transcoder
    from fastbucket.draw import draw
    from fastbucket.drawn_source import photo_jpeg

    original, looks, whole = room.look, [], []

    def timed(pixels: Any) -> Any:
        start = time.thread_time_ns()
        seen = original(pixels)
        looks.append(time.thread_time_ns() - start)
        return seen

    room.look = timed
    transcoder, jpeg = Transcoder(Recipe()), photo_jpeg(draw(640, 480, 3))
    transcoder.transcode(jpeg, "warm")
    looks.clear()
    for _ in range(images):
        start = time.thread_time_ns()
        transcoder.transcode(jpeg, "x")
        whole.append(time.thread_time_ns() - start)
    return {
        "look": statistics.median(looks) / 1e6,
        "transcode": statistics.median(whole) / 1e6,
    }


def cluster(hashes: int) -> dict[str, Any]:
    """CPU seconds, and the share of planted members that are found with their first."""
    import numpy as np

    from fastbucket.suspects.clusters import DISTANCE, clusters

    dice = np.random.default_rng(1)
    values = dice.integers(0, 1 << 64, hashes, np.uint64)
    firsts = dice.choice(hashes, (PLANTED, 5), replace=False)
    firsts.sort(axis=1)
    for row in firsts:
        for member in row[1:]:
            bits = dice.choice(64, int(dice.integers(0, DISTANCE + 1)), replace=False)
            values[member] = values[row[0]] ^ np.uint64(sum(1 << int(bit) for bit in bits))
    clusters(values[:1000])  # the kernels are loaded
    start = time.process_time()
    found = clusters(values)
    seconds = time.process_time() - start
    right = found.first[firsts[:, 1:]] == firsts[:, :1]
    return {"seconds": seconds, "found": float(right.mean())}


if __name__ == "__main__":
    main()
