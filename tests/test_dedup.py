"""Exact duplicates against the plain way, and how little is read to find them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from fastbucket import dedup


class Source:
    """Samples in memory that note what is read of them."""

    def __init__(self, images: list[bytes]) -> None:
        self.images = images
        self.read_to: dict[int, int] = {}

    def read(self, rows, limit):
        for row in rows.tolist():
            data = self.images[row] if limit is None else self.images[row][:limit]
            self.read_to[row] = max(self.read_to.get(row, 0), len(data))
            yield memoryview(data)

    def duplicates(self, sizes=None) -> list[bool]:
        n = len(self.images)
        length = np.array([len(image) for image in self.images], np.int64)
        width, height = np.array(sizes or [(1, 1)] * n, np.int32).reshape(-1, 2).T
        return dedup.duplicates(length, width, height, self.read).tolist()


def plainly(images: list[bytes]) -> list[bool]:
    seen: set[bytes] = set()
    return [image in seen or seen.add(image) is not None for image in images]


@pytest.mark.parametrize("seed", range(20))
def test_as_a_set_of_whole_files_finds_them(seed):
    """Few bytes and few lengths, so that every stage meets equal and unequal ones."""
    dice = random.Random(seed)
    length = dedup.PREFIX
    images = []
    for _ in range(dice.randint(0, 120)):
        start = bytes([dice.randint(0, 2)]) * length
        images.append(
            (start + bytes([dice.randint(0, 2)]) * dice.randint(0, 3))[dice.randint(0, 1) :]
        )
    assert Source(images).duplicates() == plainly(images)


def test_the_first_stays():
    assert Source([b"a", b"b", b"a", b"a", b"b"]).duplicates() == [False, False, True, True, True]


def test_nothing_and_one():
    assert Source([]).duplicates() == []
    assert Source([b"x"]).duplicates() == [False]


def test_what_cannot_be_equal_is_not_read():
    """Sizes and lengths that differ: not a byte. Prefixes that differ: no more than these."""
    prefix = bytes(dedup.PREFIX)
    tail, other = prefix + b"tail", b"y" + prefix + b"ail"
    images = [tail, prefix + b"long tail", other, other, tail]
    sizes = [(1, 1), (1, 1), (2, 1), (1, 2), (1, 1)]
    source = Source(images)
    assert source.duplicates(sizes) == [False, False, False, False, True]
    assert set(source.read_to) == {0, 4}
    source = Source([b"x" + prefix, b"y" + prefix, b"x" + prefix])
    assert source.duplicates() == [False, False, True]
    assert source.read_to == {0: 4097, 1: 4096, 2: 4097}


def test_equal_beginnings_are_not_enough():
    """Same length, same prefix, another end: the SHA-256 of everything tells."""
    prefix = bytes(dedup.PREFIX)
    assert Source([prefix + b"a", prefix + b"b", prefix + b"a"]).duplicates() == [
        False,
        False,
        True,
    ]
