"""An export whose output is a URL: made in a work folder as any other, then pushed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .. import job, run
from ..errors import RunError
from ..format import MANIFEST, STATE
from ..progress import Progress, Silent
from ..public import public
from ..recipe import Recipe
from ..report import Report
from ..resources import Resources
from .destination import is_url, opened, refuse_itself
from .files import is_ours
from .pushing import AT_ONCE, Pushed, push


def work_folder(url: str) -> Path:
    """Where the export for a URL is made if nobody says: in the working folder, under the last
    name of the URL."""
    path = unquote(urlsplit(url).path).rstrip("/")  # before it is cut: a %2F is a slash
    name = path.rpartition("/")[2].partition("@")[0] or urlsplit(url).netloc.rpartition("@")[2]
    if name in ("", ".", ".."):
        raise RunError(f"{public(url)} has no name for the folder to work in: say --work DIR")
    return Path(name)


def folder(out: str, work: str | os.PathLike[str] | None = None) -> Path:
    """The folder in which an export is made: `out`, or where that is a URL `work`."""
    if is_url(out):
        return Path(work) if work else work_folder(out)
    if work:
        raise RunError(f"--work {work}: {out} is a folder itself")
    return Path(out)


def export(
    sources: job.Sources,
    url: str,
    recipe: Recipe | None = None,
    resources: Resources | None = None,
    *,
    work: str | os.PathLike[str] | None = None,
    splits: Sequence[tuple[str, str]] = (),
    exclude: Iterable[str] = (),
    overwrite: bool = False,
    licence: str = "",
    progress: Progress | None = None,
) -> tuple[Report, Pushed]:
    """Export `sources` in the folder `work` as run.export does, then push it to `url`.

    overwrite: start afresh in the work folder, and take the place of another export at the URL.
    The work folder holds the whole export, and stays. Interrupted, the same call goes on; one with
    overwrite starts afresh again. To go on with that: run.export into `work`, then push, replace.
    """
    progress = progress or Silent()
    place = folder(url, work)
    sink = opened(url, place / "unused", 1, False)
    refuse_itself(place, url, sink)  # before the export: it could not go there afterwards
    there = sink.listing()
    if not overwrite and not (place / MANIFEST).is_file() and any(map(is_ours, there)):
        if (place / STATE / "run.json").is_file():
            raise RunError(
                f"{public(url)} holds an export, or part of one, and {place} an unfinished one. "
                f"The same export into {place} goes on with it, then fastbucket push {place} "
                f"{public(url)} --replace; --overwrite starts afresh"
            )
        raise RunError(
            f"{public(url)} holds an export, or part of one, and {place} none to compare it with. "
            "--overwrite makes one to take its place; or choose another place"
        )
    report = run.export(
        sources,
        place,
        recipe,
        resources,
        splits=splits,
        exclude=exclude,
        overwrite=overwrite,
        licence=licence,
        progress=progress,
    )
    pushed = push(place, url, replace=overwrite, at_once=AT_ONCE, progress=progress)
    return report, pushed
