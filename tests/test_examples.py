"""The examples run, and the toy learns something in a few steps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import shardsets

ROOT = Path(__file__).resolve().parents[1]


def train(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "train_toy.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_toy_trains_and_goes_on(tmp_path):
    pytest.importorskip("torch", reason="torch is no dependency, not even of the tests")
    shards = shardsets.make(tmp_path / "out", {"p1024x1024": 40, "p1152x832": 9}, 16)
    saved = tmp_path / "saved.pt"
    first = train(shards.out, "--steps", 30, "--seconds", 200, "--resume", saved)
    again = train(shards.out, "--steps", 70, "--seconds", 200, "--resume", saved, "--workers", 1)
    assert "49 samples, 7 batches an epoch, from step 0" in first
    assert "from step 30" in again
    # 30 steps are 4 epochs of 7 and two batches: the next 5 are of the same epoch.
    assert "step 50, epoch 7" in again
    assert "step 100, epoch 14" in again
    losses = [float(loss) for loss in re.findall(r"loss (\d+\.\d+)", first + again)]
    assert len(losses) == 3
    assert losses[-1] < 0.8 * losses[0], losses
