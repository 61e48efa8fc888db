"""The state of a run inside its output folder: whose it is, who holds it, how far it came.

<out>/.fastbucket/lock          held (flock) by the process that works here
                  run.json      recipe and source of the unfinished export
                  catalogue/    one file an archive
                  plan.arrow, plan.json
                  shards/       a record for every finished task
                  short/, fill/ shards with gaps, and their replacements
                  fence         where work goes on on several machines, see commit.Fence
                  parts.json, parts/, decisions.arrow   of job arrays, see parts
                  undo.lock     held while a filled bucket is taken apart, see making
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from . import clearing, commit, refusal
from .clearing import FENCE, SHARDS
from .errors import RunError
from .format import (
    BUCKETS,
    CAPTIONS,
    INDEX,
    MANIFEST,
    META,
    SPOOL,
    STATE,
    UNFINISHED,
)
from .lock import holder, locked
from .recipe import Recipe
from .software import installed


class State:
    """The state folder of one output, locked while in use."""

    remedy = "Use --overwrite to start afresh"
    """What to do with a folder that is of no use."""
    _sharing = False
    """Whether others of the same kind may be at work here too."""
    _locks_needed = True
    """Whether a file system without locks is refused."""

    def __init__(self, out: Path, overwrite: bool = False, marker: str = "") -> None:
        """marker: that of format.UNFINISHED which the work at hand puts down itself."""
        self.out = out
        self.path = out / STATE
        self._claimed = False
        with writing(out):
            self._lock = locked(out, self.path / "lock", self._sharing, self._locks_needed)
        try:
            with writing(out):
                self._lock.truncate(0)
                self._lock.write(holder())
                self._lock.flush()
                if overwrite and clearing.is_ours(self.out):
                    clearing.clear(self.out)
            self._check_finished(marker)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> State:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and self._claimed:
            with suppress(OSError):  # there is an error to tell already; the next run sweeps
                self.cut_off()
        self._close()

    def _close(self) -> None:
        with suppress(OSError):  # what the lock's buffer held, on a full disk
            self._lock.close()

    def _check_finished(self, own: str) -> None:
        """Whether no other work on the complete export here was interrupted."""
        for marker, (work, command) in UNFINISHED.items():
            if marker != own and (self.out / marker).is_file() and (self.out / MANIFEST).is_file():
                raise RunError(
                    f"{work} in {self.out}: run fastbucket {command} {self.out} again first, or "
                    "export with --overwrite to start afresh"
                )

    def claim(
        self, export_id: str, recipe: Recipe, stamps: Mapping[str, str], whole_id: str = ""
    ) -> dict[str, Any] | None:
        """Take the folder for this export, fresh or half-done.

        stamps: path of each archive -> its state (size and time). whole_id: of the same export
        with nothing excluded. Returns the manifest where this very export is complete. Raises
        RunError where the folder holds another one, complete or with finished shards, with the
        difference; or where a source changed under a half-done one.
        """
        with writing(self.out):
            return self._claim(export_id, recipe, stamps, whole_id)

    def _claim(
        self, export_id: str, recipe: Recipe, stamps: Mapping[str, str], whole_id: str
    ) -> dict[str, Any] | None:
        run = self.path / "run.json"
        if (done := self._complete(export_id, recipe, whole_id)) is not None:
            return done
        if run.is_file():
            self._check_same(load(run), export_id, recipe, stamps)
        elif any(self.out.glob(SHARDS)):
            self._leave()
            raise refusal.orphans(self.out, self.remedy)
        self._prepare()
        self._make_folders()
        commit.write_text(run, run_facts(export_id, recipe, stamps))
        commit.make_folder(self.out / BUCKETS)  # not before run.json, which says that it is ours
        self.cut_off()
        return None

    def _complete(
        self, export_id: str, recipe: Recipe, whole_id: str = ""
    ) -> dict[str, Any] | None:
        """The manifest where this export is complete; refuses another one."""
        if not (self.out / MANIFEST).is_file():
            return None
        facts = load(self.out / MANIFEST)
        if facts.get("export_id") == export_id:
            return facts
        self._leave()
        if facts.get("export_id") == whole_id:
            raise refusal.without_exclusion(self.out, facts)
        raise refusal.another(
            self.out, "a complete export", facts.get("recipe", {}), recipe, self.remedy
        )

    def _make_folders(self) -> None:
        for folder in ("shards", "short", "fill"):
            commit.make_folder(self.path / folder)

    def open_fence(self) -> commit.Fence:
        """For processes on other machines: what they make counts until `cut_off`."""
        fence = commit.Fence(str(self.path / FENCE), os.urandom(8).hex())
        commit.write_text(self.path / FENCE, fence.token)
        return fence

    def cut_off(self) -> None:
        """From now on nobody else makes anything visible here, on whichever machine. Raises
        OSError."""
        clearing.cut_off(self.out)

    def _check_same(
        self, facts: dict[str, Any], export_id: str, recipe: Recipe, stamps: Mapping[str, str]
    ) -> None:
        """Whether the unfinished export of run.json is this one; what has no shard is cleared."""
        begun = facts.get("export_id") and any(self.path.glob("shards/*.json"))
        if not begun:
            clearing.clear(self.out, keep=("catalogue", SPOOL))
            return
        self.check_begun(facts, export_id, recipe, stamps)

    def check_begun(
        self, facts: dict[str, Any], export_id: str, recipe: Recipe, stamps: Mapping[str, str]
    ) -> None:
        """Whether the unfinished export of run.json, with finished shards, is this one."""
        before = facts.get("stamps", {})
        if facts["export_id"] != export_id:
            same = facts.get("recipe", {}) == recipe.to_json() and before.keys() == stamps.keys()
            if same and before != stamps:
                raise refusal.changed_source(self.out, before, stamps, self.remedy)
            self._leave()
            raise refusal.another(
                self.out, "an unfinished export", facts.get("recipe", {}), recipe, self.remedy
            )
        if facts.get("software") != (now := versions()):
            raise refusal.other_versions(self.out, facts.get("software"), now, self.remedy)
        if sorted(before.values()) != sorted(stamps.values()):
            raise refusal.changed_source(self.out, before, stamps, self.remedy)

    def prepare(self) -> None:
        """Room for a catalogue: all that a dry run needs. It serves any recipe.

        Raises RunError where the folder holds something else than an export.
        """
        with writing(self.out):
            self._prepare()
            clearing.sweep(self.out)

    def _prepare(self) -> None:
        if not clearing.is_ours(self.out):
            self._check_empty()
        commit.make_folder(self.path / "catalogue")
        self._claimed = True

    def _check_empty(self) -> None:
        ours = (STATE, CAPTIONS, f"{CAPTIONS}-wal", f"{CAPTIONS}-shm")
        strangers = sorted(
            path.name
            for path in self.out.iterdir()
            if path.name not in ours
            and not (
                path.name in (INDEX, META, BUCKETS) and path.is_dir() and not any(path.iterdir())
            )
        )
        if strangers:
            self._leave()
            raise refusal.strangers(self.out, strangers)

    def _leave(self) -> None:
        """Take our lock out of a folder that is not ours, if nothing else of ours is there."""
        if [path.name for path in self.path.iterdir()] == ["lock"]:
            self.remove()

    def remove(self) -> None:
        """The export is complete: the state has served. The lock goes last: until then nobody else
        can be at work here. Folders without content go too."""
        with suppress(OSError):  # the manifest is there: what stays here now is of no importance
            clearing.remove_spool(self.path)
            for inside in self.path.iterdir():
                if inside.is_dir():
                    shutil.rmtree(inside, ignore_errors=True)
                elif inside.name != "lock":
                    inside.unlink()
        with suppress(OSError):  # there are shards in it
            (self.out / BUCKETS).rmdir()
        with suppress(OSError):  # the next run has made it anew
            (self.path / "lock").unlink()
            self.path.rmdir()


def check_finished(out: Path) -> None:
    """For who only reads a complete export: RunError where work on it was interrupted, with the
    command that goes on."""
    for marker, (work, command) in UNFINISHED.items():
        if (out / marker).is_file():
            raise RunError(f"{work} in {out}: run fastbucket {command} {out} again first")


def run_facts(export_id: str, recipe: Recipe, stamps: Mapping[str, str]) -> str:
    """run.json."""
    facts = {
        "export_id": export_id,
        "recipe": recipe.to_json(),
        "stamps": dict(stamps),
        "software": versions(),
    }
    return json.dumps(facts, indent=1)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Every OSError is one of the output."""
    try:
        yield
    except OSError as error:
        raise commit.output_error(Path(error.filename or out), error) from None


def versions() -> dict[str, str]:
    """Versions of the packages that decide bytes, without loading one of them."""
    packages = ("fastbucket", "pillow", "simplejpeg", "pyvips-binary", "numba")
    return {package: installed(package) for package in packages}


def load(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}; use --overwrite to start afresh") from None
    if not isinstance(facts, dict):
        raise RunError(f"{path} is no JSON object; use --overwrite to start afresh")
    return facts
