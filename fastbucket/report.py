"""What a run has to say at its end: for people, and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class BucketCount(NamedTuple):
    """One line of the table of buckets. bytes: estimated in a dry run."""

    bucket_id: str
    target_w: int
    target_h: int
    samples: int
    shards: int
    bytes: int


class BadInput(NamedTuple):
    """A sample that was dropped for damage, and the decoder's words."""

    image_id: str
    reason: str
    detail: str


BAD_INPUTS_SHOWN = 100
"""Bad inputs that a report lists; all of them stand in meta/."""


@dataclass
class Report:
    """The outcome of an export, or of its plan. scanned = exported + sum(dropped.values())."""

    out: str
    export_id: str
    status: str  # exported, planned, already complete, part 3/16
    archives: int
    scanned: int
    exported: int
    dropped: dict[str, int]
    buckets: list[BucketCount]
    captions: int = 0
    pruned: int = 0  # of the excluded, those taken out of the complete export
    bytes_in: int = 0  # of the kept samples' images, in their source
    spooled: int = 0  # bytes of the local copies of what streams hold for the buckets
    bytes_out: int = 0  # of all shards; estimated in a dry run
    seconds: dict[str, float] = field(default_factory=dict)  # by phase
    stages: dict[str, float] = field(default_factory=dict)  # seconds of all workers, by stage
    workers: int = 0
    resumed_shards: int = 0  # made by an earlier, interrupted run
    resumed_samples: int = 0  # in them
    broken_archives: list[tuple[str, str]] = field(default_factory=list)  # path, why
    bad_inputs: list[BadInput] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            **{k: v for k, v in vars(self).items() if k not in ("buckets", "bad_inputs")},
            "buckets": [bucket._asdict() for bucket in self.buckets],
            "bad_inputs": [bad._asdict() for bad in self.bad_inputs],
        }
