"""Crop strategies: inside the room, by the key, and as the reference has them."""

from __future__ import annotations

import hashlib
import random
import sys
from collections import Counter
from importlib.util import find_spec

import pytest
import reference

from fastbucket import format
from fastbucket.crop import CROPS
from fastbucket.geometry import Size

ROOMS = [Size(0, 0), Size(0, 16), Size(7, 0), Size(1, 1), Size(40, 3), Size(3, 900)]
ALLOWED = [(2, 3), (0,), (1,), (2,), (3,), (0, 1, 2, 3), (3, 0)]
OWN = {name for name in ("_sha2", "_sha256") if find_spec(name)}
"""The modules that this Python has for SHA-256 beside hashlib: of CPython one of the two."""


def keys(n: int) -> list[str]:
    return [reference.key(f"archive/{number}") for number in range(n)]


@pytest.mark.parametrize("absent", [(), ("_sha2",), ("_sha256",), ("_sha2", "_sha256")])
def test_a_key_is_sha_256_whichever_module_computes_it(monkeypatch, absent):
    for name in absent:
        monkeypatch.setitem(sys.modules, name, None)  # its import fails
    monkeypatch.setattr(format, "_sha256", format._short_sha256())
    assert (format._sha256 is hashlib.sha256) == (not OWN - set(absent))
    for name in ("", "a", "archive/one", "ä/ß" * 40, "\U0001f4f7", "x" * 5000):
        assert format.sample_key(name) == hashlib.sha256(name.encode()).hexdigest()
    assert [format.sample_key(f"archive/{n}") for n in range(9)] == keys(9)


@pytest.mark.parametrize("strategy", CROPS)
@pytest.mark.parametrize("room", ROOMS)
def test_within_the_room_and_the_same_again(strategy, room):
    for allowed in ALLOWED:
        for key in keys(40):
            for jitter in (0, 1, 16, 5000):
                x, y = CROPS[strategy](room, key, allowed, jitter)
                assert 0 <= x <= room.width
                assert 0 <= y <= room.height
                assert (x, y) == CROPS[strategy](room, key, allowed, jitter)


@pytest.mark.parametrize("strategy", ["corner", "center"])
@pytest.mark.parametrize("allowed", ALLOWED)
def test_as_the_reference(strategy, allowed):
    for key in keys(100):
        for room in ROOMS:
            target = (100, 200)
            resized = (100 + room.width, 200 + room.height)
            expected = reference.crop(strategy, resized, target, key, allowed)
            assert CROPS[strategy](room, key, allowed, 16) == expected


def test_an_odd_pixel_is_cut_at_the_right_and_the_bottom():
    assert CROPS["center"](Size(7, 16), "0" * 64, (2, 3), 0) == (3, 8)


def test_corners_are_those_of_the_format():
    room = Size(7, 16)
    found = [CROPS["corner"](room, "0" * 64, (corner,), 0) for corner in range(4)]
    assert found == [(0, 0), (7, 0), (0, 16), (7, 16)]


def test_the_first_64_bits_of_the_key_choose():
    room = Size(7, 16)
    assert CROPS["corner"](room, "0" * 64, (2, 3), 0) == (0, 16)
    assert CROPS["corner"](room, "0" * 15 + "1" + "0" * 48, (2, 3), 0) == (7, 16)
    assert CROPS["corner"](room, "0" * 16 + "f" * 48, (2, 3), 0) == (0, 16)
    found = Counter(CROPS["corner"](room, key, (2, 3), 0) for key in keys(2000))
    assert set(found) == {(0, 16), (7, 16)}
    assert abs(found[0, 16] - 1000) < 120


def test_jitter_moves_a_corner_inwards_by_what_the_key_says():
    """By key[16:24] and key[24:32], modulo jitter + 1, and no farther than there is room."""
    dice = random.Random(4)
    room = Size(100, 60)
    for _ in range(300):
        key, jitter = f"{dice.getrandbits(256):064x}", dice.choice((0, 1, 7, 16, 80))
        for corner in range(4):
            x, y = CROPS["corner_jitter"](room, key, (corner,), jitter)
            dx = min(int(key[16:24], 16) % (jitter + 1), 100)
            dy = min(int(key[24:32], 16) % (jitter + 1), 60)
            assert x == (100 - dx if corner in (1, 3) else dx)
            assert y == (60 - dy if corner in (2, 3) else dy)
    moved = {CROPS["corner_jitter"](room, key, (0,), 16) for key in keys(3000)}
    assert {x for x, _ in moved} == {y for _, y in moved} == set(range(17))


def test_no_jitter_is_the_corner():
    for key in keys(50):
        assert CROPS["corner_jitter"](Size(9, 9), key, (2, 3), 0) == CROPS["corner"](
            Size(9, 9), key, (2, 3), 0
        )
