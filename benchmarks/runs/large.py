"""A real source of 300,000 samples, of which 9 % fit, exported on all cores with an interruption.

The first run is told to stop (SIGINT) when half of its shards are there, the second goes on, and
`verify` reads back every byte. Seconds are of whole commands, memory of the largest process.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .. import corpora
from ..figures import Bench, versions
from ..options import ROOT, parse
from .export import SMALL_SHARE

SAMPLES, QUICK_SAMPLES = 300_000, 300
SHARD_SIZE, QUICK_SHARD_SIZE = 1024, 4
STOPPED, RESUMED, VERIFIED = "until SIGINT", "resumed", "verify"


def main() -> None:
    options = parse(__doc__)
    corpus = corpora.imagenet(options)
    wanted = QUICK_SAMPLES if options.quick else SAMPLES
    fitting = wanted * (1 - SMALL_SHARE)
    copies = max(0, -(-int(fitting) // len(corpus.plans())))
    tars = corpora.source(options, corpus, copies, SMALL_SHARE)
    bench = Bench("large", options.quick, versions(["fastbucket", "numba", "pyarrow"]))
    out = corpora.scratch(options, "large") / "out"
    size = QUICK_SHARD_SIZE if options.quick else SHARD_SIZE
    export = ["export", *map(str, tars), str(out), "-q", "--shard-size", str(size)]
    stopped = _run(export, out)
    bench.show(STOPPED, "seconds", stopped["seconds"], "s")
    bench.show(STOPPED, "shards", stopped["shards"], "shards")
    resumed = _run(export)
    bench.show(RESUMED, "seconds", resumed["seconds"], "s")
    facts = json.loads((out / "manifest.json").read_text())
    run = json.loads((out / "run.json").read_text())
    bench.show(RESUMED, "shards", run["resumed_shards"], "shards")
    for phase, seconds in run["phases"].items():
        bench.show(RESUMED, f"phase {phase}", seconds, "s")
    verified = _run(["verify", str(out), "-q"])
    bench.show(VERIFIED, "seconds", verified["seconds"], "s")
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    bench.show("largest process", "peak", largest, "MB")
    bench.show("source", "samples", facts["source"]["samples"], "samples")
    bench.show("source", "exported", facts["counts"]["exported"], "samples")
    bench.show("source", "bytes", sum(tar.stat().st_size for tar in tars), "bytes")
    bench.show("source", "workers", run["workers"], "workers")
    shutil.rmtree(out)


def _run(arguments: list[str], until: Path | None = None) -> dict[str, Any]:
    """A command to its end. until: the output of an export that is stopped halfway."""
    start = time.perf_counter()
    running = subprocess.Popen(
        [sys.executable, "-m", "fastbucket", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    shards = 0
    if until is not None:
        wanted = 0
        while running.poll() is None and not (wanted and shards >= wanted):
            time.sleep(0.05)
            shards = len(list(until.glob(".fastbucket/shards/*.json")))
            plan = until / ".fastbucket" / "plan.json"
            if not wanted and plan.is_file():
                wanted = -(-len(json.loads(plan.read_text())["shards"]) // 2)
        running.send_signal(signal.SIGINT)
    code = running.wait()
    if (code == 0) != (until is None):
        raise SystemExit(f"fastbucket {arguments[0]} ended with exit code {code}")
    return {"seconds": time.perf_counter() - start, "shards": shards}


if __name__ == "__main__":
    main()
