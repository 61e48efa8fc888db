"""End to end, one core: source tars to output tars, on a source of which 9 % fit a bucket.

Ours is timed as a command, from the start of the interpreter; the replaced stage from after its
imports. The source is in the page cache, the output goes to the disk of the work folder.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import defaultdict
from typing import Any

from .. import corpora, process
from ..exports import EXPORTS, exporter
from ..figures import Bench
from ..options import parse

SMALL_SHARE = 0.91
COPIES, QUICK_COPIES = 9, 0
ROUNDS = 3
"""At most: a round takes some minutes."""

AROUND = ("read", "hash", "json", "write")
"""Stages of a sample that are not pixels."""


def main() -> None:
    options = parse(__doc__)
    copies = QUICK_COPIES if options.quick else COPIES
    tars = corpora.source(options, corpora.imagenet(options), copies, SMALL_SHARE)
    bench = Bench("export", options.quick)
    present = []
    for name in EXPORTS:
        if (why := exporter(name).available()) is None:
            present.append(name)
        else:
            bench.absent(exporter(name).NAME, why)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for number in range(min(options.rounds, ROUNDS)):
        for name in present:
            print(f"export: round {number + 1}, {name}", file=sys.stderr)
            out = corpora.scratch(options, f"export-{name}")
            size = corpora.warm(tars)
            done = process.run(["-m", "benchmarks.exports", name, out, *tars])
            found[name].append(json.loads(done.output))
            shutil.rmtree(out)
    counts = {exporter(name).NAME: results[0]["samples"] for name, results in found.items()}
    if len(set(counts.values())) != 1:
        raise SystemExit(f"not the same job: {counts}")
    _show(bench, found)
    bench.show("source", "samples", found["ours"][0]["scanned"], "samples")
    bench.show("source", "exported", found["ours"][0]["samples"], "samples")
    bench.show("source", "bytes", size, "bytes")


def _show(bench: Bench, found: dict[str, list[dict[str, Any]]]) -> None:
    for name, results in found.items():
        title, used = exporter(name).NAME, results[0]["versions"]
        bench.show(title, "seconds", [r["seconds"] for r in results], "s", "", used)
        bench.show(title, "bytes", results[0]["bytes"], "bytes", "", used)
    ours = found["ours"]
    for phase in ours[0]["phases"]:
        bench.show("phase", phase, [r["phases"][phase] for r in ours], "s")
    for stage in ours[0]["stages"]:
        values = [1e3 * r["stages"][stage] / r["samples"] for r in ours]
        bench.show("stage", stage, values, "ms/sample")
    shares = [sum(r["stages"][s] for s in AROUND) / sum(r["stages"].values()) for r in ours]
    bench.show("stage", "share around the pixels", shares, "")


if __name__ == "__main__":
    main()
