"""Progress on standard error: a bar on a terminal, elsewhere a plain line every ten seconds; and
how a job tells the one that waits for it where it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol

LINE_SECONDS = 10.0


At = Callable[["int | None"], None]
"""at(position): the next thing done is the task's position, from 0; None: it is at none.

Called before each, and with None behind them and before whatever belongs to none of them (a commit,
say). Raises SampleError("decoder_crash", ...) for one that is to be dropped without a look, since
it has ended processes. Costs 0.15 us, and no message."""

GOING_ON = -1
"""at(GOING_ON): at no position yet, but further than at the last call; for what is long before the
first position, the walk through an archive."""


def unwatched(position: int | None) -> None:
    """An `At` that nobody looks at."""


class Reporter(Protocol):
    """What a job of an engine is called with beside its task.

    careful: some positions are refused, or one of them is on trial. A job that would otherwise take
    several together takes them one by one, each after `at` has allowed it.
    """

    careful: bool

    def __call__(self, n: int) -> None:
        """n more of whatever is counted are done."""

    def at(self, position: int | None) -> None:
        """See `At`. A job without positions never calls it, and has no limit of time then."""


class Progress(Protocol):
    """Where a run says how far it is. A phase has a name, a unit and a total."""

    def phase(self, name: str, total: int, unit: str) -> None: ...

    def advance(self, n: int) -> None: ...

    def say(self, text: str) -> None: ...


class Silent:
    """Says nothing: the library's default."""

    def phase(self, name: str, total: int, unit: str) -> None: ...

    def advance(self, n: int) -> None: ...

    def say(self, text: str) -> None: ...

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *error: object) -> None: ...


class Lines:
    """A line when a phase ends, and every ten seconds: done, total, rate, time to go."""

    def __init__(self, stream: Any = None) -> None:
        self._stream = stream or sys.stderr
        self._name = ""

    def phase(self, name: str, total: int, unit: str) -> None:
        self._finish()
        self._name, self._total, self._unit, self._done = name, total, unit, 0
        self._start = self._told = time.monotonic()

    def advance(self, n: int) -> None:
        self._done += n
        now = time.monotonic()
        if now - self._told >= LINE_SECONDS:
            self._told = now
            self._line()

    def say(self, text: str) -> None:
        with suppress(OSError):  # nobody listens any more, which is no reason to stop
            print(text, file=self._stream, flush=True)

    def _line(self) -> None:
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        left = f", {clock((self._total - self._done) / rate)} to go" if rate else ""
        self.say(
            f"{self._name}: {self._done:,} of {self._total:,} {self._unit}, {rate:,.0f}/s{left}"
        )

    def _finish(self) -> None:
        if self._name:
            seconds = time.monotonic() - self._start
            self.say(
                f"{self._name}: {self._done:,} {self._unit} in {clock(seconds)}, "
                f"{self._done / max(seconds, 1e-9):,.0f}/s"
            )
        self._name = ""

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._finish()


class Bar:
    """rich's progress bar with rate and time to go."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskID,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description:<7}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]} {task.fields[rate]}/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task: TaskID | None = None

    def phase(self, name: str, total: int, unit: str) -> None:
        self._start = time.monotonic()
        self._done = 0
        self._task = self._bar.add_task(name, total=total, unit=unit, rate="-")

    def advance(self, n: int) -> None:
        self._done += n
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        if self._task is not None:
            self._bar.update(self._task, advance=n, rate=f"{rate:,.0f}")

    def say(self, text: str) -> None:
        self._bar.console.print(text, highlight=False)

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()


def clock(seconds: float) -> str:
    """Seconds as 4 s, 3:07 or 1:02:03."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
