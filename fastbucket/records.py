"""What the workers found, on disk beside the shards: one record a task, read back by a resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from . import commit


class Drop(NamedTuple):
    """A sample that only its pixels gave away. position: in the shard's plan, from 0."""

    position: int
    reason: str
    detail: str


class Record(NamedTuple):
    """What became of a shard.

    kept: positions of the exported samples in the shard's plan. ends: where each of them ends in
    the tar, in bytes. looks: how each of them looks, base64 of `look.DTYPE` one after the other.
    nanoseconds: by stage, see `stopwatch`.
    """

    bucket_id: str
    number: int
    samples: int
    bytes: int
    sha256: str
    captions: int
    drops: list[Drop]
    kept: list[int]
    ends: list[int]
    looks: str
    nanoseconds: dict[str, int]

    @property
    def name(self) -> str:
        return f"{self.bucket_id}-{self.number:06d}"

    def write(self, path: Path) -> None:
        commit.write_text(path, json.dumps(self._asdict()))

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """The record; None where there is none that is whole, so that the shard is made again.

        One by a version that knew fewer fields is not whole either.
        """
        try:
            fields = json.loads(path.read_text())
            fields["drops"] = [Drop(*drop) for drop in fields["drops"]]
            return cls(**fields)
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None


def record_path(state: Path, bucket_id: str, number: int) -> Path:
    return state / "shards" / f"{bucket_id}-{number:06d}.json"


def short_path(state: Path, bucket_id: str, number: int) -> Path:
    """Where a shard with gaps waits until `fill` has filled them."""
    return state / "short" / f"{bucket_id}-{number:06d}.tar"
