"""fastbucket bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import RunError
from ..recipe import Recipe
from .options import options, recipe

if TYPE_CHECKING:
    from ..bench import Bench, Rate


_UNDISTURBED = 0.9
"""Share of a core that a worker has on an idle machine, waits for the disk included: 0.98 here."""


def _new_file(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    """A path whose folder exists: better to know before the measurement than after it."""
    if value is None:
        return None
    path = Path(value)
    if not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}", ctx, param)
    return path


@click.command("bench")
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@click.option("--seconds", default=20.0, show_default=True, help="About how long to measure.")
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Images to measure with at most, of the commonest buckets.",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Most worker processes to try; 0: one for every available CPU.",
)
@click.option(
    "--json",
    "json_file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    callback=_new_file,
    help="Write all figures there as JSON.",
)
@click.option(
    "--plot",
    "plot_file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    callback=_new_file,
    help="Draw stages and scaling there (png, svg, pdf); needs matplotlib.",
)
@click.option("-q", "--quiet", "verbosity", flag_value=-1, type=int, default=0, help="No progress.")
@options(Recipe)
def command(
    sources: tuple[str, ...],
    seconds: float,
    samples: int,
    workers: int,
    json_file: Path | None,
    plot_file: Path | None,
    verbosity: int | None,
    **fields: Any,
) -> None:
    """Measure this machine with images of the SOURCEs, or with drawn ones.

    Shows what each stage costs a core, how near that is to what libjpeg-turbo alone would take for
    the same images, and how exports scale from one worker to all. SOURCEs are as for an export, and
    are not changed; a few hundred images are copied to the temporary folder (TMPDIR) and exported
    there.

    \b
    Examples:
      fastbucket bench
      fastbucket bench 'imagenet22k-train-{0000..4095}.tar' --base-resolution 768
      fastbucket bench photos/ --seconds 60 --json bench.json --plot bench.png
    """
    from ..bench import bench
    from ..bench.plot import figure, plot
    from . import tables

    if plot_file:
        figure()
    progress = tables.progress(verbosity or 0)
    with progress:
        found = bench(
            sources,
            recipe(fields, None),
            seconds=seconds,
            samples=samples,
            workers=workers,
            progress=progress,
        )
    _show(found)
    if json_file:
        try:
            json_file.write_text(json.dumps(found.to_json(), indent=2) + "\n")
        except OSError as error:
            raise RunError(f"cannot write {json_file}: {error.strerror}") from None
    if plot_file:
        plot(found, plot_file)


def _show(found: Bench) -> None:
    """The tables of a bench, then what it was measured with."""
    from . import tables

    rows = [_row(name, rate) for name, rate in found.stages.items()]
    rows.append(_row("all", found.total))
    tables.table("One image on one core", ("stage", "ms", "images/s", "MP/s", "share"), rows, 4)
    floor = found.floor
    click.echo(
        f"libjpeg-turbo alone takes {floor['total'].ms:.2f} ms for the same images (decode "
        f"{floor['decode'].ms:.2f}, encode {floor['encode'].ms:.2f}).\n"
        f"Of that limit {found.floor_reached_pixels:.0%} are reached from bytes to bytes, "
        f"{found.floor_reached:.0%} with all stages.\n"
    )
    tables.table(
        "Scaling of exports",
        ("workers", "images/s", "MP/s", "efficiency"),
        [
            (
                scale.workers,
                f"{scale.images_per_second:,.0f}",
                f"{scale.images_per_second * found.megapixels:,.0f}",
                f"{scale.efficiency:.0%}",
            )
            for scale in found.scaling
        ],
        4,
    )
    source, machine = found.source, found.machine
    click.echo(
        f"{found.images:,} images of {found.megapixels:.2f} MP, {found.visits} times each; "
        f"{'drawn' if source['drawn'] else 'source'}: {source['samples']:,} samples scanned, "
        f"{source['kept']:,} that fit.\n"
        f"An image: {tables.size(found.bytes_in)} in, {tables.size(found.bytes_out)} out. "
        f"A worker's memory: {tables.size(found.peak_memory)} at most."
    )
    if found.of_a_core < _UNDISTURBED:
        click.echo(
            f"The worker had {found.of_a_core:.0%} of a core: other programs are running (or the "
            "disk is slow), and only ratios can be trusted."
        )
    if found.damaged:
        click.echo(f"{found.damaged:,} images more are damaged and count nowhere.")
    click.echo(f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['system']}")
    click.echo(", ".join(f"{name} {version}" for name, version in found.software.items()))


def _row(name: str, rate: Rate) -> tuple[str, str, str, str, str]:
    return (
        name,
        f"{rate.ms:.3f}",
        f"{rate.images_per_second:,.0f}" if rate.ms else "-",
        f"{rate.megapixels_per_second:,.0f}" if rate.ms else "-",
        f"{rate.share:.1%}",
    )
