"""The shards of a bucket that is repacked: staged in the state folder, committed by a journal.

<out>/.fastbucket/<work>/p1152x832-000002.tar  waits for the others of its bucket
                         p1152x832.json        the journal: all are there, to their places with them
                         p1152x832.done        the journal, carried out

Whoever is killed between two steps leaves the bucket as it was, or a journal; the renames and
removals behind that can be repeated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import commit
from ..format import BUCKETS, STATE, proto, shard_path
from .layout import Layout


class Staging:
    """The staged shards of the export in `out`. work: which work stages them, its folder's name."""

    def __init__(self, out: Path, work: str) -> None:
        self._out = out
        self.folder = out / STATE / work

    def shard(self, bucket_id: str, number: int) -> Path:
        """Where a shard waits for the others of its bucket."""
        return self.folder / f"{bucket_id}-{number:06d}.tar"

    def _journal(self, name: str) -> Path:
        """The file whose presence commits the staged shards of a bucket at all bases."""
        return self.folder / f"{name}.json"

    def conclude(
        self, made: Mapping[str, Layout], records: Mapping[str, Any] | None = None
    ) -> None:
        """All staged shards of a bucket are there: put them in their places.

        made: the layout by bucket_id; with several bases of all ids of the bucket that change, so
        that its samples have one place at all of them whatever comes between. records: JSON by
        bucket_id, that `records` gives back afterwards, and not before.
        """
        records = records or {}
        facts = {
            bucket_id: {
                "staged": sorted(layout.pieces),
                "shards": layout.shards,
                "record": records.get(bucket_id),
            }
            for bucket_id, layout in made.items()
        }
        journal = self._journal(proto(next(iter(made))))
        commit.write_text(journal, json.dumps({"buckets": facts}))
        self._carry_out(journal)

    def go_on(self) -> None:
        """After an interruption: carry out the journals there are, and remove shards that wait for
        one that was never written."""
        for path in sorted(self.folder.glob("p[0-9]*.json")):
            self._carry_out(path)
        for staged in self.folder.glob("*.tar"):
            staged.unlink()

    def records(self) -> dict[str, Any]:
        """bucket_id -> what the last journal of it says that was carried out."""
        found: dict[str, Any] = {}
        for path in sorted(self.folder.glob("p[0-9]*.done")):
            for bucket_id, facts in _read(path).items():
                found[bucket_id] = facts["record"]
        return found

    def _carry_out(self, journal: Path) -> None:
        for bucket_id, facts in _read(journal).items():
            self._move(bucket_id, facts)
        commit.rename(journal, journal.with_suffix(".done"))

    def _move(self, bucket_id: str, facts: dict[str, Any]) -> None:
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


def _read(journal: Path) -> dict[str, dict[str, Any]]:
    """What a journal says, by bucket_id. Those of earlier versions spoke of one bucket."""
    facts = json.loads(journal.read_text())
    found: dict[str, dict[str, Any]] = facts.get("buckets", {journal.stem: facts})
    return found
