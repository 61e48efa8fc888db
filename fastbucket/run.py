"""The run: scan, plan, export, totals. Everything that is long is done in worker processes.

Workers start first: what is imported here later, inside functions, loads while they do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from . import spool
from .catalogue import Archive
from .commit import output_error
from .engines.local import Local
from .errors import RunError
from .format import INPUT_ERRORS, MANIFEST, STATE, shard_path
from .progress import Progress, Silent
from .recipe import Recipe, Resources
from .report import Report
from .sources import KINDS
from .sources.address import is_remote
from .sources.locate import archives as locate
from .state import State

if TYPE_CHECKING:
    import pyarrow as pa

    from .planning import Plan
    from .records import Drop, Record

Sources = Sequence[str | os.PathLike[str]] | str | os.PathLike[str]

PRELOAD = ("fastbucket.sources.tarscan", "fastbucket.task")
"""What workers import while nobody asks for anything."""


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
    run = _Run(Path(out), recipe or Recipe(), resources or Resources(), progress or Silent(), {})
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    if licence:
        from .card import licences

        licences.check(licence)
    excluded = frozenset(exclude)
    archives = locate(sources, splits, allow_pipe=run.resources.allow_pipe)
    _check_apart(sources, archives, run.out)
    archives = spool.placed(archives, run.out)
    listing = [KINDS[archive.kind].listing(archive) for archive in archives]
    stamps = {archive.path: KINDS[archive.kind].stamp(archive) for archive in archives}
    export_id = _export_id(run.recipe, listing, excluded)
    whole_id = _export_id(run.recipe, listing, frozenset())
    with State(run.out, overwrite and not dry) as state:
        if dry:
            state.prepare()
        elif (done := state.claim(export_id, run.recipe, stamps, whole_id)) is not None:
            from . import outcome

            state.remove()
            return outcome.complete(run.out, done)
        try:
            report = _work(run, sources, archives, stamps, excluded, export_id, licence, dry)
        except OSError as error:
            raise output_error(Path(error.filename or run.out), error) from error
        if not dry or (run.out / MANIFEST).is_file():
            state.remove()  # a complete export keeps no state
    return report


def _work(
    run: _Run,
    sources: Sequence[str | os.PathLike[str]],
    archives: Sequence[Archive],
    stamps: Mapping[str, str],
    excluded: frozenset[str],
    export_id: str,
    licence: str,
    dry: bool,
) -> Report:
    """The phases, one after the other."""
    workers = run.resources.worker_count
    setup = {"out": str(run.out), "recipe": run.recipe.to_json(), "preload": PRELOAD}
    limit = run.resources.sample_timeout
    with Local(workers, setup, limit, run.progress.say) as engine:
        engine.start(len(archives))
        from . import outcome, planning
        from .kernels import fit  # noqa: F401 the plan's kernel, loaded while the workers start
        from .scan import scan

        spool.prepare(run.out, archives, run.resources.spool, run.progress.say)
        with run.timed("scan"):
            tables = scan(run.out, archives, stamps, engine, run.progress, run.recipe)
        spooled = spool.size(archives, run.progress.say)
        with run.timed("plan"):
            made = planning.make(archives, tables, run.recipe, excluded, run.progress)
        report = outcome.planned(run.out, made, tables, export_id, workers)
        report.seconds, report.spooled = run.seconds, spooled
        _limit_errors(run, _errors(report), [])
        if dry:
            return report
        planning.write(made, tables, run.out / STATE)
        with run.timed("export"):
            records = _export(run, engine, made, tables, report)
    for archive in archives:
        if KINDS[archive.kind].stamp(archive) != stamps[archive.path]:
            raise RunError(
                f"{archive.path} changed while it was exported; what was made of it cannot be "
                "trusted. Use --overwrite to start afresh"
            )
    with run.timed("finish"):
        outcome.finish(
            run.out,
            run.recipe,
            made,
            tables,
            records,
            report,
            len(excluded),
            licence,
            sources,
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


def _export(
    run: _Run, engine: Local, made: Plan, tables: Sequence[pa.Table], report: Report
) -> dict[int, list[Record]]:
    """Make every shard that has no record yet. Returns the records by bucket, in order."""
    from .fill import journal_path
    from .outcome import sample_name
    from .records import Record, record_path

    state = run.out / STATE
    records: dict[int, Record] = {}
    missing: list[int] = []
    found: list[Record | None] = []
    for shard in made.shards:
        bucket_id = made.buckets[shard.bucket].id
        found.append(Record.read(record_path(state, bucket_id, shard.number)))
        if found[-1] is None:  # what is made again is not as the filling has left it
            journal_path(state, bucket_id).unlink(missing_ok=True)
    for number, record in enumerate(found):
        if record is not None and _is_there(run.out, record):
            records[number] = record
        else:
            missing.append(number)
    report.resumed_shards = len(records)
    report.resumed_samples = sum(len(record.kept) for record in records.values())
    todo = sum(made.shards[n].stop - made.shards[n].start for n in missing)
    if records:
        run.progress.say(f"{len(records)} of {len(made.shards)} shards are there already")
    run.progress.phase("export", todo, "samples")
    errors = _errors(report)
    errors += sum(_is_error(drop) for record in records.values() for drop in record.drops)
    _limit_errors(run, errors, [])

    def describe(number: int, position: int | None) -> str:
        shard = made.shards[number]
        if position is None:
            return shard_path(made.buckets[shard.bucket].id, shard.number)
        return sample_name(made, tables, int(made.order[shard.start + position]))

    job = "fastbucket.task:ShardTask"
    for number, record in engine.map(job, missing, run.progress.advance, describe):
        records[number] = record
        errors += sum(_is_error(drop) for drop in record.drops)
        _limit_errors(run, errors, record.drops)
    by_bucket: dict[int, list[Record]] = {}
    for number in sorted(records):
        by_bucket.setdefault(made.shards[number].bucket, []).append(records[number])
    return by_bucket


def _is_there(out: Path, record: Record) -> bool:
    """Whether the tar of a record exists in its full size, or has gone into a filled bucket."""
    from .fill import journal_path
    from .records import short_path

    state = out / STATE
    if journal_path(state, record.bucket_id).is_file():
        return True
    path = out / shard_path(record.bucket_id, record.number)
    if record.drops:
        path = short_path(state, record.bucket_id, record.number)
    return path.is_file() and path.stat().st_size == record.bytes


def _is_error(drop: Drop) -> bool:
    return drop.reason in INPUT_ERRORS


def _errors(report: Report) -> int:
    """Samples that the scan dropped for damage."""
    return sum(report.dropped.get(reason, 0) for reason in INPUT_ERRORS)


def _limit_errors(run: _Run, errors: int, latest: Sequence[Drop]) -> None:
    limit = run.resources.max_errors
    if 0 <= limit < errors:
        last = f"; the latest: {latest[-1].detail}" if latest else ""
        raise RunError(
            f"{errors} samples are unreadable or undecodable, --max-errors allows {limit}{last}. "
            "The same command with a higher limit goes on from here"
        )
