"""`fastbucket export` with one worker, as a command: interpreter, imports and workers included."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAME = "fastbucket export, one worker"
DISTRIBUTIONS = ("fastbucket", "simplejpeg", "numba", "numpy", "pyarrow")


def available() -> str | None:
    return None


def export(tars: Sequence[Path], out: Path, workers: int = 1) -> dict[str, Any]:
    """The report's figures; "stages" in seconds of all workers, "phases" in seconds."""
    command = [sys.executable, "-m", "fastbucket", "export", *map(str, tars), str(out)]
    done = subprocess.run(
        [*command, "--workers", str(workers), "--json", "-q"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    report = json.loads(done.stdout)
    return {
        "samples": report["exported"],
        "scanned": report["scanned"],
        "bytes": report["bytes_out"],
        "phases": report["seconds"],
        "stages": report["stages"],
    }
