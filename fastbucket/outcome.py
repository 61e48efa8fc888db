"""What came of a run: reports of a plan and of a complete export, the totals of a finished one."""

from __future__ import annotations

import base64
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from . import card, catalogue, commit, fill, index, manifest, meta, planning
from .format import (
    CAPTION_SOURCE,
    CAPTION_SOURCE_ID,
    DROP_REASONS,
    EARLIER,
    INPUT_ERRORS,
    RUN,
    STATE,
    image_id,
)
from .look import DTYPE
from .public import public
from .recipe import Recipe
from .records import Drop, Record
from .report import BAD_INPUTS_SHOWN, BadInput, BucketCount, Report
from .shardlist import Shard
from .sources.address import PIPE, is_remote

_BYTES_PER_PIXEL = 0.34
"""For the estimate of a plan: JPEG quality 95 of photos, mean over real ones at base 512."""


def planned(
    out: Path, made: planning.Plan, tables: Sequence[pa.Table], export_id: str, workers: int
) -> Report:
    """The report of a plan: what will be exported if every pixel is sound."""
    shards: dict[int, list[Shard]] = {}
    for shard in made.shards:
        shards.setdefault(shard.bucket, []).append(shard)
    buckets = []
    for at, those in shards.items():
        bucket = made.buckets[at]
        count = those[-1].stop - those[0].start
        size = int(count * bucket.target.width * bucket.target.height * _BYTES_PER_PIXEL)
        buckets.append(BucketCount(bucket.id, *bucket.target, count, len(those), size))
    bytes_in = 0
    bad: list[BadInput] = []
    for number, table in enumerate(tables):
        reason = made.reason[made.starts[number] : made.starts[number + 1]]
        bytes_in += int(catalogue.column(table, "image_size")[reason == 0].sum())
        for at in _damaged(reason).nonzero()[0][: BAD_INPUTS_SHOWN - len(bad)].tolist():
            name = sample_name(made, tables, int(made.starts[number]) + at)
            detail = table["detail"][at].as_py()
            bad.append(BadInput(name, DROP_REASONS[reason[at]], detail))
    return Report(
        out=str(out),
        export_id=export_id,
        status="planned",
        archives=len(made.archives),
        scanned=int(made.starts[-1]),
        exported=int(made.order.size),
        dropped=made.dropped(),
        buckets=buckets,
        bytes_in=bytes_in,
        bytes_out=sum(bucket.bytes for bucket in buckets),
        workers=workers,
        broken_archives=[
            (public(archive.path), catalogue.broken(table))
            for archive, table in zip(made.archives, tables, strict=True)
            if catalogue.broken(table)
        ],
        bad_inputs=bad,
    )


def _damaged(reason: np.ndarray) -> np.ndarray:
    """Which codes of DROP_REASONS speak of damage. bool (n,)."""
    return np.isin(reason, [planning.REASON[name] for name in INPUT_ERRORS])


def sample_name(made: planning.Plan, tables: Sequence[pa.Table], row: int) -> str:
    """The image_id of a row of the plan."""
    number = int(made.starts.searchsorted(row, side="right")) - 1
    key = tables[number]["key"][row - int(made.starts[number])].as_py()
    return image_id(made.archives[number].id_prefix, catalogue.text(key))


