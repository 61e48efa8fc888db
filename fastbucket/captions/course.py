"""What a run of questions may do, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import RunError
from .answer import Answer
from .pace import Backoff


@dataclass(frozen=True)
class Course:
    """Which samples are asked about, and at what expense.

    variant: made of the model's name where it is "". only_missing: leave out samples that have a
    caption of any other variant, or of those in priority where it names some. retry_refused: ask
    again where the model refused or said nothing. limit: samples; max_requests: requests of every
    kind; both in this run, None: all. max_attempts: requests for one sample, without those that
    the endpoint had no room for (429).
    """

    variant: str = ""
    only_missing: bool = False
    priority: Sequence[str] = ()
    retry_refused: bool = False
    limit: int | None = None
    concurrency: int = 16
    max_requests: int | None = None
    max_attempts: int = 6
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        for name in ("concurrency", "max_attempts", "limit", "max_requests"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RunError(f"{name}: {value}; at least 1 makes sense")
        if self.priority and not self.only_missing:
            raise RunError("--priority says what --only-missing looks at, and needs it")

    @property
    def retry(self) -> tuple[str, ...]:
        """Statuses of earlier answers that do not count as one."""
        return ("error", "refused", "empty") if self.retry_refused else ("error",)


@dataclass
class Generated:
    """What came of a run. asked = ok + empty + refused + error, in samples.

    left: samples still without an answer, those with an error among them. Tokens as the endpoint
    counts them, 0 where it does not. ended: done, limit (--limit), budget (--max-requests), error
    or interrupted. last_error: the latest error's detail.
    """

    variant: str
    model: str
    asked: int = 0
    ok: int = 0
    empty: int = 0
    refused: int = 0
    error: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    left: int = 0
    seconds: float = 0.0
    ended: str = "done"
    last_error: str = ""

    def count(self, answer: Answer) -> None:
        """One sample more."""
        self.asked += 1
        setattr(self, answer.status, getattr(self, answer.status) + 1)
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        if answer.status == "error":
            self.last_error = answer.detail

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    def __str__(self) -> str:
        """One line: counts, requests, tokens."""
        parts = [f"{self.ok:,} captions"]
        for name in ("refused", "empty", "error"):
            if count := getattr(self, name):
                parts.append(f"{count:,} {'errors' if name == 'error' else name}")
        parts.append(f"{self.requests:,} requests")
        if self.prompt_tokens or self.completion_tokens:
            parts.append(f"{self.prompt_tokens:,} + {self.completion_tokens:,} tokens (in + out)")
        parts.append(f"{self.left:,} samples left")
        return f"{self.variant}: {', '.join(parts)}"
