"""What is tried again, and after how long."""

from __future__ import annotations

import time

from ..errors import StreamError
from ..progress import GOING_ON, At

WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds before each further try: a minute in all, which outlives a restart of most servers."""

LONGEST = 120.0
"""Seconds that a server may ask for (Retry-After) before it is taken at less than its word."""


class Patience:
    """The tries of one transfer. A try that moved a byte begins the count anew."""

    def __init__(self, name: str, at: At) -> None:
        self._name, self._at = name, at
        self._failed = 0

    def moved(self) -> None:
        """Something came."""
        self._failed = 0
        self.alive()

    def alive(self) -> None:
        """Something goes on, if nothing that is of use."""
        self._at(GOING_ON)

    def failed(self, why: str, asked: float = 0.0) -> None:
        """Waits before the next try; asked: seconds that the server wants. Raises StreamError when
        that was the last."""
        if self._failed == len(WAITS):
            raise StreamError(
                f"{self._name}: {why}, {self._failed + 1} times in a row. When it can be reached "
                "again, the same command goes on with the archives that are missing"
            )
        seconds = max(WAITS[self._failed], min(asked, LONGEST))
        self._failed += 1
        pause(seconds, self._at)


def pause(seconds: float, at: At) -> None:
    """Sleeps, and is seen to be alive meanwhile."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        at(GOING_ON)
        time.sleep(min(left, 10.0))
