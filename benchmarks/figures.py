"""A figure: one JSON line with its rounds, its machine and its versions.

Standard library alone: it is imported in the environments of all contenders.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

ABSENT = "absent"
"""Metric of a contender that could not take part; the note says why."""


@dataclass(frozen=True)
class Figure:
    """One measured value: of `name` in the benchmark `bench`. `value` is the median of `rounds`."""

    bench: str
    name: str
    metric: str
    value: float | None
    unit: str
    rounds: list[float] = field(default_factory=list)
    note: str = ""
    quick: bool = False  # of a --quick run: shows that it works, and nothing about speed
    at: str = ""  # UTC, ISO 8601
    commit: str = ""  # of the repository
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def line(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def read(cls, line: str) -> Figure:
        """A figure of a line. Raises TypeError for fields that are missing or unknown."""
        return cls(**json.loads(line))


@dataclass(frozen=True)
class Bench:
    """Prints the figures of one benchmark."""

    bench: str
    quick: bool
    versions: dict[str, str] = field(default_factory=dict)

    def show(
        self,
        name: str,
        metric: str,
        values: float | Sequence[float],
        unit: str,
        note: str = "",
        versions: dict[str, str] | None = None,
    ) -> None:
        """Print one figure: the median of `values`, which are its rounds."""
        rounds = [float(v) for v in (values if isinstance(values, Sequence) else [values])]
        used = self.versions if versions is None else versions
        value = statistics.median(rounds)
        self._print(Figure(self.bench, name, metric, value, unit, rounds, note, self.quick), used)

    def absent(self, name: str, why: str) -> None:
        """Say that a contender could not take part."""
        self._print(Figure(self.bench, name, ABSENT, None, "", [], why, self.quick), self.versions)

    def _print(self, figure: Figure, versions: dict[str, str]) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        record = {"at": now, "commit": commit(), "machine": machine(), "versions": versions}
        print(replace(figure, **record).line(), flush=True)  # type: ignore[arg-type]


def read(path: Path) -> list[Figure]:
    """The figures of a file of JSON lines."""
    return [Figure.read(line) for line in path.read_text().splitlines() if line.strip()]


def versions(distributions: Iterable[str] = ()) -> dict[str, str]:
    """Versions of Python and of installed distributions; those that are absent are left out."""
    found = {"python": platform.python_version()}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


WRITTEN = ("docs/performance.jsonl", "docs/performance.md", "README.md")
"""What a run of all benchmarks writes itself, from its first program on."""


@lru_cache(1)
def commit(folder: Path = Path(__file__).parent) -> str:
    """What the repository around a folder stands at, "" if unknown; with -dirty where files differ
    from it, other than WRITTEN."""
    others = [":/", *(f":(top,exclude){name}" for name in WRITTEN)]
    try:
        head = _git(folder, "rev-parse", "--short", "HEAD").stdout.strip()
        clean = _git(folder, "diff", "--quiet", "HEAD", "--", *others, failing=1).returncode == 0
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head if clean else f"{head}-dirty"


def _git(folder: Path, *words: str, failing: int = 0) -> subprocess.CompletedProcess[str]:
    """Raises CalledProcessError for exit codes above `failing`."""
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
    if done.returncode > failing:
        done.check_returncode()
    return done


@lru_cache(1)
def machine() -> dict[str, Any]:
    """The machine and how busy it is: `load` is the load average of the last minute."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "vector": _vector(_field("/proc/cpuinfo", "flags").split()),
        "cores": os.cpu_count(),
        "memory_gb": round(_memory() / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 2),
    }


def _vector(flags: Sequence[str]) -> str:
    """The widest vectors of an x86 processor."""
    return next((name for name in ("avx512bw", "avx2", "sse4_1") if name in flags), "")


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _field(path: str, name: str) -> str:
    """The first `name : value` of a /proc file; "" where there is none."""
    try:
        with open(path) as file:
            lines = (line.partition(":") for line in file)
            return next((v.strip() for key, _, v in lines if key.strip() == name), "")
    except OSError:
        return ""
