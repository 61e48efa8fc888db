"""The resample kernel and its weights once more, plainly: the same integers without vectors.

`Resizer` must give these very bytes. Run as a program it prints a digest of what `Resizer` makes of
many sizes, for test_resample to compare between CPUs: natively, on the CPU that NUMBA_CPU_NAME and
NUMBA_CPU_FEATURES name, or with `spelled-out`, which keeps to the operations that every CPU has.
With `wide` besides they come in the shapes of AVX-512: its STRIP and its LINES.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from fastbucket.geometry import Size


class Case(NamedTuple):
    """Source, resized and target sizes, corner of the target, and the source's unshrunk extent."""

    source: Size
    resized: Size
    corner: tuple[int, int]
    target: Size
    span: tuple[Fraction, Fraction]


def cases(seed: int, count: int) -> Iterator[Case]:
    """Sizes of all kinds: from 1 pixel on, shrunk up to 100 times, cropped anywhere."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        shrink = int(rng.choice([1, 1, 2, 4, 8]))
        stored = [int(2 ** rng.uniform(0, 9.5)) for _ in range(2)]
        source = [-(-side // shrink) for side in stored]
        resized = [
            max(1, int(side / rng.choice([1, 1.01, 1.2, 2, 3.7, 9, 100]))) for side in source
        ]
        target = [int(rng.integers(1, side + 1)) for side in resized]
        corner = [int(rng.integers(0, r - t + 1)) for r, t in zip(resized, target, strict=True)]
        span = (Fraction(stored[0], shrink), Fraction(stored[1], shrink))
        yield Case(Size(*source), Size(*resized), (corner[0], corner[1]), Size(*target), span)


def noise(size: Size, seed: int = 0) -> np.ndarray:
    """(h, w, 4) uint8, a third of the values black or white."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-64, 320, (size.height, size.width, 4))
    return np.clip(values, 0, 255).astype(np.uint8)


def weights(
    span: Fraction, pixels: int, resized: int, first: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """First taps int64 (count,), and weights in units of 2^-14, int64 (count, taps)."""
    scale = float(span) / resized
    widened = max(scale, 1.0)
    center = (np.arange(first, first + count) + 0.5) * scale
    low = np.maximum((center - 2 * widened + 0.5).astype(np.int64), 0)
    high = np.minimum((center + 2 * widened + 0.5).astype(np.int64), pixels)
    at = low[:, None] + np.arange((high - low).max())
    x = np.abs((at + 0.5 - center[:, None]) / widened)
    near, far = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
    value = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    value[at >= high[:, None]] = 0.0
    value /= value.sum(axis=1, keepdims=True)
    whole = np.rint(value * (1 << 14)).astype(np.int64)
    whole[np.arange(count), whole.argmax(axis=1)] += (1 << 14) - whole.sum(axis=1)
    return low, whole


def resample(pixels: np.ndarray, case: Case) -> np.ndarray:
    """RGBX uint8 (h, w, 4) -> (H, W, 4), by axes: vertical to 6 fractional bits, then the rest."""
    (across, down), (x, y) = case.span, case.corner
    rows = weights(down, case.source.height, case.resized.height, y, case.target.height)
    columns = weights(across, case.source.width, case.resized.width, x, case.target.width)
    between = (_sums(pixels.astype(np.int64), *rows) + (1 << 7)) >> 8
    assert -(1 << 15) <= between.min() <= between.max() < 1 << 15
    total = _sums(between.transpose(1, 0, 2), *columns).transpose(1, 0, 2) + (1 << 19)
    assert -(1 << 31) <= total.min() <= total.max() < 1 << 31
    made = np.clip(total >> 20, 0, 255).astype(np.uint8)
    made[..., 3] = 255
    return made


def _sums(lines: np.ndarray, first: np.ndarray, whole: np.ndarray) -> np.ndarray:
    total = np.zeros((len(first), *lines.shape[1:]), np.int64)
    for k in range(whole.shape[1]):
        at = np.minimum(first + k, len(lines) - 1)  # where a tap lies outside its weight is zero
        total += whole[:, k, None, None] * lines[at]
    return total


def guarded(size: int, at_end: bool = True) -> np.ndarray:
    """uint8 (size,) between two pages that end the process when they are touched."""
    page = mmap.PAGESIZE
    inner = -(-max(size, 1) // page) * page
    whole = mmap.mmap(-1, inner + 2 * page)
    memory = np.frombuffer(whole, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    for start in (0, page + inner):
        where = ctypes.c_void_p(memory.ctypes.data + start)
        if libc.mprotect(where, ctypes.c_size_t(page), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = page + inner - size if at_end else page
    return memory[start : start + size]


def main() -> None:
    guard = "guarded" in sys.argv
    if "spelled-out" in sys.argv:
        from fastbucket.kernels import vectors

        def spelled_out() -> int:
            asks = sys._getframe(1).f_globals["__name__"]
            return 512 if "wide" in sys.argv and asks == "fastbucket.kernels.resample" else 0

        vectors.x86_bits = spelled_out
    from fastbucket import resize

    if "wide" in sys.argv:
        assert resize.resample.LINES == 2
    if guard:
        resize.aligned = guarded
    digest = hashlib.sha256()
    for number, case in enumerate(cases(seed=5, count=400)):
        pixels = noise(case.source, number)
        if guard:
            source = guarded(pixels.size, at_end=number % 2 == 0).reshape(pixels.shape)
            source[:] = pixels
            pixels = source
        made = resize.Resizer()(pixels, case.span, case.resized, case.corner, case.target)
        digest.update(made.tobytes())
    sys.stdout.write(f"{digest.hexdigest()}\n")


if __name__ == "__main__":
    main()
