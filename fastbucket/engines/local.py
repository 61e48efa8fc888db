"""Worker processes on this machine.

Workers are fresh interpreters (never forks: libvips is threaded, and a process that has used it
must not fork), each on a socket pair. Nothing of the caller's main module is imported in them, so
a script or a notebook needs no `if __name__ == "__main__"`. They lead process groups of their own:
Ctrl-C reaches the parent alone, which ends them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

from ..errors import RunError

_GRACE_SECONDS = 1.0
"""How long a worker may take to end before it is killed."""


class _Worker:
    """One process and the task it holds."""

    def __init__(self, setup: Any) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    # No import from the folder the user stands in: PYTHONPATH has all of our path.
                    "import sys; sys.path.pop(0); from fastbucket.engines.worker import main;"
                    " main(int(sys.argv[1]), int(sys.argv[2]))",
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_fileno(sys.stderr) else None,
                start_new_session=True,
                # libvips reads its thread count from the environment; a worker is one core.
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                    "VIPS_CONCURRENCY": "1",
                },
            )
        self.connection = Connection(ours.detach())
        with suppress(BrokenPipeError, ConnectionResetError):  # its end shows when it is read from
            self.connection.send(setup)
        self.task: tuple[Any] | None = None

    def start(self, job: str, task: Any) -> None:
        self.task = (task,)
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send((job, task))

    def end(self) -> None:
        self.connection.close()
        if self.process.poll() is None:
            self.process.terminate()


def _has_fileno(stream: Any) -> bool:
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True


class Local:
    """An engine of `workers` processes; `setup` is handed to the factory of every job.

    setup["preload"], if there, names modules that a worker imports while it has nothing to do.
    """

    def __init__(self, workers: int, setup: Any) -> None:
        self._count = workers
        self._setup = setup
        self._workers: list[_Worker] = []

    def __enter__(self) -> Local:
        return self

    def start(self, tasks: int) -> None:
        """Start the workers that so many tasks can use; `map` does it too, this does it early."""
        while len(self._workers) < min(self._count, tasks):
            self._workers.append(_Worker(self._setup))

    def map(
        self, job: str, tasks: Iterable[Any], progress: Callable[[int], None] = lambda n: None
    ) -> Iterator[tuple[Any, Any]]:
        """Do the tasks and yield (task, result) as they end, in any order.

        job: "module:factory", see `worker`. progress: called with what tasks report meanwhile.
        Raises RunError for what a task raised as such, and when a worker dies.
        """
        waiting = deque(tasks)
        self.start(len(waiting))
        for worker in self._workers:
            if waiting:
                worker.start(job, waiting.popleft())
        busy = {w.connection: w for w in self._workers if w.task is not None}
        while busy:
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                kind, value = self._receive(worker)
                if kind == "progress":
                    progress(value)
                    continue
                assert worker.task is not None
                (task,), worker.task = worker.task, None
                if waiting:
                    worker.start(job, waiting.popleft())
                else:
                    del busy[worker.connection]
                yield task, value

    def _receive(self, worker: _Worker) -> tuple[str, Any]:
        try:
            kind, value = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            code = worker.process.wait()
            how = f"exit code {code}"
            if code < 0:
                how = f"signal {-code} ({signal.Signals(-code).name})"
            raise RunError(
                f"a worker process ended with {how} during task {worker.task}; "
                "the same command goes on from here"
            ) from None
        if kind == "run_error":
            raise RunError(value)
        if kind == "bug":
            raise RuntimeError(f"in a worker process:\n{value}")
        return kind, value

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.end()
        for worker in self._workers:
            try:
                worker.process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._workers.clear()
