"""Killed before any step, or the power cut there, and started again: the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import gaps
import pytest
from conftest import long
from gaps import RECIPE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/fd")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> list[str]:
    return gaps.tars(lambda: tmp_path_factory.mktemp("crashes"))


CASES = {
    "fresh": {},
    "fresh, power cut": {"power": True},
    "overwriting": {"before": {**RECIPE, "quality": 90}},
    "overwriting, power cut": {"before": {**RECIPE, "quality": 90}, "power": True},
    "resuming": {"begun": 60},
    "resuming, power cut": {"begun": 60, "power": True},
    "resuming a filling": {"begun": -30},
    "resuming a filling, power cut": {"begun": -30, "power": True},
}
"""Name -> what lies in the folder, and how it ends; see crashes.Case."""


def die(source: list[str], folder: Path, case: dict, share: float) -> dict:
    facts = {
        "sources": source, "recipe": RECIPE, "power": False, "before": {}, "begun": 0, **case,
    }  # fmt: skip
    arguments = {"case": facts, "folder": str(folder), "share": share}
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("crashes.py"), json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


USUAL = [name for name in CASES if "power cut" in name]
"""The harder half: what is not synced is undone."""


@pytest.mark.parametrize("name", [*USUAL, *long(*(name for name in CASES if name not in USUAL))])
def test_a_sample_of_all_steps(source, tmp_path, name):
    found = die(source, tmp_path, CASES[name], 0.04)
    assert found["tried"] >= 2
    assert not found["failures"]


@pytest.mark.soak
@pytest.mark.parametrize("name", CASES)
def test_every_step(source, tmp_path, name):
    found = die(source, tmp_path, CASES[name], 1)
    assert found["tried"] == found["steps"] > 50
    assert not found["failures"]
