"""Archives that a shell command prints: pipe:cmd, in webdataset's notation.

Not by webdataset's own opener: that takes an end of file for the end of the tar when the command
has not yet ended (so that its exit code is never seen), and takes 141 (SIGPIPE) for success. A
command is not run again by itself: it knows best how to try again (curl --retry).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

from ..catalogue import Archive
from ..errors import RunError, StreamError
from ..progress import GOING_ON, At, unwatched
from .address import PIPE
from .packing import archive_in

_GRACE = 600.0
"""Seconds that a command may take to end when it has closed its output."""

_BOUND = """
import ctypes, os, signal, sys
for ignored in signal.SIGPIPE, signal.SIGXFSZ:  # by Python, and then by all that it becomes
    signal.signal(ignored, signal.SIG_DFL)
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes a shell that ends with this process, however that ends. A program, as what runs between
fork and exec (preexec_fn) may wait for ever for a lock that another thread held at the fork."""


def archive(address: str) -> Archive:
    """The archive that a command prints. Raises RunError where the command names none."""
    name = archive_in(address.removeprefix(PIPE))
    if not name:
        raise RunError(
            f"source {address}: names no .tar, and the name is part of every image_id. Put it into "
            f"a comment of the shell: {address} # NAME.tar"
        )
    return Archive("stream", address, name, "", 0, "command")


class Output:
    """What a command prints; see `packing.Bytes`. Its end is no proof that it is whole."""

    whole = False

    def __init__(self, archive: Archive, at: At = unwatched) -> None:
        self._address, self._at = archive.path, at
        # A shell is what pipe: means, and --allow-pipe allows.
        shell = ["/bin/sh", "-c", archive.path.removeprefix(PIPE)]
        if sys.platform == "linux":
            shell = [sys.executable, "-I", "-S", "-c", _BOUND, str(os.getpid()), *shell]
        self._process = subprocess.Popen(
            shell,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,  # the shell may have begun others: all of them end with it
        )
        assert self._process.stdout is not None
        self._printed = self._process.stdout

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end only. Raises StreamError where the command fails."""
        self._at(GOING_ON)
        data = self._printed.read(size)
        if not data:
            self._check()
        return data

    def close(self) -> None:
        """End it, and what it began, whether or not it has ended itself."""
        self._printed.close()
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS: only zombies are left of it
            os.killpg(self._process.pid, number)

    def _check(self) -> None:
        try:
            code = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            raise StreamError(
                f"{self._address}: the command has closed its output and does not end"
            ) from None
        if code:
            how = f"exit code {code}"
            if code < 0:
                how = f"signal {-code}"
                with suppress(ValueError):
                    how = f"signal {-code} ({signal.Signals(-code).name})"
            raise StreamError(
                f"{self._address}: the command ended with {how}. See what it says when it is run "
                "by hand; the same command goes on with the archives that are missing"
            )
