"""A web server on loopback that serves files as it is told: with ranges or without, failing,
stalling, cutting its answers short.

    with FileServer(folder, lambda asked: Way(cut=1000) if asked.number == 1 else Way()) as server:
        ...  # server.url, server.asked

Real sockets, standard library only; nothing of the package.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came in. number: of this method for this file, from 1. start: the first byte
    asked for, None without a range."""

    number: int
    method: str
    name: str
    start: int | None


@dataclass(frozen=True)
class Way:
    """How a request is answered.

    status: an error, with wait for Retry-After. cut: the connection ends after so many bytes of the
    body. stall: seconds before the byte at which it would be cut, or before the first. length:
    "told", "chunked", or "none": as long as the connection. tag: whether there is an ETag, a time.
    """

    status: int = 200
    wait: int = 0
    ranges: bool = True
    cut: int | None = None
    stall: float = 0.0
    length: str = "told"
    tag: bool = True


class FileServer:
    """Serves the files of a folder. asked: all requests so far. sent: bytes of bodies by name."""

    def __init__(self, folder: Path, way: Callable[[Asked], Way] = lambda asked: Way()) -> None:
        self.folder, self.way = folder, way
        self.asked: list[Asked] = []
        self.sent: Counter[str] = Counter()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.lock, self.closed = threading.Lock(), threading.Event()

    def gets(self) -> list[tuple[str, int | None]]:
        """(name, start) of every GET so far, by name."""
        with self.lock:
            return sorted(
                ((a.name, a.start) for a in self.asked if a.method == "GET"),
                key=lambda got: (got[0], got[1] or 0),
            )

    def __enter__(self) -> FileServer:
        server = self

        class Handler(_Handler):
            of = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.closed.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    of: FileServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *words: Any) -> None:
        """Nothing: the tests look at `asked`."""

    def _answer(self) -> None:
        name = self.path.partition("?")[0].lstrip("/")
        span = re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range", ""))
        with self.of.lock:
            self.of.counts[self.command, name] += 1
            number = self.of.counts[self.command, name]
            asked = Asked(number, self.command, name, int(span[1]) if span else None)
            self.of.asked.append(asked)
        way, path = self.of.way(asked), self.of.folder / name
        self.close_connection = True
        if way.status != 200 or not path.is_file():
            self.send_response(way.status if way.status != 200 else 404)
            if way.wait:
                self.send_header("Retry-After", str(way.wait))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = path.read_bytes()
        start, end = 0, len(data)
        if span and way.ranges:
            start, end = int(span[1]), min(int(span[2] or end) + bool(span[2]), end)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        else:
            self.send_response(200)
        if way.length == "told":
            self.send_header("Content-Length", str(end - start))
        elif way.length == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        if way.tag:
            self.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            with suppress(BrokenPipeError, ConnectionResetError):
                self._body(name, data[start:end], way)

    def _body(self, name: str, data: bytes, way: Way) -> None:
        cut = len(data) if way.cut is None else way.cut
        self._send(name, data[:cut], way)
        if way.stall:
            end = time.monotonic() + way.stall
            while time.monotonic() < end and not self.of.closed.wait(0.05):
                pass
        if way.cut is None and way.length == "chunked":
            self.wfile.write(b"0\r\n\r\n")

    def _send(self, name: str, data: bytes, way: Way) -> None:
        if way.length == "chunked":
            for at in range(0, len(data), 50_000):
                part = data[at : at + 50_000]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        else:
            self.wfile.write(data)
        self.of.sent[name] += len(data)
