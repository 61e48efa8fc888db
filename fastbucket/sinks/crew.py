"""Threads that wait for a network: several pieces of work at a time, results as they come."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_GRACE = 3.0
"""Seconds that unfinished work has to put down what it holds, when the run ends."""


class Stopped(Exception):
    """The run ends: by an error elsewhere, or a signal. An Exception: fsspec would lose another."""


class Turn:
    """What a piece of work is called with: how it tells where it is, and learns that all ends."""

    def __init__(self, stop: threading.Event, told: Callable[[int], None]) -> None:
        self._stop, self._told = stop, told

    def advance(self, n: int) -> None:
        """n more bytes are done. Raises Stopped."""
        if self._stop.is_set():
            raise Stopped
        self._told(n)

    def wait(self, seconds: float) -> None:
        """Sleep. Raises Stopped, at once when all ends."""
        if self._stop.wait(seconds):
            raise Stopped


def each(
    work: Callable[[Item, Turn], Result],
    items: Sequence[Item],
    at_once: int,
    advance: Callable[[int], None],
) -> Generator[tuple[Item, Result], None, None]:
    """Do `work` with every item, so many at once, and yield what comes of it, in the order in
    which it is done. advance is called in the caller's thread.

    The first error ends all and is raised. The threads are daemons: what hangs in a library does
    not keep the process.
    """
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    events: queue.SimpleQueue[tuple[str, Any, Any]] = queue.SimpleQueue()
    stop = threading.Event()
    turn = Turn(stop, lambda n: events.put(("bytes", n, None)))

    def serve() -> None:
        with suppress(queue.Empty):
            while not stop.is_set():
                item = waiting.get_nowait()
                try:
                    events.put(("done", item, work(item, turn)))
                except Stopped:
                    return
                except BaseException as error:  # noqa: BLE001 it is raised again where it is waited for
                    events.put(("failed", item, error))
                    return

    threads = [
        threading.Thread(target=serve, daemon=True, name=f"sink-{number}")
        for number in range(min(at_once, len(items)))
    ]
    left = len(items)
    try:
        for thread in threads:
            thread.start()
        while left:
            kind, subject, result = events.get()
            if kind == "bytes":
                advance(subject)
            elif kind == "failed":
                raise result
            else:
                left -= 1
                yield subject, result
    finally:
        stop.set()
        ends = time.monotonic() + _GRACE
        for thread in threads:
            thread.join(max(0.0, ends - time.monotonic()))
