"""Write docs/cli.md from the commands' own --help.

python tools/make_cli_docs.py            # writes docs/cli.md
python tools/make_cli_docs.py --check    # exit 1 if it would change
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fastbucket.cli import cli

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
WIDTH = 100


def page() -> str:
    """The whole page."""
    parts = ["# Command line", "", "Generated from `--help` by tools/make_cli_docs.py.", ""]
    parts += _sections(cli, "fastbucket")
    return "\n".join(parts)


def _sections(command: click.Command, title: str) -> list[str]:
    """The help of a command, and of those of a group after it."""
    context = click.Context(command, info_name=title, max_content_width=WIDTH)
    context.terminal_width = WIDTH
    parts = [f"## {title}", "", "```text", command.get_help(context), "```", ""]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            parts += _sections(found, f"{title} {name}")
    return parts


def main() -> None:
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") != page():
            sys.exit("docs/cli.md is out of date: run python tools/make_cli_docs.py")
        return
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
