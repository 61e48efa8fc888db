"""A prune by a process that is killed anywhere: run again, the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import exported
import pyarrow.parquet as pq
import pytest
from conftest import long

import fastbucket
from fastbucket import Recipe, Resources, RunError
from fastbucket.captions import application, workspace
from fastbucket.captions.store import Store
from fastbucket.format import PRUNING, STATE
from fastbucket.pruning import prune
from fastbucket.verification import verify

LAUNCHER = """
import json, os, signal, sys
from fastbucket.pruning import copied, removal

class Here:
    # The engine, in this process: so that every step of all of it is one of a single row.
    def __init__(self, workers, setup, **rest): self.setup = setup
    def __enter__(self): return self
    def __exit__(self, *error): return None
    def map(self, job, tasks, progress):
        task = copied.CopyTask(self.setup)
        for one in tasks:
            yield one, task(one, progress)

removal.Local = Here
steps = fatal = done = 0

def counted(function):
    def call(*arguments, **options):
        global steps, done
        steps += 1
        if str(arguments[0]).endswith("pruning.json"):
            done = steps  # the last time: when the marker goes
        if steps == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

for name in ("replace", "fsync", "unlink", "rmdir", "mkdir"):
    setattr(os, name, counted(getattr(os, name)))
for out, names, reason, fatal in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        code = 1
        try:
            removal.prune(out, names, reason, workers=1)
            print(steps, done, file=open(f"{out}.steps", "w"), flush=True)
            code = 0
        except Exception as error:
            print(repr(error), file=sys.stderr, flush=True)
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

KILLED = -signal.SIGKILL
NOTES = "Written by hand, below the bucket table."


def launch(*runs: tuple[Path, list[str], str, int]) -> list[int]:
    """Prune in processes, one after the other, each of which kills itself before its `fatal`-th
    step on the file system (0: never). runs: (folder, names, reason, fatal). Returns the exit
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
def full(drawn_export, tmp_path_factory) -> tuple[Path, list[str], list[str]]:
    """The drawn export, in shards of two, with a workspace, captions of two variants and a card
    that was edited; and two lists of keys."""
    out = tmp_path_factory.mktemp("full") / "out"
    shutil.copytree(drawn_export.out, out)
    workspace.init(out)
    keys = [sample.key for sample in exported.samples(out)]
    with Store.open(out) as store:
        number = store.source("caption_one")
        store.put(number, [(key, f"Of {key}", "ok", "") for key in keys[::2]])
    application.apply(out, ["caption_one", "caption_source"], workers=1)
    card = out / "README.md"
    card.write_text(card.read_text().replace("## Captions\n", f"{NOTES}\n\n## Captions\n"))
    return out, keys[1::4], keys[2::5]


def facts_of(out: Path) -> tuple:
    """Everything that must not depend on how often it was begun."""
    with Store.open(out) as store:
        samples = store.query("SELECT id, key, bucket_id, shard, position FROM samples")
    rows = pq.read_table(out / "meta").to_pylist()
    card = (out / "README.md").read_text()
    return exported.digests(out), exported.manifest(out), card, rows, samples


@pytest.fixture(scope="module")
def undisturbed(full, tmp_path_factory) -> tuple[int, int, tuple]:
    """The number of steps of a prune that nobody disturbs, at which of them its marker goes, when
    the manifest is written already; and what it makes."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    shutil.copytree(full[0], out)
    assert launch((out, full[1], "dull", 0)) == [0]
    facts = facts_of(out)
    assert NOTES in facts[2]
    assert verify(out, fast=True, workers=1).problems == []
    steps, done = map(int, Path(f"{out}.steps").read_text().split())
    return steps, done, facts


def check(out: Path, wanted: tuple) -> None:
    assert facts_of(out) == wanted, out
    assert not (out / STATE).exists()
    assert not list(out.rglob("*.tmp"))


def killed_and_run_again(full, folder: Path, steps: list[int]) -> None:
    """A fresh copy for each step: killed there, and run again."""
    runs = []
    for fatal in steps:
        out = folder / str(fatal)
        shutil.copytree(full[0], out)
        runs += [(out, full[1], "dull", fatal), (out, full[1], "dull", 0)]
    assert launch(*runs) == [KILLED, 0] * len(steps)


