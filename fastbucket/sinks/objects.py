"""Object stores and every other file system of fsspec. fsspec is known here and nowhere else."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RunError
from ..public import public
from .crew import Turn, each
from .destination import EXTRA, Advance, Done, Remote, Sent, scheme
from .digests import Digest, Etag, blocks, md5, part_bytes, read
from .files import File, damaged
from .patience import Patience, describe, persist


class Store(NamedTuple):
    """What a kind of store tells of an object, and how it takes one.

    digest: of a file of so many bytes, as the store tells it; None: it tells none. told: that
    digest, in hex, of the facts of an object, "" without one. options: of put_file. opening: of
    the file system. settings: attributes of it, where it has them.
    """

    digest: Callable[[int], Digest] | None = None
    told: Callable[[Mapping[str, Any]], str] = lambda facts: ""
    options: Callable[[int], dict[str, Any]] = lambda size: {}
    opening: Mapping[str, Any] = {}
    settings: Mapping[str, Any] = {}


def _etag(facts: Mapping[str, Any]) -> str:
    return str(facts.get("ETag", "")).strip('"')


def _md5_hash(facts: Mapping[str, Any]) -> str:
    return base64.b64decode(facts.get("md5Hash", "")).hex()


def _parts(size: int) -> dict[str, Any]:
    """Two parts of a file under way at once: with four files, 128 MiB in memory."""
    return {"chunksize": part_bytes(size), "max_concurrency": 2}


# s3fs waits 15 s for an answer, and aiohttp begins to count before a body is sent: eight parts of
# 16 MiB take longer on a line of 70 Mbit/s. Not by config_kwargs: the user's own would be lost.
_S3 = Store(Etag, _etag, _parts, settings={"read_timeout": 120})
_GOOGLE = Store(lambda size: md5(), _md5_hash)
_LOCAL = Store(opening={"auto_mkdir": True})

STORES = {"s3": _S3, "s3a": _S3, "gs": _GOOGLE, "gcs": _GOOGLE, "file": _LOCAL, "local": _LOCAL}
"""By scheme. All others tell no digest: what is there is read back."""

_MARKS = ("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "last_modified",
          "created")  # fmt: skip
"""What a store changes with an object, the best first."""

_READ_AHEAD = 8 << 20
"""Bytes of one request when an object is read back."""


class Objects:
    """A prefix of an object store, or a folder of a file system."""

    def __init__(
        self,
        url: str,
        at_once: int = 4,
        read_back: bool = False,
        patience: Patience | None = None,
    ) -> None:
        """at_once: files under way. read_back: read objects also where the store tells a digest."""
        url = url.rstrip("/")
        self._url = public(url)  # for messages
        self._at_once, self._read_back = at_once, read_back
        self._patience = patience or Patience()
        self._store = STORES.get(scheme(url), Store())
        self._fs, self._root, self._callback = _opened(url, self._store)

    def folder(self) -> Path | None:
        """Of a file system of this machine."""
        return Path(self._root or "/") if self._store is _LOCAL else None

    def listing(self) -> dict[str, Remote]:
        def listed() -> dict[str, Any]:
            self._fs.invalidate_cache()
            found: dict[str, Any] = self._fs.find(self._root, detail=True)
            return found

        start = f"{self._root}/"
        found = self._persist(f"cannot list {self._url}", listed)
        return {
            path[len(start) :]: _remote(facts)
            for path, facts in found.items()
            if path.startswith(start)
        }

    def compare(self, files: Sequence[tuple[File, Remote]], done: Done) -> list[File]:
        def check(item: tuple[File, Remote], turn: Turn) -> Sent | None:
            file, remote = item
            if file.bytes != remote.bytes:
                return None
            sha256, told = self._digests(file)
            return self._verdict(file, sha256, told, remote, turn)

        differ: list[File] = []
        with closing(each(check, files, self._at_once, lambda n: None)) as results:
            for (file, _), sent in results:
                if sent is None:
                    differ.append(file)
                else:
                    done(file, sent)
        return differ

    def send(self, files: Sequence[File], done: Done, advance: Advance) -> None:
        with closing(each(self._send, files, self._at_once, advance)) as results:
            for file, sent in results:
                done(file, sent)

    def remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            self._persist(
                f"cannot remove {self._url}/{path}",
                lambda path=path: self._fs.rm_file(f"{self._root}/{path}"),  # type: ignore[misc]
            )

    def _persist(self, what: str, action: Callable[[], Any], turn: Turn | None = None) -> Any:
        return persist(what, action, self._patience, turn.wait if turn else time.sleep)

    def _send(self, file: File, turn: Turn) -> Sent:
        counted = 0

        def attempt() -> Sent:
            nonlocal counted
            sha256, told = self._digests(file)
            under_way = 0

            def advance(n: int) -> None:
                nonlocal counted, under_way
                under_way += n
                more = max(0, min(under_way, file.bytes) - counted)  # what is sent again is not new
                counted += more
                turn.advance(more)

            there = f"{self._root}/{file.path}"
            self._fs.put_file(
                str(file.local),
                there,
                callback=self._callback(advance),
                **self._store.options(file.bytes),
            )
            self._fs.invalidate_cache()
            remote = _remote(self._fs.info(there))
            sent = self._verdict(file, sha256, told, remote, turn)
            if sent is None:
                raise OSError(f"what arrived differs ({remote.bytes:,} of {file.bytes:,} bytes)")
            return sent

        sent: Sent = self._persist(f"cannot write {self._url}/{file.path}", attempt, turn)
        turn.advance(file.bytes - counted)
        return sent

    def _digests(self, file: File) -> tuple[str, str]:
        """SHA-256 of a file here, and its digest as the store tells it, "" where that tells none.
        Raises RunError where it is not what the manifest says."""
        sha256 = hashlib.sha256()
        own = self._store.digest(file.bytes) if self._store.digest else None
        try:
            read(file.local, sha256, *((own,) if own else ()))
        except OSError as error:
            raise RunError(f"cannot read {file.local}: {describe(error)}") from error
        if file.sha256 and file.sha256 != sha256.hexdigest():
            raise damaged(file.local)
        return sha256.hexdigest(), own.hexdigest() if own else ""

    def _verdict(
        self, file: File, sha256: str, told: str, remote: Remote, turn: Turn
    ) -> Sent | None:
        """Whether an object is the file: by the store's digest, else by its bytes. One that differs
        proves nothing: an ETag is another in other parts, or under a key of one's own."""
        if remote.bytes != file.bytes:
            return None
        if told and not self._read_back and self._store.told(remote.facts) == told:
            return Sent(remote, read_back=False)

        def read_there() -> str:
            there = hashlib.sha256()
            path = f"{self._root}/{file.path}"
            with self._fs.open(path, "rb", block_size=_READ_AHEAD) as stored:
                for block in blocks(stored):
                    turn.advance(0)
                    there.update(block)
            return there.hexdigest()

        found = self._persist(f"cannot read {self._url}/{file.path}", read_there, turn)
        return Sent(remote, read_back=True) if found == sha256 else None


