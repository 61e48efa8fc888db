"""An export by the jobs of an array: each makes a part of the shards, and `merge` what is left.

The parts scan together, each archive once as a rule; the plan follows from what they found, and is
taken from whoever is through with it first. See `parts` for how they keep out of each other's way.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from . import spool
from .engines import Engine
from .errors import RunError
from .format import MANIFEST, STATE, index_path, shard_path
from .job import Job, Run, Sources, check_unchanged
from .making import limit_errors, make_shards, planned_errors
from .parts import Joined, Merging, Part
from .parts import facts as parts_facts
from .progress import Progress
from .recipe import Recipe
from .report import BAD_INPUTS_SHOWN, BadInput, BucketCount, Report
from .resources import Resources
from .sources import KINDS
from .sources.address import is_remote
from .state import load, writing

if TYPE_CHECKING:
    from .planfile import Written
    from .records import Record

_NAMED = 3
"""Shards that an error names, of those that are missing."""


def export_part(
    sources: Sources,
    out: str | os.PathLike[str],
    part: str,
    recipe: Recipe | None = None,
    resources: Resources | None = None,
    *,
    splits: Sequence[tuple[str, str]] = (),
    exclude: Iterable[str] = (),
    licence: str = "",
    progress: Progress | None = None,
) -> Report:
    """Make one part of an export, "3/16", in the folder `out` that all jobs share, or go on with it
    where it was interrupted.

    All else is as in `export`, and the same for all parts: sources by the same paths above all.
    `merge` completes the export when all parts are made. The report is of this part alone. Raises
    RunError where the part cannot go on.
    """
    share = Part.parse(part)
    run = Run.of(out, recipe, resources, progress)
    job = Job.of(run, sources, splits, exclude, licence)
    agreed = {
        "parts": share.of,
        "licence": licence,
        "excluded": len(job.excluded),
        "sources": [
            source if is_remote(source) else os.path.abspath(source)
            for source in (os.fspath(named) for named in job.sources)
            if source != "-"
        ],
    }
    with Joined(run.out, share) as state:
        done = state.join(job.export_id, run.recipe, job.stamps, job.whole_id, agreed)
        if done is not None:
            from . import outcome

            state.remove()
            return outcome.complete(run.out, done)
        with writing(run.out):
            return _work(run, job, state)


def _work(run: Run, job: Job, state: Joined) -> Report:
    """Scan and plan as far as nobody else has, then this part's shards."""
    from . import planfile

    with run.engine(state.fence) as engine:
        state.note(engine.workers)
        plan = planfile.written(state.path, run.recipe)
        if plan is None:
            plan = _planned(run, job, state, engine)
        tasks = [task for at, task in enumerate(plan.tasks()) if state.part.owns(at)]
        state.sweep_own(_targets(run.out, plan, chain.from_iterable(tasks)))
        name = planfile.names(plan, state.path)
        report = Report(
            str(run.out), job.export_id, f"part {state.part}", len(job.archives), 0, 0, {}, [],
            seconds=run.seconds, workers=engine.workers,
        )  # fmt: skip
        state.fence.check()  # before anything of a filled bucket is taken away
        with run.timed("export"):
            records = make_shards(run, engine, plan, tasks, name, report)
    check_unchanged(job.archives, job.stamps, state)
    first_row = {(shard.bucket, shard.number): shard.start for shard in plan.shards}
    for at, those in records.items():
        _count(report, plan, at, those)
        for record in those if plan.is_whole(at) else ():
            for drop in record.drops[: BAD_INPUTS_SHOWN - len(report.bad_inputs)]:
                where = name(first_row[at, record.number] + drop.position)
                report.bad_inputs.append(BadInput(where, drop.reason, drop.detail))
    made = sum(1 for _ in (state.path / "shards").glob("[!.]*.json"))
    run.progress.say(
        f"{made} of {len(plan.shards)} shards of all parts are made; when all are, "
        f"fastbucket merge {run.out} completes the export"
    )
    return report


def _planned(run: Run, job: Job, state: Joined, engine: Engine) -> Written:
    """The plan that all share, made here or by whoever was faster."""
    engine.start(len(job.archives))
    from . import outcome, planfile, planning
    from .kernels import fit  # noqa: F401 the plan's kernel, loaded while the workers start
    from .scan import scan

    spool.prepare(run.out, job.archives, run.resources.spool, run.progress.say, shared=True)
    with run.timed("scan"):
        tables = scan(
            run.out, job.archives, job.stamps, engine, run.progress, state.part, run.recipe
        )
    with run.timed("plan"):
        found = planfile.written(state.path, run.recipe)  # by another part, meanwhile
        if found is None:
            made = planning.make(job.archives, tables, run.recipe, job.excluded, run.progress)
            whole = outcome.planned(run.out, made, tables, job.export_id, engine.workers)
            limit_errors(run, planned_errors(whole), [])
            planfile.write(made, tables, state.path, shared=True)
            found = planfile.written(state.path, run.recipe)
    assert found is not None
    return found


def _targets(out: Path, plan: Written, numbers: Iterable[int]) -> Iterable[Path]:
    """What is made of these shards."""
    from .records import record_path, short_path

    for shard in (plan.shards[number] for number in numbers):
        named = plan.buckets[shard.bucket].id, shard.number
        yield out / shard_path(*named)
        yield out / index_path(*named)
        yield short_path(out / STATE, *named)
        yield record_path(out / STATE, *named)


