"""A bucket without some of its samples: which shards change, and what takes the free places.

The rule is `gaps.order`, that of an export which finds damaged samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .. import gaps
from ..format import at_larger_bases, at_smaller_bases


class Layout(NamedTuple):
    """The shards of a repacked bucket. kept: numbers of those whose samples stay what they are;
    pieces: (shard, index) of every sample of the others, by number; shards: how many there are."""

    kept: list[int]
    pieces: dict[int, list[tuple[int, int]]]
    shards: int


def layout(
    samples: int, dropped: Sequence[int], shard_size: int, larger: Sequence[int] = ()
) -> Layout:
    """The shards of a bucket of so many samples when those at `dropped` are gone. larger: samples
    that the bucket has at the larger bases, ascending; those come first in this one."""
    taken = gaps.order([*larger, samples], dropped)
    made = Layout([], {}, -(-len(taken) // shard_size))
    for number in range(made.shards):
        first = number * shard_size
        here = taken[first : first + shard_size]
        before = min(shard_size, samples - first)
        if len(here) == before and (here == np.arange(first, first + before)).all():
            made.kept.append(number)
        else:
            shards, places = np.divmod(here, shard_size)
            made.pieces[number] = list(zip(shards.tolist(), places.tolist(), strict=True))
    return made


def layouts(
    samples: Mapping[str, int],
    leaving: Mapping[str, Iterable[tuple[int, int]]],
    shard_size: int,
    bases: Sequence[int],
) -> dict[str, Layout]:
    """The shards of all buckets that lose samples, by bucket_id.

    samples: of every bucket. leaving: (shard, position) of those that go, under the bucket of the
    largest base that they stand at; they go from the smaller ones of `bases` too.
    """
    dropped: dict[str, list[int]] = {}
    for bucket_id, places in leaving.items():
        positions = [shard_size * shard + position for shard, position in places]
        for name in (bucket_id, *at_smaller_bases(bucket_id, bases)):
            dropped.setdefault(name, []).extend(positions)
    return {
        name: layout(
            samples[name],
            dropped[name],
            shard_size,
            [samples.get(other, 0) for other in at_larger_bases(name, bases)],
        )
        for name in sorted(dropped)
    }
