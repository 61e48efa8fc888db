"""Archives that cannot be read at an offset: compressed tars, HTTP, pipes, object stores.

Each is read once, from front to back, in the scan (`streamscan`), and what a bucket may want of it
is spooled to a local tar (`fastbucket.spool`); from there on it is read as any tar is.
"""

from __future__ import annotations

from dataclasses import replace

from ..catalogue import Archive, Catalogue
from ..errors import RunError, StreamError
from ..progress import GOING_ON, At, unwatched
from ..public import public
from . import address, tar
from .packing import Unpacked


def scan(archive: Archive, at: At = unwatched) -> Catalogue:
    """Raises RunError: who scans a stream has to keep what it needs of it, see `streamscan`."""
    raise _read_once(archive)


def stamp(archive: Archive) -> str:
    """Of a local one size and time; of a remote one what its server said when it was listed, for
    what was spooled does not change with it."""
    return f"{archive.size}-{archive.state}" if archive.state else tar.stamp(archive)


def listing(archive: Archive) -> str:
    """As that of a tar; of a pipe the command, too."""
    if archive.path.startswith(address.PIPE):
        return f"{archive.name}\t{archive.path}\t{archive.split}"
    return tar.listing(archive)


def Reader(archive: Archive) -> tar.Reader:
    """Reads members in the spool."""
    if not archive.spool:
        raise _read_once(archive)
    return tar.Reader(replace(archive, path=archive.spool))


def opened(archive: Archive, at: At = unwatched) -> Unpacked:
    """The tar in a stream, from its first byte on. Raises StreamError, then and later."""
    packed = address.opened(archive, at) if archive.state else _File(archive, at)
    try:
        return Unpacked(packed, public(archive.path))
    except BaseException:
        packed.close()
        raise


class _File:
    """A local file; see `packing.Bytes`."""

    whole = True

    def __init__(self, archive: Archive, at: At) -> None:
        self._path, self._at = archive.path, at
        try:
            self._file = open(archive.path, "rb", buffering=0)  # noqa: SIM115 held until close
        except OSError as error:
            raise RunError(f"{archive.path}: cannot be opened: {error.strerror}") from error

    def read(self, size: int) -> bytes:
        self._at(GOING_ON)
        try:
            return self._file.read(size)
        except OSError as error:
            raise StreamError(f"{self._path}: cannot be read: {error.strerror}") from error

    def close(self) -> None:
        self._file.close()


def _read_once(archive: Archive) -> RunError:
    return RunError(
        f"{public(archive.path)}: a stream is read once, by an export. For anything "
        "else name a plain tar on a local disk"
    )
