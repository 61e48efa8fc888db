"""Memory of a worker: whether it grows over 20,000 samples, and how large large photos make it.

Exports with one worker, watched from outside through /proc. The scan is done beforehand, so that
the worker does nothing but make shards. The 20,000 are of one corpus of like sizes, so that growth
is growth, and not the buffer of a larger photo that comes late; they are a tar under many names,
with duplicates kept, so that three gigabytes need not be written first. The photos as they are come
in an export of their own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from .. import corpora, process
from ..figures import Bench, versions
from ..options import ROOT, Options, parse

SAMPLES, QUICK_SAMPLES = 20_000, 30
MANY, LARGE = "20,000 samples", "photos as they are"
EVERY = 0.25
"""Seconds between two looks."""


def main() -> None:
    options = parse(__doc__)
    bench = Bench("memory", options.quick, versions(["fastbucket", "numba", "pyarrow"]))
    if not Path("/proc/self/status").exists():
        bench.absent(MANY, "there is no /proc here")
        return
    imagenet, photos = corpora.imagenet(options), corpora.photos(options)
    wanted = QUICK_SAMPLES if options.quick else SAMPLES
    (tar,) = corpora.source(options, imagenet, 0, 0.0)
    _export(options, bench, MANY, tar, -(-wanted // len(imagenet.plans())))
    (tar,) = corpora.source(options, photos, 0, 0.0)
    _export(options, bench, LARGE, tar, 1)


def _export(options: Options, bench: Bench, name: str, tar: Path, times: int) -> None:
    """The figures of one export, of a tar under so many names."""
    folder = corpora.scratch(options, "memory-source")
    for number in range(times):
        (folder / f"imagenet22k-train-{number:04d}.tar").hardlink_to(tar)
    out = corpora.scratch(options, "memory")
    export = ["-m", "fastbucket", "export", str(folder), str(out), "--workers", "1", "-q"]
    export += ["--duplicates", "keep"]
    process.run([*export, "--dry-run"], pinned=False)
    looks = _watch([sys.executable, *export])
    own = [look["RssAnon"] for look in looks]
    bench.show(name, "samples", _exported(out), "samples")
    bench.show(name, "peak", max(look["VmRSS"] for look in looks), "MB")
    bench.show(name, "peak without mapped files", max(own), "MB")
    quarters = [own[len(own) * n // 4 : len(own) * (n + 1) // 4] or own for n in range(4)]
    for number, quarter in enumerate(quarters, 1):
        bench.show(name, f"quarter {number}", statistics.median(quarter), "MB")
    bench.show(name, "growth", max(quarters[3]) - max(quarters[1]), "MB", "quarter 2 to 4")


def _exported(out: Path) -> int:
    """Samples that were written."""
    count: int = json.loads((out / "manifest.json").read_text())["counts"]["exported"]
    return count


def _watch(command: list[str]) -> list[dict[str, float]]:
    """Memory of the worker, a look every so often, while a command runs."""
    looks: list[dict[str, float]] = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        while parent.poll() is None:
            for child in _children(parent.pid):
                try:
                    looks.append(process.memory(child))
                except OSError:
                    continue  # it has just ended
            time.sleep(EVERY)
    finally:
        parent.kill()
    if parent.wait():
        raise SystemExit(f"the export ended with {parent.returncode}")
    return [look for look in looks if "VmRSS" in look] or [{"VmRSS": 0.0, "RssAnon": 0.0}]


def _children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


if __name__ == "__main__":
    main()
