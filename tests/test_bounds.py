"""A kernel never reads or writes outside its arrays.

Two proofs, each in processes of its own: the kernels' tests under numba's bounds check, and the
kernels between pages that may not be touched. The second is for what goes by address and is seen
by no check: the vectors of `resample`, which loads and stores through intrinsics and trusts its own
`_within`, the window's pread, and libjpeg-turbo (`guarded`, and plain_resample.py for test_resize).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import guarded
import pytest

HERE = Path(__file__).parent

# Numba's check finds an index below -n or above n - 1; negative ones within count from the end.
CHECKED = (
    "test_jpegheader.py",
    "test_buckets.py",
    "test_chroma.py",
    "test_distinct.py",
    "test_look.py",
    "test_recode.py",
    "test_resample.py",
    "test_resize.py",
)

# Words in the names of tests that would prove nothing here: they start programs of their own,
# compile once more, or load torch for seconds to look at colours.
ELSEWHERE = (
    "on_every_cpu",
    "compiled_from",
    "torch",
)

CANARY = """
import numba, numpy as np

@numba.njit(boundscheck=False)
def beyond(array, i):
    return array[i]

try:
    beyond(np.zeros(3), 3)
except IndexError:
    print("checked")
"""


def run(
    *words: object, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(HERE.parent), str(HERE), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=HERE.parent,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )


def test_kernels_under_numbas_bounds_check(tmp_path):
    """Everything compiled anew with the check, `boundscheck=False` of a kernel notwithstanding.

    (test_tarwalk does the same for the walk, over hostile files.)
    """
    environment = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    canary = tmp_path / "canary.py"
    canary.write_text(CANARY)
    assert run(canary, **environment).stdout == "checked\n"
    done = run(
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-k",
        f"not ({' or '.join(ELSEWHERE)})",
        *(HERE / name for name in CHECKED),
        **environment,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 200
    headers = ("fit", "jpegheader", "jpegscans", "huffman", "recode", "distinct")
    pixels = ("chroma", "look", "taps")
    for kernel in (*headers, *pixels, "resample"):
        compiled = list((tmp_path / "cache").rglob(f"{kernel}.*.nbc"))
        assert compiled, f"{kernel} was not compiled: this proves nothing of it"


@pytest.mark.skipif(sys.platform != "linux", reason="memfd and mprotect as on Linux")
def test_the_fence_is_one():
    assert run(guarded.__file__, "trespass").returncode == -signal.SIGSEGV


@pytest.mark.skipif(sys.platform != "linux", reason="memfd and mprotect as on Linux")
@pytest.mark.parametrize("name", guarded.ROUNDS)
def test_kernels_between_pages_that_may_not_be_touched(name):
    done = run(guarded.__file__, name)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert done.stdout.count("fenced") == 2
