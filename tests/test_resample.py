"""The resize kernel: against floats (torch's doubles, the reference's dense matrices), to the last
bit against the same integers without vectors, and the same on other CPUs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import plain_resample
import pytest
import reference
from llvmlite import binding

from fastbucket.geometry import Size
from fastbucket.resize import Resizer

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


@pytest.mark.parametrize("seed", range(4))
def test_the_bytes_are_those_of_plain_integers(seed):
    resizer = Resizer()
    for number, case in enumerate(plain_resample.cases(seed, 120)):
        pixels = plain_resample.noise(case.source, number)
        if number % 2:  # as small images are decoded
            odd = np.empty(pixels.size + 1, np.uint8)[1:].reshape(pixels.shape)
            odd[:] = pixels
            pixels = odd
        made = resizer(pixels, case.span, case.resized, case.corner, case.target)
        assert np.array_equal(made, plain_resample.resample(pixels, case)), case


@pytest.mark.parametrize("width", [*range(1, 36), 63, 64, 65, 127, 128, 129])
def test_every_width_and_height(width):
    """Ends of strips, of blocks of four, of pairs: source and target of every remainder."""
    for height in (1, 2, 3, 5, 8, 9, 13):
        for resized in (Size(width, height), Size(-(-width // 2), -(-height // 2)), Size(1, 1)):
            source, span = Size(width, height), (Fraction(width), Fraction(height))
            case = plain_resample.Case(source, resized, (0, 0), resized, span)
            pixels = plain_resample.noise(source, height)
            made = Resizer()(pixels, span, resized, (0, 0), resized)
            assert np.array_equal(made, plain_resample.resample(pixels, case)), case
            if resized == source:
                assert np.array_equal(made[..., :3], pixels[..., :3])


def test_the_largest_sums_fit():
    """Sources made of the very signs of the weights, so that every sum is as large as can be."""
    for source, resized in ((64, 63), (200, 131), (900, 100), (12, 40), (3000, 20)):
        whole = Size(source, source), Size(resized, resized), (0, 0), Size(resized, resized)
        case = plain_resample.Case(*whole, (Fraction(source), Fraction(source)))
        first, weights = plain_resample.weights(Fraction(source), source, resized, 0, resized)
        for output in {0, resized // 2, resized - 1}:
            signs = np.zeros(source, bool)
            taps = weights[output][: source - first[output]]
            signs[first[output] : first[output] + len(taps)] = taps > 0
            for board in (np.equal.outer(signs, signs), np.not_equal.outer(signs, signs)):
                pixels = np.repeat(board[..., None] * np.uint8(255), 4, axis=2)
                made = Resizer()(pixels, case.span, case.resized, (0, 0), case.target)
                assert np.array_equal(made, plain_resample.resample(pixels, case))


def digest(cache: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """plain_resample in a process of its own, with kernels compiled anew; it prints a digest."""
    return subprocess.Popen(
        [sys.executable, plain_resample.__file__, *arguments],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("NUMBA_CPU_")},
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "NUMBA_CACHE_DIR": str(cache),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_same_bytes_on_every_cpu(tmp_path):
    """Natively, with AVX2, with what every x86 has, and without an instruction called by name, in
    the shapes of small vectors and of large ones.

    Sources, targets and scratch lie between forbidden pages: a byte too far ends the process.
    """
    running = {
        "native": digest(tmp_path / "0", {}, "guarded"),
        "generic": digest(tmp_path / "1", {"NUMBA_CPU_NAME": "generic"}, "guarded"),
        "spelled out": digest(tmp_path / "2", {}, "guarded", "spelled-out"),
        "wide": digest(tmp_path / "4", {}, "guarded", "spelled-out", "wide"),
    }
    if binding.get_host_cpu_features().get("avx2"):
        avx2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2"}
        running["avx2"] = digest(tmp_path / "3", avx2, "guarded")
    ended = {
        name: (*process.communicate(), process.returncode) for name, process in running.items()
    }
    assert not [errors or code for _, errors, code in ended.values() if errors or code]
    assert len({output for output, _, _ in ended.values()}) == 1
    assert len(ended["native"][0].strip()) == 64


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


def test_what_is_no_rgbx_or_no_part_of_the_image_is_refused():
    resizer, span = Resizer(), (Fraction(20), Fraction(10))
    pixels, size = noise(20, 10), Size(10, 5)
    with pytest.raises(ValueError, match="3 channels"):
        resizer(np.ascontiguousarray(pixels[..., :3]), span, size, (0, 0), size)
    with pytest.raises(TypeError):
        resizer(pixels[:, ::-1], span, size, (0, 0), size)
    with pytest.raises(TypeError):
        resizer(pixels.astype(np.int16), span, size, (0, 0), size)
    for corner, target in (((1, 0), size), ((0, 1), size), ((-1, 0), size), ((0, 0), Size(0, 5))):
        with pytest.raises(ValueError, match="outside"):
            resizer(pixels, span, size, corner, target)
