"""The shards of a bucket that is repacked: staged in the state folder, committed by a journal.

<out>/.fastbucket/<work>/p1152x832-000002.tar  waits for the others of its bucket
                         p1152x832.json        the journal: all are there, to their places with them
                         p1152x832.done        the journal, carried out

Whoever is killed between two steps leaves the bucket as it was, or a journal; the renames and
removals behind that can be repeated.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import commit
from ..format import BUCKETS, STATE, shard_path
from .layout import Layout


class Staging:
    """The staged shards of the export in `out`. work: which work stages them, its folder's name."""

    def __init__(self, out: Path, work: str) -> None:
        self._out = out
        self.folder = out / STATE / work

    def shard(self, bucket_id: str, number: int) -> Path:
        """Where a shard waits for the others of its bucket."""
        return self.folder / f"{bucket_id}-{number:06d}.tar"

    def _journal(self, bucket_id: str) -> Path:
        """The file whose presence commits the staged shards of a bucket."""
        return self.folder / f"{bucket_id}.json"

    def conclude(self, bucket_id: str, made: Layout, record: Any = None) -> None:
        """All staged shards of the bucket are there: put them in their places.

        record: JSON that `records` gives back afterwards, and not before.
        """
        facts = {"staged": sorted(made.pieces), "shards": made.shards, "record": record}
        commit.write_text(self._journal(bucket_id), json.dumps(facts))
        self._carry_out(bucket_id)

    def go_on(self) -> None:
        """After an interruption: carry out the journals there are, and remove shards that wait for
        one that was never written."""
        for path in sorted(self.folder.glob("p[0-9]*.json")):
            self._carry_out(path.stem)
        for staged in self.folder.glob("*.tar"):
            staged.unlink()

    def records(self) -> dict[str, Any]:
        """bucket_id -> what the last journal of it says that was carried out."""
        return {
            path.stem: json.loads(path.read_text())["record"]
            for path in sorted(self.folder.glob("p[0-9]*.done"))
        }

    def _carry_out(self, bucket_id: str) -> None:
        journal = self._journal(bucket_id)
        facts = json.loads(journal.read_text())
        folder = self._out / BUCKETS / bucket_id
        for number in facts["staged"]:
            staged = self.shard(bucket_id, number)
            if staged.exists():
                commit.move(staged, self._out / shard_path(bucket_id, number))
        for path in sorted(folder.glob("shard-*.tar")):
            if int(path.stem.removeprefix("shard-")) >= facts["shards"]:
                path.unlink()
                path.with_name(f"{path.name}.idx").unlink(missing_ok=True)  # Megatron-Energon's
        if folder.is_dir():
            commit.fsync_directory(folder)
        if not facts["shards"]:
            with suppress(OSError):  # not there, or somebody's file in it
                folder.rmdir()
        commit.rename(journal, journal.with_suffix(".done"))
