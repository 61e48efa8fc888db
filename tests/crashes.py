"""Deaths at every step of an export, one after the other.

A program, run in a process of its own by `test_crashes`. It forks a child for each death; in the
child the parent's and the workers' part of an export run in one process, so that their steps are
one sequence that is always the same. A step is a change of the output: a file opened for writing,
a write of a shard, a sync, a rename, a removal, a folder made. Before its n-th step the child kills
itself with SIGKILL; a second child runs the same export to its end; and all files are compared
with those of an undisturbed run.

A death may also be a power cut. Then what was not synced is lost: such files are empty, and
renames and removals in a folder that was not synced after them are taken back, folder by folder as
a seeded coin falls.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from fastbucket import RunError

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
"""Audit events that are steps; so is `open` for writing. Syncs and writes have no such event."""

LOADED = ("pandas", "fastbucket.outcome", "fastbucket.scan", "fastbucket.sources.tarscan",
          "fastbucket.task")  # fmt: skip
"""pandas is imported by pyarrow where it is installed."""


class InProcess:
    """An engine (see engines.local) without processes: tasks are done in their order."""

    def __init__(self, workers: int, setup: Any, *rest: Any, **more: Any) -> None:
        self.workers = workers
        self._setup = setup
        self._jobs: dict[str, Any] = {}

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *error: object) -> None:
        """What the jobs hold open goes, as it goes with a worker."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            self._jobs.clear()

    def start(self, tasks: int) -> None: ...

    def map(
        self,
        job: str,
        tasks: Any,
        progress: Callable[[int], None] = lambda n: None,
        describe: Any = None,
    ) -> Iterator[tuple[Any, Any]]:
        for task in tasks:
            if job not in self._jobs:
                module, factory = job.split(":")
                self._jobs[job] = getattr(import_module(module), factory)(self._setup)
            sent = pickle.loads(pickle.dumps(task))
            try:
                result = self._jobs[job](sent, Report(progress))
            except OSError as error:  # as a worker says it
                raise RunError(f"{error.filename or 'a file'}: {error.strerror}") from error
            yield task, pickle.loads(pickle.dumps(result))


class Report:
    """A worker's reporter that tells nobody where it is."""

    careful = False

    def __init__(self, progress: Callable[[int], None] = lambda n: None) -> None:
        self._progress = progress

    def __call__(self, n: int) -> None:
        self._progress(n)

    def at(self, position: int | None) -> None: ...


