"""fastbucket push."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..sinks import Pushed

_SHOWN = 10
"""Paths that are shown of each kind."""


@click.command("push")
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("dest", metavar="DEST")
@click.option(
    "--replace",
    is_flag=True,
    help="Take the place of another export at DEST, or of an earlier state of this one.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be sent and removed.")
@click.option(
    "--read-back", is_flag=True, help="Read every object back, also where DEST tells its checksum."
)
@click.option(
    "--at-once",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Files under way at once; not for hf://.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(
    out: Path,
    dest: str,
    replace: bool,
    dry_run: bool,
    read_back: bool,
    at_once: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Copy the complete export in OUT to DEST, manifest.json last.

    DEST is s3://bucket/prefix, gs://bucket/prefix, another URL that fsspec knows, or
    hf://datasets/user/name. Every file is checked there by size and checksum. Interrupted anywhere,
    the same command goes on; what is there and right is not sent again. Logins are those that the
    stores' own tools use (AWS_PROFILE, AWS_ENDPOINT_URL, hf auth login).

    \b
    Examples:
      fastbucket push out s3://bucket/photos-512
      fastbucket push out hf://datasets/me/photos-512
      fastbucket push out s3://bucket/photos-512 --replace --dry-run
      fastbucket push out file:///mnt/nas/photos-512
    """
    from ..sinks import push
    from . import tables

    progress = tables.progress(-1 if quiet else 0)
    with progress:
        report = push(
            out,
            dest,
            replace=replace,
            dry_run=dry_run,
            at_once=at_once,
            read_back=read_back,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(report.to_json(), ensure_ascii=False, indent=2))
    else:
        show(report)


def show(report: Pushed) -> None:
    """What differed, what was stale, and a line that sums it up."""
    from . import tables

    planned = report.status == "planned"
    for what, paths in (("other content there", report.differed), ("stale", report.stale)):
        for path in paths[:_SHOWN]:
            click.echo(f"{what}: {path}")
        if len(paths) > _SHOWN:
            click.echo(f"{what}: {len(paths) - _SHOWN:,} more")
    whole = f"{report.files:,} files, {tables.size(report.bytes)}"
    if report.status == "already complete":
        click.echo(f"{report.url} is complete already: {whole}. Nothing to do.")
        return
    said = f"{report.sent:,} of {whole}" if report.sent < report.files else whole
    if planned:
        removed = f"; {len(report.stale):,} stale ones to remove" if report.stale else ""
        click.echo(
            f"Would send {said} ({tables.size(report.sent_bytes)}) to {report.url}{removed}."
        )
        return
    removed = f"; {len(report.stale):,} stale ones removed" if report.stale else ""
    how = "by checksum"
    if report.read_back:
        how = f"{report.read_back:,} by reading back" + (
            ", the others by checksum" if report.read_back < report.files else ""
        )
    rate = report.sent_bytes / max(report.seconds, 1e-9)
    click.echo(
        f"Sent {said} to {report.url} in {report.seconds:.1f} s, {tables.size(rate)}/s; "
        f"checked: {how}{removed}."
    )
