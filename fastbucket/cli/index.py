"""fastbucket index."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("index")
@click.argument("out", type=click.Path(exists=True, file_okay=False))
def command(out: str) -> None:
    """Write the indexes of an export again: index/, for wids, webshart and SimpleTuner.

    An export writes them itself, and so does what changes its shards; this is for an export without
    them, or whose shards were replaced by something else.

    \b
    Example:
      fastbucket index out
    """
    from .. import index, manifest
    from ..state import State

    manifest.read(Path(out), "indexes are of")  # before a state folder is made
    with State(Path(out)) as state:
        made = index.write(Path(out), afresh=True)
        state.remove()
    click.echo(f"{out}/index: {made:,} shard indexes written.")
