"""The process that does tasks: started by `local`, talked to over one socket.

    parent -> worker   (job, task)            None: no more work
    worker -> parent   ("done", result) | ("progress", n) | ("run_error", text) | ("bug", traceback)

A job is named "module:factory"; factory(setup) is called once in a worker and returns the function
that is called with each task and with a function that reports progress.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from ..errors import RunError

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main(fd: int, parent: int) -> None:
    """Serve tasks until the parent says so or is gone."""
    _die_with(parent)
    connection = Connection(fd)
    setup = connection.recv()
    jobs: dict[str, Callable[..., Any]] = {}
    try:
        for module in setup.get("preload", ()):
            if not connection.poll():
                import_module(module)
        while (message := connection.recv()) is not None:
            job, task = message
            try:
                if job not in jobs:
                    module, factory = job.split(":")
                    jobs[job] = getattr(import_module(module), factory)(setup)
                result = jobs[job](task, lambda n: connection.send(("progress", n)))
            except RunError as error:
                connection.send(("run_error", str(error)))
            except OSError as error:  # of our own files: those of the source are RunErrors
                connection.send(("run_error", f"{error.filename or 'a file'}: {error.strerror}"))
            except Exception:  # noqa: BLE001 a bug: the parent shows it and stops the run
                connection.send(("bug", traceback.format_exc()))
            else:
                connection.send(("done", result))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        sys.exit(1)  # the parent is gone: nobody is left to write for


def _die_with(parent: int) -> None:
    """Have the kernel end this process when its parent dies; Linux only, elsewhere the closed
    socket ends it after the sample at hand."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
