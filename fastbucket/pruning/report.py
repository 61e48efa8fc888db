"""What a run of `prune` did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple


class BucketPruned(NamedTuple):
    """A bucket that loses samples. shards: afterwards; rewritten: of these."""

    bucket_id: str
    samples: int  # before
    removed: int
    shards_before: int
    shards: int
    rewritten: int


@dataclass
class PruneReport:
    """What was taken out. removed: samples, by this run and what it went on with. gone: named
    samples that the export had dropped before, unknown: names of no sample. buckets: those that
    lose samples in this run."""

    out: str
    dry_run: bool = False
    named: int = 0
    removed: int = 0
    gone: int = 0
    unknown: list[str] = field(default_factory=list)
    samples: int = 0  # afterwards
    shards: int = 0
    buckets: list[BucketPruned] = field(default_factory=list)
    rewritten: int = 0  # shards
    bytes_written: int = 0
    seconds: float = 0.0
    resumed: bool = False

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "buckets": [bucket._asdict() for bucket in self.buckets]}