class Steps:
    """Counts the steps of this process below `out`, and ends it before the last one."""

    def __init__(self, out: Path, last: int, power: bool, backups: Path) -> None:
        self._out, self._last, self._power = str(out), last, power
        self._backups = backups
        self._inside = False
        self.count = 0
        self._synced = {p.stat().st_ino for p in out.rglob("*") if p.is_file()}
        self._undo: list[tuple[str, str, str, str]] = []  # what, path, its source, backup
        self._writev = os.writev
        os.fsync, os.writev = self.fsync, self.writev
        sys.addaudithook(self.audit)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._inside or (event != "open" and event not in CHANGES):
            return
        self._inside = True
        try:
            self._see(event, arguments)
        finally:
            self._inside = False

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, (str, bytes, os.PathLike)) or not flags & (
                os.O_WRONLY | os.O_RDWR
            ):
                return
            if os.fsdecode(path).startswith(self._out):
                self.step()
            return
        folder = arguments[-1] if event != "os.truncate" else -1
        path = self._full(arguments[0], folder)
        if not path.startswith(self._out):
            return
        self.step()
        if event == "os.rename":
            target = self._full(arguments[1], folder)
            self._undo.append(("rename", target, path, self._backup(target)))
        elif event == "os.remove":
            self._undo.append(("remove", path, "", self._backup(path)))

    @staticmethod
    def _full(path: Any, folder: int) -> str:
        path = os.fsdecode(path)
        if folder >= 0 and not os.path.isabs(path):
            return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
        return path

    def _backup(self, path: str) -> str:
        """Another name for what a rename replaces or a removal removes; "" where there is none."""
        backup = str(self._backups / str(self.count))
        try:
            os.link(path, backup)
        except FileNotFoundError:
            return ""
        return backup

    def step(self) -> None:
        self.count += 1
        if self.count == self._last:
            self.die()

    def fsync(self, fd: int) -> None:
        """Not carried out, to save time: no power is cut but in `_cut_power`."""
        self.step()
        self._synced.add(os.fstat(fd).st_ino)
        folder = os.readlink(f"/proc/self/fd/{fd}")
        self._undo = [undo for undo in self._undo if os.path.dirname(undo[1]) != folder]

    def writev(self, fd: int, blocks: Any) -> int:
        """A death within a write leaves half of it."""
        self.count += 1
        if self.count == self._last:
            whole = b"".join(blocks)
            os.write(fd, whole[: len(whole) // 2])
            self.die()
        return self._writev(fd, blocks)

    def die(self) -> None:
        self._inside = True
        if self._power:
            self._cut_power()
        os.kill(os.getpid(), signal.SIGKILL)

    def _cut_power(self) -> None:
        coin = random.Random(self._last)
        falls: dict[str, bool] = {}
        for what, path, source, backup in reversed(self._undo):
            folder = os.path.dirname(path)
            if not os.path.isdir(folder) or not falls.setdefault(folder, coin.random() < 0.5):
                continue
            if what == "rename" and os.path.isdir(os.path.dirname(source)):
                os.replace(path, source)
            if backup:
                os.replace(backup, path)
        for path in Path(self._out).rglob("*"):
            if path.is_file() and path.stat().st_ino not in self._synced:
                os.truncate(path, 0)


class Case(NamedTuple):
    """What is exported, over what, and how it dies.

    before: recipe of a complete export that lies in the folder, {} for none; the export under test
    overwrites it.
    begun: the step before which a run of the same export has died already, 0: none.
    """

    sources: list[str]
    recipe: dict[str, Any]
    power: bool
    before: dict[str, Any]
    begun: int


def attempt(case: Case, out: Path, last: int, backups: Path, recipe: dict[str, Any] | None) -> int:
    """Export in a child that dies before step `last` (0: never). Returns its wait status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    status = 1
    try:
        import fastbucket
        from fastbucket import Recipe, Resources

        shutil.rmtree(backups, ignore_errors=True)
        backups.mkdir()
        steps = Steps(out, last, case.power, backups)
        fastbucket.export(
            case.sources,
            out,
            Recipe.from_json(recipe if recipe is not None else case.recipe),
            Resources(workers=1),
            overwrite=bool(case.before) and recipe is None,
        )
        (backups / "steps").write_text(str(steps.count))
        status = 0
    except BaseException as error:  # noqa: BLE001 told by the exit status; the child must end here
        sys.stderr.write(f"step {last}: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(status)


def tree(out: Path) -> dict[str, str]:
    """Every file and folder below `out` -> SHA-256; of the manifest without its time, and of
    run.json, which tells of the run, that it is there."""
    found = {}
    for path in sorted(out.rglob("*")):
        content = b"a folder"
        if path.is_file():
            content = path.read_bytes()
        if path.name == "manifest.json":
            facts = json.loads(content)
            facts.pop("created_at")
            content = json.dumps(facts).encode()
        if path == out / "run.json":
            content = b"a run"
        found[path.relative_to(out).as_posix()] = hashlib.sha256(content).hexdigest()
    return found


def run(case: Case, folder: Path, share: float, seed: int) -> dict[str, Any]:
    """Die before each of a seeded share of all steps; what was tried, and where bytes differ."""
    backups = folder / "backups"
    whole = folder / "whole"
    assert attempt(case, whole, 0, backups, case.recipe) == 0
    expected = tree(whole)
    ready = folder / "ready"  # what the export under test finds
    if case.before:
        assert attempt(case, ready, 0, backups, case.before) == 0
    else:
        ready.mkdir()
    out = folder / "out"
    if case.begun:
        last = case.begun % int((backups / "steps").read_text())
        assert attempt(case, ready, last, backups, None) == signal.SIGKILL
    shutil.copytree(ready, out)
    assert attempt(case, out, 0, backups, None) == 0
    steps = int((backups / "steps").read_text())
    points = list(range(1, steps + 1))
    points = sorted(random.Random(seed).sample(points, max(1, round(share * steps))))
    failures = []
    for last in points:
        shutil.rmtree(out)
        shutil.copytree(ready, out)
        died = attempt(case, out, last, backups, None) == signal.SIGKILL
        ended = attempt(case, out, 0, backups, None) == 0
        found = tree(out)
        differ = sorted({p for p in {*found, *expected} if found.get(p) != expected.get(p)})
        if not died or not ended or differ:
            failures.append({"step": last, "died": died, "ended": ended, "differ": differ})
    return {"steps": steps, "tried": len(points), "failures": failures}


def main() -> None:
    arguments = json.loads(sys.argv[1])
    for module in LOADED:  # once, and not in every child
        with suppress(ImportError):
            import_module(module)
    import_module("fastbucket.engines").ENGINES["local"] = "crashes:InProcess"
    found = run(Case(**arguments["case"]), Path(arguments["folder"]), arguments["share"], 0)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
