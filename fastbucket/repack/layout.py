"""A bucket without some of its samples: which shards change, and what takes the free places.

The rule is `gaps.order`, that of an export which finds damaged samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .. import gaps


class Layout(NamedTuple):
    """The shards of a repacked bucket. kept: numbers of those whose samples stay what they are;
    pieces: (shard, index) of every sample of the others, by number; shards: how many there are."""

    kept: list[int]
    pieces: dict[int, list[tuple[int, int]]]
    shards: int


def layout(samples: int, dropped: Sequence[int], shard_size: int) -> Layout:
    """The shards of a bucket of so many samples when those at `dropped` are gone."""
    taken = gaps.order([samples], dropped)
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
