"""A real S3 server (moto's) on loopback, behind a proxy that does as it is told.

    with S3Server() as server:
        server.script = lambda asked: "500" if asked.number == 3 else ""
        server.client().list_objects_v2(Bucket=server.bucket)   # boto3, past the proxy

Run as a program it is the server alone: it prints its port and serves until its input ends.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEYS = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "2",  # of botocore, within each of ours: it waits for seconds
}

FAULTS = ("", "500", "503", "drop", "late", "flip", "hang")
"""What a script may answer: nothing; a status instead of the server's answer; the connection closed
before the request reaches the server, or after; one bit of the body another; no answer at all."""


@dataclass(frozen=True)
class Asked:
    """A request. number: of all, from 1. attempt: of this method and path, from 1. path: the key
    within the bucket. query: behind the ?."""

    number: int
    attempt: int
    method: str
    path: str
    query: str

    @property
    def writes(self) -> bool:
        """Whether it makes an object there: whole, or out of the parts that were sent."""
        whole = self.method == "PUT" and "partNumber" not in self.query
        return bool(self.path) and (
            whole or (self.method == "POST" and self.query.startswith("uploadId"))
        )


class S3Server:
    """asked: every request so far. bucket: one that is there."""

    bucket = "photos"

    def __init__(self) -> None:
        self.script: Callable[[Asked], str] = lambda asked: ""
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._moto = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, **KEYS},
        )  # fmt: skip
        self.port = int(self._moto.stdout.readline())
        self._proxy = _Proxy(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._proxy.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._proxy.server_address[1]}"
        self.environment = {**KEYS, "AWS_ENDPOINT_URL": self.url}

    def __enter__(self) -> S3Server:
        self._thread.start()
        self.client().create_bucket(Bucket=self.bucket)
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self._proxy.shutdown()
        self._proxy.server_close()
        self._thread.join()
        self._moto.stdin.close()
        self._moto.wait(30)
        self._moto.stdout.close()

    def client(self) -> Any:
        """boto3's, which knows nothing of s3fs and goes past the proxy."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name=KEYS["AWS_DEFAULT_REGION"],
        )

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Key behind the prefix -> bytes."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return {
            key[len(prefix) :]: client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            for key in keys
        }

    def written(self, prefix: str) -> list[str]:
        """Keys behind the prefix in the order in which they were written, by the proxy's log."""
        return [
            asked.path[len(prefix) :]
            for asked in self.asked
            if asked.writes and asked.path.startswith(prefix)
        ]

    def note(self, method: str, target: str) -> Asked:
        path, _, query = target.partition("?")
        path = path.removeprefix(f"/{self.bucket}").removeprefix("/")
        with self._lock:
            attempt = 1 + sum(a.method == method and a.path == path for a in self.asked)
            asked = Asked(len(self.asked) + 1, attempt, method, path, query)
            self.asked.append(asked)
        return asked


class _Proxy(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed are what some tests are about."""


def _handler(server: S3Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.body()
            asked = server.note(self.command, self.path)
            fault = server.script(asked)
            assert fault in FAULTS, fault
            if fault == "hang":
                server.closing.wait()
            if fault in ("drop", "hang"):
                self.close_connection = True
                return
            if fault.isdigit():
                self.answer(int(fault), [], b"")
                return
            if fault == "flip" and body:
                body = bytes([body[0] ^ 1]) + body[1:]
            upstream = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            try:
                headers = {
                    name: value
                    for name, value in self.headers.items()
                    if name.lower() not in ("transfer-encoding", "expect", "connection")
                    and not (fault == "flip" and "checksum" in name.lower())
                }
                headers["Content-Length"] = str(len(body))
                upstream.request(self.command, self.path, body, headers)
                response = upstream.getresponse()
                content = response.read()
                if fault == "late":
                    self.close_connection = True
                    return
                self.answer(response.status, response.getheaders(), content)
            finally:
                upstream.close()

        def body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            kept = [
                f"{name}: {value}"
                for name, value in headers
                if name.lower() not in ("transfer-encoding", "connection", "content-length")
            ]
            size = len(content)
            if self.command == "HEAD":
                size = int(dict(headers).get("Content-Length", 0))
            lines = [f"HTTP/1.1 {status} so", *kept, f"Content-Length: {size}", "", ""]
            self.wfile.write("\r\n".join(lines).encode() + content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _serve() -> None:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").disabled = True
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    sys.stdout.write(f"{moto.get_host_and_port()[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _serve()
