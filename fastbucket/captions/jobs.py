"""What `captions apply` and its workers say to one another. Nothing here loads a kernel: the parent
needs none, and its workers load theirs beside one another."""

from __future__ import annotations

from typing import NamedTuple

FOLDER = "captions"
"""Of the state: the marker, journals, and shards that wait for their bucket."""


class Chosen(NamedTuple):
    """A source in the priority, and its place there (caption_selector_index)."""

    source_id: int
    variant: str
    rank: int


class Final(NamedTuple):
    """A shard as it stands afterwards; that of `fill`, without its imports."""

    number: int
    samples: int
    bytes: int
    sha256: str


class Job(NamedTuple):
    """A shard to be brought up to date.

    sha256: what it is known to have, "" where it has to be read. pieces: (shard, index) of the
    samples in a bucket that is repacked, and then the result is staged; None: as they are.
    """

    bucket_id: str
    number: int
    sha256: str
    pieces: list[tuple[int, int]] | None = None


class Rewritten(NamedTuple):
    """What became of it. counts: caption_source_id -> samples that have their caption of it."""

    final: Final
    changed: bool
    counts: dict[int, int]
