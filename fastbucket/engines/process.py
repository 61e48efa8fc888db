"""One worker process: its start, its task, where in it it is, and how it ended."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from ..errors import RunError
from .attempt import Attempt
from .worker import CELL, NOWHERE, OUT_OF_MEMORY, STEP, UNBORN

GRACE_SECONDS = 1.0
"""How long a worker may take to end before it is killed."""

_DEATH_SECONDS = 30.0
"""How long a killed process may take to be gone. One that hangs in the kernel, on a network drive
for one, cannot be killed; and nobody may write where it might yet."""

_PROGRAM = (
    # No import from the folder the user stands in: PYTHONPATH has all of our path.
    "import sys; sys.path[0] or sys.path.pop(0); from fastbucket.engines.worker import main;"
    " main(*map(int, sys.argv[1:]))"
)


class Ended(Exception):
    """A worker is no more: at which position of its task (None: at none), and how it ended."""

    def __init__(self, position: int | None, how: str) -> None:
        super().__init__(how)
        self.position = position
        self.how = how


class Worker:
    """A process, and the attempt at a task that it is busy with.

    ready: it has started, and imported what comes first. told: progress that it reported of this
    attempt. still: seconds that it has been seen at the same step, see `watch`. Raises RunError
    where no process can be started.
    """

    def __init__(self, setup: Any) -> None:
        self.attempt: Attempt | None = None
        self.ready = False
        self.told = 0
        self.still = 0.0
        self.seen = -1
        ours, theirs = socket.socketpair()
        cell = _shared_memory()
        self._memory = memoryview(mmap.mmap(cell, CELL)).cast("Q")
        try:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-c", _PROGRAM,
                    *map(str, (theirs.fileno(), cell, os.getpid())),
                ],
                pass_fds=[theirs.fileno(), cell],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_fileno(sys.stderr) else None,
                start_new_session=True,
                # libvips reads its thread count from the environment; a worker is one core.
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                    "VIPS_CONCURRENCY": "1",
                },
            )  # fmt: skip
        except OSError as error:
            ours.close()
            raise RunError(
                f"no worker process can be started: {error.strerror}. Try fewer --workers; the "
                "same command goes on from here"
            ) from None
        finally:
            theirs.close()
            os.close(cell)
        self.connection = Connection(ours.detach())
        self._send(setup)

    @property
    def position(self) -> int | None:
        """Where in its task it is; None: at no position."""
        place = self.step % STEP
        return place - 2 if place > NOWHERE else None

    @property
    def step(self) -> int:
        """A number that is another one whenever it has gone on."""
        return int(self._memory[0])

    def ask(self, job: str, attempt: Attempt) -> None:
        """Have it make an attempt; the answer comes by `receive`."""
        self.attempt, self.told, self.still = attempt, 0, 0.0
        self._send((job, attempt.task, attempt.poisoned, attempt.suspect))

    def _send(self, message: Any) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # its end shows when it is read from
            self.connection.send(message)

    def receive(self) -> tuple[str, Any]:
        """Its next message. Raises Ended where it is dead, and RunError or RuntimeError for what
        its job raised as such."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):  # OSError: in the middle of a message
            raise Ended(self.position, self._how(self.end())) from None
        if kind == "ready":
            self.ready = True
        if kind == "run_error":
            raise RunError(value)
        if kind == "bug":
            raise RuntimeError(f"in a worker process:\n{value}")
        return kind, value

    def kill(self) -> bool:
        """End it and what it may have started, at once. Returns whether it had stood still until
        then: else it was not where it was thought to be."""
        step = self.seen
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.end()
        return step == self.step

    def end(self) -> int:
        """Wait for its end, and help where that takes too long. Returns the exit code."""
        self.connection.close()
        try:
            return self.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
        try:
            return self.process.wait(_DEATH_SECONDS)
        except subprocess.TimeoutExpired:
            raise RunError(
                f"worker process {self.process.pid} cannot be ended: it hangs in the system, "
                "reading or writing as a rule. Look after the drives; the same command goes on "
                "from here"
            ) from None

    def stop(self) -> None:
        """Tell it to end; `end` waits for that."""
        self.connection.close()
        if self.process.poll() is None:
            self.process.terminate()

    def _how(self, code: int) -> str:
        if code == OUT_OF_MEMORY:
            return "ended its worker process: out of memory"
        how = f"exit code {code}"
        if code < 0:
            how = f"signal {-code}"
            with suppress(ValueError):  # a real-time signal has no name
                how += f" ({signal.Signals(-code).name})"
        at_start = " as it started" if self.step == UNBORN else ""
        return f"ended its worker process{at_start} with {how}"


def _shared_memory() -> int:
    """The descriptor of CELL zero bytes that have no name."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("fastbucket")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, CELL)
    return descriptor


def _has_fileno(stream: Any) -> bool:
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True
