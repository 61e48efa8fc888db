"""The weights of the resize, and how they are packed for the kernel."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import plain_resample
import pytest
import reference

from fastbucket.geometry import Size
from fastbucket.kernels import resample, taps
from fastbucket.resize import Resizer, weights

# Source pixels an output, pixels, first output, outputs.
AXES = [
    (640 / 576, 640, 0, 576),
    (4000 / 512, 4000, 100, 412),
    (1.0, 33, 0, 33),
    (5 / 3, 5, 0, 3),
    (2.0, 2, 0, 1),
    (1.0, 1, 0, 1),
    (5000.0, 5000, 0, 1),
    (40000.0, 40000, 0, 1),  # so many taps that each alone rounds to nothing
    (32400.0, 97200, 0, 3),
    (0.5, 20, 3, 30),  # enlarged: never asked for
    (801 / 4 / 100, 201, 0, 100),
    (1200 / 577, 1200, 1, 575),
]


def dense(scale: float, pixels: int, first: int, count: int) -> np.ndarray:
    """The weights as a matrix, int64 (count, pixels)."""
    start, low, high, weights = taps.taps(scale, pixels, first, count)
    matrix = np.zeros((count, pixels), np.int64)
    for x in range(count):
        for tap in range(low[x], high[x]):
            matrix[x, start[x] + tap] = weights[tap + 1, x]
    assert (matrix.sum(axis=1) == taps.UNIT).all()
    return matrix


@pytest.mark.parametrize(("pixels", "size"), [(640, 576), (4000, 512), (33, 33), (5, 3), (2, 1)])
def test_weights_are_those_of_the_reference(pixels, size):
    found = dense(pixels / size, pixels, 0, size)
    assert (found.sum(axis=1) == taps.UNIT).all()
    # Half a unit of rounding, and what all of a row's roundings come to on its largest weight.
    most = (found != 0).sum(axis=1).max()
    assert np.abs(found / taps.UNIT - reference.weights(pixels, size)).max() < most / taps.UNIT


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_those_that_numpy_computes(seed):
    for case in plain_resample.cases(seed, 100):
        axes = zip(case.span, case.source, case.resized, case.corner, case.target, strict=True)
        for span, pixels, resized, first, count in axes:
            low, whole = plain_resample.weights(span, pixels, resized, first, count)
            expected = np.zeros((count, pixels + whole.shape[1]), np.int64)
            np.put_along_axis(expected, low[:, None] + np.arange(whole.shape[1]), whole, axis=1)
            found = dense(float(span) / resized, pixels, first, count)
            assert np.array_equal(found, expected[:, :pixels])


def unpacked(packed: np.ndarray) -> np.ndarray:
    """(blocks, pairs, n) int32 -> (blocks * n, 2 * pairs) int64."""
    blocks, pairs, n = packed.shape
    halves = np.ascontiguousarray(packed.transpose(0, 2, 1)).view("<i2")
    return halves.reshape(blocks * n, 2 * pairs).astype(np.int64)


@pytest.mark.parametrize("axis", AXES)
def test_rows_are_the_weights_and_read_no_row_in_vain(axis):
    pixels, count = axis[1], axis[3]
    start, pairs, packed = taps.rows(*axis)
    expected = dense(*axis)
    found = np.zeros((len(start) * 2, pixels + 2 * packed.shape[1]), np.int64)
    for row, values in enumerate(unpacked(packed)):
        found[row, start[row // 2] : start[row // 2] + len(values)] = values
    assert np.array_equal(found[:count, :pixels], expected)
    assert not found[count:].any()
    assert not found[:, pixels:].any()
    for group in range(-(-count // 2)):
        used = np.flatnonzero(expected[2 * group : 2 * group + 2].any(axis=0))
        assert start[group] == used[0]
        assert pairs[group] == (used[-1] + 2 - used[0]) // 2
    assert len(start) % 2 == 0
    assert not pairs[-(-count // 2) :].any()


@pytest.mark.parametrize("axis", AXES)
def test_columns_are_the_weights_and_read_no_column_in_vain(axis):
    pixels, count = axis[1], axis[3]
    left, read, start, packed = taps.columns(*axis)
    expected = dense(*axis)
    found = np.zeros((len(start), pixels + 2 * packed.shape[1]), np.int64)
    for column, values in enumerate(unpacked(packed)):
        at = left + 2 * start[column]
        found[column, at : at + len(values)] = values
    assert np.array_equal(found[:count, :pixels], expected)
    assert not found[count:].any()
    assert not found[:, pixels:].any()
    used = np.flatnonzero(expected.any(axis=0))
    assert left <= used[0] < left + (16 if pixels % 16 == 0 else 1)
    assert (start + packed.shape[1]).max() <= read
    assert read <= max((used[-1] + 2 - left) // 2, packed.shape[1])


def test_weights_are_computed_once_a_window():
    weights.cache_clear()
    resizer, span = Resizer(), (Fraction(40), Fraction(30))
    for seed in range(3):
        pixels = plain_resample.noise(Size(40, 30), seed)
        resizer(pixels, span, Size(20, 15), (0, 0), Size(20, 15))
    assert weights.cache_info()[:2] == (2, 1)


def test_the_kernel_refuses_whatever_leads_out_of_its_arrays(monkeypatch):
    """It works with addresses: nothing else would notice."""
    kernel, seen = resample.resample, []
    monkeypatch.setattr(resample, "resample", lambda *arguments: seen.append(arguments))
    pixels = plain_resample.noise(Size(101, 67))
    Resizer()(pixels, (Fraction(101), Fraction(67)), Size(57, 33), (0, 0), Size(57, 33))
    (good,) = seen
    names = kernel.py_func.__code__.co_varnames[: len(good)]

    def changed(name: str, at: int, value: int) -> dict[str, np.ndarray]:
        array = good[names.index(name)].copy()
        array[at] = value
        return {name: array}

    def without(name: str, n: int = 1, axis: int = 0) -> dict[str, np.ndarray]:
        array = good[names.index(name)]
        return {name: np.ascontiguousarray(np.delete(array, range(n), axis))}

    kernel(*good)
    most = good[names.index("row_weights")].shape[1]
    read = good[names.index("read")]
    line, past = resample.room(101, 67, good[names.index("left")], read)
    assert past > 0
    scratch = np.zeros((8 * resample.LINES + past) * line, np.uint8)
    good = tuple(scratch if name == "scratch" else x for name, x in zip(names, good, strict=True))
    last = line // 8 - good[names.index("column_weights")].shape[1]
    for bad in (
        {"left": -1},
        {"left": 101},
        {"left": 3 << 60},  # times 4 it is negative
        {"read": -1},
        {"read": 0},
        {"read": 1 << 62},
        {"read": line // 8 + 1},
        changed("row_first", 3, 67),
        changed("row_first", 3, -1),
        changed("row_pairs", 0, most + 1),
        changed("row_pairs", 0, -1),
        changed("column_first", 5, last + 1),
        changed("column_first", 5, -1),
        without("source", 20),
        without("source", 1, axis=2),
        without("row_first"),
        without("row_pairs"),
        without("row_weights"),
        without("row_weights", 1, axis=2),
        without("column_first", 4),
        without("column_weights"),
        without("column_weights", 1, axis=2),
        without("scratch"),
        without("scratch", past * line),
        without("target", 4),
        without("target", 4, axis=1),
        without("target", 1, axis=2),
    ):
        arguments = [bad.get(name, value) for name, value in zip(names, good, strict=True)]
        with pytest.raises(ValueError, match="do not fit"):
            kernel(*arguments)


def test_weights_too_large_for_the_integers_are_refused():
    """None that the filter makes are; the bound is what keeps sums within 16 and 32 bits."""
    worst = 0
    for case in plain_resample.cases(seed=9, count=300):
        for span, pixels, resized in zip(case.span, case.source, case.resized, strict=True):
            worst = max(
                worst, np.abs(dense(float(span) / resized, pixels, 0, resized)).sum(1).max()
            )
    assert worst < taps.LARGEST_SUM
    assert 255 * (taps.LARGEST_SUM >> 8) < 1 << 15
    assert (1 << 15) * taps.LARGEST_SUM + (1 << 19) < 1 << 31
