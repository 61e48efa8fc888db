"""fastbucket prune."""

from __future__ import annotations

import json
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import click

from ..errors import RunError
from ..format import REPORT, SUSPECTS

_SHOWN = 10
"""Unknown names that are shown."""


def _names(files: tuple[Any, ...]) -> list[str]:
    from ..pruning.lists import names

    found = []
    for file in files:
        try:
            found.append(list(names(file, file.name)))
        except UnicodeDecodeError as error:
            raise RunError(f"{file.name}: not UTF-8: {error.reason}") from None
    return list(chain.from_iterable(found))


@click.command("prune")
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("keys", nargs=-1, type=click.File("r", encoding="utf-8"))
@click.option("--dry-run", is_flag=True, help="Only show what would be taken out, by bucket.")
@click.option("--reason", default="", help="Why, for detail in meta/.  [default: pruned]")
@click.option(
    "--workers", type=click.IntRange(0), default=0, help="Worker processes; 0: one for every CPU."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(
    out: Path,
    keys: tuple[Any, ...],
    dry_run: bool,
    reason: str,
    workers: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Take samples out of the export in OUT; its shards are full again afterwards.

    KEYS are files of keys or image_ids, one a line, or of JSON objects with a field key; - is
    standard input. No image byte changes, and shards that lose nothing are not written. Interrupted
    anywhere, the same command goes on, as does one without KEYS. The exit code is 1 where a name is
    that of no sample; the others are taken out.

    \b
    Examples:
      fastbucket prune out placeholders.txt --dry-run
      fastbucket prune out keys.txt --reason 'placeholder, by eye'
      echo imagenet22k-train-0007/n01440764_3778 | fastbucket prune out -
    """
    from ..pruning import prune
    from . import tables

    progress = tables.progress(-1 if quiet else 0)
    with progress:
        report = prune(out, _names(keys), reason, dry_run, workers, progress)
    if as_json:
        click.echo(json.dumps(report.to_json(), ensure_ascii=False, indent=2))
    else:
        if report.buckets:
            tables.table(
                "Buckets",
                ("bucket", "samples", "removed", "shards before", "shards", "rewritten"),
                report.buckets,
                5,
            )
        before = f", {report.gone:,} were dropped before" if report.gone else ""
        if dry_run:
            click.echo(
                f"Would take out {report.removed:,} samples{before}; {report.samples:,} would be "
                f"left, {report.rewritten:,} of {report.shards:,} shards written anew."
            )
        else:
            click.echo(
                f"{report.removed:,} samples taken out{before}; {report.samples:,} are left; "
                f"{report.rewritten:,} of {report.shards:,} shards written, "
                f"{tables.size(report.bytes_written)} in {report.seconds:.1f} s."
            )
            if stale := [name for name in (REPORT, *SUSPECTS) if (out / name).is_file()]:
                click.echo(f"Of before: {', '.join(stale)}. Make them again.")
    if report.unknown:
        for name in report.unknown[:_SHOWN]:
            click.echo(f"no sample of {out}: {name}", err=True)
        more = f", the first {_SHOWN} above" if len(report.unknown) > _SHOWN else ""
        click.echo(f"{len(report.unknown):,} names of no sample{more}", err=True)
        sys.exit(1)
