"""fastbucket card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..errors import RunError


def _notes(file: Any) -> str | None:
    if file is None:
        return None
    try:
        return str(file.read())
    except UnicodeDecodeError as error:
        raise RunError(f"--notes {file.name}: not UTF-8: {error.reason}") from None


@click.command("card")
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--title", help="Title of the dataset.")
@click.option(
    "--license", "--licence", "licence", metavar="ID", help="Its id on the Hub, such as cc-by-4.0."
)
@click.option("--source-url", metavar="URL", help="Where the source can be had.")
@click.option(
    "--notes",
    type=click.File("r", encoding="utf-8"),
    help="Markdown of your own, from a file or - for standard input.",
)
@click.option("--anew", is_flag=True, help="Drop edits by hand, but for those in the notes.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    out: Path,
    title: str | None,
    licence: str | None,
    source_url: str | None,
    notes: Any,
    anew: bool,
    as_json: bool,
) -> None:
    """Write the dataset card OUT/README.md, with what you say of the dataset.

    All else in it comes from the manifest. What you say stays when the card is written again, by
    this command, export, captions apply or prune, and so do edits by hand. "" removes a field.

    \b
    Example:
      fastbucket card out --title 'ImageNet-22k, bucketed' --license other \\
          --source-url https://huggingface.co/datasets/timm/imagenet-22k-wds --notes notes.md
    """
    from ..card import edit

    report = edit(out, title, licence, source_url, _notes(notes), anew)
    if as_json:
        click.echo(json.dumps(report.to_json(), ensure_ascii=False, indent=2))
        return
    fields = report.fields
    for name, text in (
        ("title", fields.title),
        ("license", fields.licence),
        ("source", fields.source_url),
        ("notes", f"{len(fields.notes.splitlines()):,} lines" if fields.notes else ""),
    ):
        click.echo(f"{name:8}{text or '-'}")
    for line in filter(None, report.kept):
        click.echo(f"not written, for an edit by hand stands there: {line}", err=True)
    click.echo(f"{report.path}: {'written' if report.written else 'as it was'}.")
