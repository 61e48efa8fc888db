"""fastbucket demo."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click


@click.command("demo")
@click.argument("directory", metavar="[DIR]", default="fastbucket-demo", type=click.Path())
def command(directory: str) -> None:
    """Draw a small source, export it, verify it, and show how to look at it and load it.

    The source (DIR/source) holds drawn images of every orientation and several formats, with a
    few broken, small and duplicate ones and placeholders among them; the export is DIR/dataset,
    and DIR/dataset/report.html shows it.

    \b
    Example:
      fastbucket demo /tmp/demo
    """
    from .. import run, verification
    from ..card import LOADING
    from ..drawn_source import drawn_source
    from ..overview import page
    from ..recipe import Recipe
    from . import tables

    source, out = Path(directory, "source"), Path(directory, "dataset")
    source.mkdir(parents=True, exist_ok=True)
    drawn = drawn_source(source)
    click.echo(
        f"Drew {drawn.samples} samples into {len(drawn.paths)} tars in {source}: "
        f"{drawn.small} too small, {drawn.duplicates} duplicates, {drawn.broken} broken."
    )
    click.echo("A first run compiles the kernels, for up to a minute; they are kept.", err=True)
    progress = tables.progress(0)
    with progress:
        report = run.export([source], out, Recipe(shard_size=16), overwrite=True, progress=progress)
        found = verification.verify(out, progress=progress)
        shown = page.write(out, progress=progress)
    tables.show(report, 0)
    for problem in found.problems:
        click.echo(f"{problem.path}: {problem.member}: {problem.text}")
    if not found.ok or report.dropped != drawn_drops(drawn.fates):
        click.echo("The export is not what was drawn.", err=True)
        sys.exit(1)
    click.echo(f"Verified {found.samples} samples in {found.shards} shards. Load them with:\n")
    click.echo(LOADING.format(path=out, bucket=report.buckets[0].bucket_id))
    click.echo(f"\nThree of the samples are placeholders. Find them: fastbucket suspects {out}")
    click.echo(f"\nLook at it in a browser: {shown.path}")


def drawn_drops(fates: Mapping[str, str]) -> dict[str, int]:
    """The drops that the drawn source must lead to, by reason."""
    counts: dict[str, int] = {}
    for reason in filter(None, fates.values()):
        counts[reason] = counts.get(reason, 0) + 1
    return counts
