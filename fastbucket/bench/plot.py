"""A picture of a bench: a bar per stage, a line for scaling."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import RunError
from .run import Bench

_INCHES = (10, 4.2)

_FLOOR = "libjpeg-turbo:\ndecode + encode"
"""The bar beside ours, in two colours."""


def figure() -> Any:
    """An empty figure of matplotlib. Raises RunError, with the remedy, where that is absent."""
    try:
        # Not pyplot: it looks for a display, and for the settings of a person's own plots.
        return import_module("matplotlib.figure").Figure(figsize=_INCHES, layout="constrained")
    except ImportError as error:
        raise RunError(
            f"a plot needs matplotlib ({error}): pip install 'fastbucket[bench]', or without --plot"
        ) from None


def plot(bench: Bench, path: Path) -> None:
    """Draw into a file of a kind that matplotlib writes (png, svg, pdf), by its suffix.

    Raises RunError where it cannot be written.
    """
    out = figure()
    bars, lines = out.subplots(1, 2)
    names = list(bench.stages)
    bars.barh(names, [rate.ms for rate in bench.stages.values()], color="C0")
    floor = bench.floor
    bars.barh([_FLOOR], [floor["decode"].ms], color="C7")
    bars.barh([_FLOOR], [floor["encode"].ms], left=[floor["decode"].ms], color="C8")
    bars.invert_yaxis()
    bars.set_xlabel("ms an image, one core")
    bars.set_title(
        f"{bench.total.ms:.2f} ms, {bench.total.images_per_second:.0f} images/s a core; "
        f"{bench.floor_reached:.0%} of the floor",
        fontsize="medium",
    )
    counts = [scale.workers for scale in bench.scaling]
    lines.plot(counts, [scale.images_per_second for scale in bench.scaling], "o-", label="export")
    one = bench.scaling[0].images_per_second
    lines.plot(counts, [one * count for count in counts], "--", color="C7", label="as one worker")
    lines.set_xticks(counts)
    lines.set_ylim(bottom=0)
    lines.set_xlabel("workers")
    lines.set_ylabel("images/s")
    lines.set_title(bench.machine["cpu"], fontsize="medium")
    lines.legend()
    try:
        out.savefig(path)
    except (OSError, ValueError) as error:  # ValueError: a suffix that it does not know
        raise RunError(f"cannot write {path}: {error}") from None
