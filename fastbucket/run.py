"""The run: scan, plan, export, totals. Everything that is long is done in worker processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from . import card, catalogue, fill, manifest, meta, planning
from .catalogue import Archive
from .engines.local import Local
from .errors import RunError
from .format import CAPTION_SOURCE, INPUT_ERRORS, MANIFEST, STATE, image_id
from .progress import Progress, Silent
from .recipe import Recipe, Resources
from .report import BAD_INPUTS_SHOWN, BadInput, BucketCount, Report
from .sources import KINDS
from .sources.locate import archives as locate
from .state import State
from .task import CAPTION_SOURCE_ID, Drop, Record, record_path

Sources = Sequence[str | os.PathLike[str]] | str | os.PathLike[str]

_BYTES_PER_PIXEL = 0.34
"""For the estimate of a plan: JPEG quality 95 of photos, mean over real ones at base 512."""


class ScanTask:
    """A job: scan one archive and write its catalogue. Task: (archive, path, stamp)."""

    def __init__(self, setup: dict[str, Any]) -> None: ...

    def __call__(self, task: tuple[Archive, Path, str], progress: Callable[[int], None]) -> int:
        archive, path, stamp = task
        found = KINDS[archive.kind].scan(archive)
        found.write(path, stamp)
        return len(found)


@dataclass
class _Run:
    """What the phases of one run share."""

    out: Path
    recipe: Recipe
    resources: Resources
    progress: Progress
    seconds: dict[str, float]

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - start


def export(
    sources: Sources,
    out: str | os.PathLike[str],
    recipe: Recipe | None = None,
    resources: Resources | None = None,
    *,
    splits: Sequence[tuple[str, str]] = (),
    exclude: Iterable[str] = (),
    overwrite: bool = False,
    licence: str = "",
    progress: Progress | None = None,
) -> Report:
    """Export `sources` into the folder `out`, or go on with an export that was interrupted there.

    sources: tar files, folders, globs, braces, "-" for a list on stdin. splits: (name, pattern)
    pairs. exclude: keys or image_ids that are dropped. licence: for the card, as on the Hub.
    Raises RunError where the run cannot go on; what is wrong with a sample is in the report.
    """
    return _start(
        sources, out, recipe, resources, splits, exclude, overwrite, licence, progress, False
    )


def plan(
    sources: Sources,
    out: str | os.PathLike[str],
    recipe: Recipe | None = None,
    resources: Resources | None = None,
    *,
    splits: Sequence[tuple[str, str]] = (),
    exclude: Iterable[str] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """What `export` with the same arguments would do; no image is decoded. The scan is kept in
    `out`, so that the export goes on from it."""
    return _start(sources, out, recipe, resources, splits, exclude, overwrite, "", progress, True)


def _start(
    sources: Sources,
    out: str | os.PathLike[str],
    recipe: Recipe | None,
    resources: Resources | None,
    splits: Sequence[tuple[str, str]],
    exclude: Iterable[str],
    overwrite: bool,
    licence: str,
    progress: Progress | None,
    dry: bool,
) -> Report:
    run = _Run(Path(out), recipe or Recipe(), resources or Resources(), progress or Silent(), {})
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    excluded = frozenset(exclude)
    archives = locate(sources, splits)
    listing = [KINDS[archive.kind].listing(archive) for archive in archives]
    export_id = _export_id(run.recipe, listing, excluded)
    with State(run.out, overwrite) as state:
        if dry:
            state.prepare()
        elif (done := state.claim(export_id, run.recipe, listing)) is not None:
            state.remove()
            return _complete(run, done)
        setup = {"out": str(run.out), "recipe": run.recipe.to_json()}
        with Local(run.resources.worker_count, setup) as engine:
            with run.timed("scan"):
                tables = _scan(run, engine, archives)
            with run.timed("plan"):
                made = planning.make(archives, tables, run.recipe, excluded, run.progress)
            report = _report(run, made, tables, export_id)
            _check_errors(run, report)
            if dry:
                if (run.out / MANIFEST).is_file():
                    state.remove()  # a complete export keeps no state
                return report
            planning.write(made, tables, run.out / STATE)
            with run.timed("export"):
                records = _export(run, engine, made, report)
        with run.timed("finish"):
            _finish(run, made, tables, records, report, len(excluded), licence)
        state.remove()
    report.status = "exported"
    return report


def _export_id(recipe: Recipe, listing: Sequence[str], excluded: frozenset[str]) -> str:
    """16 hex digits: xxh64 of the recipe, of the source listing and of what is excluded."""
    state = xxhash.xxh64(recipe.canonical())
    for line in (*listing, "", *sorted(excluded)):
        state.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return str(state.hexdigest())


def _catalogue_path(out: Path, archive: Archive) -> Path:
    name = xxhash.xxh64_hexdigest(os.fsencode(f"{archive.kind} {archive.path}"))
    return out / STATE / "catalogue" / f"{name}.arrow"


def _scan(run: _Run, engine: Local, archives: Sequence[Archive]) -> list[pa.Table]:
    """The catalogue of every archive, scanned now or by an earlier run."""
    stamps = [KINDS[archive.kind].stamp(archive) for archive in archives]
    paths = [_catalogue_path(run.out, archive) for archive in archives]
    missing = [
        (archive, path, stamp)
        for archive, path, stamp in zip(archives, paths, stamps, strict=True)
        if catalogue.read(path, stamp) is None
    ]
    run.progress.phase("scan", len(missing), "archives")
    for _ in engine.map("fastbucket.run:ScanTask", missing):
        run.progress.advance(1)
    tables = [catalogue.read(path, stamp) for path, stamp in zip(paths, stamps, strict=True)]
    for archive, table in zip(archives, tables, strict=True):
        if table is None:
            raise RunError(f"{archive.path} changed while it was scanned; start again")
    return [table for table in tables if table is not None]


def _export(
    run: _Run, engine: Local, made: planning.Plan, report: Report
) -> dict[int, list[Record]]:
    """Make every shard that has no record yet. Returns the records by bucket, in order."""
    state = run.out / STATE
    records: dict[int, Record] = {}
    missing: list[int] = []
    for number, shard in enumerate(made.shards):
        path = record_path(state, made.buckets[shard.bucket].id, shard.number)
        if path.is_file():
            records[number] = Record.read(path)
        else:
            missing.append(number)
    report.resumed_shards = len(records)
    todo = sum(made.shards[n].stop - made.shards[n].start for n in missing)
    if records:
        run.progress.say(f"{len(records)} of {len(made.shards)} shards are there already")
    run.progress.phase("export", todo, "samples")
    errors = sum(_is_error(drop) for record in records.values() for drop in record.drops)
    for number, record in engine.map("fastbucket.task:ShardTask", missing, run.progress.advance):
        records[number] = record
        errors += sum(_is_error(drop) for drop in record.drops)
        _limit_errors(run, report.dropped.get("unreadable", 0) + errors, record.drops)
    by_bucket: dict[int, list[Record]] = {}
    for number in sorted(records):
        by_bucket.setdefault(made.shards[number].bucket, []).append(records[number])
    return by_bucket


def _is_error(drop: Drop) -> bool:
    return drop.reason in INPUT_ERRORS


def _check_errors(run: _Run, report: Report) -> None:
    _limit_errors(run, report.dropped.get("unreadable", 0), [])


def _limit_errors(run: _Run, errors: int, latest: Sequence[Drop]) -> None:
    limit = run.resources.max_errors
    if 0 <= limit < errors:
        last = f"; the latest: {latest[-1].detail}" if latest else ""
        raise RunError(
            f"{errors} samples are unreadable or undecodable, --max-errors allows {limit}{last}. "
            "The same command with a higher limit goes on from here"
        )


def _report(run: _Run, made: planning.Plan, tables: Sequence[pa.Table], export_id: str) -> Report:
    """The report of a plan: what will be exported if every pixel is sound."""
    shards: dict[int, list[planning.Shard]] = {}
    for shard in made.shards:
        shards.setdefault(shard.bucket, []).append(shard)
    buckets = []
    for index, those in shards.items():
        bucket = made.buckets[index]
        count = those[-1].stop - those[0].start
        size = int(count * bucket.target.width * bucket.target.height * _BYTES_PER_PIXEL)
        buckets.append(BucketCount(bucket.id, *bucket.target, count, len(those), size))
    bytes_in = 0
    bad: list[BadInput] = []
    for index, table in enumerate(tables):
        reason = made.reason[made.starts[index] : made.starts[index + 1]]
        bytes_in += int(catalogue.column(table, "image_size")[reason == 0].sum())
        unreadable = reason == planning.REASON["unreadable"]
        for at in unreadable.nonzero()[0][: BAD_INPUTS_SHOWN - len(bad)].tolist():
            name = image_id(
                made.archives[index].id_prefix, catalogue.text(table["key"][at].as_py())
            )
            bad.append(BadInput(name, "unreadable", table["detail"][at].as_py()))
    return Report(
        out=str(run.out),
        export_id=export_id,
        status="planned",
        archives=len(made.archives),
        scanned=int(made.starts[-1]),
        exported=int(made.order.size),
        dropped=made.dropped(),
        buckets=buckets,
        bytes_in=bytes_in,
        bytes_out=sum(bucket.bytes for bucket in buckets),
        seconds=run.seconds,
        workers=run.resources.worker_count,
        broken_archives=[
            (archive.path, catalogue.broken(table))
            for archive, table in zip(made.archives, tables, strict=True)
            if catalogue.broken(table)
        ],
        bad_inputs=bad,
    )


def _finish(
    run: _Run,
    made: planning.Plan,
    tables: Sequence[pa.Table],
    records: dict[int, list[Record]],
    report: Report,
    excluded: int,
    licence: str,
) -> None:
    """Fill the gaps, then write meta/, the card and last the manifest; complete the report."""
    size = run.recipe.shard_size
    finals = {
        index: fill.fill(run.out, run.out / STATE, those, size) for index, those in records.items()
    }
    first_row = {(shard.bucket, shard.number): shard.start for shard in made.shards}
    drops: dict[int, Drop] = {}
    for index, those in records.items():
        for record in those:
            start = first_row[index, record.number]
            for drop in record.drops:
                drops[int(made.order[start + drop.position])] = drop

    def places() -> Iterator[tuple[int, int, int]]:
        for index, those in records.items():
            kept = {record.number: record.kept for record in those}
            for number, shard in enumerate(fill.layout(those, size)):
                for position, place in enumerate(shard):
                    start = first_row[index, place.shard]
                    yield int(made.order[start + kept[place.shard][place.at]]), number, position

    meta.write(run.out, made, tables, meta.fates(made, drops, places()))
    for row in sorted(drops)[: BAD_INPUTS_SHOWN - len(report.bad_inputs)]:
        report.bad_inputs.append(_bad_input(made, tables, row, drops[row]))
    for drop in drops.values():
        report.dropped[drop.reason] = report.dropped.get(drop.reason, 0) + 1
    report.exported -= len(drops)
    report.captions = sum(record.captions for those in records.values() for record in those)
    facts = manifest.make(
        report.export_id,
        run.recipe,
        run.resources.worker_count,
        manifest.source_facts(made.archives, tables, excluded),
        report.dropped,
        manifest.bucket_facts(made.buckets, finals),
        [_caption_source(report.captions)] if report.captions else [],
    )
    card.write(run.out, card.card(facts, made.carried, licence))
    manifest.write(run.out, facts)
    _count_buckets(report, facts)


def _bad_input(made: planning.Plan, tables: Sequence[pa.Table], row: int, drop: Drop) -> BadInput:
    index = int(made.starts.searchsorted(row, side="right")) - 1
    key = tables[index]["key"][row - int(made.starts[index])].as_py()
    name = image_id(made.archives[index].id_prefix, catalogue.text(key))
    return BadInput(name, drop.reason, drop.detail)


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


def _complete(run: _Run, facts: dict[str, Any]) -> Report:
    """The report of an export that was complete before: from its manifest."""
    report = Report(
        out=str(run.out),
        export_id=facts["export_id"],
        status="already complete",
        archives=facts["source"]["archives"],
        scanned=facts["source"]["samples"],
        exported=facts["counts"]["exported"],
        dropped=dict(facts["counts"]["dropped"]),
        buckets=[],
        captions=sum(source["count"] for source in facts["caption_sources"]),
        broken_archives=[(b["archive"], b["why"]) for b in facts["source"]["broken"]],
    )
    _count_buckets(report, facts)
    return report
