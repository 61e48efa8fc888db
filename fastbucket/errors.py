"""The two ways in which things go wrong.

A sample that cannot be used is recorded with its reason and the run goes on: `SampleError`.
A run that cannot go on says what clashes and what to do: `RunError`.
"""

from __future__ import annotations


class SampleError(Exception):
    """One sample cannot be used. `reason` is one of `format.DROP_REASONS`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[SampleError], tuple[str, str]]:
        return type(self), (self.reason, self.detail)


class RunError(Exception):
    """The run stops. The message names the thing at fault and says what to do about it."""


class StreamError(RunError):
    """One archive that is read as a stream cannot be had whole. The others are finished first."""
