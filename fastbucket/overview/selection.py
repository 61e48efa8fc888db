"""Which samples the page shows: as many of each bucket, chosen by a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from ..stored import Place

REACH = 16
"""A shard is walked through for this many samples for every one that is shown of it. To where a
sample begins leads only the way over those before it, and which samples stand first in a shard is
no property of theirs: it follows from the number of samples before them in the bucket."""


def shares(counts: Sequence[int], total: int) -> list[int]:
    """How many of `total` each bucket gets: the same for all, and what one lacks to the others."""
    got = [0] * len(counts)
    for left, index in zip(
        range(len(counts), 0, -1), sorted(range(len(counts)), key=counts.__getitem__), strict=True
    ):
        got[index] = min(counts[index], total // left)
        total -= got[index]
    return got


def places(bucket: dict[str, Any], wanted: int, seed: int) -> list[Place]:
    """`wanted` samples of a bucket of the manifest, spread over its shards, in their order."""
    if not wanted:
        return []
    dice = random.Random(f"{seed} {bucket['bucket_id']}")
    shards = [
        (int(PurePosixPath(shard["path"]).stem.partition("-")[2]), shard["count"])
        for shard in bucket["shards"]
    ]
    if wanted >= bucket["count"]:
        pools = [(number, range(count)) for number, count in shards]
    else:
        chosen = dice.sample(shards, min(wanted, len(shards)))
        each = -(-wanted // len(chosen))
        pools = [(number, range(min(count, each * REACH))) for number, count in chosen]
        if sum(len(pool) for _, pool in pools) < wanted:  # the last shard is short
            pools = [(number, range(count)) for number, count in shards]
    found: list[Place] = []
    waiting = [(number, dice.sample(pool, len(pool))) for number, pool in pools]
    while len(found) < wanted:
        for number, positions in waiting:
            if positions and len(found) < wanted:
                found.append(Place(bucket["bucket_id"], number, positions.pop()))
    return sorted(found)
