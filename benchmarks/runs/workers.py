"""Two workers against one: the same export of images that all fit, on all cores."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import defaultdict
from typing import Any

from .. import corpora
from ..exports import ours
from ..figures import Bench, versions
from ..options import parse

SAMPLES, QUICK_SAMPLES = 12_000, 8
WORKERS = (1, 2)
ROUNDS = 3


def main() -> None:
    options = parse(__doc__)
    corpus = corpora.imagenet(options)
    wanted = QUICK_SAMPLES if options.quick else SAMPLES
    copies = max(0, -(-wanted // len(corpus.plans())) - 1)
    tars = corpora.source(options, corpus, copies, 0.0)
    bench = Bench("workers", options.quick, versions(ours.DISTRIBUTIONS))
    if (os.cpu_count() or 1) < max(WORKERS):
        bench.absent("2 workers", "this machine has one core")
        return
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number in range(min(options.rounds, ROUNDS)):
        for workers in WORKERS:
            print(f"workers: round {number + 1}, {workers}", file=sys.stderr)
            out = corpora.scratch(options, "workers")
            corpora.warm(tars)
            start = time.perf_counter()
            result = ours.export(tars, out, workers)
            found[workers].append({**result, "seconds": time.perf_counter() - start})
            shutil.rmtree(out)
    for workers, results in found.items():
        name = f"{workers} worker{'s' if workers > 1 else ''}"
        bench.show(name, "seconds", [r["seconds"] for r in results], "s")
        for phase in results[0]["phases"]:
            bench.show(name, f"phase {phase}", [r["phases"][phase] for r in results], "s")
        busy = [sum(r["stages"].values()) / r["samples"] * 1e3 for r in results]
        bench.show(name, "ms", busy, "ms/sample")
    bench.show("source", "samples", found[1][0]["samples"], "samples")


if __name__ == "__main__":
    main()
