"""Where tasks run: `local`, worker processes on this machine, or `ray`, the same on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol

ENGINES = {"local": "fastbucket.engines.local:Local", "ray": "fastbucket.engines.ray:Ray"}
"""Name -> module:class, loaded when it is asked for."""


class Engine(Protocol):
    """A context manager that does tasks; made with (workers, setup, timeout, say), see `Local`."""

    @property
    def workers(self) -> int:
        """How many tasks it does at a time."""

    def start(self, tasks: int) -> None:
        """Begin to start the workers that so many tasks can use."""

    def map(
        self,
        job: str,
        tasks: Iterable[Any],
        progress: Callable[[int], None] = ...,
        describe: Callable[[Any, int | None], str] = ...,
    ) -> Iterator[tuple[Any, Any]]:
        """Do the tasks and yield (task, result) as they end, in any order."""

    def __enter__(self) -> Engine: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def engine(name: str, *arguments: Any, **options: Any) -> Engine:
    """The engine of this name, not yet started. Raises RunError where its libraries are absent."""
    module, kind = ENGINES[name].split(":")
    made: Engine = getattr(import_module(module), kind)(*arguments, **options)
    return made
