"""fastbucket verify."""

from __future__ import annotations

import json
import sys

import click


@click.command("verify")
@click.argument("out", type=click.Path(exists=True, file_okay=False))
@click.option("--fast", is_flag=True, help="Check everything but decode no image.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Also read these sources, as named for the export, and check source_sha256; repeat.",
)
@click.option(
    "--workers", type=click.IntRange(0), default=0, help="Worker processes; 0: one for every CPU."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(
    out: str, fast: bool, sources: tuple[str, ...], workers: int, as_json: bool, quiet: bool
) -> None:
    """Read an export back and check it, with Python's own tarfile.

    Every shard, member, JSON and image is held against the manifest and the format. The exit code
    is 1 where anything is off, and each finding is listed.

    \b
    Example:
      fastbucket verify out
      fastbucket verify out --fast --source 'imagenet22k-train-{0000..4095}.tar'
    """
    from .. import verification
    from . import tables

    progress = tables.progress(-1 if quiet else 0)
    with progress:
        found = verification.verify(
            out, fast=fast, workers=workers, progress=progress, sources=sources
        )
    if as_json:
        click.echo(json.dumps(found.to_json(), ensure_ascii=False, indent=2))
    else:
        for problem in found.problems:
            where = ": ".join(part for part in (problem.path, problem.member) if part)
            click.echo(f"{where}: {problem.text}")
        if found.more:
            click.echo(f"and {found.more:,} more")
        again = f"{found.sources:,} sources, " if sources else ""
        verdict = "sound" if found.ok else f"{found.total:,} problems"
        click.echo(
            f"{out}: {found.samples:,} samples, {found.shards:,} shards, {again}"
            f"{tables.size(found.bytes)} in {found.seconds:.1f} s: {verdict}."
        )
    if not found.ok:
        sys.exit(1)
