"""Covering a target and rounding, in integers, against exact fractions."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from fastbucket.geometry import Size, cover, oriented, round_half_up

SIDES = st.integers(1, 1 << 24)


@given(SIDES, SIDES, st.integers(1, 4096), st.integers(1, 4096))
def test_cover_is_what_fractions_say(w, h, width, height):
    found = cover(Size(w, h), Size(width, height))
    scale = max(Fraction(width, w), Fraction(height, h))
    assert found.scale == float(scale)
    assert found.resized == (
        max(width, reference.round_half_up(w * scale)),
        max(height, reference.round_half_up(h * scale)),
    )


@given(SIDES, SIDES, st.integers(1, 4096), st.integers(1, 4096))
def test_cover_covers_and_touches(w, h, width, height):
    resized = cover(Size(w, h), Size(width, height)).resized
    assert resized.width >= width
    assert resized.height >= height
    assert resized.width == width or resized.height == height


@given(SIDES, SIDES, st.integers(1, 4096), st.integers(1, 4096))
def test_cover_commutes_with_a_turn(w, h, width, height):
    """What lets orientation be applied to the small image."""
    upright = cover(Size(w, h), Size(width, height))
    lying = cover(Size(h, w), Size(height, width))
    assert lying.scale == upright.scale
    assert lying.resized == upright.resized[::-1]


@pytest.mark.parametrize(
    ("source", "target", "scale", "resized"),
    [
        ((640, 480), (576, 416), 0.9, (576, 432)),
        ((576, 416), (576, 416), 1.0, (576, 416)),
        ((1024, 1029), (512, 512), 0.5, (512, 515)),  # 514.5 up, not to even
        ((2112, 6105), (288, 832), 288 / 2112, (288, 833)),  # 832.5; doubles give 832
        ((300, 200), (576, 416), 2.08, (624, 416)),
    ],
)
def test_cover(source, target, scale, resized):
    assert cover(Size(*source), Size(*target)) == (scale, resized)


def test_orientations_5_to_8_swap_the_sides():
    for orientation in range(1, 9):
        expected = (3, 4) if orientation < 5 else (4, 3)
        assert oriented(Size(3, 4), orientation) == expected


def test_round_half_up():
    dice = random.Random(3)
    for _ in range(1000):
        n, d = dice.randint(0, 10**6), dice.randint(1, 10**4)
        assert round_half_up(n, d) == reference.round_half_up(Fraction(n, d))
    assert [round_half_up(n, 2) for n in (1, 3, 5)] == [1, 2, 3]
