"""The process that does tasks: started by `process`, talked to over one socket.

    parent -> worker   (job, task, poisoned, suspect)
    worker -> parent   ("ready", None) | ("done", result) | ("survived", None) | ("progress", n) |
                       ("run_error", text) | ("bug", traceback)

A job is named "module:factory"; factory(setup) is called once in a worker and returns the function
that is called with each task and with a `Reporter`. Where in its task it is, the worker writes into
one number that the parent shares: no message, and still there when the worker is not.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from ..errors import RunError, SampleError
from ..progress import GOING_ON
from ..software import leave_out_pandas

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

CELL = 8
"""Bytes of the shared memory: a uint64 in the machine's order, step << 32 | place. One store a call
writes both. The step is another one at each call."""

STEP = 1 << 32

UNBORN, NOWHERE = 0, 1
"""Places before the first task, and at no position; position n is n + 2, so that new memory, which
is zero, says what is true, and GOING_ON is at none."""

OUT_OF_MEMORY = 12
"""Exit code (ENOMEM): Python or NumPy found no memory, and the process is fit for nothing else."""


class _Survived(BaseException):
    """The suspect position is behind us. No Exception, so that no job takes it for one of its."""


class Reporter:
    """What a job is given to say how far it is: see `progress.Reporter`.

    It also plays the two games of `attempt`: a poisoned position is refused in `at`, and in a trial
    every position but the suspect one, until that is passed, which ends the job then and there.
    """

    def __init__(self, connection: Connection, cell: memoryview) -> None:
        self._connection = connection
        self._cell = cell
        self._poisoned: Mapping[int, str] = {}
        self._suspect: int | None = None
        self._tried = False
        self.careful = False
        self._step = 0

    def begin(self, poisoned: Mapping[int, str], suspect: int | None) -> None:
        """Of a task, or of the trial of one of its positions."""
        self._poisoned, self._suspect, self._tried = poisoned, suspect, False
        self.careful = bool(poisoned) or suspect is not None
        self._step %= 1 << 63  # no task has as many positions as are left above
        self.end()

    def end(self) -> None:
        """Of a task: the worker is at no position."""
        self._step += STEP
        self._cell[0] = self._step | NOWHERE

    def __call__(self, n: int) -> None:
        self._connection.send(("progress", n))

    def at(self, position: int | None) -> None:
        self._step += STEP
        self._cell[0] = self._step | (NOWHERE if position is None else position + 2)
        if self.careful:
            self._allow(position)

    def _allow(self, position: int | None) -> None:
        if position == GOING_ON:
            return
        if self._suspect is not None:
            if position is None or (self._tried and position != self._suspect):
                raise _Survived
            if position != self._suspect:
                raise SampleError("decoder_crash", "not tried")
            self._tried = True
        elif position is not None and position in self._poisoned:
            raise SampleError("decoder_crash", self._poisoned[position])


def main(fd: int, cell: int, parent: int) -> None:
    """Serve tasks until the parent says so or is gone."""
    leave_out_pandas()
    _die_with(parent)
    connection = Connection(fd)
    shared = memoryview(mmap.mmap(cell, CELL)).cast("Q")
    os.close(cell)
    report = Reporter(connection, shared)
    setup = connection.recv()
    report.end()  # born
    check_fence: Callable[[], None] = _nothing
    if "fence" in setup:
        from ..commit import Fence, check_fence, keep_within

        keep_within(Fence(*setup["fence"]))
    jobs: dict[str, Callable[..., Any]] = {}
    try:
        first, *others = setup.get("preload", ()) or (None,)
        if first is not None:
            import_module(first)
        connection.send(("ready", None))
        for module in others:
            if not connection.poll():
                import_module(module)
        while True:
            job, task, poisoned, suspect = connection.recv()
            report.begin(poisoned, suspect)
            try:
                check_fence()
                if job not in jobs:
                    module, factory = job.split(":")
                    jobs[job] = getattr(import_module(module), factory)(setup)
                result = jobs[job](task, report)
                if suspect is not None:
                    raise RuntimeError(f"{job} ended without leaving position {suspect}")
            except _Survived:
                answer: tuple[str, Any] = ("survived", None)
            except RunError as error:
                answer = ("run_error", str(error))
            except MemoryError:
                os._exit(OUT_OF_MEMORY)
            except OSError as error:  # of our own files: those of the source are RunErrors
                answer = ("run_error", f"{error.filename or 'a file'}: {error.strerror}")
            except Exception:  # noqa: BLE001 a bug: the parent shows it and stops the run
                answer = ("bug", traceback.format_exc())
            else:
                answer = ("done", result)
            report.end()
            connection.send(answer)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        sys.exit(1)  # the parent is gone: nobody is left to write for


def _nothing() -> None: ...


def _die_with(parent: int) -> None:
    """Have the kernel end this process when its parent dies; Linux only, elsewhere the closed
    socket ends it after the samples at hand."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)
