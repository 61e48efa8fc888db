"""The lock of an output folder: the kernel's, so that it goes with the process that holds it,
however that ends. What stands in the file is for the message alone."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from .errors import RunError

_PATIENCE = 300.0
"""Seconds until a turn is waited for in vain: they are of some unlinks."""

_LOOK_AGAIN = 0.1


def holder() -> str:
    """This process, as the message names it to others."""
    since = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"process {os.getpid()} on {socket.gethostname()} since {since}"


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """What several processes must not do at the same time, one after the other. Where the file
    system has no locks, nobody waits. Raises RunError where one of them does not get on."""
    with open(path, "a+") as file:
        waited = 0.0
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if waited >= _PATIENCE:
                    raise RunError(
                        f"{path} is held by a process that does not get on, for {waited:.0f} s: "
                        "end that; the same command goes on from here"
                    ) from None
                time.sleep(_LOOK_AGAIN)
                waited += _LOOK_AGAIN
            except OSError:
                break
        yield


def locked(what: object, path: Path, shared: bool = False, needed: bool = True) -> TextIO:
    """The lock file, held. Raises RunError where another process holds it.

    what: is locked, for the message. shared: with others that share it. needed: whether locks must
    work here; where they do not, the file is merely open.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = open(path, "a+")  # noqa: SIM115 held until close
        except FileNotFoundError:  # a run has just ended here
            continue
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                return lock
        except FileNotFoundError:
            pass  # a run has just ended here and taken its lock with it, the one we now hold
        except BlockingIOError:
            lock.seek(0)
            other = lock.read().strip() or "another process"
            lock.close()
            raise RunError(
                f"{what} is in use by {other}; wait for it, or choose another folder"
            ) from None
        except OSError as error:
            if not needed:
                return lock
            lock.close()
            raise RunError(
                f"cannot lock {path}: {error.strerror}. Choose a folder on a file system with locks"
            ) from None
        lock.close()
