"""Captions applied by a process that is killed anywhere: run again, the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import exported
import pyarrow.parquet as pq
import pytest

from fastbucket.captions import application, workspace
from fastbucket.captions.store import Store
from fastbucket.format import APPLYING, STATE
from fastbucket.verification import verify

FIRST, SECOND = "caption_first", "caption_second"
BOTH = [FIRST, SECOND]

LAUNCHER = """
import json, os, signal, sys
from pathlib import Path
from fastbucket.captions import application, rewrite
from fastbucket import card, manifest

class Here:
    # The engine, in this process: so that every step of all of it is one of a single row.
    def __init__(self, workers, setup, **rest): self.setup = setup
    def __enter__(self): return self
    def __exit__(self, *error): return None
    def map(self, job, tasks, progress):
        task = rewrite.ApplyTask(self.setup)
        for one in tasks:
            yield one, task(one, progress)

application.Local = Here
steps = fatal = 0

def counted(function):
    def call(*arguments, **options):
        global steps
        steps += 1
        if steps == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

for name in ("replace", "fsync", "unlink", "rmdir", "mkdir"):
    setattr(os, name, counted(getattr(os, name)))
for out, priority, missing, fatal in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        code = 1
        try:
            application.apply(out, priority, missing, 1)
            print(steps, file=open(f"{out}.steps", "w"), flush=True)
            code = 0
        except Exception as error:
            print(repr(error), file=sys.stderr, flush=True)
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

KILLED = -signal.SIGKILL


def launch(*runs: tuple[Path, list[str], str, int]) -> list[int]:
    """Apply in processes, one after the other, each of which kills itself before its `fatal`-th
    step on the file system (0: never). runs: (folder, priority, missing, fatal). Returns the exit
    codes."""
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, json.dumps([[str(out), *rest] for out, *rest in runs])],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return [int(line) for line in done.stdout.split()]


@pytest.fixture(scope="module")
def captioned(drawn_export, tmp_path_factory) -> Path:
    """The drawn export, in shards of two, with captions for two of three samples."""
    out = tmp_path_factory.mktemp("captioned") / "out"
    shutil.copytree(drawn_export.out, out)
    workspace.init(out)
    keys = [sample.key for sample in exported.samples(out)]
    with Store.open(out) as store:
        for variant, at in ((FIRST, 0), (SECOND, 1)):
            number = store.source(variant)
            store.put(number, [(key, f"{variant} of {key}", "ok", "") for key in keys[at::3]])
    return out


def facts_of(out: Path) -> tuple:
    """Everything that must not depend on how often it was begun."""
    with Store.open(out) as store:
        samples = store.query("SELECT id, key, bucket_id, shard, position FROM samples")
    rows = pq.read_table(out / "meta").to_pylist()
    card = (out / "README.md").read_text()
    return exported.digests(out), exported.manifest(out), card, rows, samples


@pytest.fixture(scope="module", params=["keep", "drop"])
def undisturbed(request, captioned, tmp_path_factory) -> tuple[str, int, tuple]:
    """keep or drop, the number of steps of an apply that nobody disturbs, and what it makes."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    shutil.copytree(captioned, out)
    warm = out.with_name("warm")  # kernels that are compiled here for the first time are cached,
    shutil.copytree(captioned, warm)  # and numba's renames would be counted
    assert launch((warm, BOTH, request.param, 0), (out, BOTH, request.param, 0)) == [0, 0]
    return request.param, int(Path(f"{out}.steps").read_text()), facts_of(out)


def check(out: Path, wanted: tuple) -> None:
    assert facts_of(out) == wanted, out
    assert not (out / STATE).exists()
    assert not list(out.rglob("*.tmp"))


def killed_and_run_again(captioned: Path, folder: Path, missing: str, steps: list[int]) -> None:
    """A fresh copy for each step: killed there, and run again."""
    runs = []
    for fatal in steps:
        out = folder / str(fatal)
        shutil.copytree(captioned, out)
        runs += [(out, BOTH, missing, fatal), (out, BOTH, missing, 0)]
    assert launch(*runs) == [KILLED, 0] * len(steps)


def test_killed_anywhere(captioned, undisturbed, tmp_path):
    """At some steps spread over all of them."""
    missing, steps, wanted = undisturbed
    assert steps > 30
    fatal = sorted({1 + round(at * (steps - 1) / 6) for at in range(7)})
    killed_and_run_again(captioned, tmp_path, missing, fatal)
    for step in fatal:
        check(tmp_path / str(step), wanted)


@pytest.mark.long
def test_killed_at_every_step(captioned, undisturbed, tmp_path):
    missing, steps, wanted = undisturbed
    fatal = list(range(1, steps + 1))
    for first in range(0, steps, 20):
        killed_and_run_again(captioned, tmp_path, missing, fatal[first : first + 20])
        for step in fatal[first : first + 20]:
            check(tmp_path / str(step), wanted)
            shutil.rmtree(tmp_path / str(step))


def test_the_verifier_is_not_fooled_in_between(captioned, undisturbed, tmp_path):
    """It names the way out; and with no priority given, that goes on with what was begun. However
    often it is killed."""
    missing, steps, wanted = undisturbed
    out = tmp_path / "out"
    shutil.copytree(captioned, out)
    assert launch((out, BOTH, missing, steps // 2)) == [KILLED]
    problems = verify(out, fast=True, workers=1).problems
    assert f"captions apply {out} again" in problems[0].text
    settings = json.loads((out / APPLYING).read_text())
    assert settings == {"priority": BOTH, "missing": missing}
    assert launch(*((out, [], "", fatal) for fatal in (9, 8, 7))) == [KILLED] * 3
    report = application.apply(out, workers=1)
    assert (report.resumed, report.priority, report.missing) == (True, BOTH, missing)
    check(out, wanted)
    assert verify(out, fast=True, workers=1).problems == []


def test_another_priority_after_a_kill(captioned, undisturbed, tmp_path):
    """What was begun binds nobody: only samples that are dropped stay dropped."""
    missing, steps, _ = undisturbed
    out, straight = tmp_path / "out", tmp_path / "straight"
    for folder in (out, straight):
        shutil.copytree(captioned, folder)
    again = ([SECOND], "keep", 0)
    codes = launch((out, BOTH, missing, steps * 2 // 3), (out, *again), (straight, *again))
    assert codes == [KILLED, 0, 0]
    assert verify(out, fast=True, workers=1).problems == []
    if missing == "keep":
        assert facts_of(out) == facts_of(straight)
    else:
        left = [s.json["caption_variant"] for s in exported.samples(out)]
        assert len(left) < len(list(exported.samples(straight)))
        assert set(left) == {SECOND, ""}


def inodes(out: Path) -> set[int]:
    """Of all shards there are just now."""
    found = set()
    with suppress(FileNotFoundError):  # of a bucket that is repacked at this moment
        for path in exported.shards(out):
            found.add(path.stat().st_ino)
    return found


def test_workers_are_killed(captioned, undisturbed, tmp_path):
    """As people meet it: the whole process, workers and all, at no step in particular."""
    missing, _, wanted = undisturbed
    out = tmp_path / "out"
    shutil.copytree(captioned, out)
    script = (
        "import sys; from fastbucket.captions import application; "
        "application.apply(sys.argv[1], ['caption_first', 'caption_second'], sys.argv[2], 2)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(out), missing],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    before = inodes(out)
    while process.poll() is None:
        if len(inodes(out) - before) >= 3:
            process.kill()
            break
    process.wait()
    application.apply(out, BOTH, missing, 2)
    check(out, wanted)
    assert verify(out, fast=True, workers=1).problems == []
