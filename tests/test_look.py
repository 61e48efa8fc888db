"""The look of an image: the kernel against numpy in floats, and the same on every CPU."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbucket import Recipe, Transcoder
from fastbucket.draw import draw
from fastbucket.drawn_source import photo_jpeg
from fastbucket.kernels import look as kernel
from fastbucket.look import DTYPE, MISSING, Look, look


def rgbx(rgb: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]))


def grey(luma: np.ndarray) -> np.ndarray:
    return rgbx(np.repeat(luma.astype(np.uint8)[..., None], 3, axis=2))


def spans(side: int) -> list[tuple[int, int]]:
    n = kernel.CELLS
    return [(i * side // n, max((i + 1) * side // n, i * side // n + 1)) for i in range(n)]


def lines(rgb: np.ndarray) -> list[np.ndarray]:
    """By row of cells: luma of the rows that are looked at."""
    step = kernel.ROWS if rgb.shape[0] >= kernel.SPARSE else 1
    luma = (rgb.astype(int) @ [1, 2, 1]) // 4
    return [luma[a:b:step] for a, b in spans(rgb.shape[0])]


def amplitudes(rgb: np.ndarray) -> np.ndarray:
    """(8, 8): the DCT of the cells' means in floats, in levels of amplitude."""
    n = kernel.CELLS
    cells = np.array([[r[:, a:b].mean() for a, b in spans(rgb.shape[1])] for r in lines(rgb)])
    wave = np.cos(np.pi * np.outer(np.arange(9), 2 * np.arange(n) + 1) / (2 * n))
    sums = wave @ cells @ wave.T
    sums[0] /= 2
    sums[:, 0] /= 2
    found = sums[:8, :8].copy()
    found[0, 0] = sums[0, 8]
    return found / (n / 2) ** 2


@pytest.mark.parametrize("size", [(576, 416), (97, 61), (64, 64), (63, 65), (1024, 30), (17, 700)])
def test_the_hash_is_that_of_a_dct(size):
    for seed in range(3):
        image = draw(*size, seed)
        bits = look(rgbx(image)).phash
        waves = amplitudes(image).ravel()
        clear = np.abs(waves - kernel.DEAD) > 0.2  # integers round
        assert clear.sum() > 32
        found = np.array([bits >> n & 1 for n in range(64)], bool)
        assert np.array_equal(found[clear], (waves > kernel.DEAD)[clear])


