"""fastbucket suspects."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("suspects")
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    help="Processes that decode images where the export has no hashes; 0: one for every CPU.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(out: Path, workers: int, as_json: bool, quiet: bool) -> None:
    """Find near-identical images, blanks, text placeholders and heavy borders in an export.

    Writes OUT/suspects.jsonl and OUT/suspects.html. Open the page in a browser, tick what is to go,
    and save the list of keys; fastbucket prune OUT KEYS takes it. Nothing is removed by this.

    \b
    Example:
      fastbucket suspects out
    """
    from .. import suspects as room
    from . import tables

    progress = tables.progress(-1 if quiet else 0)
    with progress:
        found = room.suspects(out, workers, progress)
    if as_json:
        click.echo(json.dumps(found.to_json(), ensure_ascii=False, indent=2))
        return
    tables.table("Suspects", ("kind", "samples"), found.kinds.items(), 1)
    click.echo(
        f"{found.suspects:,} of {found.samples:,} samples, {found.clusters:,} clusters of "
        f"near-identical ones. {found.list}\nLook at {found.shown:,} of them: {found.page}"
    )
