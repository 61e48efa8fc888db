"""One request to a chat endpoint: what came of it. httpx is known here and nowhere else."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import RunError
from .answer import Answer, Fault, Nonsense, answer, fault, loads, shown
from .pace import retry_after

if TYPE_CHECKING:
    import httpx

BASE_URL = "https://api.openai.com/v1"
KEY_NAME = "OPENAI_API_KEY"

_ANSWER_LIMIT = 8 << 20
"""Bytes of an answer; what says more is no caption, and is not read into memory."""

_STOP = {
    401: "the key is not accepted",
    402: "the account has no credit left",
    403: "the key has no access",
    404: "no such model, or no chat endpoint under this URL",
    405: "no chat endpoint under this URL",
    407: "the proxy wants a login",
}
"""Statuses that every other request would meet too."""

_AGAIN = frozenset((408, 409, 425, 429))
"""Statuses that pass, and every one from 500 on. Any other says that this image cannot be asked
about."""


class Again(Exception):
    """The request may be sent again. after: seconds that the endpoint asks to wait. throttled: it
    was one too many, and nothing is wrong with it."""

    def __init__(self, reason: str, after: float | None = None, throttled: bool = False) -> None:
        super().__init__(reason)
        self.after = after
        self.throttled = throttled


@dataclass(frozen=True)
class Endpoint:
    """Where to ask. base_url: up to and without /chat/completions. key: "" where none is needed;
    it goes into one header, and into no message. key_name: where it came from, for messages.
    timeout: seconds for one request, from the connection to the last byte of the answer."""

    base_url: str = BASE_URL
    key: str = field(default="", repr=False)
    key_name: str = KEY_NAME
    timeout: float = 120.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.base_url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            sound = False
        if not sound:
            raise RunError(f"base URL {self.base_url!r}: http:// or https://, a host, a path")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise RunError(
                "a base URL holds no login, no ? and no #; keys come from the environment"
            )
        if not (self.key.isascii() and self.key.isprintable()) or " " in self.key:
            raise RunError(f"{self.key_name} holds what no key holds: blanks, or more than ASCII")

    @property
    def url(self) -> str:
        return self.base_url.rstrip("/") + "/chat/completions"


def key_from(name: str = "") -> tuple[str, str]:
    """The key, and the variable that it stands in: `name`, which must be set, or OPENAI_API_KEY."""
    if name and name not in os.environ:
        raise RunError(f"the environment has no {name}, which was to hold the key")
    name = name or KEY_NAME
    return os.environ.get(name, "").strip(), name


class Client:
    """Sends requests to an endpoint, at most `width` at once. Use as an async context manager."""

    def __init__(self, endpoint: Endpoint, width: int) -> None:
        self._httpx = _httpx()
        self._endpoint = endpoint
        headers = {"Content-Type": "application/json", "User-Agent": "fastbucket"}
        if endpoint.key:
            headers["Authorization"] = f"Bearer {endpoint.key}"
        httpx = self._httpx
        try:
            httpx.URL(endpoint.url)
            self._client = httpx.AsyncClient(
                headers=headers,
                timeout=endpoint.timeout,
                verify=_authorities(),
                limits=httpx.Limits(max_connections=width, max_keepalive_connections=width),
            )
        except (httpx.InvalidURL, ValueError, ImportError) as error:
            # A host that is none, or a proxy of the environment (HTTPS_PROXY) that is none.
            raise RunError(f"{endpoint.url}: cannot be asked: {error}") from None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def ask(self, body: bytes) -> Answer:
        """Send one request. Raises Again where it may be sent again, RunError where none may."""
        url, httpx = self._endpoint.url, self._httpx
        try:
            # httpx' own timeouts are of single reads: an endpoint that drips would never end.
            response, content = await asyncio.wait_for(self._send(body), self._endpoint.timeout)
        except (asyncio.TimeoutError, httpx.TimeoutException):
            raise Again(f"no answer within {self._endpoint.timeout:g} s") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            words = self._hidden(shown(str(error))) or type(error).__name__
            raise Again(f"{url}: {words}") from None
        return self._read(response, content)

    async def _send(self, body: bytes) -> tuple[httpx.Response, bytes]:
        content = bytearray()
        async with self._client.stream("POST", self._endpoint.url, content=body) as response:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > _ANSWER_LIMIT:
                    break  # no JSON any more, whatever it was
        return response, bytes(content)

    def _read(self, response: httpx.Response, content: bytes) -> Answer:
        status = response.status_code
        after = retry_after(response.headers)
        try:
            payload = loads(content)
        except Nonsense as nonsense:
            if status == 200:
                raise Again(f"the answer is {self._hidden(str(nonsense))}") from None
            return self._refused(status, Fault(self._hidden(shown(content))), after, response)
        said = fault(payload)
        if said is not None:
            said = said._replace(message=self._hidden(said.message))
        if status == 200 and said is not None and "choices" not in payload:
            # OpenRouter's way to say that the model failed after the request was accepted.
            return self._refused(said.status or 502, said, after, response)
        if status != 200:
            return self._refused(status, said or Fault(""), after, response)
        try:
            got = answer(payload)
        except Nonsense as nonsense:
            raise Again(f"the answer is {self._hidden(str(nonsense))}") from None
        return got._replace(detail=self._hidden(got.detail)) if got.detail else got

    def _refused(
        self, status: int, said: Fault, after: float | None, response: httpx.Response
    ) -> Answer:
        """What follows from a status that is not 200."""
        words = f"status {status}" + (f": {said.message}" if said.message else "")
        if said.moderated:
            return Answer("refused", "", words)
        if said.code:
            raise RunError(f"{self._endpoint.url}: {words}")
        if status in _STOP:
            key = f"the key is that of {self._endpoint.key_name}" if self._endpoint.key else (
                f"{self._endpoint.key_name} is not set"
            )  # fmt: skip
            key = f"; {key}" if status in (401, 403) else ""
            raise RunError(f"{self._endpoint.url}: {_STOP[status]}: {words}{key}")
        if 300 <= status < 400:
            there = shown(response.headers.get("location", "elsewhere"))
            raise RunError(f"{self._endpoint.url} has moved to {there}: mend --base-url")
        if status in _AGAIN or status >= 500 or status < 300:
            raise Again(words, after, throttled=status == 429)
        return Answer("error", "", words)

    def _hidden(self, words: str) -> str:
        """Without the key, should the endpoint echo it."""
        return words.replace(self._endpoint.key, "***") if self._endpoint.key else words


@cache
def _authorities() -> Any:
    """httpx' default TLS context, once: to read its certificates takes 20 ms or more a client."""
    return _httpx().create_ssl_context()


def _httpx() -> ModuleType:
    try:
        import httpx
    except ImportError:
        raise RunError(
            "asking an endpoint for captions needs httpx: pip install 'fastbucket[captions]'"
        ) from None
    return httpx
