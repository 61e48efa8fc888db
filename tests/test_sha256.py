"""SHA-256 by the instructions of the processor, one stream or two: hashlib's, bit for bit."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from fastbucket.kernels import sha256

needs_sha = pytest.mark.skipif(not sha256.available(), reason="numba's target has no SHA")


def random_bytes(size: int, seed: int = 0) -> memoryview:
    return memoryview(bytearray(np.random.default_rng(seed).bytes(size)))


@needs_sha
@pytest.mark.parametrize("sizes", [(), (0,), (64,), (128, 64), (1 << 20, 0, 4096, 512)])
def test_one_stream(sizes):
    ours, theirs = sha256.Sha256(), hashlib.sha256()
    for seed, size in enumerate(sizes):
        ours.update(random_bytes(size, seed))
        theirs.update(random_bytes(size, seed))
    assert ours.hexdigest() == theirs.hexdigest()


@needs_sha
def test_two_streams_do_not_touch_each_other():
    """Side by side for a while, then each alone, and asked in between."""
    dice = np.random.default_rng(1)
    ours = [sha256.Sha256() for _ in range(2)]
    theirs = [hashlib.sha256() for _ in range(2)]
    for turn in range(50):
        size = 64 * int(dice.integers(0, 40))
        pieces = [random_bytes(size, 2 * turn + n) for n in range(2)]
        if turn % 5:
            ours[0].update_both(pieces[0], ours[1], pieces[1])
        else:
            ours[turn // 5 % 2].update(pieces[0])
        for n, digest in enumerate(theirs):
            if turn % 5:
                digest.update(pieces[n])
            elif n == turn // 5 % 2:
                digest.update(pieces[0])
        assert [o.hexdigest() for o in ours] == [t.hexdigest() for t in theirs]


@needs_sha
@pytest.mark.parametrize("size", [0, 1, 54, 55, 56, 63])
def test_an_end_that_is_no_whole_step(size):
    """On both sides of the nine bytes that close a hash."""
    ours, end = sha256.Sha256(), random_bytes(size, 1)
    ours.update(piece := random_bytes(128))
    assert ours.hexdigest(end) == hashlib.sha256(bytes(piece) + bytes(end)).hexdigest()
    assert ours.hexdigest() == hashlib.sha256(piece).hexdigest()


@needs_sha
def test_the_length_of_long_streams():
    """Past 2^32 bits, where the length takes a fifth byte."""
    piece = random_bytes(1 << 20)
    ours, theirs = sha256.Sha256(), hashlib.sha256()
    for _ in range(520):
        ours.update(piece)
        theirs.update(piece)
    assert ours.hexdigest() == theirs.hexdigest()


@needs_sha
def test_pieces_that_cannot_be():
    with pytest.raises(ValueError, match="no whole blocks"):
        sha256.Sha256().update(random_bytes(63))
    with pytest.raises(ValueError, match="64 and of 128"):
        sha256.Sha256().update_both(random_bytes(64), sha256.Sha256(), random_bytes(128))


def test_its_constants_are_those_of_the_standard():
    assert [hex(word) for word in sha256._START[[0, 7]]] == ["0x6a09e667", "0x5be0cd19"]
    assert [hex(word) for word in sha256._CONSTANTS[[0, 63]]] == ["0x428a2f98", "0xc67178f2"]