def finish(
    out: Path,
    recipe: Recipe,
    made: planning.Plan,
    tables: Sequence[pa.Table],
    records: dict[int, list[Record]],
    report: Report,
    excluded: int,
    licence: str,
    sources: Sequence[str | os.PathLike[str]],
    say: Callable[[str], None],
) -> None:
    """Fill the gaps, then write meta/, the run, the indexes, the card and last the manifest;
    complete the report. sources: as they were named."""
    begun, size = time.monotonic(), recipe.shard_size
    finals = {}
    for at, those in records.items():
        larger = [records[other] for other in made.at_larger_bases(at) if other in records]
        finals[at] = fill.fill(out, out / STATE, those, size, larger)
    first_row = {(shard.bucket, shard.number): shard.start for shard in made.shards}
    # With several bases the records of the smallest speak of every sample.
    whole = {at: those for at, those in records.items() if made.is_whole(at)}
    drops: dict[int, Drop] = {}
    for at, those in whole.items():
        for record in those:
            start = first_row[at, record.number]
            for drop in record.drops:
                drops[int(made.order[start + drop.position])] = drop

    def places() -> Iterator[tuple[int, int, int]]:
        for at, those in whole.items():
            kept = {record.number: record.kept for record in those}
            larger = [records[other] for other in made.at_larger_bases(at) if other in records]
            for number, shard in enumerate(fill.layout(those, size, larger)):
                for position, place in enumerate(shard):
                    start = first_row[at, place.shard]
                    yield int(made.order[start + kept[place.shard][place.at]]), number, position

    def looks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for bucket, those in whole.items():
            for record in those:
                rows = first_row[bucket, record.number] + np.array(record.kept, np.int64)
                yield made.order[rows], np.frombuffer(base64.b64decode(record.looks), DTYPE)

    meta.write(out, made, tables, meta.fates(made, drops, places(), looks()))
    for row in sorted(drops)[: BAD_INPUTS_SHOWN - len(report.bad_inputs)]:
        name = sample_name(made, tables, row)
        report.bad_inputs.append(BadInput(name, drops[row].reason, drops[row].detail))
    for drop in drops.values():
        report.dropped[drop.reason] = report.dropped.get(drop.reason, 0) + 1
    report.exported -= len(drops)
    for those in records.values():
        for record in those:
            for stage, ns in record.nanoseconds.items():
                report.stages[stage] = report.stages.get(stage, 0.0) + ns / 1e9
    report.captions = sum(record.captions for those in whole.values() for record in those)
    facts = manifest.make(
        report.export_id,
        recipe,
        report.workers,
        manifest.source_facts(made.archives, tables, excluded, made.carried),
        report.dropped,
        manifest.bucket_facts(made.buckets, finals),
        [_caption_source(report.captions)] if report.captions else [],
    )
    index.write(out, facts)
    _count_buckets(report, facts)
    write_run(out, report, sources, time.monotonic() - begun)
    card.renew(out, card.earlier(out / EARLIER), facts, say, licence)
    manifest.write(out, facts)


def write_run(
    out: Path, report: Report, sources: Sequence[str | os.PathLike[str]], finish: float
) -> None:
    """run.json: how fast this run was, and where it found its sources.

    finish: seconds of the last phase so far. Sources are noted as they were named, relative to
    `out`: a folder that moves together with its sources still finds them. Commands, and the queries
    of addresses, are left out: there may be secrets in them, and the folder is published. In ASCII:
    a path may hold bytes that are no text.
    """
    base = os.path.abspath(out)
    named = [os.fspath(source) for source in sources]
    facts = {
        "export_id": report.export_id,
        "finished_at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "workers": report.workers,
        "cpus": os.cpu_count() or 0,
        "machine": platform.machine(),
        "system": platform.system(),
        "archives": report.archives,
        "scanned": report.scanned,
        "exported": report.exported,
        "shards": sum(bucket.shards for bucket in report.buckets),
        "resumed_shards": report.resumed_shards,
        "resumed_samples": report.resumed_samples,
        "bytes_in": report.bytes_in,
        "bytes_out": report.bytes_out,
        "phases": {k: round(v, 3) for k, v in {**report.seconds, "finish": finish}.items()},
        "stages": {stage: round(seconds, 3) for stage, seconds in report.stages.items()},
        "sources": [
            public(s) if is_remote(s) else os.path.relpath(os.path.abspath(s), base)
            for s in named
            if s != "-" and not s.startswith(PIPE)
        ],
    }
    commit.write_text(out / RUN, json.dumps(facts, indent=2) + "\n")


def _caption_source(count: int) -> dict[str, Any]:
    return {
        "id": CAPTION_SOURCE_ID,
        "variant": CAPTION_SOURCE,
        "model": "",
        "prompt_sha256": "",
        "count": count,
    }


def _count_buckets(report: Report, facts: dict[str, Any]) -> None:
    report.buckets = [
        BucketCount(
            bucket["bucket_id"],
            bucket["target_w"],
            bucket["target_h"],
            bucket["count"],
            len(bucket["shards"]),
            sum(shard["bytes"] for shard in bucket["shards"]),
        )
        for bucket in facts["buckets"]
    ]
    report.bytes_out = sum(bucket.bytes for bucket in report.buckets)


def complete(out: Path, facts: dict[str, Any]) -> Report:
    """The report of an export that was complete before: from its manifest."""
    report = Report(
        out=str(out),
        export_id=facts["export_id"],
        status="already complete",
        archives=facts["source"]["archives"],
        scanned=facts["source"]["samples"],
        exported=facts["counts"]["exported"],
        dropped=dict(facts["counts"]["dropped"]),
        buckets=[],
        captions=sum(source["count"] for source in facts["caption_sources"]),
        pruned=facts["counts"].get("pruned", 0),
        broken_archives=[(b["archive"], b["why"]) for b in facts["source"]["broken"]],
    )
    _count_buckets(report, facts)
    return report
