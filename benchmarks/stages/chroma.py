"""The chroma policies: bytes saved and quality lost on the photos, and what deciding costs.

Quality is after JPEG, against the float reference before it.
"""

from __future__ import annotations

import io
import statistics
from pathlib import Path
from typing import Any

from .. import corpora, process
from ..contenders.__main__ import psnr
from ..corpus import Corpus
from ..figures import Bench, versions
from ..options import parse


def main() -> None:
    from fastbucket.subsampling import POLICIES

    options = parse(__doc__)
    for kind, make in corpora.CORPORA.items():
        corpus = str(make(options).folder)
        bench = Bench(f"stage/chroma/{kind}", options.quick, versions(["fastbucket", "simplejpeg"]))
        for policy in POLICIES:
            found = process.call(measure, folder=corpus, policy=policy)
            units = {"bytes": "bytes/image", "db": "dB", "share_444": "", "ms": "ms/image"}
            for metric, unit in units.items():
                bench.show(policy, metric, found[metric], unit)


def measure(folder: str, policy: str) -> dict[str, Any]:
    """Mean bytes and dB, share of 4:4:4, and milliseconds spent on deciding."""
    import numpy as np
    from PIL import Image

    from fastbucket import Recipe, Transcoder
    from fastbucket.stopwatch import Stopwatch

    stopwatch = Stopwatch()
    transcoder = Transcoder(Recipe(subsampling_policy=policy), stopwatch)
    corpus = Corpus(Path(folder))
    images = list(corpus.images())
    transcoder.transcode(images[0][0], images[0][1].name)  # kernels are loaded
    stopwatch.take()
    sizes, quality, full = [], [], 0
    for data, plan in images:
        stopwatch.start()
        done = transcoder.transcode(data, plan.name)
        pixels = np.asarray(Image.open(io.BytesIO(done.jpeg)).convert("RGB"))
        quality.append(psnr(np.load(corpus.reference(plan)), pixels))
        sizes.append(len(done.jpeg))
        full += done.subsampling == "4:4:4"
    return {
        "bytes": statistics.fmean(sizes),
        "db": statistics.fmean(quality),
        "share_444": full / len(images),
        "ms": stopwatch.ns["chroma"] / len(images) / 1e6,
    }


if __name__ == "__main__":
    main()
