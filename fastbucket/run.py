"""The run: scan, plan, export, totals. Everything that is long is done in worker processes.

Workers start first: what is imported here later, inside functions, loads while they do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from . import spool
from .errors import RunError
from .format import MANIFEST, STATE
from .job import Job, Run, Sources, check_unchanged
from .making import limit_errors, make_shards, planned_errors
from .progress import Progress
from .recipe import Recipe
from .report import Report
from .resources import Resources
from .state import State, writing


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
        from . import outcome, planfile, planning
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
        planfile.write(made, tables, run.out / STATE)

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
