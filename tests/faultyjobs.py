"""A job for the engine's tests: its task says what happens at each position. Runs in a worker."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from fastbucket.errors import RunError, SampleError


class Words:
    """Task: (name, words). Returns the words that were done, or why not.

    Each call notes `name position process` in setup["log"]; a word with an f does its worst at the
    first time only. The word at the end, behind the last position, happens at none.
    """

    def __init__(self, setup: dict[str, Any]) -> None:
        self._log = Path(setup["log"])
        self._done: set[str] = set()

    def __call__(self, task: tuple[str, list[str]], report: Any) -> list[str]:
        name, words = task
        result = []
        for position, word in enumerate(words[:-1]):
            try:
                report.at(position)
                self._do(f"{name} {position}", word)
                result.append(word)
            except SampleError as error:
                result.append(error.detail)
            report(1)
        report.at(None)
        self._do(f"{name} end", words[-1])
        return result

    def _do(self, place: str, word: str) -> None:
        chance = word.startswith("f")
        known = chance and f"{place} " in self._log.read_text()
        with open(self._log, "a") as log:
            log.write(f"{place} {os.getpid()}\n")
        if not known:
            self._happen(word.removeprefix("f"))
        self._done.add(word)

    def _happen(self, word: str) -> None:
        if word.startswith("signal"):
            os.kill(os.getpid(), int(word.removeprefix("signal")))
        elif word.startswith("exit"):
            os._exit(int(word.removeprefix("exit")))
        elif word.startswith("sleep"):
            time.sleep(float(word.removeprefix("sleep")))
        elif word == "memory":
            raise MemoryError
        elif word == "refuse":
            raise RunError("it cannot go on")
        elif word == "bug":
            raise ZeroDivisionError
        elif word == "after" and "before" in self._done:
            os.kill(os.getpid(), signal.SIGSEGV)


class Plain:
    """A job without positions. Task: ms to sleep; what it gets is not called."""

    def __init__(self, setup: dict[str, Any]) -> None: ...

    def __call__(self, task: int, report: Any) -> int:
        time.sleep(task / 1000)
        return task