def _opened(url: str, store: Store) -> tuple[Any, str, Callable[[Callable[[int], None]], Any]]:
    """A file system of our own, the path in it, and what makes a callback for its uploads."""
    try:
        import fsspec
    except ImportError:
        raise RunError(f"{public(url)} needs fsspec: {EXTRA}") from None

    class Callback(fsspec.Callback):  # type: ignore[misc]
        def __init__(self, told: Callable[[int], None]) -> None:
            super().__init__()
            self._told = told

        def relative_update(self, inc: int = 1) -> None:
            self._told(inc)

    options = {"skip_instance_cache": True, "use_listings_cache": False, **store.opening}
    try:
        fs, root = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise RunError(f"{public(url)}: {describe(error)}. For s3:// and hf://, {EXTRA}") from None
    except Exception as error:
        raise RunError(f"{public(url)} cannot be opened: {describe(error)}") from error
    for name, value in store.settings.items():
        setattr(fs, name, value)
    return fs, str(root).rstrip("/"), Callback


def _remote(facts: Mapping[str, Any]) -> Remote:
    mark = next((facts[name] for name in _MARKS if facts.get(name)), "")
    if isinstance(mark, datetime):
        mark = mark.timestamp()
    return Remote(int(facts.get("size") or 0), str(mark), facts)
