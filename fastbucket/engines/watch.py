"""Who stands still: looks at the positions of busy workers, a few times within the limit.

Time is what the parent saw between its own looks. Where it was away itself (stopped, or busy with
results) nobody else is blamed for that.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from .process import Worker

_LOOKS = 4
"""Looks within the limit."""

_EVERY = 1.0
"""Most seconds between two looks."""

PATIENCE = 20
"""As many times the limit may pass at no position, without any sign: 20 minutes with the default
one. Starting, walking on by another batch and the commit of a shard take much less, even on slow
drives; what takes longer hangs, and nothing waits for ever."""


class Watch:
    """A limit in seconds for the time at one position, and PATIENCE times that for the time at
    none; 0: none."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._every = min(_EVERY, limit / _LOOKS)
        self._last = time.monotonic()

    def pause(self) -> float | None:
        """Seconds until the next look; None: there is none."""
        if not self.limit:
            return None
        return max(0.0, self._last + self._every - time.monotonic())

    def stalled(self, workers: Iterable[Worker]) -> Iterator[Worker]:
        """Those that stand still for longer than they may, if it is time to look."""
        now = time.monotonic()
        away = now - self._last
        if not self.limit or away < self._every:
            return
        self._last = now
        for worker in workers:
            step = worker.step
            if step != worker.seen:
                worker.seen, worker.still = step, 0.0
                continue
            worker.still += min(away, 2 * self._every)
            if worker.still > self.allowed(worker.position):
                yield worker

    def allowed(self, position: int | None) -> float:
        """Seconds for standing still there."""
        return self.limit * PATIENCE if position is None else self.limit
