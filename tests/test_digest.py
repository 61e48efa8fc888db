"""The hash of a shard and of its sources: hashlib's, whichever way they are made."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from fastbucket.digest import Paired, Single, digest
from fastbucket.kernels import sha256

needs_sha = pytest.mark.skipif(not sha256.available(), reason="numba's target has no SHA")
KINDS = [Single, pytest.param(Paired, marks=needs_sha)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("whole_blocks", [True, False], ids=["tar", "any"])
def test_streams_and_sources(kind, whole_blocks):
    """Of blocks large and small, empty ones too, with sources that are shorter and longer."""
    dice = np.random.default_rng(0)

    def some(most: int, step: int = 1) -> bytes:
        return dice.bytes(step * int(dice.integers(0, most // step + 1)))

    step = 64 if whole_blocks else 1
    ours, stream = kind(), b""
    for turn in range(200):
        small = [some(2000) for _ in range(turn % 4)]
        if whole_blocks:
            small.append(bytes(-(len(stream) + sum(map(len, small))) % step))
        ours.update(small)
        block = some(200_000 if turn % 9 == 0 else 3000)
        source = memoryview(bytearray(some(250_000 if turn % 7 == 0 else 4000)))
        stream += b"".join(small)
        assert ours.beside(block, source) == hashlib.sha256(source).hexdigest()
        stream += block
    assert ours.hexdigest() == hashlib.sha256(stream).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_stream(kind):
    assert kind().hexdigest() == hashlib.sha256().hexdigest()


def test_a_processor_without_the_instructions(monkeypatch):
    monkeypatch.setattr(sha256, "available", lambda: False)
    assert isinstance(digest(paired=True), Single)
    assert isinstance(digest(), Single)
