"""The resize kernel against floats: torch's doubles and the reference's dense matrices."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import reference

from fastbucket.geometry import Size
from fastbucket.kernels import resample as kernel
from fastbucket.resize import Resizer, weights

# Source, resized (both width, height), window (x, y, width, height).
CASES = [
    ((640, 480), (576, 432), (0, 16, 576, 416)),
    ((1000, 703), (591, 416), (7, 0, 576, 416)),
    ((97, 61), (29, 18), (3, 1, 25, 17)),
    ((800, 600), (800, 600), (0, 0, 800, 600)),  # nothing to do
    ((800, 600), (800, 599), (100, 99, 500, 500)),
    ((7, 900), (3, 300), (0, 12, 3, 288)),  # the filter is wider than the image
    ((1, 1), (1, 1), (0, 0, 1, 1)),
    ((2, 3), (1, 1), (0, 0, 1, 1)),
    ((3000, 40), (32, 33), (0, 0, 32, 32)),  # 94 times in x, 1.2 in y
    ((41, 33), (64, 50), (5, 5, 50, 40)),  # enlarged: never asked for, the same formula
]
IDS = [f"{a[0]}x{a[1]}-{b[0]}x{b[1]}" for a, b, _ in CASES]


def allowed(source, size) -> float:
    """The share of values that may differ. Rounded weights add up over hundreds of taps."""
    return 0.04 if max(a / b for a, b in zip(source, size, strict=True)) > 50 else 0.01


def noise(w: int, h: int, seed: int = 0) -> np.ndarray:
    """(h, w, 4) uint8 of the harshest kind: any value beside any other, black and white too."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (h, w, 4), dtype=np.uint8)
    pixels[rng.random((h, w)) < 0.2] = 0
    pixels[rng.random((h, w)) < 0.2] = 255
    return pixels


def resized(pixels, size, window, span=None) -> np.ndarray:
    height, width = pixels.shape[:2]
    span = span or (Fraction(width), Fraction(height))
    x, y, w, h = window
    found = Resizer()(pixels, span, Size(*size), (x, y), Size(w, h))
    assert found.shape == (h, w, 4)
    assert (found[..., 3] == 255).all()
    return found[..., :3].astype(int)


@pytest.mark.parametrize(("source", "size", "window"), CASES, ids=IDS)
def test_within_one_of_the_reference(source, size, window):
    """Weights of 14 bits and a row of 6 fractional bits: a value differs where rounding is a close
    call, by one, and in less than 1 of 100 (4 where a filter has hundreds of taps)."""
    pixels = noise(*source)
    expected = reference.resample_uint8(pixels[..., :3], *size, window).astype(int)
    off = np.abs(resized(pixels, size, window) - expected)
    assert off.max() <= 1
    assert (off > 0).sum() <= max(1, allowed(source, size) * off.size)


@pytest.mark.parametrize(("source", "size", "window"), CASES, ids=IDS)
def test_within_one_of_torch(source, size, window):
    torch = pytest.importorskip("torch", reason="torch is the format's own words for the resize")
    pixels = noise(*source, seed=1)
    planes = torch.from_numpy(pixels[..., :3].astype(np.float64)).permute(2, 0, 1)[None]
    exact = torch.nn.functional.interpolate(
        planes, size=size[::-1], mode="bicubic", antialias=True, align_corners=False
    )
    x, y, w, h = window
    exact = exact[0].permute(1, 2, 0).numpy()[y : y + h, x : x + w]
    expected = np.floor(np.clip(exact, 0, 255) + 0.5).astype(int)
    off = np.abs(resized(pixels, size, window) - expected)
    assert off.max() <= 1
    assert (off > 0).sum() <= max(1, allowed(source, size) * off.size)


@pytest.mark.parametrize("value", range(0, 256, 15))
def test_a_flat_area_stays_as_it_is(value):
    """Every row of weights sums to one exactly: no wall becomes a shade darker."""
    for source, size, window in CASES:
        flat = np.full((source[1], source[0], 4), value, np.uint8)
        assert (resized(flat, size, window) == value).all()


def test_no_overflow_between_black_and_white():
    """The largest overshoot that the filter has, in both directions at once."""
    for period in (1, 2, 3, 5, 8):
        board = np.indices((400, 400)).sum(axis=0) // period % 2 * 255
        pixels = np.repeat(board[..., None], 4, axis=2).astype(np.uint8)
        for size in ((399, 399), (310, 333), (200, 150), (64, 64)):
            window = (0, 0, *size)
            expected = reference.resample_uint8(pixels[..., :3], *size, window).astype(int)
            assert np.abs(resized(pixels, size, window) - expected).max() <= 1


