"""Contenders in turn: all of them alive, one of them at work, a few images each.

A machine that others share changes its speed by some percent from one second to the next, and more
from process to process. So what is to be compared takes turns of some fifty milliseconds, and
whatever the machine does meets everyone. A turn is long enough for a contender to have its code and
tables in the caches again.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from . import process

TURN = 12
"""Images a turn."""


class Passes(NamedTuple):
    """One contender's round. ms: mean of an image where most sizes are new; ms_again: where all
    have been met. waited: share of the time in which the process was ready and had no core."""

    ms: float
    ms_again: float
    waited: float
    versions: dict[str, str]


def passes(commands: Mapping[str, tuple[str, list[str]]], turn: int = TURN) -> dict[str, Passes]:
    """One round: everyone goes over the images twice. commands: name -> (interpreter, arguments) of
    `benchmarks.contenders`, which all run on one core.

    Raises RuntimeError where a contender ends before it should.
    """
    at = process.core()
    running = {
        name: process.dialogue(arguments, python, at)
        for name, (python, arguments) in commands.items()
    }
    try:
        opening = {name: _read(name, one) for name, one in running.items()}
        images = {name: said["images"] for name, said in opening.items()}
        if len(set(images.values())) != 1:
            raise RuntimeError(f"contenders have not the same images: {images}")
        seconds: dict[str, list[float]] = {name: [] for name in running}
        waited = dict.fromkeys(running, 0.0)
        total = next(iter(images.values()))
        for number, (start, stop) in enumerate([*_turns(total, turn), *_turns(total, turn)]):
            for name in _rotated(list(running), number):
                said = _ask(name, running[name], start, stop)
                seconds[name] += said["seconds"]
                waited[name] += said["waited"]
    finally:
        for one in running.values():
            one.kill()
            one.wait()
    return {
        name: Passes(
            1e3 * statistics.fmean(found[:total]),
            1e3 * statistics.fmean(found[total:]),
            waited[name] / sum(found),
            opening[name]["versions"],
        )
        for name, found in seconds.items()
    }


def _turns(images: int, turn: int) -> Iterator[tuple[int, int]]:
    for start in range(0, images, turn):
        yield start, min(start + turn, images)


def _rotated(names: list[str], number: int) -> list[str]:
    """Everyone follows everyone else, over time: who comes after whom should help nobody."""
    turned = names[number % len(names) :] + names[: number % len(names)]
    return turned[::-1] if number % 2 else turned


def _ask(name: str, running: subprocess.Popen[str], start: int, stop: int) -> Any:
    assert running.stdin is not None
    running.stdin.write(f"{start} {stop}\n")
    running.stdin.flush()
    return _read(name, running)


def _read(name: str, running: subprocess.Popen[str]) -> Any:
    assert running.stdout is not None
    line = running.stdout.readline()
    if not line:
        raise RuntimeError(f"{name} ended with exit code {running.wait()}")
    return json.loads(line)
