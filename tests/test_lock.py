"""The lock of an output folder, and turns."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fastbucket import RunError
from fastbucket.lock import holder, locked, turn

TAKE = """
import pathlib, sys
from fastbucket.lock import turn
with turn(pathlib.Path(sys.argv[1])):
    print("in")
    sys.stdin.read()
"""


def test_who_holds_it_is_named(tmp_path):
    with locked(tmp_path, tmp_path / "lock") as held:
        held.write(holder())
        held.flush()
        with pytest.raises(RunError, match=f"in use by {holder().partition(' since')[0]}"):
            locked(tmp_path, tmp_path / "lock")
    locked(tmp_path, tmp_path / "lock").close()


def test_turns_of_two_processes(tmp_path):
    """The second waits until the first has ended, however that ends."""
    path = tmp_path / "turn"

    def take() -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", TAKE, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    with take() as first:
        assert first.stdout.readline() == "in\n"
        with take() as second:
            with pytest.raises(subprocess.TimeoutExpired):
                second.wait(1.0)
            first.kill()
            assert second.stdout.readline() == "in\n"
            second.stdin.close()
            assert second.wait() == 0


def test_where_there_are_no_locks_nobody_waits(tmp_path, monkeypatch):
    def flock(*arguments: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr("fcntl.flock", flock)
    with turn(tmp_path / "turn"), turn(tmp_path / "turn"):
        pass
