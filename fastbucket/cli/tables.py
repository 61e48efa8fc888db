"""Reports as people read them: rich tables on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..progress import Bar, Lines, Silent
    from ..report import Report

_BAD_INPUTS = 10
"""Bad inputs shown without --verbose."""


def progress(verbosity: int) -> Silent | Lines | Bar:
    """A bar on a terminal, lines elsewhere, nothing with --quiet."""
    from ..progress import Bar, Lines, Silent

    if verbosity < 0:
        return Silent()
    return Bar() if sys.stderr.isatty() else Lines()


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[Any]], numbers: int) -> None:
    """Print a table; the last `numbers` columns stand right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    out = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(head):
        out.add_column(name, justify="right" if i >= len(head) - numbers else "left")
    for row in rows:
        out.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row))
    # Elsewhere than on a terminal nothing is gained by folding columns at 80.
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(out)


def size(n: float) -> str:
    """Bytes as people say them: 4.6 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def show(report: Report, verbosity: int) -> None:
    """The tables of a report, then one line that sums it up."""
    from click import echo

    planned = report.status == "planned"
    bytes_head = "bytes (estimated)" if planned else "bytes"
    table(
        "Buckets",
        ("bucket", "target", "samples", "shards", bytes_head),
        [
            (b.bucket_id, f"{b.target_w}x{b.target_h}", b.samples, b.shards, size(b.bytes))
            for b in report.buckets
        ],
        3,
    )
    if report.dropped:
        table("Dropped", ("reason", "samples"), sorted(report.dropped.items()), 1)
    bad = report.bad_inputs if verbosity > 0 else report.bad_inputs[:_BAD_INPUTS]
    for item in bad:
        echo(f"{item.reason}: {item.image_id}: {item.detail}")
    if len(bad) < len(report.bad_inputs):
        echo("(more with --verbose, and all of them in meta/)")
    for path, why in report.broken_archives:
        echo(f"archive ends early: {path}: {why}")
    echo(_summary(report))


def show_stages(report: Report) -> None:
    """Milliseconds a sample and share of each stage, over all workers."""
    total = sum(report.stages.values())
    if not total:
        return
    tried = report.exported + report.dropped.get("undecodable", 0)
    rows = [
        (stage, f"{1e3 * s / tried:.3f}", f"{s / total:.1%}") for stage, s in report.stages.items()
    ]
    rows.append(("all", f"{1e3 * total / tried:.3f}", "100 %"))
    table("Time of a sample", ("stage", "ms", "share"), rows, 2)


def _summary(report: Report) -> str:
    shards = sum(bucket.shards for bucket in report.buckets)
    images = sum(bucket.samples for bucket in report.buckets)
    several = f" as {images:,} images" if images != report.exported else ""  # at several bases
    what = (
        f"{report.exported:,} of {report.scanned:,} samples{several} in {len(report.buckets)} "
        f"buckets, {shards:,} shards, "
    )
    if report.status == "planned":
        return f"Would export {what}about {size(report.bytes_out)}."
    if report.status.startswith("part "):
        line = f"{report.status.capitalize()} is made: {what}{size(report.bytes_out)}"
        if report.resumed_shards:
            return f"{line} ({report.resumed_shards} shards were there already)."
        return f"{line}."
    if report.status == "already complete":
        line = f"{report.out} is complete already: {what}{size(report.bytes_out)}. "
        if report.pruned:
            line += (
                f"{report.pruned:,} samples were pruned since; meta/ names them, and --overwrite "
                "would bring back those that --exclude does not list. "
            )
        return f"{line}Nothing to do."
    seconds = sum(report.seconds.values())
    rate = report.exported / max(report.seconds.get("export", 0.0), 1e-9)
    line = f"Exported {what}{size(report.bytes_out)} in {seconds:.1f} s"
    if report.resumed_shards:
        return f"{line} ({report.resumed_shards} shards were there already)."
    return f"{line} ({rate:,.0f} samples/s in the export, {report.workers} workers)."
