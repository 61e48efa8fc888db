"""One task of the export: one shard, whole, from source bytes to a committed tar. With several
bases it is the shards of one number of a bucket at all of them, which have the same samples.

Runs in a worker. What it needs of each sample stands in plan.arrow, which all workers map; what it
did stands in a record beside, written after the shard is visible: a shard without a record is
made again, and comes out the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa

from .catalogue import Archive
from .errors import SampleError
from .format import STATE, shard_path
from .growing import Growing
from .progress import GOING_ON, At, Reporter, unwatched
from .recipe import Recipe
from .records import Record, record_path
from .sample import SampleMaker
from .shard import ShardFile
from .shardlist import Shard
from .sidecar import Carried
from .sources import KINDS
from .sources.names import member_names
from .stopwatch import Stopwatch

_PROGRESS_SECONDS = 0.2

_PAIRED = 64
"""Samples from which on a shard loads the kernel that hashes a source beside its image: it takes as
long to load as it saves on some hundred."""

_OPEN_SOURCES = 64
"""Source archives a worker keeps open; a bucket's samples come from nearly all of them in turn."""


class ShardTask:
    """Makes shards of one export. Called with the indices of shards in the plan, one or, of one
    number at every base, several (`Plan.tasks`), and a report; its positions are those of the
    samples in the first shard's plan. Returns the records of the shards."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._out = Path(setup["out"])
        self._state = self._out / STATE
        recipe = Recipe.from_json(setup["recipe"])
        facts = json.loads((self._state / "plan.json").read_text())
        self._archives = [Archive(**archive) for archive in facts["archives"]]
        self._shards = [Shard(*shard) for shard in facts["shards"]]
        self._carried = [Carried(*field) for field in facts["carried"]]
        self._plan = pa.ipc.open_file(pa.memory_map(str(self._state / "plan.arrow"))).read_all()
        self._stopwatch = Stopwatch()
        self._maker = SampleMaker(recipe, self._stopwatch, self._read)
        self._readers: dict[int, Any] = {}
        self._at: At = unwatched
        self._position = 0

    def __call__(self, numbers: Sequence[int], report: Reporter) -> list[Record]:
        shards = [self._shards[number] for number in numbers]
        rows = self._plan.slice(shards[0].start, shards[0].stop - shards[0].start).to_pylist()
        told, reported = time.monotonic(), 0
        self._at = report.at
        self._stopwatch.start()
        with ExitStack() as files:
            parts = [self._part(shard, files) for shard in shards]
            for position, row in enumerate(rows):
                here = [part for part in parts if position < part.samples]
                try:
                    self._position = position
                    report.at(position)
                    samples = self._maker.make(
                        row,
                        self._archives[row["archive"]],
                        self._carried,
                        [part.bucket for part in here],
                        here[0].begin,
                    )
                except SampleError as error:
                    self._stopwatch.lap("decode")
                    for part in here:
                        part.drop(position, error)
                else:
                    report.at(None)  # what is slow from here on is the drive, not the sample
                    for part, sample in zip(here, samples, strict=True):
                        part.add(position, sample, self._maker.headers)
                    self._stopwatch.lap("write")
                now = time.monotonic()
                if now - told >= _PROGRESS_SECONDS:
                    report(position + 1 - reported)
                    told, reported = now, position + 1
            report.at(None)
            records = [part.commit() for part in parts]
        self._stopwatch.lap("write")
        report(len(rows) - reported)
        records[0] = records[0]._replace(nanoseconds=self._stopwatch.take())
        for record in records:
            record.write(record_path(self._state, record.bucket_id, record.number))
        return records

    def _part(self, shard: Shard, files: ExitStack) -> Growing:
        bucket = self._maker.transcoder.buckets[shard.bucket]
        paired = shard.stop - shard.start >= _PAIRED
        path = self._out / shard_path(bucket.id, shard.number)
        file = files.enter_context(ShardFile(path, paired))
        return Growing(self._out, bucket, shard, file)

    def _read(self, row: dict[str, Any], part: str, into: bytearray) -> memoryview:
        index = row["archive"]
        reader = self._readers.get(index)
        if reader is None:
            archive = self._archives[index]
            if len(self._readers) >= _OPEN_SOURCES:
                self._readers.pop(next(iter(self._readers))).close()
            reader = self._readers[index] = KINDS[archive.kind].Reader(archive)
        name = member_names(row["key"], row["suffix"])[part]
        if reader.from_disk:
            self._at(GOING_ON)
        view: memoryview = reader.read(name, row[f"{part}_offset"], row[f"{part}_size"], into)
        self._at(self._position)
        return view
