"""Archives over HTTP(S), read from front to back; the standard library's client.

A transfer that breaks goes on where it broke, where the server has ranges; where it has none, what
was there already is read again and thrown away. webdataset's opener is curl behind a pipe: it
hangs with a server that stalls, writes the beginning again in the middle of a tar where curl
retries, and loading it costs a worker 3 s (it imports torch).

Nor does it pay to walk the headers by ranges and leave out what is not wanted: at 100 KiB a sample,
9 % of them wanted, 5.9 times as long with no latency, 40 times with 5 ms; docs/sources.md.
"""

from __future__ import annotations

import email.message
import http.client
import urllib.error
import urllib.request
from typing import Any, NamedTuple

from ..catalogue import UNKNOWN, Archive
from ..errors import RunError, StreamError
from ..progress import At, unwatched
from ..public import public
from .packing import archive_name
from .patience import Patience

TIMEOUT = 60.0
"""Seconds without a byte after which a server counts as stalled."""

_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that another try may mend."""

_NO_HEAD = (400, 403, 405, 501)
"""Answers to HEAD that say little: addresses that are signed are so for GET alone."""

_BROKEN = (OSError, http.client.HTTPException)
"""What a connection that breaks raises; URLError and timeouts are OSErrors."""


class _Facts(NamedTuple):
    """size: of the whole file, -1 where nobody says it. tag: ETag or time; "" without either."""

    size: int
    tag: str

    def differ(self, other: _Facts) -> bool:
        """Whether both are known and not the same."""
        return (self.size >= 0 <= other.size and self.size != other.size) or bool(
            self.tag and other.tag and self.tag != other.tag
        )


def archive(address: str) -> Archive:
    """The archive at an address. Raises RunError where there is none."""
    if "@" in address.partition("://")[2].partition("/")[0]:
        raise RunError(
            f"source {public(address)}: addresses with a user and a password are not taken. Sign "
            "it, or have curl read its ~/.netrc: 'pipe:curl -fsSn ADDRESS' with --allow-pipe"
        )
    patience = Patience(f"source {public(address)}", unwatched)
    method = "HEAD"
    while True:
        try:
            with _answer(address, method, {"Range": "bytes=0-0"} if method == "GET" else {}) as got:
                facts = _facts(got.headers)
                break
        except urllib.error.HTTPError as error:
            error.close()
            if method == "HEAD" and error.code in _NO_HEAD:
                method = "GET"
            elif error.code in _AGAIN:
                patience.failed(_status(error), _asked(error.headers))
            elif error.code == 416:  # of an empty file there is no first byte
                facts = _facts(error.headers)
                break
            else:
                raise _refused(address, error) from None
        except (ValueError, http.client.InvalidURL):  # whose words hold the address
            raise RunError(
                f"source {public(address)}: no address that can be asked; what is no letter, digit "
                "or sign of an address is written as %20 and the like in it"
            ) from None
        except _BROKEN as error:
            patience.failed(_words(error))
    return Archive(
        "stream", address, archive_name(address), "", max(facts.size, 0), facts.tag or UNKNOWN
    )


class Download:
    """The file at the address of an archive; see `packing.Bytes`."""

    def __init__(self, archive: Archive, at: At = unwatched) -> None:
        self._address = archive.path
        self._patience = Patience(public(archive.path), at)
        self._got: Any = None
        self._done = 0
        tag = "" if archive.state == UNKNOWN else archive.state
        self._facts = _Facts(archive.size or -1, tag)
        self.whole = False

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end only. Raises StreamError."""
        while not self.whole:
            try:
                if self._got is None:
                    self._open()
                data: bytes = self._got.read(size)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code not in _AGAIN:
                    raise _refused(self._address, error) from None
                self._patience.failed(_status(error), _asked(error.headers))
                continue
            except _BROKEN as error:
                self.close()
                self._patience.failed(f"{_words(error)} {self._where()}")
                continue
            if data:
                self._done += len(data)
                self._patience.moved()
                return data
            if self._facts.size < 0:  # the end is where the connection ended, for all one knows
                self.whole = self._got.chunked
                return b""
            if self._done == self._facts.size:
                self.whole = True
                break
            if self._done > self._facts.size:
                raise StreamError(
                    f"{public(self._address)}: {self._done} bytes came, and the server had said "
                    f"{self._facts.size}. See to it; the same command goes on with the archives "
                    "that are missing"
                )
            self.close()
            self._patience.failed(f"the answer ended early, {self._where()}")
        return b""

    def close(self) -> None:
        if self._got is not None:
            self._got.close()
            self._got = None

    def _open(self) -> None:
        """Ask for what is missing, and come to the byte where that begins."""
        wanted = {"Range": f"bytes={self._done}-"} if self._done else {}
        got = _answer(self._address, "GET", wanted)
        try:
            facts = _facts(got.headers)
            if facts.differ(self._facts):
                raise StreamError(
                    f"{public(self._address)} changed since it was listed "
                    f"({self._facts.size} bytes {self._facts.tag}, now {facts.size} {facts.tag}). "
                    "Start again when it is as it is to be"
                )
            # A chunked answer tells no size; what HEAD told is what the whole has to have.
            self._facts = _Facts(
                facts.size if facts.size >= 0 else self._facts.size, facts.tag or self._facts.tag
            )
            begin = _begin(got.headers) if got.status == 206 else 0
            if begin > self._done:
                raise StreamError(
                    f"{public(self._address)}: asked for byte {self._done}, the server sent from "
                    f"{begin} on"
                )
            skip = self._done - begin
            while skip:
                passed = len(got.read(min(skip, 1 << 20)))
                if not passed:
                    raise http.client.IncompleteRead(b"")
                self._patience.alive()
                skip -= passed
        except BaseException:
            got.close()
            raise
        self._got = got

    def _where(self) -> str:
        of = f" of {self._facts.size}" if self._facts.size >= 0 else ""
        return f"at byte {self._done}{of}"


