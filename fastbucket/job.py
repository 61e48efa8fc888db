"""What is to be exported, and what the phases of its run share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import xxhash

from . import spool
from .catalogue import Archive
from .commit import Fence
from .engines import Engine, engine
from .errors import RunError
from .progress import Progress, Silent
from .public import public
from .recipe import Recipe
from .resources import Resources
from .sources import KINDS
from .sources.address import is_remote
from .sources.locate import archives as locate
from .sources.remarks import remarks
from .state import State, versions

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
                f"{public(archive.path)} changed while it was exported; what was made of it "
                f"cannot be trusted. {state.remedy}"
            )


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
