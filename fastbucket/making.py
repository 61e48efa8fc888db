"""The shards of a run: which are there already, the others by the engine, within the limit of
errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .engines import Engine
from .errors import RunError
from .format import INPUT_ERRORS, STATE, shard_path
from .job import Run
from .lock import turn
from .report import Report

if TYPE_CHECKING:
    from .records import Drop, Record
    from .shardlist import Shards

UNDOING = "undo.lock"
"""In the state folder: held while a filled bucket is taken apart."""


def make_shards(
    run: Run,
    engine: Engine,
    plan: Shards,
    tasks: Sequence[tuple[int, ...]],
    name: Callable[[int], str],
    report: Report,
) -> dict[int, list[Record]]:
    """Do every one of these tasks whose shards have not all a record yet. tasks: of `Plan.tasks`.
    name: at -> the image_id of a sample of the plan, in the order of the shards. Returns the
    records by bucket, in order."""
    records, missing = _made_before(run.out, plan, tasks)
    report.resumed_shards = len(records)
    # With several bases those of the smallest speak of every sample.
    whole = [r for n, r in records.items() if plan.is_whole(plan.shards[n].bucket)]
    report.resumed_samples = sum(len(record.kept) for record in whole)
    firsts = [plan.shards[task[0]] for task in missing]
    todo = sum(shard.stop - shard.start for shard in firsts)
    if records:
        run.progress.say(f"{len(records)} of {sum(map(len, tasks))} shards are there already")
    run.progress.phase("export", todo, "samples")
    errors = planned_errors(report)
    errors += sum(_is_error(drop) for record in whole for drop in record.drops)
    limit_errors(run, errors, [])

    def describe(task: tuple[int, ...], position: int | None) -> str:
        shard = plan.shards[task[0]]
        if position is None:
            return shard_path(plan.buckets[shard.bucket].id, shard.number)
        return name(shard.start + position)

    job = "fastbucket.task:ShardTask"
    for task, those in engine.map(job, missing, run.progress.advance, describe):
        records.update(zip(task, those, strict=True))
        errors += sum(_is_error(drop) for drop in those[0].drops)
        limit_errors(run, errors, those[0].drops)
    by_bucket: dict[int, list[Record]] = {}
    for number in sorted(records):
        by_bucket.setdefault(plan.shards[number].bucket, []).append(records[number])
    return by_bucket


def _made_before(
    out: Path, plan: Shards, tasks: Sequence[tuple[int, ...]]
) -> tuple[dict[int, Record], list[tuple[int, ...]]]:
    """The records of shards that are there, by index; and the tasks that are not done.

    A bucket some of which is made again is no more as the filling has left it, at no base: its
    samples were decoded once for all of them.
    """
    from .fill import is_there, journal_path, undo
    from .records import Record, record_path

    def found(index: int) -> Record | None:
        shard = plan.shards[index]
        bucket_id = plan.buckets[shard.bucket].id
        record = Record.read(record_path(out / STATE, bucket_id, shard.number))
        return record if record is not None and is_there(out, out / STATE, record) else None

    broken = {
        plan.buckets[plan.shards[index].bucket].proto
        for task in tasks
        for index in task
        if found(index) is None
    }
    filled = [
        bucket.id
        for bucket in plan.buckets
        if bucket.proto in broken and journal_path(out / STATE, bucket.id).is_file()
    ]
    if filled:
        # Else a part of a job array may take away what another has just made anew.
        with turn(out / STATE / UNDOING):
            for bucket_id in filled:
                undo(out, out / STATE, bucket_id)
    records: dict[int, Record] = {}
    missing: list[tuple[int, ...]] = []
    for task in tasks:
        there = {index: record for index in task if (record := found(index)) is not None}
        if len(there) == len(task):
            records.update(there)
        else:
            missing.append(task)
    return records, missing


def _is_error(drop: Drop) -> bool:
    return drop.reason in INPUT_ERRORS


def planned_errors(report: Report) -> int:
    """Samples that the scan dropped for damage."""
    return sum(report.dropped.get(reason, 0) for reason in INPUT_ERRORS)


def limit_errors(run: Run, errors: int, latest: Sequence[Drop]) -> None:
    """Raises RunError where there are more than the user allows. latest: of the last shard."""
    limit = run.resources.max_errors
    if 0 <= limit < errors:
        last = f"; the latest: {latest[-1].detail}" if latest else ""
        raise RunError(
            f"{errors} samples are unreadable or undecodable, --max-errors allows {limit}{last}. "
            "The same command with a higher limit goes on from here"
        )
