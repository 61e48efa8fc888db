"""The state of a run inside its output folder: whose it is, who holds it, how far it came.

<out>/.fastbucket/lock          held (flock) by the process that works here
                  run.json      recipe and source of the unfinished export
                  catalogue/    one file an archive
                  plan.arrow, plan.json
                  shards/       a record for every finished task
                  short/, fill/ shards with gaps, and their replacements
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import RunError
from .format import BUCKETS, CARD, FORMAT, MANIFEST, META, STATE
from .recipe import Recipe
from .shard import TEMPORARY


class State:
    """The state folder of one output, locked while in use."""

    def __init__(self, out: Path, overwrite: bool = False) -> None:
        self.out = out
        self.path = out / STATE
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / "lock", "a+")  # noqa: SIM115 held until close
        except OSError as error:
            raise RunError(f"cannot work in {out}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise RunError(f"cannot lock {out}: {error.strerror}") from None
            self._lock.seek(0)
            holder = self._lock.read().strip() or "another process"
            self._lock.close()
            raise RunError(f"{out} is in use by {holder}; wait for it, or choose another") from None
        if overwrite and self._is_ours():
            self._clear()
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._lock.flush()

    def __enter__(self) -> State:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.sweep()
        self._lock.close()

    def _is_ours(self) -> bool:
        """Whether there is an export here, finished or not; a README.md is in many a folder."""
        if (self.path / "run.json").is_file():
            return True
        try:
            facts = json.loads((self.out / MANIFEST).read_text())
        except (OSError, ValueError):  # none, or damaged: then the shards have to speak for it
            return any(self.out.glob(f"{BUCKETS}/p*x*/shard-*.tar"))
        return isinstance(facts, dict) and facts.get("format") == FORMAT

    def _clear(self, keep: tuple[str, ...] = ()) -> None:
        """Remove what is ours but for the lock and what is to be kept of the state.

        The manifest first: without it nothing looks complete. run.json last, made for the purpose
        if need be: whoever is killed in between leaves a folder that is still known as ours.
        """
        run = self.path / "run.json"
        if not run.is_file():
            run.write_text('{"export_id": "", "recipe": {}, "stamps": {}}')
        for name in (MANIFEST, CARD):
            (self.out / name).unlink(missing_ok=True)
        for folder in (self.path / "shards", self.out / META, self.out / BUCKETS):
            if folder.is_dir():
                shutil.rmtree(folder)
        for inside in self.path.iterdir():
            if inside.name not in ("lock", run.name, *keep):
                shutil.rmtree(inside) if inside.is_dir() else inside.unlink()
        run.unlink()

    def claim(
        self, export_id: str, recipe: Recipe, stamps: Mapping[str, str]
    ) -> dict[str, Any] | None:
        """Take the folder for this export, fresh or half-done.

        stamps: path of each archive -> its state (size and time). Returns the manifest where this
        very export is complete. Raises RunError where the folder holds another one, complete or
        with finished shards, with the difference; or where a source changed under a half-done one.
        """
        manifest, run = self.out / MANIFEST, self.path / "run.json"
        if manifest.is_file():
            facts = _load(manifest)
            if facts.get("export_id") == export_id:
                return facts
            self._refuse("a complete export", facts.get("recipe", {}), recipe)
        if run.is_file():
            facts = _load(run)
            same, begun = facts["export_id"] == export_id, any(self.path.glob("shards/*.json"))
            if begun and not same:
                self._refuse("an unfinished export", facts["recipe"], recipe)
            if begun and facts.get("software") != versions():
                raise RunError(
                    f"{self.out} holds an unfinished export by other versions "
                    f"({facts.get('software')}; now {versions()}), which may write other bytes. "
                    "Install those to go on, or use --overwrite to start afresh"
                )
            if begun and sorted(facts["stamps"].values()) != sorted(stamps.values()):
                self._refuse_changed(facts["stamps"], stamps)
            if not begun:
                self._clear(keep=("catalogue",))
        self.prepare()
        for folder in ("shards", "short", "fill"):
            (self.path / folder).mkdir(exist_ok=True)
        facts = {
            "export_id": export_id,
            "recipe": recipe.to_json(),
            "stamps": dict(stamps),
            "software": versions(),
        }
        temporary = run.with_name(run.name + ".tmp")
        temporary.write_text(json.dumps(facts, indent=1))
        os.replace(temporary, run)
        self.sweep()
        return None

    def prepare(self) -> None:
        """Room for a catalogue: all that a dry run needs. It serves any recipe.

        Raises RunError where the folder holds something else than an export.
        """
        if not self._is_ours():
            self._check_empty()
        (self.path / "catalogue").mkdir(exist_ok=True)

    def _check_empty(self) -> None:
        strangers = sorted(p.name for p in self.out.iterdir() if p.name != STATE)
        if strangers:
            self._leave()
            raise RunError(
                f"{self.out} is not empty ({', '.join(strangers[:3])}) and no export of this tool; "
                "choose another folder"
            )

    def _leave(self) -> None:
        """Take our lock out of a folder that is not ours, if nothing else of ours is there."""
        if [path.name for path in self.path.iterdir()] == ["lock"]:
            self.remove()

    def _refuse(self, what: str, values: dict[str, Any], recipe: Recipe) -> None:
        try:
            difference = Recipe.from_json(values).difference(recipe)
        except RunError as error:  # of a version with other fields
            difference = [str(error)]
        reason = "; ".join(difference) or "another source"
        self._leave()
        raise RunError(
            f"{self.out} holds {what} of another kind ({reason}). Use --overwrite to start afresh, "
            "or choose another folder"
        )

    def _refuse_changed(self, before: Mapping[str, str], now: Mapping[str, str]) -> None:
        known = set(before.values())
        changed = [path for path, stamp in now.items() if stamp not in known]
        raise RunError(
            f"{', '.join(changed[:3]) or 'a source'} changed since the export in {self.out} began: "
            "its finished shards would not fit the rest. Restore the source (with its time), or "
            "use --overwrite to start afresh"
        )

    def sweep(self) -> None:
        """Remove what dead runs left half-written."""
        for folder in (self.out / BUCKETS, self.path):
            for path in folder.rglob(f"*{TEMPORARY}"):
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """The export is complete: the state has served. The lock goes with it."""
        shutil.rmtree(self.path, ignore_errors=True)


def versions() -> dict[str, str]:
    """Versions of the packages that decide bytes, without loading one of them."""
    found = {}
    for package in ("fastbucket", "simplejpeg", "pyvips-binary", "numba"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # libvips of the system, say
            found[package] = "?"
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}; use --overwrite to start afresh") from None
    if not isinstance(facts, dict):
        raise RunError(f"{path} is no JSON object; use --overwrite to start afresh")
    return facts
