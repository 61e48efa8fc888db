"""fastbucket export."""

from __future__ import annotations

import json
from typing import Any

import click

from ..errors import RunError
from ..recipe import Recipe
from ..resources import Resources
from .options import options, recipe, resources


def _pair(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[Any]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} is not NAME=PATTERN", ctx, param)
    return [tuple(value.split("=", 1)) for value in values]


def _listed(file: Any) -> list[str]:
    """The lines of --exclude."""
    try:
        return [line.strip() for line in file if line.strip()]
    except UnicodeDecodeError as error:
        raise RunError(f"--exclude {file.name}: not UTF-8: {error.reason}") from None


@click.command("export")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.argument("out", type=click.Path(file_okay=False))
@click.option("--dry-run", is_flag=True, help="Stop after the plan and show what would come out.")
@click.option("--overwrite", is_flag=True, help="Start afresh where OUT holds an export.")
@click.option(
    "--work",
    type=click.Path(file_okay=False),
    help="Where OUT is a URL: folder to work in.  [default: its last name, in this folder]",
)
@click.option(
    "--recipe",
    "recipe_file",
    type=click.Path(exists=True, dir_okay=False),
    help="Take the recipe of an earlier manifest.json; options given beside it override it.",
)
@click.option(
    "--split",
    "splits",
    metavar="NAME=PATTERN",
    multiple=True,
    callback=_pair,
    help="Split of the archives whose file name or path matches; the first that matches.",
)
@click.option(
    "--exclude",
    type=click.File("r", encoding="utf-8"),
    help="Drop the samples listed in this file: keys or image_ids, one a line.",
)
@click.option(
    "--license", "--licence", "licence", default="", metavar="ID",
    help="Licence for the card, by its id on the Hub: cc-by-4.0; fastbucket card sets it later.",
)  # fmt: skip
@click.option(
    "--shards", "part", metavar="I/N",
    help="Make the I-th of N parts only, beside other jobs in the same OUT; then fastbucket merge.",
)  # fmt: skip
@click.option("--profile", is_flag=True, help="Show where the time of the samples went.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("-v", "--verbose", "verbosity", flag_value=1, type=int, help="List all bad inputs.")
@click.option("-q", "--quiet", "verbosity", flag_value=-1, type=int, default=0, help="No progress.")
@options(Resources)
@options(Recipe)
def command(
    sources: tuple[str, ...],
    out: str,
    dry_run: bool,
    overwrite: bool,
    work: str | None,
    recipe_file: str | None,
    splits: list[tuple[str, str]],
    exclude: Any,
    licence: str,
    part: str | None,
    profile: bool,
    as_json: bool,
    verbosity: int | None,
    **fields: Any,
) -> None:
    """Export SOURCEs into the folder OUT, or go on with an export interrupted there.

    OUT may be a URL as fastbucket push takes it: the export is made in a folder (--work), which
    stays, and pushed from there when it is complete.

    A SOURCE is a tar file, a Parquet file of images, a folder of either, a folder tree of images
    (with .txt and .json beside them), a glob, a name with braces, or - for a list of them on
    standard input. FILE.parquet#COLUMN names the column of the images where several could be it.
    Compressed tars, http(s)://, s3://, gs://, hf:// and pipe:COMMAND are read once, and what fits
    is spooled.

    \b
    Examples:
      fastbucket export 'imagenet22k-{train-{0000..4095},validation-{0000..0511}}.tar' out
      fastbucket export photos/ out --dry-run
      fastbucket export tars/ out --split val='*-validation-*' --workers 16
      fastbucket export 'train-*.parquet' out --caption-field text
      fastbucket export tars/ again --recipe out/manifest.json
      fastbucket export 'https://host/train-{0000..0123}.tar.gz' out --spool /scratch
      fastbucket export tars/ s3://bucket/photos-512 --work /fast/photos-512
      fastbucket export tars/ /shared/out --shards $SLURM_ARRAY_TASK_ID/16
      fastbucket export tars/ /shared/out --engine ray --address auto
    """
    from .. import run, sinks
    from . import tables

    if part and (dry_run or overwrite):
        raise click.UsageError(
            "--shards makes a part of an export beside others: not with "
            + ("--dry-run" if dry_run else "--overwrite; remove the folder to start afresh")
        )
    if part and sinks.is_url(out):
        raise click.UsageError(
            "--shards makes its part in a folder that all parts share: push it after the merge"
        )
    verbosity = verbosity or 0
    progress = tables.progress(verbosity)
    call: dict[str, Any] = {
        "splits": splits,
        "exclude": _listed(exclude) if exclude else [],
        "progress": progress,
    }
    made, used = recipe(fields, recipe_file), resources(fields)
    pushed = None
    with progress:
        folder = sinks.folder(out, work)
        if part:
            from .. import jobarray

            report = jobarray.export_part(
                sources, folder, part, made, used, licence=licence, **call
            )
        elif dry_run:
            report = run.plan(sources, folder, made, used, overwrite=overwrite, **call)
        elif sinks.is_url(out):
            call |= {"overwrite": overwrite, "licence": licence, "work": work}
            report, pushed = sinks.export(sources, out, made, used, **call)
        else:
            call |= {"overwrite": overwrite, "licence": licence}
            report = run.export(sources, folder, made, used, **call)
    if as_json:
        more = {"push": pushed.to_json()} if pushed else {}
        click.echo(json.dumps(report.to_json() | more, ensure_ascii=False, indent=2))
    else:
        tables.show(report, verbosity)
        if profile:
            tables.show_stages(report)
        if pushed:
            from .push import show

            show(pushed)
