"""Archives in object stores and on the Hub, through fsspec: s3://, gs://, hf://, and what else
fsspec knows. Needs the extra `remote`.

Read in blocks, the next one fetched while this one is walked; a block that fails is tried again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ..catalogue import UNKNOWN, Archive
from ..errors import RunError, StreamError
from ..progress import At, unwatched
from ..public import public
from .packing import SUFFIXES, archive_name
from .patience import Patience

BLOCK = 16 << 20
"""Bytes of a request: at 20 ms and 100 MB/s for one connection, 89 % of its rate, and the next
one is asked for meanwhile."""

_TAGS = ("ETag", "etag", "blob_id", "md5Hash", "generation", "LastModified", "last_modified",
         "mtime", "updated", "created")  # fmt: skip
"""What stores say of the state of a file, the best first."""

_MAGIC = "*?["

_FOREVER = (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError, ValueError)
"""What another try does not mend."""


def archives(address: str) -> Iterator[Archive]:
    """The archives at an address, which may be a pattern or a folder. Raises RunError."""
    system, path = _system(address)
    try:
        if any(mark in path for mark in _MAGIC):
            found = system.glob(path, detail=True)
            what = "matches nothing"
        elif (facts := system.info(path))["type"] == "directory":
            found = system.find(path, detail=True)
            found = {name: of for name, of in found.items() if name.endswith(SUFFIXES)}
            what = "holds no tars"
        else:
            found, what = {path: facts}, ""
    except FileNotFoundError:
        raise RunError(f"source {public(address)} does not exist") from None
    except PermissionError as error:
        raise RunError(
            f"source {public(address)}: {error}. Give access to it (the usual "
            "variables of the store)"
        ) from None
    except Exception as error:  # noqa: BLE001 each store has its own, and no class in common
        raise RunError(f"source {public(address)}: {type(error).__name__}: {error}") from None
    if not found:
        raise RunError(f"source {public(address)} {what}")
    for name, of in found.items():
        if of["type"] != "directory":
            whole = system.unstrip_protocol(name)
            yield Archive("stream", whole, archive_name(whole), "", of["size"] or 0, _tag(of))


class Object:
    """The content of an object; see `packing.Bytes`. Raises StreamError."""

    def __init__(self, archive: Archive, at: At = unwatched) -> None:
        self._archive = archive
        self._patience = Patience(public(archive.path), at)
        self._system, self._path = _system(archive.path)
        self._size = archive.size
        self._ahead = ThreadPoolExecutor(1)
        self._next: Future[bytes] | None = None
        self._asked = self._done = 0
        self._block = memoryview(b"")
        self.whole = False
        self._ask()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end only."""
        if not self._block:
            if self._done == self._size:
                if not self.whole:
                    self._check()
                self.whole = True
                return b""
            self._block = memoryview(self._take())
        data = bytes(self._block[:size])
        self._block = self._block[size:]
        self._done += len(data)
        return data

    def close(self) -> None:
        self._ahead.shutdown(wait=False, cancel_futures=True)

    def _ask(self) -> None:
        """Have the next block fetched, if there is one."""
        start, end = self._asked, min(self._asked + BLOCK, self._size)
        self._asked = end
        self._next = None
        if start < end:
            self._next = self._ahead.submit(self._fetch, start, end)

    def _fetch(self, start: int, end: int) -> bytes:
        data: bytes = self._system.cat_file(self._path, start=start, end=end)
        if len(data) != end - start:
            raise OSError(f"{len(data)} of {end - start} bytes came at byte {start}")
        return data

    def _take(self) -> bytes:
        """The block that was asked for, tried again where it failed; asks for the one behind."""
        assert self._next is not None
        start, end = self._done, self._asked
        while True:
            try:
                data = self._next.result()
                break
            except _FOREVER as error:
                raise StreamError(
                    f"{public(self._archive.path)}: {type(error).__name__}: {error}. See to "
                    "it; the same command goes on with the archives that are missing"
                ) from None
            except Exception as error:  # noqa: BLE001 each store has its own
                self._patience.failed(f"{type(error).__name__}: {error}")
                self._next = self._ahead.submit(self._fetch, start, end)
        self._patience.moved()
        self._ask()
        return data

    def _check(self) -> None:
        """Whether what was read in blocks is of one state, as far as the store says at this price:
        the Hub has a size only."""
        while True:
            try:
                now = self._system.info(self._path, refresh=True)
                break
            except Exception as error:  # noqa: BLE001 each store has its own
                self._patience.failed(f"{type(error).__name__}: {error}")
        known = {_tag(now), self._archive.state} - {UNKNOWN}
        if now["size"] != self._archive.size or len(known) > 1:
            raise StreamError(
                f"{public(self._archive.path)} changed while it was read. Start again when "
                "it is as it is to be"
            )


def _tag(facts: Mapping[str, Any]) -> str:
    for name in _TAGS:
        if facts.get(name):
            return str(facts[name]).strip('"')
    return UNKNOWN


def _system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it. Raises RunError where it is unknown."""
    try:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(address)
    except ImportError as error:
        raise RunError(
            f"source {public(address)}: {error}. pip install 'fastbucket[remote]' (for "
            "gs:// gcsfs besides)"
        ) from None
    except ValueError as error:
        raise RunError(f"source {public(address)}: {error}") from None
    return system, path