@pytest.mark.parametrize("size", [(576, 416), (97, 61), (640, 50), (1, 40), (40, 1), (1, 1)])
def test_shares_are_those_of_numpy(size):
    for image in (draw(*size, 1), np.where(draw(*size, 2)[..., :1] > 100, 250, 7).repeat(3, 2)):
        rows = lines(image)
        found = look(rgbx(image.astype(np.uint8)))
        whole = np.concatenate(rows)
        steps = np.abs(np.diff(whole, axis=1)) >= kernel.STEP
        assert found.edge_share == (1000 * steps.sum() // steps.size if steps.size else 0)
        low, high = np.percentile(whole, (1, 99))
        assert abs(found.luma_range - (high - low)) <= (12 if whole.size > 1000 else 255)
        counts = np.bincount(whole.ravel(), minlength=256) / whole.size
        windows = np.convolve(counts, np.ones(kernel.WINDOW), "valid")
        assert found.modal_share == pytest.approx(1000 * windows.max(), abs=30)
        apart = np.abs(np.arange(len(windows)) - windows.argmax()) >= kernel.APART
        if found.modal_share > 300:
            both = windows.max() + windows[apart].max()
            assert found.bimodal_share == pytest.approx(1000 * both, abs=30)


def test_copies_are_near_and_others_far():
    photos = [draw(576, 416, seed) for seed in range(12)]
    hashes = [look(rgbx(photo)).phash for photo in photos]
    brighter = [
        look(rgbx(np.clip(1.08 * p.astype(float) + 6, 0, 255).astype(np.uint8))) for p in photos
    ]
    half = [look(rgbx(np.ascontiguousarray(photo[::2, ::2]))) for photo in photos]
    for one, *copies in zip(hashes, brighter, half, strict=True):
        assert all((one ^ copy.phash).bit_count() <= 6 for copy in copies)
    far = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(far) > 12


@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
def test_a_blank_image_has_no_bit_and_one_level(level):
    noise = np.random.default_rng(level).integers(-1, 2, (300, 200))
    for image in (np.full((300, 200), level), np.clip(level + noise, 0, 255)):
        found = look(grey(image))
        assert found.phash == 0
        assert found.luma_range <= 2
        assert found.modal_share == found.bimodal_share == 1000
        assert found.edge_share == found.border_share == 0


def test_symmetry_leaves_bits_absent_and_not_to_chance():
    dice = np.random.default_rng(0)
    half = draw(200, 300, 4)[:, :, 1].astype(int)
    image = np.concatenate([half, half[:, ::-1]], axis=1)
    hashes = {look(grey(np.clip(image + dice.integers(-1, 2, image.shape), 0, 255))).phash
              for _ in range(8)}  # fmt: skip
    odd = sum(1 << (8 * v + u) for v in range(8) for u in range(1, 8, 2))
    assert all(bits & odd == 0 for bits in hashes)


@pytest.mark.parametrize(("top", "bottom", "left", "right"), [
    (80, 80, 0, 0), (0, 0, 90, 60), (48, 40, 56, 32), (0, 96, 0, 0), (0, 0, 0, 64),
])  # fmt: skip
@pytest.mark.parametrize("level", [0, 255, 90])
def test_borders(top, bottom, left, right, level):
    inner = draw(480 - left - right, 400 - top - bottom, 8)
    inner = np.where(np.abs(inner.astype(int) - level) < 40, (level + 128) % 256, inner)
    image = np.full((400, 480, 3), level, np.uint8)
    image[top : 400 - bottom, left : 480 - right] = inner
    expected = 1000 - 1000 * inner.shape[0] * inner.shape[1] // (400 * 480)
    noise = np.random.default_rng(1).integers(-4, 5, image.shape)
    for one in (image, np.clip(image + noise, 0, 255).astype(np.uint8)):
        assert look(rgbx(one)).border_share == pytest.approx(expected, abs=45)


def test_what_stands_free_has_no_border():
    y, x = np.mgrid[:400, :480]
    ball = np.where((y - 200) ** 2 + (x - 240) ** 2 < 150**2, 60 + x % 50, 255)
    assert look(grey(ball)).border_share == 0
    assert look(rgbx(draw(480, 400, 3))).border_share == 0


def test_the_last_channel_is_not_looked_at():
    image = rgbx(draw(300, 200, 5))
    other = image.copy()
    other[..., 3] = np.random.default_rng(0).integers(0, 256, other.shape[:2])
    assert look(image) == look(other)


@pytest.mark.parametrize(
    "shape", [(h, w) for h in (1, 2, 15, 16, 17, 63, 64, 65) for w in (1, 3, 63, 64, 130)]
)
def test_every_size_is_in_bounds(shape):
    image = np.random.default_rng(sum(shape)).integers(0, 256, (*shape, 4)).astype(np.uint8)
    found = look(image)
    assert 0 <= found.phash < 1 << 64
    assert 0 <= found.luma_range <= 255
    assert 0 <= found.modal_share <= found.bimodal_share <= 1000
    assert 0 <= found.edge_share <= 1000
    assert 0 <= found.border_share <= 1000


def test_the_kernel_is_the_function_it_was_compiled_from():
    image = rgbx(draw(66, 67, 5))
    with np.errstate(over="ignore"):
        assert kernel.look(image) == kernel.look.py_func(image)


def test_what_is_no_rgbx_is_refused():
    for shape in ((0, 4, 4), (4, 0, 4), (4, 4, 3)):
        with pytest.raises(ValueError, match="no RGBX"):
            look(np.zeros(shape, np.uint8))


def test_a_look_is_18_bytes():
    assert DTYPE.itemsize == 18
    assert DTYPE.names == Look._fields
    assert np.array(MISSING, DTYPE).tolist() == tuple(MISSING)


def test_at_any_address():
    """Small images are decoded to an odd one."""
    image = rgbx(draw(75, 50, 8))
    room = np.empty(image.size + 8, np.uint8)
    for at in range(8):
        there = room[at : at + image.size].reshape(image.shape)
        there[:] = image
        assert look(there) == look(image)
        assert np.array_equal(there, image)


@pytest.mark.parametrize("size", [(800, 600), (1600, 1200)])
def test_passed_through_is_looked_at_as_decoded(size):
    jpeg = photo_jpeg(draw(*size, 6))
    small = Transcoder(Recipe(image_mode="passthrough_jpeg")).transcode(jpeg, "x").look
    whole = Transcoder(Recipe(fidelity="exact")).transcode(jpeg, "x").look
    assert (small.phash ^ whole.phash).bit_count() <= 10  # the crop
    assert abs(small.modal_share - whole.modal_share) < 60


def digest() -> str:
    dice = np.random.default_rng(9)
    state = hashlib.sha256()
    for n in range(120):
        shape = (*dice.integers(1, 300, 2), 4)
        image = dice.integers(0, 256, shape).astype(np.uint8)
        if n % 3:
            image = rgbx(draw(int(shape[1]), int(shape[0]), n))
        if n % 4 == 0:
            image[: shape[0] // 3] = image[0, 0]
        state.update(repr(look(image)).encode())
    return state.hexdigest()


@pytest.mark.long  # compiles for minutes
def test_the_same_on_every_cpu(tmp_path):
    done = subprocess.run(
        [sys.executable, __file__],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("NUMBA_CPU_")},
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "NUMBA_CACHE_DIR": str(tmp_path),
            "NUMBA_CPU_NAME": "generic",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{digest()}\n"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.stdout.write(f"{digest()}\n")
