"""What is asked of an image: the body of a request to a chat endpoint.

Source: OpenAI's API reference, "Create chat completion", which vLLM, llama.cpp, Mistral, Gemini and
OpenRouter follow in this much.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import RunError

_URL = "data:image/jpeg;base64,"
_OURS = ("model", "messages", "stream", "n")
"""Fields of the body that nobody else may set: one answer, whole, about one image."""


@dataclass(frozen=True)
class Question:
    """One prompt for one model.

    prompt: the bytes of the prompt file, UTF-8. max_tokens and temperature: the endpoint's own
    where they are None. fields: further fields of the body, as the endpoint knows them.
    """

    model: str
    prompt: bytes
    max_tokens: int | None = None
    temperature: float | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise RunError("the model has no name")
        if ours := [name for name in _OURS if name in self.fields]:
            raise RunError(f"the field {ours[0]} of a request is not free to be set")
        if not self.text:
            raise RunError("the prompt is empty")

    @cached_property
    def text(self) -> str:
        """The prompt as it is sent: without white space around it."""
        try:
            return self.prompt.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise RunError(
                f"the prompt is not UTF-8: {error.reason} at byte {error.start}"
            ) from None

    def body(self, jpeg: bytes | memoryview) -> bytes:
        """The request about this image, which goes out as it is, byte for byte."""
        before, after = self._around
        return b"".join((before, binascii.b2a_base64(jpeg, newline=False), after))

    @cached_property
    def _around(self) -> tuple[bytes, bytes]:
        """What stands before and after the image: JSON is made once and not of every image."""
        content = [
            {"type": "image_url", "image_url": {"url": _URL}},
            {"type": "text", "text": self.text},
        ]
        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": content}],  # first, and the image first in it
            "model": self.model,
            **{
                name: value
                for name in ("max_tokens", "temperature")
                if (value := getattr(self, name)) is not None
            },
            **self.fields,
        }
        before, url, after = json.dumps(body).partition(_URL)
        return (before + url).encode(), after.encode()
