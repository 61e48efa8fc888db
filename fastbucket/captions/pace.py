"""How fast a run asks: back-off after failures, and less at once where the endpoint says so."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime

from ..errors import RunError


@dataclass(frozen=True)
class Backoff:
    """Seconds before a request is sent again.

    base: before the second attempt, doubled with each one after, up to cap. patience: how long all
    may be told to wait, without one answer, before the run gives up.
    """

    base: float = 0.5
    cap: float = 30.0
    patience: float = 900.0

    def delay(self, failures: int) -> float:
        """Between half and all of base x 2^(failures - 1): those that failed together part."""
        whole = min(self.cap, self.base * float(2 ** min(failures - 1, 60)))
        return whole * random.uniform(0.5, 1.0)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks to wait; None where it does not.

    Retry-After holds seconds or a date (RFC 9110, 10.2.3); retry-after-ms is OpenAI's and Azure's.
    """
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            try:
                date = parsedate_to_datetime(value)
            except (ValueError, TypeError):
                continue
            if date.tzinfo is None:
                date = date.replace(tzinfo=timezone.utc)
            seconds = date.timestamp() - time.time()
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


class Pace:
    """The gate that every request passes.

    At most `width` requests are under way. A 429 halves that and shuts the gate for as long as the
    endpoint says, or for a growing while; every answer opens it a little, one more at once for as
    many answers as fit. So the run finds the rate that the endpoint takes, which is why no option
    states it. A 429 says nothing of the image: it is no attempt at it.
    """

    def __init__(self, width: int, backoff: Backoff) -> None:
        self._most = self._width = float(width)
        self._backoff = backoff
        self._busy = 0
        self._opens = 0.0  # monotonic seconds; shut until then
        self._narrowed = 0.0
        self._rounds = 0  # of being told to wait, since the last answer
        self._dry = 0.0  # since when
        self._room = asyncio.Event()

    @property
    def width(self) -> int:
        return max(1, int(self._width))

    async def enter(self) -> float:
        """Wait for one's turn. Returns the time, for `throttled`; `leave` must follow."""
        while True:
            now = time.monotonic()
            if now < self._opens:
                await asyncio.sleep(self._opens - now)
            elif self._busy < self.width:
                self._busy += 1
                return now
            else:
                self._room.clear()
                await self._room.wait()

    def leave(self) -> None:
        self._busy -= 1
        self._room.set()

    def answered(self) -> None:
        """The endpoint worked."""
        self._rounds = 0
        self._width = min(self._most, self._width + 1 / self._width)
        self._room.set()

    def hold(self, seconds: float) -> None:
        """Nothing goes out for this long. Raises RunError where that is beyond patience."""
        if seconds > self._backoff.patience:
            raise RunError(
                f"the endpoint asks to wait {seconds:,.0f} s; the same command goes on from here "
                "when it will answer again"
            )
        self._opens = max(self._opens, time.monotonic() + seconds)

    def throttled(self, sent: float, after: float | None) -> None:
        """A request that went out at `sent` was answered 429, with or without Retry-After."""
        now = time.monotonic()
        if sent >= self._narrowed:  # not one more of those that went out together
            if not self._rounds:
                self._dry = now
            self._rounds += 1
            self._narrowed = now
            self._width = max(1.0, self._width / 2)
            if now - self._dry > self._backoff.patience:
                raise RunError(
                    f"the endpoint has answered nothing but 429, too many requests, for "
                    f"{now - self._dry:,.0f} s; the same command goes on from here later"
                )
        self.hold(after if after is not None else self._backoff.delay(self._rounds))
