"""A bucket without some of its samples: which shards change, and what takes the free places.

The rule is that of `fill`: a sample keeps its position among the bucket's n if that is below the
number N of those that stay; a gap below N takes the next one that stays from N on. So shards
without a gap stay as they are, all but the last are full, and the result does not depend on how
often the work was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Layout(NamedTuple):
    """The shards of a repacked bucket. kept: numbers of those whose samples stay what they are;
    pieces: (shard, index) of every sample of the others, by number; shards: how many there are."""

    kept: list[int]
    pieces: dict[int, list[tuple[int, int]]]
    shards: int


def order(samples: int, dropped: Sequence[int]) -> NDArray[np.int64]:
    """The old position of the sample at each new one. dropped: positions in 0 .. samples - 1."""
    stays = np.ones(samples, np.bool_)
    stays[np.asarray(dropped, np.int64)] = False
    left = int(stays.sum())
    taken = np.arange(left)
    taken[~stays[:left]] = left + np.flatnonzero(stays[left:])
    return taken


def layout(samples: int, dropped: Sequence[int], shard_size: int) -> Layout:
    """The shards of a bucket of so many samples when those at `dropped` are gone."""
    taken = order(samples, dropped)
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
