"""A bucket without its samples that have no caption: which go, and which take their places.

The rule is that of `fill`: a sample keeps its position among the bucket's n if that is below the
number N of those that stay; a gap below N takes the next one that stays from N on. So shards
without a gap stay as they are, all but the last are full, and the result does not depend on how
often the work was interrupted.

The shards that change are staged in the state folder; a journal, written when all of a bucket are
there, commits them; the renames behind it can be repeated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import commit
from ..format import BUCKETS, STATE, shard_path
from .rewrite import FOLDER, staged_path


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


def journal_path(out: Path, bucket_id: str) -> Path:
    """The file whose presence commits the staged shards of a bucket."""
    return out / STATE / FOLDER / f"{bucket_id}.json"


def conclude(out: Path, bucket_id: str, made: Layout) -> None:
    """All staged shards of the bucket are there: put them in their places."""
    facts = {"staged": sorted(made.pieces), "shards": made.shards}
    commit.write_text(journal_path(out, bucket_id), json.dumps(facts))
    _carry_out(out, bucket_id)


def go_on(out: Path) -> list[str]:
    """After an interruption: carry out the journals there are, and remove shards that wait for one
    that was never written. Returns the buckets that were repacked."""
    folder = out / STATE / FOLDER
    buckets = [path.stem for path in sorted(folder.glob("p*.json"))]
    for bucket_id in buckets:
        _carry_out(out, bucket_id)
    for staged in folder.glob("*.tar"):
        staged.unlink()
    return buckets


def _carry_out(out: Path, bucket_id: str) -> None:
    journal = journal_path(out, bucket_id)
    facts = json.loads(journal.read_text())
    folder = out / BUCKETS / bucket_id
    for number in facts["staged"]:
        staged = staged_path(out, bucket_id, number)
        if staged.exists():
            commit.rename(staged, out / shard_path(bucket_id, number))
    for path in sorted(folder.glob("shard-*.tar")):
        if int(path.stem.removeprefix("shard-")) >= facts["shards"]:
            path.unlink()
    if folder.is_dir():
        commit.fsync_directory(folder)
    if not facts["shards"]:
        with suppress(OSError):  # not there, or somebody's file in it
            folder.rmdir()
    journal.unlink()
