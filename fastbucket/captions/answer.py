"""What a chat endpoint answered: a caption, or why there is none.

Source: OpenAI's API reference, "The chat completion object", and where others differ from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from .text import clean

DETAIL_LIMIT = 500
"""Characters of a refusal or an error that are kept."""

REFUSALS = frozenset(
    (
        "content_filter",  # OpenAI, Azure, OpenRouter, vLLM
        "refusal",  # Anthropic
        "safety", "recitation", "blocklist", "prohibited_content", "spii", "image_safety",  # Gemini
    )
)  # fmt: skip
"""finish_reason, in lower case, where the model or its keeper would not speak."""

MODERATED = frozenset(
    (
        "content_filter",  # Azure, status 400
        "content_policy_violation",  # OpenAI, 400
        "moderation_blocked",  # OpenAI, 400
        "responsibleaipolicyviolation",  # Azure, inner error
    )
)
"""code of an error object, in lower case, that speaks of this image and not of the request."""

QUOTA = frozenset(("insufficient_quota", "billing_hard_limit_reached"))
"""code of an error object that no waiting will mend, whatever the status."""


class Nonsense(ValueError):
    """No answer of a chat endpoint; says in what."""


class Answer(NamedTuple):
    """status: store.STATUSES. text: only where it is ok. Tokens: 0 where nothing is said."""

    status: str
    text: str = ""
    detail: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Fault(NamedTuple):
    """The error object of an endpoint. code: in lower case, "" without one; status: 0 without."""

    message: str
    code: str = ""
    status: int = 0
    moderated: bool = False


def loads(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises Nonsense for anything else."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or nested by somebody who means harm
        raise Nonsense(f"no JSON: {shown(body)}") from None
    if not isinstance(payload, dict):
        raise Nonsense(f"no JSON object: {shown(body)}")
    return payload


def answer(payload: Mapping[str, Any]) -> Answer:
    """The answer in the body of a 200. Raises Nonsense where it has not that form.

    | what it holds                          | status  | detail                    |
    |----------------------------------------|---------|---------------------------|
    | message.refusal                        | refused | its words                 |
    | finish_reason is one of REFUSALS       | refused | the reason                |
    | finish_reason "length"                 | error   | tokens, and what to do    |
    | text with NUL or a lone surrogate      | error   | which, and where          |
    | no text, or white space                | empty   | finish_reason             |
    | text                                   | ok      |                           |
    """
    choices = payload.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Nonsense("an object without choices")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise Nonsense("a choice without a message")
    finish = choices[0].get("finish_reason")
    finish = finish if isinstance(finish, str) else ""
    text = _content(message.get("content"))
    usage = payload.get("usage")
    tokens = [_tokens(usage, name) for name in ("prompt_tokens", "completion_tokens")]
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal.strip():
        return Answer("refused", "", shown(refusal), *tokens)
    if finish.lower() in REFUSALS:
        return Answer("refused", "", f"finish_reason {shown(finish)}", *tokens)
    if finish == "error":
        raise Nonsense("finish_reason error")
    if finish == "length":
        after = f" after {tokens[1]} tokens" if tokens[1] else ""
        words = f"the answer was cut off{after} (finish_reason length): raise --max-tokens"
        return Answer("error", "", words, *tokens)
    try:
        text = clean(text)
    except ValueError as error:
        return Answer("error", "", f"the answer holds a {error}", *tokens)
    if not text:
        return Answer("empty", "", f"finish_reason {shown(finish)}" if finish else "", *tokens)
    return Answer("ok", text, "", *tokens)


def fault(payload: Mapping[str, Any]) -> Fault | None:
    """The error that a body speaks of; None where it speaks of none.

    {"error": {"message", "code" or "type"}} of OpenAI, {"error": "..."} of llama.cpp, {"message"}
    of Mistral, {"detail"} of FastAPI.
    """
    error = payload.get("error")
    if isinstance(error, dict):
        code, kind = error.get("code"), error.get("type")
        inner = error.get("innererror")
        names = {str(name).lower() for name in (code, kind)}
        if isinstance(inner, dict):
            names.add(str(inner.get("code")).lower())
        about = error.get("metadata")  # OpenRouter's 403 of a moderated image
        moderated = bool(names & MODERATED) or (
            isinstance(about, dict) and "flagged_input" in about
        )
        status = code if isinstance(code, int) else 0
        message = error.get("message")
        return Fault(
            shown(message if isinstance(message, str) else json.dumps(error)),
            next(iter(names & QUOTA), ""),
            status,
            moderated,
        )
    for words in (error, payload.get("message"), payload.get("detail")):
        if words:
            return Fault(shown(words if isinstance(words, str) else json.dumps(words)))
    return None


def shown(words: str | bytes) -> str:
    """Strange words on one line of bounded length, without control characters."""
    if isinstance(words, bytes):
        words = words[: 4 * DETAIL_LIMIT].decode("utf-8", "replace")
    line = " ".join(words[: 4 * DETAIL_LIMIT].split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return line if len(line) <= DETAIL_LIMIT else line[: DETAIL_LIMIT - 3] + "..."


def _content(content: object) -> str:
    """message.content: text, null, or a list of parts, of which those of type text count."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        texts = [part.get("text") for part in content if part.get("type") == "text"]
        if all(isinstance(text, str) for text in texts):
            return "".join(texts)
    raise Nonsense(f"a message whose content is {type(content).__name__}")


def _tokens(usage: object, name: str) -> int:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and count > 0 else 0
