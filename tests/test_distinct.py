"""Two samples of one key: the kernel that looks for them, against a set of Python's."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from fastbucket import RunError
from fastbucket.kernels.distinct import distinct
from fastbucket.sources.probe import check_unique


def found(texts: list[bytes]) -> bool:
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    return distinct(np.frombuffer(b"".join(texts), np.uint8), ends)


def keys(count: int, seed: int) -> list[bytes]:
    """As they come: numbers, folders, and now and then one that is another's beginning."""
    dice = random.Random(seed)
    made = {b"n%08d_%d" % (dice.randrange(10**8), n) for n in range(count)}
    made |= {key[: dice.randrange(len(key))] for key in sorted(made)[:3]}
    made |= {b"folder/\xc3\xa9t\xc3\xa9/%d" % n for n in range(count // 10)}
    mixed = sorted(made)
    dice.shuffle(mixed)
    return mixed


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 1000, 5000])
def test_all_different(count):
    texts = keys(count, count)
    assert len(set(texts)) == len(texts)
    assert found(texts)


@pytest.mark.parametrize("seed", range(30))
def test_one_twice_wherever_they_stand(seed):
    texts = keys(500, seed)
    dice = random.Random(seed)
    texts.insert(dice.randrange(len(texts) + 1), dice.choice(texts))
    assert not found(texts)


def test_the_empty_text_is_one():
    assert found([b"", b"a"])
    assert not found([b"", b"a", b""])


def test_same_bytes_cut_elsewhere():
    assert found([b"ab", b"c", b"a", b"bc"])


def fnv(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value ^ value >> 32


def test_keys_chosen_to_collide_take_no_long_look():
    """150 of one place in the table: it says that it does not know, and Python's dict does."""
    size = 512
    chosen = [key for n in range(200_000) if fnv(key := b"%d" % n) % size == 7][:150]
    assert len(chosen) == 150
    assert not found(chosen)
    check_unique("a.tar", pa.array(chosen, pa.binary()), pa.array([b"jpg"] * 150, pa.binary()))


def test_the_error_names_both():
    texts = keys(100, 1)
    texts.insert(40, texts[70])
    suffixes = pa.array([b"jpg"] * len(texts), pa.binary())
    with pytest.raises(RunError, match=r"sample 40 .* and sample 71 "):
        check_unique("a.tar", pa.array(texts, pa.binary()), suffixes)


def test_a_part_of_an_array():
    whole = pa.array([b"a", b"b", b"a"], pa.binary())
    suffixes = pa.array([b"jpg"] * 3, pa.binary())
    check_unique("a.tar", whole.slice(1), suffixes.slice(1))
    check_unique("a.tar", whole.slice(0, 0), suffixes.slice(0, 0))
    check_unique("a.tar", pa.array([], pa.binary()), pa.array([], pa.binary()))
    with pytest.raises(RunError, match="two samples of one key 'a'"):
        check_unique("a.tar", whole, suffixes)


def test_other_bytes_are_told_apart_as_text():
    """What is no UTF-8 counts as it is written in an image_id."""
    suffixes = pa.array([b"jpg"] * 2, pa.binary())
    check_unique("a.tar", pa.array([b"\xff", b"\xfe"], pa.binary()), suffixes)
    with pytest.raises(RunError, match="two samples of one key"):
        check_unique("a.tar", pa.array([b"\xff", rb"\xff"], pa.binary()), suffixes)