def _answer(address: str, method: str, wanted: dict[str, str]) -> Any:
    headers = {"User-Agent": "fastbucket", "Accept-Encoding": "identity", **wanted}
    request = urllib.request.Request(address, headers=headers, method=method)
    return urllib.request.urlopen(request, timeout=TIMEOUT)


def _facts(headers: email.message.Message) -> _Facts:
    size = headers.get("Content-Length", "-1")
    if span := headers.get("Content-Range"):
        size = span.rpartition("/")[2]
    # A weak tag is as good here: that it stays the same is all we ask of it.
    tag = headers.get("ETag", "").removeprefix("W/") or headers.get("Last-Modified", "")
    return _Facts(int(size) if size.isdecimal() else -1, tag)


def _begin(headers: email.message.Message) -> int:
    """The first byte of a part: bytes 100-199/200."""
    first = headers.get("Content-Range", "").removeprefix("bytes").strip().partition("-")[0]
    return int(first) if first.isdecimal() else 0


def _asked(headers: email.message.Message) -> float:
    """Seconds to wait, where the server says so in seconds."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0


def _status(error: urllib.error.HTTPError) -> str:
    # Not `error.reason`, which may be of a redirection, with the address where that leads.
    reason = http.client.responses.get(error.code, "")
    return (
        f"the server answers {error.code} ({reason})"
        if reason
        else f"the server answers {error.code}"
    )


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        return f"no byte came for {TIMEOUT:g} s"
    if isinstance(error, http.client.IncompleteRead):
        return "the answer ended early"
    reason = getattr(error, "reason", None) or error
    return f"the connection broke ({getattr(reason, 'strerror', None) or reason})"


def _refused(address: str, error: urllib.error.HTTPError) -> StreamError:
    remedy = {401: "sign the address", 403: "sign the address", 404: "see to the name"}
    what_to_do = remedy.get(error.code, "see to it").capitalize()
    return StreamError(
        f"source {public(address)}: {_status(error)}. {what_to_do}; the same "
        "command goes on with the archives that are missing"
    )
