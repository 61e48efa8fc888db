"""fastbucket captions: a group of commands."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import click

ORDER = ("init", "import", "generate", "status", "apply", "export")
"""The commands of the group, in the order in which help lists them."""

ELSEWHERE = {"generate": "captions_generate"}
"""Those with a module of their own, loaded when it is asked for."""


class _Captions(click.Group):
    """Lists its commands in the order of work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(ORDER)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in ELSEWHERE:
            command: click.Command = import_module(f".{ELSEWHERE[name]}", __package__).command
            return command
        return super().get_command(ctx, name)


@click.group("captions", cls=_Captions)
def command() -> None:
    """Caption an export, in as many passes as it takes, and put the captions into its shards.

    Captions are kept in OUT/captions.sqlite, by variant: one for every model or source. Applying
    chooses one a sample, by priority, and touches no image.

    \b
    Example:
      fastbucket captions init out
      fastbucket captions import out captions.jsonl --variant caption_gemini_2_5_flash_lite
      fastbucket captions apply out --priority caption_gemini_2_5_flash_lite
    """


_OUT = click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_QUIET = click.option("-q", "--quiet", is_flag=True, help="No progress.")
_PRIORITY = click.option(
    "--priority",
    metavar="VARIANT",
    multiple=True,
    help="A variant to choose captions of; repeat it, the first that a sample has is its caption."
    "  [default: that of the manifest]",
)


def _json(report: Any) -> None:
    click.echo(json.dumps(report.to_json(), ensure_ascii=False, indent=2))


@command.command("init")
@_OUT
@_JSON
@_QUIET
def init(out: Path, as_json: bool, quiet: bool) -> None:
    """Make OUT/captions.sqlite, or bring it up to date with the export in OUT.

    Captions that are there stay; those that stand in the shards are taken over, the source's own
    as caption_source. Run it again after a new export into OUT.

    \b
    Example:
      fastbucket captions init out
    """
    from ..captions.workspace import init
    from . import tables

    progress = tables.progress(-1 if quiet else 0)
    with progress:
        report = init(out, progress)
    if as_json:
        _json(report)
        return
    for variant, n in report.taken.items():
        click.echo(f"{n:,} captions of {variant} taken over from the shards.")
    gone = f", and {report.gone:,} that the export has no more" if report.gone else ""
    click.echo(f"{report.path}: {report.samples:,} samples{gone}.")


@command.command("import")
@_OUT
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--variant", required=True, help="Name of these captions: caption_ and the model.")
@click.option("--model", default="", help="The model that wrote them, for the manifest.")
@click.option("--prompt-file", type=click.File("rb"), help="Its prompt; the SHA-256 is noted.")
@click.option(
    "--id-column", default="", help="Column of the key or image_id.  [default: key, __key__, "
    "image_id, the first there is]",
)  # fmt: skip
@click.option(
    "--text-column", default="", help="Column of the caption.  [default: caption, text, txt, the "
    "first there is]",
)  # fmt: skip
@click.option(
    "--replace", is_flag=True, help="Note another model or prompt for a variant that is known."
)
@_JSON
def import_(
    out: Path,
    file: Path,
    variant: str,
    model: str,
    prompt_file: Any,
    id_column: str,
    text_column: str,
    replace: bool,
    as_json: bool,
) -> None:
    """Take captions from FILE (.jsonl, .csv or .parquet), matched by key or by image_id.

    A caption that a sample has already of this variant is replaced. Rows of no sample of the
    export, and empty ones, are counted and written to a file beside FILE.

    \b
    Examples:
      fastbucket captions import out gemini.jsonl --variant caption_gemini_2_5_flash_lite
      fastbucket captions import out mine.csv --variant caption_mine --text-column description
    """
    from ..captions import intake

    prompt = prompt_file.read() if prompt_file else b""
    report = intake.take(out, file, variant, model, prompt, id_column, text_column, replace)
    if as_json:
        _json(report)
        return
    click.echo(
        f"{variant}: {report.stored:,} captions of {report.rows:,} rows; {report.unmatched:,} of "
        f"no sample, {report.empty:,} empty, {report.repeated:,} repeated (the last one counts)."
    )
    if report.rejected:
        click.echo(f"Not taken: {report.rejected}")


