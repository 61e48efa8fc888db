"""Encode: finished targets to JPEG bytes, at each chroma."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from .. import corpora, process
from ..corpus import Corpus
from ..figures import Bench, versions
from ..options import parse

SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


def main() -> None:
    options = parse(__doc__)
    corpus = str(corpora.imagenet(options).folder)
    bench = Bench("stage/encode", options.quick, versions(["fastbucket", "simplejpeg"]))
    rounds = [process.call(measure, folder=corpus) for _ in range(options.rounds)]
    for name in SUBSAMPLINGS:
        for metric, unit in (("ms", "ms/image"), ("rate", "MP/s"), ("bytes", "bytes/image")):
            bench.show(name, metric, [r[name][metric] for r in rounds], unit)


def measure(folder: str) -> dict[str, Any]:
    """By chroma: milliseconds and bytes an image, megapixels a second."""
    import numpy as np

    from fastbucket.encode import encode

    corpus = Corpus(Path(folder))
    found = {name: {"ms": 0.0, "rate": 0.0, "bytes": 0.0} for name in SUBSAMPLINGS}
    plans, megapixels = corpus.plans(), 0.0
    for plan in plans:
        rgb = np.load(corpus.reference(plan))
        rgbx = np.full((*rgb.shape[:2], 4), 255, np.uint8)
        rgbx[..., :3] = rgb
        megapixels += rgb.shape[0] * rgb.shape[1] / 1e6
        for name in SUBSAMPLINGS:
            encode(rgbx, plan.quality, name)  # what it needs of memory is there from here on
            start = time.perf_counter()
            jpeg = encode(rgbx, plan.quality, name)
            found[name]["ms"] += 1e3 * (time.perf_counter() - start)
            found[name]["bytes"] += len(jpeg)
    for facts in found.values():
        facts["rate"] = megapixels / (facts["ms"] / 1e3)
        facts["ms"] /= len(plans)
        facts["bytes"] /= len(plans)
    return found


if __name__ == "__main__":
    main()
