"""Files that are there whole or not at all, also after a power cut.

What is written lies under a temporary name beside its place; it is synced, renamed, and the rename
is synced. What a dead run leaves is a temporary file, known by its name.

Two attempts at one file, on two machines it may be, do not meet before that rename: the temporary
name is each process's own, and what they rename are the same bytes. A `Fence` keeps out an attempt
that everybody has given up on, but that lives on somewhere and would come back too late.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from .errors import RunError

TEMPORARY = ".tmp"
"""Suffix of what is being written. The name starts with a dot, so that no loader takes it."""

REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room in the quota",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.EACCES: "mend the permission",
    errno.EPERM: "mend the permission",
    errno.EROFS: "make the file system writable",
    errno.ENOENT: "put the folder back in its place",
    errno.ENOTDIR: "put the folder back in its place",
    errno.EIO: "mend the disk, or copy the folder to another",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}
"""What to do about an error of the output, by errno."""


_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system without hard links says to one."""


class _Own:
    """What sets this process apart, on all machines that write into one folder: its number does
    not, where each runs in a container of its own."""

    name = os.urandom(4).hex()
    fence: Fence | None = None


def _forked() -> None:
    _Own.name = os.urandom(4).hex()


os.register_at_fork(after_in_child=_forked)


class Fence(NamedTuple):
    """The file `path` holds `token` for as long as the attempts that know it may still count.

    Whoever finishes takes the file away, then removes all temporary files: an attempt that looked
    before has lost its file, and one that looks later finds no token. So none can make anything
    visible any more, wherever it lives and however long it slept; no lock has to reach it.
    """

    path: str
    token: str

    def check(self) -> None:
        """Raises RunError where the file does not say so. Opened each time: a network file system
        then asks its server."""
        try:
            with open(self.path, encoding="ascii") as file:
                found = file.read()
        except OSError:
            found = ""
        if found != self.token:
            raise RunError(
                f"what this process makes is not wanted any more: {self.path} is gone or another "
                "run's. If no other run goes on here, or has finished, the folder is not the one "
                "that all machines share"
            )


def keep_within(fence: Fence) -> None:
    """From now on this process makes nothing visible that the fence does not allow."""
    _Own.fence = fence


def check_fence() -> None:
    """Raises RunError where this process has a fence and has been cut off."""
    if _Own.fence is not None:
        _Own.fence.check()


def temporary(path: Path) -> Path:
    """The name under which this process writes `path`."""
    return path.with_name(f".{path.name}.{_Own.name}{TEMPORARY}")


def intended(unfinished: Path) -> Path:
    """The path that a temporary file is to become, whoever writes it."""
    return unfinished.with_name(unfinished.name.removesuffix(TEMPORARY).rpartition(".")[0][1:])


@contextmanager
def whole(path: Path, once: bool = False) -> Iterator[Path]:
    """Yields the temporary path to write and close; on leaving, the file is there under `path`.

    once: a file that is there by then stays instead, see `link`. Leaving by an error removes what
    was written. An OSError becomes a RunError that names `path`.
    """
    unfinished = temporary(path)
    try:
        yield unfinished
        _fsync(unfinished, os.O_RDONLY)
        (link if once else rename)(unfinished, path)
    except OSError as error:
        discard(unfinished)
        raise output_error(path, error) from None
    except BaseException:
        discard(unfinished)
        raise


def write_text(path: Path, text: str, once: bool = False) -> None:
    """Write a whole file of UTF-8, see `whole`. Raises RunError."""
    with whole(path, once) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def rename(unfinished: Path, path: Path) -> None:
    """Make a synced file visible, and make that last. Raises OSError, and RunError at a fence."""
    check_fence()
    os.replace(unfinished, path)
    fsync_directory(path.parent)


def link(unfinished: Path, path: Path) -> None:
    """`rename`, but a file that is there stays, and the new one goes: of several machines the first
    wins, and who has mapped its file goes on reading it. (To replace a file that another machine
    has mapped takes it away from there, on NFS: a bus error.)"""
    check_fence()
    try:
        os.link(unfinished, path)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if not path.exists():
            os.replace(unfinished, path)
    unfinished.unlink(missing_ok=True)
    fsync_directory(path.parent)


def move(unfinished: Path, path: Path) -> None:
    """`rename`, also to another file system: then by a copy beside the place. May be repeated.
    Raises OSError."""
    try:
        rename(unfinished, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copyfile(unfinished, temporary(path))
        _fsync(temporary(path), os.O_RDONLY)
        rename(temporary(path), path)
        unfinished.unlink()


def discard(unfinished: Path) -> None:
    """Remove a temporary file as far as that is possible: who calls has an error to tell."""
    with suppress(OSError):
        unfinished.unlink()


def fsync_directory(path: Path) -> None:
    """Make renames and new names inside `path` last."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def make_folder(path: Path) -> None:
    """Make a folder inside one that exists, if it is absent, and make it last. Raises OSError."""
    if not path.is_dir():
        path.mkdir(exist_ok=True)
        fsync_directory(path.parent)


def _fsync(path: Path, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def output_error(path: Path, error: OSError) -> RunError:
    """What to say, and to do, where `path` cannot be written."""
    why = os.strerror(error.errno) if error.errno else str(error)
    remedy = REMEDIES.get(error.errno or 0, "mend that")
    return RunError(
        f"cannot write {path}: {why}. {remedy[0].upper()}{remedy[1:]}; then the same command goes "
        "on from the last whole shard"
    )
