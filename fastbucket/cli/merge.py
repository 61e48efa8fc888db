"""fastbucket merge."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("merge")
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("-v", "--verbose", "verbosity", flag_value=1, type=int, help="List all bad inputs.")
@click.option("-q", "--quiet", "verbosity", flag_value=-1, type=int, default=0, help="No progress.")
def command(out: Path, as_json: bool, verbosity: int | None) -> None:
    """Complete the export in OUT whose parts export --shards I/N has made.

    Fills gaps and writes meta/, index/, the card and the manifest, as one run over everything would
    have. Where a part is missing it says which. Can be repeated.

    \b
    Example:
      fastbucket export tars/ /shared/out --shards 1/2
      fastbucket export tars/ /shared/out --shards 2/2
      fastbucket merge /shared/out
    """
    from .. import jobarray
    from . import tables

    verbosity = verbosity or 0
    progress = tables.progress(verbosity)
    with progress:
        report = jobarray.merge(out, progress=progress)
    if as_json:
        click.echo(json.dumps(report.to_json(), ensure_ascii=False, indent=2))
    else:
        tables.show(report, verbosity)
