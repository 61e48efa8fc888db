"""Files that are there whole or not at all, also after a power cut.

What is written lies under a temporary name beside its place; it is synced, renamed, and the rename
is synced. What a dead run leaves is a temporary file, known by its name.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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


def temporary(path: Path) -> Path:
    """The name under which `path` is written."""
    return path.with_name(f".{path.name}{TEMPORARY}")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields the temporary path to write and close; on leaving, the file is there under `path`.

    Leaving by an error removes it. An OSError becomes a RunError that names `path`.
    """
    unfinished = temporary(path)
    try:
        yield unfinished
        _fsync(unfinished, os.O_RDONLY)
        rename(unfinished, path)
    except OSError as error:
        discard(unfinished)
        raise output_error(path, error) from None
    except BaseException:
        discard(unfinished)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a whole file of UTF-8. Raises RunError."""
    with whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def rename(unfinished: Path, path: Path) -> None:
    """Make a synced file visible, and make that last. Raises OSError."""
    os.replace(unfinished, path)
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
