"""The chroma kernel against numpy floats, and the policies that use it."""

from __future__ import annotations

import numpy as np
import pytest

from fastbucket import Recipe, Transcoder
from fastbucket.draw import draw
from fastbucket.encode import encode
from fastbucket.kernels.chroma import chroma_loss, lost_energy
from fastbucket.subsampling import POLICIES, SUBSAMPLINGS, Chroma


def rgbx(rgb: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]))


def expected_loss(rgb: np.ndarray) -> float:
    """The same in floats: BT.601 chroma, deviation from the mean of each 2x2 block."""
    even = rgb[: rgb.shape[0] // 2 * 2, : rgb.shape[1] // 2 * 2].astype(float)
    energy = 0.0
    for weights in ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)):
        plane = even @ np.array(weights)
        blocks = plane.reshape(plane.shape[0] // 2, 2, plane.shape[1] // 2, 2)
        energy += ((blocks - blocks.mean((1, 3), keepdims=True)) ** 2).mean() / 2
    return float(energy**0.5)


@pytest.mark.parametrize("seed", range(4))
def test_loss_agrees_with_floats(seed: int) -> None:
    dice = np.random.default_rng(seed)
    shape = (int(dice.integers(2, 90)), int(dice.integers(2, 90)), 3)
    noise = dice.integers(0, 256, shape).astype(np.uint8)
    assert chroma_loss(rgbx(noise)) == pytest.approx(expected_loss(noise), rel=0.002)
    photo = draw(160, 121, seed)
    assert chroma_loss(rgbx(photo)) == pytest.approx(expected_loss(photo), abs=0.05)


def test_the_kernel_is_the_function_it_was_compiled_from() -> None:
    pixels = rgbx(draw(31, 23, 5))
    assert lost_energy(pixels) == lost_energy.py_func(pixels)


def test_grey_and_the_smallest_images_lose_nothing() -> None:
    grey = np.repeat(draw(64, 48, 1)[..., :1], 3, axis=2)
    assert chroma_loss(rgbx(grey)) == 0
    assert chroma_loss(rgbx(draw(64, 48, 1)[:1, :1])) == 0


def test_the_largest_image_does_not_overflow() -> None:
    checks = np.indices((512, 2048)).sum(0) % 2
    colours = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)[checks]
    assert chroma_loss(rgbx(colours)) == pytest.approx(expected_loss(colours), rel=0.002)


def facts(scale: float, spacing: tuple[int, int] = (2, 2), loss: float = 0.0) -> Chroma:
    return Chroma(scale, 0.85, spacing, lambda: loss, 1.0)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_answers_with_a_subsampling_of_the_format(policy: str) -> None:
    for scale in (0.1, 0.5, 0.85, 1.0):
        for spacing in ((1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (0, 0)):
            for loss in (0.0, 5.0):
                assert POLICIES[policy](facts(scale, spacing, loss)) in SUBSAMPLINGS


@pytest.mark.parametrize("scale", [0.2, 0.5, 0.8499, 0.85, 0.9, 1.0])
def test_adaptive_source_is_adaptive_scale_for_a_420_source(scale: float) -> None:
    given = facts(scale)
    assert POLICIES["adaptive_source"](given) == POLICIES["adaptive_scale"](given)


def test_adaptive_source_keeps_what_the_source_has() -> None:
    policy = POLICIES["adaptive_source"]
    assert policy(facts(1.0, (1, 1))) == "4:4:4"
    assert policy(facts(1.0, (2, 1))) == "4:2:2"
    assert policy(facts(0.5, (2, 1))) == "4:4:4"
    assert policy(facts(0.9, (0, 0))) == "4:2:0"


def test_adaptive_content_looks_at_the_image() -> None:
    policy = POLICIES["adaptive_content"]
    assert policy(facts(0.2, loss=0.99)) == "4:2:0"
    assert policy(facts(1.0, loss=1.0)) == "4:4:4"


def test_content_policy_end_to_end_saves_bytes_on_plain_chroma() -> None:
    photo = draw(700, 700, 3)
    plain = np.repeat(photo[..., 1:2], 3, axis=2)
    fine = photo.copy()
    fine[:, ::2, 0], fine[:, 1::2, 2] = 255, 255
    recipe = Recipe(subsampling_policy="adaptive_content", fidelity="exact")
    answers = [
        Transcoder(recipe).transcode(encode(rgbx(image), 95, "4:4:4"), "x").subsampling
        for image in (plain, fine)
    ]
    assert answers == ["4:2:0", "4:4:4"]
