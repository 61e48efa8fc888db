"""A chat endpoint on loopback that does as it is told: answers, fails, stalls, talks nonsense.

    with ChatServer(lambda asked: status(500) if asked.attempt == 1 else says("a cat")) as server:
        ...  # server.url, server.asked

Real sockets, standard library only; nothing of the package.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came in. number: of all, attempt: of this image, both from 1."""

    number: int
    attempt: int
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: dict[str, Any]
    image: bytes
    prompt: str
    time: float  # monotonic seconds


@dataclass(frozen=True)
class Reply:
    """What goes back. stall: seconds before it, ended early when the server closes. drip: seconds
    between single bytes of the body. cut: the connection is closed after so many bytes of it all.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    stall: float = 0.0
    drip: float = 0.0
    cut: int | None = None


def completion(message: Any, finish: str | None = "stop", **more: Any) -> Reply:
    """A chat completion with this message."""
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return as_json({"object": "chat.completion", "choices": [choice], **more})


def says(text: Any, finish: str | None = "stop", **more: Any) -> Reply:
    return completion({"role": "assistant", "content": text}, finish, **more)


def refuses(words: str) -> Reply:
    return completion({"role": "assistant", "content": None, "refusal": words})


def status(number: int, message: str = "so it is", headers: Any = None, **error: Any) -> Reply:
    """An error as OpenAI words it."""
    return as_json({"error": {"message": message, **error}}, number, headers)


def as_json(payload: Any, code: int = 200, headers: Any = None) -> Reply:
    return Reply(code, json.dumps(payload).encode(), headers or {})


def used(prompt: int, answer: int) -> dict[str, int]:
    """The usage of a completion, in tokens."""
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


class ChatServer:
    """Answers every request as `script` says. asked: all requests so far. most: the most that were
    under way at once."""

    def __init__(self, script: Callable[[Asked], Reply]) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.most = 0
        self.connections = 0
        self._images: Counter[bytes] = Counter()
        self._busy = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> ChatServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def images(self) -> list[bytes]:
        """The images that were asked about, each as often as it was."""
        return [asked.image for asked in self.asked]

    def reply(self, handler: BaseHTTPRequestHandler) -> Reply:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        image, prompt = b"", ""
        for part in body["messages"][0]["content"]:
            if part["type"] == "image_url":
                scheme, _, data = part["image_url"]["url"].partition(",")
                assert scheme == "data:image/jpeg;base64"
                image = base64.b64decode(data, validate=True)
            else:
                prompt = part["text"]
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._lock:
            self._images[image] += 1
            asked = Asked(
                len(self.asked) + 1, self._images[image], handler.path, headers, body, image,
                prompt, time.monotonic(),
            )  # fmt: skip
            self.asked.append(asked)
            self._busy += 1
            self.most = max(self.most, self._busy)
        reply = self.script(asked)
        self._closing.wait(reply.stall)
        with self._lock:
            self._busy -= 1
        return reply

    def write(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        """In one piece: headers and body in two would wait for each other (Nagle)."""
        lines = [f"HTTP/1.1 {reply.status} As told", f"Content-Length: {len(reply.body)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode()
        if reply.drip:
            handler.wfile.write(head)
            for byte in reply.body:
                if self._closing.wait(reply.drip):
                    break
                handler.wfile.write(bytes([byte]))
            return
        handler.wfile.write((head + reply.body)[: reply.cut])
        if reply.cut is not None:
            handler.close_connection = True


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is what some tests are about."""


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            server.connections += 1

        def do_POST(self) -> None:
            server.write(self, server.reply(self))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
