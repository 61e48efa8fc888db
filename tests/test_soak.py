"""A short soak; README.md says what long ones showed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.long  # two minutes; test_faults kills workers at random
@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_a_few_kills_change_no_byte(tmp_path):
    done = subprocess.run(
        [
            sys.executable, ROOT / "tools" / "soak.py", "--folder", tmp_path / "soak",
            "--kills", "6", "--minutes", "4", "--seed", "7",
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    survived = re.search(r"(\d+) kills survived in (\d+) exports", done.stdout)
    assert survived is not None, done.stdout
    assert int(survived[1]) >= 6
    assert int(survived[2]) >= 1
    assert not (tmp_path / "soak").exists()