def _count(report: Report, plan: Written, at: int, records: Sequence[Record]) -> None:
    """Add what was made of a bucket. scanned: what the plan has of it in this part. With several
    bases the smallest speaks of every sample."""
    bucket = plan.buckets[at]
    kept, size = sum(r.samples for r in records), sum(r.bytes for r in records)
    report.buckets.append(BucketCount(bucket.id, *bucket.target, kept, len(records), size))
    report.bytes_out += size
    for record in records:
        for stage, ns in record.nanoseconds.items():
            report.stages[stage] = report.stages.get(stage, 0.0) + ns / 1e9
    if not plan.is_whole(at):
        return
    report.exported += kept
    report.captions += sum(record.captions for record in records)
    report.scanned += kept
    for record in records:
        report.scanned += len(record.drops)
        for drop in record.drops:
            report.dropped[drop.reason] = report.dropped.get(drop.reason, 0) + 1


def merge(out: str | os.PathLike[str], *, progress: Progress | None = None) -> Report:
    """Complete the export in `out` whose parts are made: gaps, meta/, index/, card, manifest.

    The bytes are those of one run over everything. Raises RunError where shards are missing, with
    the parts that have to make them, or where there are no parts.
    """
    folder = Path(out)
    agreed = parts_facts(folder)
    if agreed is None or (folder / MANIFEST).is_file():
        return _done(folder)
    with Merging(folder) as state, writing(folder):
        run_facts = load(state.path / "run.json")
        recipe = Recipe.from_json(run_facts["recipe"])
        stamps: dict[str, str] = run_facts["stamps"]
        state.check_begun(run_facts, run_facts["export_id"], recipe, stamps)
        run = Run.of(folder, recipe, None, progress)
        report = _merged(run, agreed, run_facts["export_id"], stamps, state)
        state.remove()
    return report


def _done(out: Path) -> Report:
    """The report of an export that is complete already, or was until its state was removed."""
    from . import manifest, outcome
    from .state import check_finished

    if not (out / MANIFEST).is_file():
        raise RunError(
            f"{out} holds no parts of an export (fastbucket export SOURCE... {out} --shards 1/16 "
            "makes one)"
        )
    check_finished(out)
    facts = manifest.read(out, "merge completes")
    with Merging(out) as state:
        state.remove()
    return outcome.complete(out, facts)


def _merged(
    run: Run, agreed: dict[str, object], export_id: str, stamps: dict[str, str], state: Merging
) -> Report:
    from . import outcome, planfile
    from .scan import scan

    plan = planfile.written(state.path, run.recipe)
    if plan is None:
        raise RunError(f"no part in {run.out} has come as far as a plan: run them all first")
    # Each part signs its addresses anew; what is known of a remote archive stands in the plan.
    stamps = {a.path: stamps.get(a.path) or KINDS[a.kind].stamp(a) for a in plan.archives}
    with run.timed("read"):
        records = _records(run.out, plan, int(str(agreed["parts"])))
        with run.engine(None) as engine:
            tables = scan(run.out, plan.archives, stamps, engine, run.progress)
        made = planfile.read(plan, tables, state.path)
    check_unchanged(plan.archives, stamps, state)
    state.cut_off()
    report = outcome.planned(run.out, made, tables, export_id, state.workers())
    report.seconds = run.seconds
    report.resumed_shards = len(plan.shards)
    report.resumed_samples = sum(
        record.samples for at, those in records.items() if plan.is_whole(at) for record in those
    )
    with run.timed("finish"):
        outcome.finish(
            run.out,
            run.recipe,
            made,
            tables,
            records,
            report,
            int(str(agreed["excluded"])),
            str(agreed["licence"]),
            agreed["sources"],  # type: ignore[arg-type]  # of a JSON that we wrote
            run.progress.say,
        )
    report.status = "exported"
    return report


def _records(out: Path, plan: Written, parts: int) -> dict[int, list[Record]]:
    """The records of all shards, by bucket. Raises RunError where one is missing, or its tar."""
    from .fill import is_there
    from .records import Record, record_path

    found: dict[int, list[Record]] = {}
    missing: list[int] = []
    for number, shard in enumerate(plan.shards):
        path = record_path(out / STATE, plan.buckets[shard.bucket].id, shard.number)
        record = Record.read(path)
        if record is None or not is_there(out, out / STATE, record):
            missing.append(number)
        else:
            found.setdefault(shard.bucket, []).append(record)
    if missing:
        made_by = {n: at for at, task in enumerate(plan.tasks()) for n in task}
        which = sorted({Part(made_by[n] % parts + 1, parts) for n in missing})
        names = [
            shard_path(plan.buckets[plan.shards[n].bucket].id, plan.shards[n].number)
            for n in missing[:_NAMED]
        ]
        more = "" if len(missing) <= _NAMED else ", ..."
        raise RunError(
            f"{out} lacks {len(missing)} of {len(plan.shards)} shards ({', '.join(names)}{more}): "
            f"run the same export again with --shards {', '.join(map(str, which))}"
        )
    return found
