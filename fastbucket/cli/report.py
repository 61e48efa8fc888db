"""fastbucket report."""

from __future__ import annotations

import json

import click


@click.command("report")
@click.argument("out", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--out",
    "path",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Where the page goes.  [default: OUT/report.html]",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Where the sources are now, as named for the export, for pictures of what was dropped; "
    "repeat.  [default: where run.json says]",
)
@click.option(
    "--samples",
    type=click.IntRange(0, 100_000),
    default=960,
    show_default=True,
    help="Thumbnails, spread evenly over the buckets; each takes some 10 kB of the page.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice of samples.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(
    out: str,
    path: str | None,
    sources: tuple[str, ...],
    samples: int,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a page that shows the export in OUT: one HTML file, to be opened in any browser.

    Numbers are of all samples: buckets, sizes, scales, bytes, captions, drops and their reasons,
    speed, settings. Pictures are of a selection, to search and filter. The page loads nothing.

    \b
    Example:
      fastbucket report out
      fastbucket report out --out report.html --source 'imagenet22k-train-{0000..4095}.tar'
    """
    from ..overview import page
    from . import tables

    progress = tables.progress(-1 if quiet else 0)
    with progress:
        written = page.write(out, path, sources, samples, seed, progress)
    if as_json:
        click.echo(json.dumps(written._asdict(), ensure_ascii=False, indent=2))
        return
    for what in written.absent:
        click.echo(f"not shown: {what}")
    click.echo(
        f"{written.path}: {tables.size(written.bytes)}, {written.samples:,} samples, "
        f"{written.dropped:,} of the dropped, in {written.seconds:.1f} s."
    )
