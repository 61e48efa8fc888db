"""One task of the export: one shard, whole, from source bytes to a committed tar. With several
bases it is the shards of one number of a bucket at all of them, which have the same samples.

Runs in a worker. What it needs of each sample stands in plan.arrow, which all workers map; what it
did stands in a record beside, written after the shard is visible: a shard without a record is
made again, and comes out the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa

from .buckets import Bucket
from .catalogue import Archive
from .errors import SampleError
from .format import STATE, shard_path
from .growing import Growing
from .progress import GOING_ON, At, Reporter, unwatched
from .recipe import Recipe
from .records import Drop, Record, record_path
from .sample import Given, SampleMaker
from .shard import ShardFile
from .shardlist import Shard
from .sidecar import Carried
from .sources import KINDS
from .sources.names import member_name
from .stopwatch import Stopwatch
from .transcode import Transcoded

_PROGRESS_SECONDS = 0.2

_PAIRED = 64
"""Samples from which on a shard loads the kernel that hashes a source beside its image: it takes as
long to load as it saves on some hundred."""

_OPEN_SOURCES = 64
"""Source archives a worker keeps open; a bucket's samples come from nearly all of them in turn."""

_TOGETHER, _TOGETHER_BYTES = 16, 3 << 19
"""Samples that are read, rendered and written step by step together (see `SampleMaker`), and bytes
of their images; a larger one is alone. Of a sample of 161 KB the JSON took 0.41 ms one by one, 0.18
by eight and 0.15 by sixteen, and to read it 0.16, 0.10 and 0.09 (medians of three, in turn)."""

_SIDECARS = 1 << 20
"""Bytes of text, JSON and class from which on a sample is alone: what is made of them is several
times as large, and may be what ends a process."""


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
        self._buffers = [bytearray() for _ in range(_TOGETHER)]
        self._at: At = unwatched
        self._position: int | None = None  # of the sample at hand, where it is alone

    def __call__(self, numbers: Sequence[int], report: Reporter) -> list[Record]:
        shards = [self._shards[number] for number in numbers]
        rows = self._plan.slice(shards[0].start, shards[0].stop - shards[0].start).to_pylist()
        told, reported = time.monotonic(), 0
        self._at = report.at
        self._stopwatch.start()
        with ExitStack() as files:
            parts = [self._part(shard, files) for shard in shards]
            for positions in self._together(rows, report.careful):
                self._make(rows, positions, parts)
                now = time.monotonic()
                if now - told >= _PROGRESS_SECONDS:
                    report(positions.stop - reported)
                    told, reported = now, positions.stop
            report.at(None)
            records = [part.commit() for part in parts]
        self._stopwatch.lap("write")
        report(len(rows) - reported)
        records[0] = records[0]._replace(nanoseconds=self._stopwatch.take())
        for record in records:
            record.write(record_path(self._state, record.bucket_id, record.number))
        return records

    def _together(self, rows: Sequence[dict[str, Any]], careful: bool) -> Iterator[range]:
        """All positions, by those that are made together. careful: see `progress.Reporter`."""
        start, size = 0, 0
        for position, row in enumerate(rows):
            beside = sum(max(row[f"{part}_size"], 0) for part in ("text", "json", "class"))
            size += row["image_size"] + beside
            alone = careful or beside > _SIDECARS or not self._reader(row["archive"]).from_disk
            full = position - start == _TOGETHER or size > _TOGETHER_BYTES
            if position > start and (full or alone):
                yield range(start, position)
                start, size = position, row["image_size"] + beside
            if alone:
                yield range(start, position + 1)
                start, size = position + 1, 0
        if start < len(rows):
            yield range(start, len(rows))

    def _make(
        self, rows: Sequence[dict[str, Any]], positions: range, parts: Sequence[Growing]
    ) -> None:
        """The samples of these positions, into their shards."""
        here = [[part for part in parts if position < part.samples] for position in positions]
        given = [
            self._given(position, rows[position], into, len(positions) == 1)
            for position, into in zip(positions, self._buffers, strict=False)
        ]
        rendered = [
            self._rendered(position, one, [part.bucket for part in its])
            for position, one, its in zip(positions, given, here, strict=True)
        ]
        # What is slow from here on is the drive, not a sample. (A trial ends at None, and its
        # suspect is no sample before it.)
        self._at(GOING_ON if all(isinstance(every, Drop) for every in rendered) else None)
        for position, one, every, its in zip(positions, given, rendered, here, strict=True):
            if isinstance(every, Drop):
                for part in its:
                    part.drop(every)
            elif not isinstance(one, Drop):
                self._write(position, rows[position], one, every, its)
        if sum(map(len, self._buffers[1:])) > 2 * _TOGETHER_BYTES:
            self._buffers[1:] = [bytearray() for _ in self._buffers[1:]]

    def _given(
        self, position: int, row: dict[str, Any], into: bytearray, alone: bool
    ) -> Given | Drop:
        """What the source has of it, for all of a group at no position; or why it is dropped."""
        self._position = position if alone else None
        try:
            if alone:
                self._at(position)
            return self._maker.given(row, self._archives[row["archive"]], self._carried, into)
        except SampleError as error:
            return Drop(position, error.reason, error.detail)

    def _rendered(
        self, position: int, given: Given | Drop, buckets: Sequence[Bucket]
    ) -> list[Transcoded] | Drop:
        """Its JPEGs, or why it is dropped. (The error itself would hold all frames, and with them
        what the whole group was made of.)"""
        if isinstance(given, Drop):
            return given
        try:
            self._at(position)
            return self._maker.render(given, buckets)
        except SampleError as error:
            self._stopwatch.lap("decode")
            return Drop(position, error.reason, error.detail)

    def _write(
        self,
        position: int,
        row: dict[str, Any],
        given: Given,
        every: Sequence[Transcoded],
        parts: Sequence[Growing],
    ) -> None:
        maker = self._maker
        sha256 = parts[0].begin(given.key, every[0].jpeg, given.data, maker.headers)
        self._stopwatch.lap("hash")
        archive = self._archives[row["archive"]]
        samples = maker.samples(given, every, row, archive, sha256)
        for part, sample in zip(parts, samples, strict=True):
            part.add(position, sample, maker.headers)
        self._stopwatch.lap("write")

    def _part(self, shard: Shard, files: ExitStack) -> Growing:
        bucket = self._maker.transcoder.buckets[shard.bucket]
        paired = shard.stop - shard.start >= _PAIRED
        path = self._out / shard_path(bucket.id, shard.number)
        file = files.enter_context(ShardFile(path, paired))
        return Growing(self._out, bucket, shard, file)

    def _read(self, row: dict[str, Any], part: str, into: bytearray) -> memoryview:
        reader = self._reader(row["archive"])
        name = member_name(row["key"], row["suffix"], part)
        if reader.from_disk:
            self._at(GOING_ON)
        view: memoryview = reader.read(name, row[f"{part}_offset"], row[f"{part}_size"], into)
        if self._position is not None:
            self._at(self._position)
        return view

    def _reader(self, index: int) -> Any:
        reader = self._readers.get(index)
        if reader is None:
            archive = self._archives[index]
            if len(self._readers) >= _OPEN_SOURCES:
                self._readers.pop(next(iter(self._readers))).close()
            reader = self._readers[index] = KINDS[archive.kind].Reader(archive)
        return reader
