"""What fails by chance is tried again, later each time; what cannot work is said at once."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..errors import RunError
from .crew import Stopped

Result = TypeVar("Result")

IN_VAIN = (
    PermissionError,
    FileNotFoundError,  # no such bucket
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    ImportError,
    ValueError,
    TypeError,
)
"""Errors that a repetition would meet too."""

IN_VAIN_NAMES = ("CredentialsError", "ProfileNotFound", "NotFoundError", "GatedRepoError")
"""Ends of the names of such errors in the stores' own libraries, which are not imported here."""

PASSING = frozenset((408, 409, 425, 429))
"""Statuses below 500 that pass; an error that has a status is judged by that."""


@dataclass(frozen=True)
class Patience:
    """attempts: in all. base: seconds before the second, doubled with each one after, to cap."""

    attempts: int = 6
    base: float = 0.5
    cap: float = 30.0

    def delay(self, failures: int) -> float:
        """Seconds, between half and all of it: those that failed together part."""
        whole = min(self.cap, self.base * float(2 ** (failures - 1)))
        return whole * random.uniform(0.5, 1.0)


def persist(
    what: str,
    action: Callable[[], Result],
    patience: Patience,
    wait: Callable[[float], None],
) -> Result:
    """Do it until it is done. what: for the message. wait: sleeps, or raises where all ends.

    Raises RunError with the store's words where it cannot be done, or not in that many attempts.
    """
    for failures in range(1, patience.attempts + 1):
        try:
            return action()
        except (RunError, Stopped):
            raise
        except Exception as error:
            words = f"{what}: {describe(error)}"
            if _in_vain(error):
                raise RunError(words) from error
            if failures == patience.attempts:
                raise RunError(
                    f"{words}; tried {failures} times. The same command goes on from here"
                ) from error
        wait(patience.delay(failures))
    raise AssertionError("no attempt at all")


def _in_vain(error: Exception) -> bool:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return 400 <= status < 500 and status not in PASSING
    return isinstance(error, IN_VAIN) or type(error).__name__.endswith(IN_VAIN_NAMES)


def describe(error: BaseException) -> str:
    """An error in one line; some have no words of their own."""
    return " ".join(str(error).split())[:500] or type(error).__name__
