"""Which functions a call spends its time in: what bounds it, measured and not guessed."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable
from pathlib import Path

SHOWN = 6


def top(call: Callable[[], object]) -> list[tuple[str, float]]:
    """(function, its own share of the time) of the functions that take the most."""
    profile = cProfile.Profile()
    profile.runcall(call)
    stats = pstats.Stats(profile)
    total = stats.total_tt  # type: ignore[attr-defined]
    rows = stats.stats.items()  # type: ignore[attr-defined]
    shares = [(_name(where), times[2] / total) for where, times in rows]
    return sorted(shares, key=lambda row: -row[1])[:SHOWN]


def _name(where: tuple[str, int, str]) -> str:
    """`planning.py: make` of (file, line, function); a built-in has no file."""
    file, _, function = where
    if file == "~":
        return function.strip("<>").removeprefix("built-in method ").removeprefix("method ")
    return f"{Path(file).name}: {function}"
