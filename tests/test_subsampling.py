"""The policies that look at nothing but the scale, against the reference; others: test_chroma."""

from __future__ import annotations

import math
import random

import pytest
import reference

from fastbucket.subsampling import POLICIES, SUBSAMPLINGS, Chroma


def answer(policy: str, scale: float, threshold: float = 0.85) -> str:
    def loss() -> float:
        raise AssertionError(f"{policy} looked at the pixels")

    return POLICIES[policy](Chroma(scale, threshold, (2, 2), loss, 0.0))


def test_adaptive_scale_is_the_references():
    dice = random.Random(5)
    for _ in range(500):
        scale, threshold = dice.random(), dice.random()
        assert answer("adaptive_scale", scale, threshold) == reference.subsampling(scale, threshold)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [(0.01, "4:4:4"), (math.nextafter(0.85, 0), "4:4:4"), (0.85, "4:2:0"), (544 / 640, "4:2:0"),
     (1.0, "4:2:0")],
)  # fmt: skip
def test_the_threshold_belongs_to_420(scale, expected):
    assert answer("adaptive_scale", scale) == expected


def test_a_threshold_of_zero_and_of_one():
    assert answer("adaptive_scale", 0.001, 0.0) == "4:2:0"
    assert answer("adaptive_scale", 0.999, 1.0) == "4:4:4"


@pytest.mark.parametrize("policy", ["444", "422", "420"])
def test_a_fixed_policy_does_as_it_says(policy):
    expected = ":".join(policy)
    assert expected in SUBSAMPLINGS
    assert {answer(policy, scale) for scale in (0.1, 0.85, 1.0)} == {expected}
