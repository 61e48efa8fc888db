"""The command line. It owns no logic: options -> dataclasses -> one library call -> print.

Exit codes: 0 complete, 1 ended with errors, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

from .. import __version__
from ..errors import RunError

COMMANDS = ("export", "verify", "buckets", "bench", "demo")
"""One module each, in the order in which help lists them."""


class _Commands(click.Group):
    """Loads a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f".{name}", __name__).command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fastbucket")
def cli() -> None:
    """Turn large photo collections into pre-bucketed, captioned training sets.

    \b
    Example:
      fastbucket export 'imagenet22k-train-{0000..4095}.tar' dataset
      fastbucket verify dataset
    """


def main() -> None:
    """The console script."""
    try:
        cli.main(standalone_mode=False, prog_name="fastbucket")
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except RunError as error:
        click.echo(f"fastbucket: {error}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            "fastbucket: interrupted; an export goes on from here with the same command", err=True
        )
        sys.exit(130)