@command.command("status")
@_OUT
@_PRIORITY
@click.option("--seed", default=0, help="Chooses the examples.", show_default=True)
@_JSON
def status(out: Path, priority: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Show what captions there are, by variant and bucket, and what apply would choose.

    \b
    Example:
      fastbucket captions status out --priority caption_mine --priority caption_source
    """
    from ..captions import survey
    from . import tables

    found = survey.status(out, priority, seed)
    if as_json:
        _json(found)
        return
    tables.table(
        "Variants",
        ("variant", "model", "captions", "share", "empty", "refused", "error", "shortest",
         "median", "longest"),
        [
            (v.variant, v.model, v.ok, f"{v.ok / max(found.samples, 1):.1%}", v.empty, v.refused,
             v.error, v.shortest, v.median, v.longest)
            for v in found.variants
        ],
        8,
    )  # fmt: skip
    names = [v.variant for v in found.variants if v.ok]
    tables.table(
        "Buckets",
        ("bucket", "samples", *names),
        [
            (bucket_id, counts["samples"], *(counts.get(name, 0) for name in names))
            for bucket_id, counts in found.buckets.items()
        ],
        1 + len(names),
    )
    tables.table("Apply would choose", ("variant", "samples"), found.choice.items(), 1)
    for example in found.examples:
        click.echo(f"{example.image_id} [{example.variant or 'no caption'}] {example.text}")
    click.echo(
        f"{found.samples:,} samples, {found.samples - found.without:,} with a caption, "
        f"{found.without:,} without."
    )
    if found.stale:
        click.echo(f"The export was made anew: run fastbucket captions init {out}.")
    if found.applying:
        click.echo(f"Captions are being applied: run fastbucket captions apply {out} again.")


@command.command("apply")
@_OUT
@_PRIORITY
@click.option(
    "--missing",
    type=click.Choice(("keep", "drop")),
    help="What becomes of a sample without a caption; drop repacks the buckets, so that shards "
    "stay full.  [default: that of the manifest]",
)
@click.option(
    "--workers", type=click.IntRange(0), default=0, help="Worker processes; 0: one for every CPU."
)
@_JSON
@_QUIET
def apply(
    out: Path,
    priority: tuple[str, ...],
    missing: str | None,
    workers: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Put the chosen captions into the shards of OUT. Image bytes stay what they are.

    Only shards that change are written, each replaced whole; the manifest is last. Interrupted
    anywhere, the same command goes on.

    \b
    Examples:
      fastbucket captions apply out
      fastbucket captions apply out --priority caption_mine --priority caption_source
    """
    from ..captions import application
    from . import tables

    progress = tables.progress(-1 if quiet else 0)
    with progress:
        report = application.apply(out, priority, missing or "", workers, progress)
    if as_json:
        _json(report)
        return
    tables.table("Captions", ("variant", "samples"), report.counts.items(), 1)
    dropped = f", {report.dropped:,} dropped" if report.dropped else ""
    click.echo(
        f"{report.samples - report.without:,} of {report.samples:,} samples have a caption, "
        f"{report.without:,} have none{dropped}; {report.rewritten:,} of {report.shards:,} shards "
        f"written, {tables.size(report.bytes_written)} in {report.seconds:.1f} s."
    )


@command.command("export")
@_OUT
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--variant", "variants", metavar="VARIANT", multiple=True, help="Only this; repeatable."
)
def export(out: Path, file: Path, variants: tuple[str, ...]) -> None:
    """Write the captions into FILE (.jsonl or .parquet), to be edited elsewhere and imported again.

    Columns: key, image_id, bucket_id, variant, model, text.

    \b
    Example:
      fastbucket captions export out captions.jsonl --variant caption_source
    """
    from ..captions import listing

    n = listing.write(out, file, variants)
    click.echo(f"{file}: {n:,} captions.")