@pytest.mark.parametrize(("source", "size", "window"), CASES[2:6], ids=IDS[2:6])
def test_compiled_and_python_agree(source, size, window):
    """To the last bit: integers know no fused multiply-add and no vector width."""
    source, size = (min(source[0], 60), min(source[1], 50)), (23, 19)
    window = (1, 2, 20, 15)
    pixels = noise(*source, seed=3)
    rows = weights(Fraction(source[1]), source[1], size[1], window[1], window[3])
    columns = weights(Fraction(source[0]), source[0], size[0], window[0], window[2])
    compiled = np.empty((window[3], window[2], 4), np.uint8)
    slow = compiled.copy()
    kernel.resample(pixels, *rows, *columns, compiled)
    kernel.resample.py_func(pixels, *rows, *columns, slow)
    assert np.array_equal(compiled, slow)


def test_a_window_is_a_part_of_the_whole():
    pixels = noise(320, 200, seed=6)
    whole = resized(pixels, (200, 125), (0, 0, 200, 125))
    for x, y, w, h in ((13, 9, 180, 110), (0, 0, 1, 1), (199, 124, 1, 1), (0, 100, 200, 25)):
        part = resized(pixels, (200, 125), (x, y, w, h))
        assert np.array_equal(part, whole[y : y + h, x : x + w])


def test_mirrored_in_is_mirrored_out():
    """What lets orientation be applied to the small image; only a rounded weight may differ."""
    pixels = noise(321, 203, seed=7)
    size, window = (200, 127), (0, 0, 200, 127)
    straight = resized(pixels, size, window)
    for flip in (np.s_[::-1], np.s_[:, ::-1]):
        mirrored = resized(np.ascontiguousarray(pixels[flip]), size, window)[flip]
        assert np.abs(mirrored - straight).max() <= 1


# Weights


@pytest.mark.parametrize(("pixels", "size"), [(640, 576), (4000, 512), (33, 33), (5, 3), (2, 1)])
def test_weights_are_those_of_the_reference(pixels, size):
    first, taps = weights(Fraction(pixels), pixels, size, 0, size)
    assert (taps.sum(axis=1) == 1 << kernel.WEIGHT_BITS).all()
    dense = np.zeros((size, pixels))
    for row, (low, values) in enumerate(zip(first.tolist(), taps.tolist(), strict=True)):
        for tap, value in enumerate(values):
            if value:
                dense[row, low + tap] = value / (1 << kernel.WEIGHT_BITS)
    # Half a unit of rounding, and what all of a row's roundings come to on its largest weight.
    assert np.abs(dense - reference.weights(pixels, size)).max() < taps.shape[1] / 2**14


def test_a_span_that_shrink_on_load_did_not_divide():
    """801 pixels decoded at a quarter are 201, and stand for 200.25: the last one is mostly edge.

    The oracle: a smooth ramp over all 801, which must come out as if nothing had been shrunken.
    """
    ramp = np.linspace(20, 235, 801)
    quarter = np.array([ramp[at : at + 4].mean() for at in range(0, 801, 4)])
    pixels = np.repeat(np.rint(quarter)[None, :, None], 40, axis=0).repeat(4, axis=2)
    found = resized(
        pixels.astype(np.uint8), (100, 20), (0, 0, 100, 20), (Fraction(801, 4), Fraction(40))
    )
    exact = reference.weights(801, 100) @ ramp
    inner = np.abs(found[0, :, 0] - exact)[2:-2]
    assert inner.max() <= 1
    naive = resized(pixels.astype(np.uint8), (100, 20), (0, 0, 100, 20))
    assert np.abs(naive[0, 50:-2, 0] - exact[50:-2]).mean() > inner[48:].mean()


def test_the_buffer_is_used_again_and_grows():
    resizer = Resizer()
    span = (Fraction(64), Fraction(48))
    pixels = noise(64, 48)
    small = resizer(pixels, span, Size(20, 15), (0, 0), Size(20, 15))
    copy = small.copy()
    again = resizer(pixels, span, Size(20, 15), (0, 0), Size(20, 15))
    assert again.base is small.base or np.shares_memory(again, small)
    assert np.array_equal(again, copy)
    large = resizer(pixels, span, Size(40, 30), (0, 0), Size(40, 30))
    assert large.shape == (30, 40, 4)
