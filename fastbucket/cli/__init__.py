"""The command line. It owns no logic: options -> dataclasses -> one library call -> print.

Exit codes: 0 complete, 1 ended with errors, 2 usage, 130 interrupted, 128 + n ended by signal n.
"""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from .. import __version__
from ..errors import RunError
from ..software import leave_out_pandas

COMMANDS = (
    "export", "merge", "captions", "report", "suspects", "prune", "card", "index", "verify", "push",
    "buckets", "bench", "demo",
)  # fmt: skip
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


class _Ended(BaseException):
    """A signal asks this process to end. No Exception, so that nobody mistakes it for one."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


def _end(number: int, frame: Any) -> None:
    raise _Ended(number)


def main() -> None:
    """The console script."""
    leave_out_pandas()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup has it ignored: so it stays
            signal.signal(number, _end)
    try:
        cli.main(standalone_mode=False, prog_name="fastbucket")
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except RunError as error:
        _say(str(error))
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; the same command goes on from here, or begins again")
        sys.exit(130)
    except _Ended as end:
        _say(f"ended by {end.signal.name}; the same command goes on from here, or begins again")
        sys.exit(128 + end.signal)


def _say(text: str) -> None:
    """The last words, undisturbed by a second Ctrl-C and by a terminal that is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        click.echo(f"fastbucket: {text}", err=True)
