"""The run: scan, plan, export, totals. Everything that is long is done in worker processes.

Workers start first: what is imported here later, inside functions, loads while they do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from . import spool
from .catalogue import Archive
from .commit import Fence
from .engines import Engine, engine
from .errors import RunError
from .format import INPUT_ERRORS, MANIFEST, STATE, shard_path
from .progress import Progress, Silent
from .recipe import Recipe, Resources
from .report import Report
from .sources import KINDS
from .sources.address import is_remote
from .sources.locate import archives as locate
from .sources.remarks import remarks
from .state import State, versions, writing

if TYPE_CHECKING:
    from .planning import Shards
    from .records import Drop, Record

Sources = Sequence[str | os.PathLike[str]] | str | os.PathLike[str]

PRELOAD = ("fastbucket.sources.tarscan", "fastbucket.task")
"""What workers import while nobody asks for anything."""


@dataclass
class Run:
    """What the phases of one run share."""

    out: Path
    recipe: Recipe
    resources: Resources
    progress: Progress
    seconds: dict[str, float]

    @classmethod
    def of(
        cls,
        out: str | os.PathLike[str],
        recipe: Recipe | None,
        resources: Resources | None,
        progress: Progress | None,
    ) -> Run:
        resources = resources or Resources()
        if resources.engine != "local":  # others do not stand in the same folder
            out = os.path.abspath(out)
        return cls(Path(out), recipe or Recipe(), resources, progress or Silent(), {})

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - start

    def engine(self, fence: Fence | None) -> Engine:
        """fence: of work on several machines."""
        setup = {
            "out": str(self.out),
            "recipe": self.recipe.to_json(),
            "preload": PRELOAD,
            "allow_pipe": self.resources.allow_pipe,
        }
        if fence is not None:
            setup |= {"fence": tuple(fence), "software": versions()}
        options = {"address": self.resources.address} if self.resources.address else {}
        limit = self.resources.sample_timeout
        count = self.resources.workers
        if self.resources.engine == "local":
            count = self.resources.worker_count
        return engine(self.resources.engine, count, setup, limit, self.progress.say, **options)


@dataclass(frozen=True)
class Job:
    """What is to be exported. sources: as they were named; archives: what was found there, and
    `stamps` their state by path. export_id: of it all; whole_id: without the exclusion."""

    sources: Sequence[str | os.PathLike[str]]
    archives: Sequence[Archive]
    stamps: Mapping[str, str]
    excluded: frozenset[str]
    licence: str
    export_id: str
    whole_id: str

    @classmethod
    def of(
        cls,
        run: Run,
        sources: Sources,
        splits: Sequence[tuple[str, str]],
        exclude: Iterable[str],
        licence: str,
    ) -> Job:
        """Raises RunError for what can be no source or no licence."""
        if isinstance(sources, (str, os.PathLike)):
            sources = [sources]
        if licence:
            from .card import licences

            licences.check(licence)
        excluded = frozenset(exclude)
        archives = locate(sources, splits, allow_pipe=run.resources.allow_pipe)
        _check_apart(sources, archives, run.out)
        archives = spool.placed(archives, run.out)
        for remark in remarks(archives, run.recipe.caption_field):
            run.progress.say(remark)
        listing = [KINDS[archive.kind].listing(archive) for archive in archives]
        stamps = {archive.path: KINDS[archive.kind].stamp(archive) for archive in archives}
        export_id = _export_id(run.recipe, listing, excluded)
        whole_id = _export_id(run.recipe, listing, frozenset())
        return cls(sources, archives, stamps, excluded, licence, export_id, whole_id)


def check_unchanged(archives: Sequence[Archive], stamps: Mapping[str, str], state: State) -> None:
    """Raises RunError where an archive is not as it was when the run began."""
    for archive in archives:
        if KINDS[archive.kind].stamp(archive) != stamps[archive.path]:
            raise RunError(
                f"{archive.path} changed while it was exported; what was made of it cannot be "
                f"trusted. {state.remedy}"
            )


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

    sources: tar files, folders, globs, braces, addresses, "-" for a list on stdin. splits: (name,
    pattern) pairs. exclude: keys or image_ids that are dropped. licence: for the card, by its id.
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
    if "://" in os.fspath(out):
        raise RunError(f"{os.fspath(out)} is no folder; fastbucket.sinks.export takes URLs")
    run = Run.of(out, recipe, resources, progress)
    job = Job.of(run, sources, splits, exclude, licence)
    with State(run.out, overwrite and not dry) as state:
        if dry:
            state.prepare()
        elif (done := state.claim(job.export_id, run.recipe, job.stamps, job.whole_id)) is not None:
            from . import outcome

            state.remove()
            return outcome.complete(run.out, done)
        with writing(run.out):
            report = _work(run, job, state, dry)
        if not dry or (run.out / MANIFEST).is_file():
            state.remove()  # a complete export keeps no state
    return report


def _work(run: Run, job: Job, state: State, dry: bool) -> Report:
    """The phases, one after the other."""
    fence = None if run.resources.engine == "local" else state.open_fence()
    with run.engine(fence) as engine:
        engine.start(len(job.archives))
        from . import outcome, planning
        from .kernels import fit  # noqa: F401 the plan's kernel, loaded while the workers start
        from .scan import scan

        spool.prepare(run.out, job.archives, run.resources.spool, run.progress.say)
        with run.timed("scan"):
            tables = scan(
                run.out, job.archives, job.stamps, engine, run.progress, recipe=run.recipe
            )
        spooled = spool.size(job.archives, run.progress.say)
        with run.timed("plan"):
            made = planning.make(job.archives, tables, run.recipe, job.excluded, run.progress)
        report = outcome.planned(run.out, made, tables, job.export_id, engine.workers)
        report.seconds, report.spooled = run.seconds, spooled
        limit_errors(run, planned_errors(report), [])
        if dry:
            return report
        planning.write(made, tables, run.out / STATE)

        def name(at: int) -> str:
            return outcome.sample_name(made, tables, int(made.order[at]))

        with run.timed("export"):
            records = make_shards(run, engine, made, made.tasks(), name, report)
    check_unchanged(job.archives, job.stamps, state)
    state.cut_off()
    with run.timed("finish"):
        outcome.finish(
            run.out,
            run.recipe,
            made,
            tables,
            records,
            report,
            len(job.excluded),
            job.licence,
            job.sources,
            run.progress.say,
        )
    report.status = "exported"
    return report


def _check_apart(
    sources: Sequence[str | os.PathLike[str]], archives: Sequence[Archive], out: Path
) -> None:
    """The output must not be scanned as a source by the next run."""
    own = out.resolve()
    for named in sources:
        if (
            not is_remote(os.fspath(named))
            and Path(named).is_dir()
            and Path(named).resolve() in own.parents
        ):
            raise RunError(f"the output folder {out} lies in the source {named}")
    for archive in archives:
        if archive.state:  # remote
            continue
        source = Path(archive.path).resolve()
        if own in (source, *source.parents):
            raise RunError(f"{archive.path} lies in the output folder {out}; choose another one")


def _export_id(recipe: Recipe, listing: Sequence[str], excluded: frozenset[str]) -> str:
    """16 hex digits: xxh64 of the recipe, of the source listing and of what is excluded."""
    state = xxhash.xxh64(recipe.canonical())
    for line in (*listing, "", *sorted(excluded)):
        state.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return str(state.hexdigest())


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
    from .fill import is_there, undo
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
    for bucket in plan.buckets:
        if bucket.proto in broken:
            undo(out, out / STATE, bucket.id)
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