def test_killed_anywhere(full, undisturbed, tmp_path):
    """At some steps spread over all of them, and around the manifest."""
    steps, done, wanted = undisturbed
    assert steps > 30
    fatal = sorted({1 + round(at * (steps - 1) / 6) for at in range(7)} | {done - 3, done})
    killed_and_run_again(full, tmp_path, fatal)
    for step in fatal:
        check(tmp_path / str(step), wanted)


@pytest.mark.long
def test_killed_at_every_step(full, undisturbed, tmp_path):
    steps, _, wanted = undisturbed
    fatal = list(range(1, steps + 1))
    for first in range(0, steps, 20):
        killed_and_run_again(full, tmp_path, fatal[first : first + 20])
        for step in fatal[first : first + 20]:
            check(tmp_path / str(step), wanted)
            shutil.rmtree(tmp_path / str(step))


def test_others_wait_and_no_list_is_needed(drawn, full, undisturbed, tmp_path):
    """Killed again and again; meanwhile nobody takes it for whole; then it goes on without KEYS."""
    steps, _, wanted = undisturbed
    out = tmp_path / "out"
    shutil.copytree(full[0], out)
    assert launch((out, full[1], "dull", steps // 2)) == [KILLED]
    assert f"prune {out} again" in verify(out, fast=True, workers=1).problems[0].text
    with pytest.raises(RunError, match="samples are being pruned"):
        application.apply(out, workers=1)
    with pytest.raises(RunError, match="samples are being pruned"):
        fastbucket.export(drawn.paths, out, Recipe(shard_size=2), Resources(workers=1))
    assert launch(*((out, [], "", fatal) for fatal in (9, 8, 7))) == [KILLED] * 3
    report = prune(out, workers=1)
    assert (report.resumed, report.removed, report.unknown) == (True, len(full[1]), [])
    check(out, wanted)
    assert verify(out, fast=True, workers=1).problems == []


@pytest.mark.parametrize("tenths", [5, 10, *long(2, 8)])
def test_a_further_list_after_a_kill(full, undisturbed, tmp_path, tenths):
    """Both are gone, each with its own reason, and the counts are those of who is left; also where
    it was killed when the manifest was written already."""
    _, done, _ = undisturbed
    out = tmp_path / "out"
    shutil.copytree(full[0], out)
    assert launch((out, full[1], "dull", done * tenths // 10)) == [KILLED]
    assert (out / PRUNING).is_file()
    assert launch((out, full[2], "blank", 0)) == [0]
    gone = set(full[1]) | set(full[2])
    before = {s.key: (s.jpg, s.txt, s.json) for s in exported.samples(full[0])}
    after = {s.key: (s.jpg, s.txt, s.json) for s in exported.samples(out)}
    assert after == {key: sample for key, sample in before.items() if key not in gone}
    details = {r["image_id"]: r["detail"] for r in pq.read_table(out / "meta").to_pylist()}
    for key in gone:
        wanted = "dull" if key in full[1] else "blank"
        assert details[before[key][2]["image_id"]] == wanted
    facts = exported.manifest(out)
    assert facts["counts"]["pruned"] == facts["counts"]["dropped"]["excluded"] == len(gone)
    card = (out / "README.md").read_text()
    assert NOTES in card
    assert f"{len(after):,} images in {len(facts['buckets'])}" in card
    assert verify(out, fast=True, workers=1).problems == []
    assert not (out / STATE).exists()


def test_workers_are_killed(full, undisturbed, tmp_path):
    """As people meet it: the whole process, workers and all, at no step in particular."""
    *_, wanted = undisturbed
    out = tmp_path / "out"
    shutil.copytree(full[0], out)
    script = (
        "import json, sys; from fastbucket.pruning import prune; "
        "prune(sys.argv[1], json.loads(sys.argv[2]), 'dull', workers=2)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(out), json.dumps(full[1])],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    while process.poll() is None:
        if len(list((out / STATE).glob("pruning/*.done"))) >= 2:
            process.kill()
            break
    process.wait()
    prune(out, full[1], "dull", workers=2)
    check(out, wanted)
