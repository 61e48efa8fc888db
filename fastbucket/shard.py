"""One shard on disk: committed whole, or gone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from .errors import RunError
from .format import TAR_END
from .tar import write_all

_BATCH = 4 << 20
"""Bytes collected before a vectored write: large writes, little memory."""

TEMPORARY = ".tmp"
"""Suffix of a shard that is being written; it starts with a dot, so no loader takes it for one."""


def fsync_directory(path: Path) -> None:
    """Make a rename inside `path` last."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class ShardFile:
    """A tar that becomes visible only when it is complete.

    Use as a context manager; `commit(path)` renames, leaving without it removes the file. Every
    OSError becomes a RunError that names the path.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}{TEMPORARY}")
        self._blocks: list[bytes] = []
        self._waiting = 0
        self._hash = hashlib.sha256()
        self.bytes = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            self._fd = os.open(self._temporary, flags, 0o644)
        except OSError as error:
            raise output_error(self._temporary, error) from None

    def __enter__(self) -> ShardFile:
        return self

    def add(self, blocks: Sequence[bytes]) -> int:
        """Append blocks; they may be kept until the next write. Returns the position after them."""
        for block in blocks:
            self._hash.update(block)
            self.bytes += len(block)
            self._waiting += len(block)
        self._blocks.extend(blocks)
        if self._waiting >= _BATCH:
            self._flush()
        return self.bytes

    def _flush(self) -> None:
        try:
            write_all(self._fd, self._blocks)
        except OSError as error:
            raise output_error(self._temporary, error) from None
        self._blocks.clear()
        self._waiting = 0

    def commit(self, path: Path | None = None) -> str:
        """End the archive and make it visible, under `path` if it is to lie elsewhere.

        Returns the SHA-256 of the file in hex.
        """
        path = path or self._path
        self.add([TAR_END])
        self._flush()
        try:
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._temporary, path)
            fsync_directory(path.parent)
        except OSError as error:
            raise output_error(path, error) from None
        return self._hash.hexdigest()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._temporary.unlink(missing_ok=True)


def output_error(path: Path, error: OSError) -> RunError:
    """What to say where writing below `path` fails."""
    return RunError(
        f"cannot write {path}: {error.strerror or error}. Make room or mend the permission; the "
        "same command goes on from the last whole shard"
    )
