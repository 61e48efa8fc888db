"""What contenders need and pip cannot put beside the rest: built once, kept in the work folder.

Standard library alone.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .options import WORK, WORK_VARIABLE

Command = Sequence[str | Path]

PILLOW_SIMD = "pillow-simd"
SHARP = "sharp"


def folder(name: str) -> Path:
    """The folder of an environment, whether or not it is there."""
    return Path(os.environ.get(WORK_VARIABLE, WORK)).expanduser().resolve() / name


def python(name: str) -> Path:
    """The interpreter of an environment of Python."""
    return folder(name) / "bin" / "python"


def why_absent(name: str) -> str | None:
    """None where an environment is ready; else the reason, as its build left it."""
    if (folder(name) / "ready").is_file():
        return None
    failed = folder(name) / "failed"
    return failed.read_text() if failed.is_file() else "not built: run python -m benchmarks"


def build_all() -> None:
    """Build what is not there. A build that failed before is tried again."""
    for name, build in ((PILLOW_SIMD, _pillow_simd), (SHARP, _sharp)):
        if why_absent(name) is None:
            continue
        where = folder(name)
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(parents=True)
        print(f"building {where}", file=sys.stderr)
        if failure := build(where):
            (where / "failed").write_text(failure)
            print(f"{name} cannot be built: {failure}", file=sys.stderr)
        else:
            (where / "ready").touch()


def _pillow_simd(where: Path) -> str | None:
    """Pillow-SIMD in a venv, its C files compiled for AVX2. Needs headers of libjpeg and zlib."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"made for x86, this is {platform.machine()}"
    pip: Command = [
        python(PILLOW_SIMD),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "-q",
    ]
    return (
        _failure([sys.executable, "-m", "venv", where])
        or _failure(
            # No cache: it would hand out a wheel that was once built without AVX2.
            [*pip, "--no-cache-dir", "--no-deps", "--no-binary", PILLOW_SIMD, PILLOW_SIMD],
            {"CC": "cc -mavx2"},
        )
        or _failure([*pip, "numpy"])
        or _failure([python(PILLOW_SIMD), "-c", "from PIL import _imaging; _imaging.jpeg_encoder"])
    )


def _sharp(where: Path) -> str | None:
    """sharp and its libvips, from npm."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    npm: Command = [
        "npm",
        "install",
        "--no-audit",
        "--no-fund",
        "--silent",
        "--prefix",
        where,
        SHARP,
    ]
    return _failure(npm)


def _failure(command: Command, environment: dict[str, str] | None = None) -> str | None:
    """The last line that a failing command said; None where it succeeded."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            env={**os.environ, **(environment or {})},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit code {done.returncode}"
