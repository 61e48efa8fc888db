"""Parts of an export by jobs of their own, in any order and at once, killed and run again, merged:
the bytes of one run. Nothing but files holds them together."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import crashes
import gaps
import pytest
from file_server import FileServer, Way

import fastbucket
from fastbucket import (
    Recipe,
    Resources,
    RunError,
    engines,
    fill,
    lock,
    making,
    manifest,
    planfile,
    planning,
    scan,
)
from fastbucket.format import STATE
from fastbucket.parts import Merging, Part

RECIPE = Recipe.from_json(gaps.RECIPE)
ONE = Resources(workers=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> list[str]:
    return gaps.tars(lambda: tmp_path_factory.mktemp("source"), parts=4)


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory) -> dict[str, str]:
    """Path -> digest of all that one run makes, by worker processes; as many as three parts of
    one have."""
    out = tmp_path_factory.mktemp("whole") / "out"
    fastbucket.export(source, out, RECIPE, Resources(workers=3), licence="cc0-1.0")
    return crashes.tree(out)


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Tasks are done in this process: what is tested here is not the engine."""
    monkeypatch.setitem(engines.ENGINES, "local", "crashes:InProcess")


def part(source, out: Path, text: str, recipe: Recipe = RECIPE, licence: str = "cc0-1.0", **more):
    return fastbucket.export_part(source, out, text, recipe, ONE, licence=licence, **more)


def program(source, out: Path, text: str) -> subprocess.Popen:
    """The command, with a worker process."""
    return subprocess.Popen(
        [
            sys.executable, "-m", "fastbucket", "export", *source, str(out), "--shards", text,
            "--workers", "1", "--base-resolution", "128", "--shard-size", "2",
            "--license", "cc0-1.0", "-q",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip


# One after the other


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_parts_in_any_order(source, whole, tmp_path, monkeypatch, order):
    out, calls = tmp_path / "out", []
    for module, name in ((planning, "make"), (scan, "ScanTask")):
        kept = getattr(module, name)

        def counted(*arguments, kept=kept, name=name):
            calls.append(name)
            return kept(*arguments)

        monkeypatch.setattr(module, name, counted)
    reports = [part(source, out, f"{number}/3") for number in order]
    assert calls == ["ScanTask", "make"]  # by the first; the others go by what it found
    assert [report.status for report in reports] == [f"part {number}/3" for number in order]
    assert not (out / "manifest.json").exists()
    report = fastbucket.merge(out)
    assert crashes.tree(out) == whole
    assert report.status == "exported"
    assert report.exported == 8
    assert sum(r.exported for r in reports) == 8
    assert (
        sum(r.dropped.get("undecodable", 0) for r in reports) == 4 == sum(report.dropped.values())
    )
    assert len({bad.image_id for r in reports for bad in r.bad_inputs}) == 4
    assert {bad.image_id for r in reports for bad in r.bad_inputs} == {
        bad.image_id for bad in report.bad_inputs
    }
    assert not (out / ".fastbucket").exists()
    assert fastbucket.verify(out, workers=1).ok
    named = json.loads((out / "run.json").read_text())["sources"]
    assert [os.path.normpath(out / path) for path in named] == source


def test_at_once_one_killed_and_run_again(source, whole, tmp_path):
    """Three jobs start together, as of an array; the second is killed behind its first shard."""
    out = tmp_path / "out"
    jobs = [program(source, out, f"{number}/3") for number in (1, 2, 3)]
    deadline = time.monotonic() + 120
    while not list(out.glob(".fastbucket/shards/[!.]*")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    jobs[1].kill()
    for job in jobs:
        _, words = job.communicate(timeout=240)
        assert job.returncode == (-signal.SIGKILL if job is jobs[1] else 0), words
    again = program(source, out, "2/3")
    words, errors = again.communicate(timeout=240)
    assert again.returncode == 0, errors
    assert "Part 2/3 is made" in words
    assert not list(out.rglob("*.tmp"))
    fastbucket.merge(out)
    assert crashes.tree(out) == whole


def test_a_dry_run_first(source, whole, tmp_path, monkeypatch):
    """The parts find its scan."""
    out = tmp_path / "out"
    assert fastbucket.plan(source, out, RECIPE, ONE).status == "planned"
    monkeypatch.setattr(scan, "ScanTask", None)
    for number in (1, 2, 3):
        part(source, out, f"{number}/3")
    fastbucket.merge(out)
    assert crashes.tree(out) == whole


def test_more_parts_than_shards(source, whole, tmp_path):
    out = tmp_path / "out"
    for number in range(1, 21):
        report = part(source, out, f"{number}/20")
        assert len(report.buckets) <= 1
    fastbucket.merge(out)
    (out / "run.json").unlink()
    found, expected = crashes.tree(out), dict(whole)
    del expected["run.json"]
    facts = json.loads((out / "manifest.json").read_text())
    assert facts["export_settings"]["workers"] == 20  # all that differs
    for tree in (found, expected):
        del tree["manifest.json"]
    assert found == expected


def test_a_part_again_does_nothing(source, tmp_path):
    out = tmp_path / "out"
    first = part(source, out, "1/2")
    before = {path: path.stat().st_mtime_ns for path in out.glob("buckets/*/*")}
    second = part(source, out, "1/2")
    assert second.resumed_shards == sum(bucket.shards for bucket in first.buckets) > 0
    assert (second.exported, second.dropped) == (first.exported, first.dropped)
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("buckets/*/*")}


def test_what_a_dead_attempt_left_is_removed_and_what_others_write_stays(source, tmp_path):
    out = tmp_path / "out"
    part(source, out, "1/2")
    plan = planfile.written(out / ".fastbucket", RECIPE)
    left = []
    for shard in plan.shards[:2]:  # the first is of part 1, the second of part 2
        folder = out / "buckets" / plan.buckets[shard.bucket].id
        folder.mkdir(exist_ok=True)
        left.append(folder / f".shard-{shard.number:06d}.tar.0123abcd.tmp")
        left[-1].touch()
    part(source, out, "1/2")
    assert [path.exists() for path in left] == [False, True]
    part(source, out, "2/2")
    fastbucket.merge(out)
    assert not list(out.rglob("*.tmp"))


# Merging


def test_what_is_missing_is_named(source, whole, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(RunError, match=r"no parts of an export.*--shards 1/16"):
        fastbucket.merge(tmp_path)
    part(source, out, "2/4")
    with pytest.raises(RunError, match=r"lacks \d of \d shards .*--shards 1/4, 3/4, 4/4$"):
        fastbucket.merge(out)
    for number in (1, 3, 4):
        part(source, out, f"{number}/4")
    lost = sorted(out.glob("buckets/*/*.tar"))[-1]
    lost.unlink()
    with pytest.raises(RunError, match=rf"lacks 1 of .*{lost.name}.*--shards [1-4]/4$") as said:
        fastbucket.merge(out)
    part(source, out, str(said.value).split()[-1])
    fastbucket.merge(out)
    found = crashes.tree(out)
    assert {p for p in found if found[p] != whole.get(p)} <= {"manifest.json"}  # 4 workers


def test_before_there_is_a_plan(source, tmp_path, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(planfile, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        part(source, tmp_path / "out", "1/2")
    with pytest.raises(RunError, match="has come as far as a plan"):
        fastbucket.merge(tmp_path / "out")


def merge_interrupted(source, out: Path, monkeypatch, module, name: str) -> None:
    """Three parts, and a merge of them that is interrupted where it calls this function."""
    for number in (1, 2, 3):
        part(source, out, f"{number}/3")

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, name, stop)
        with pytest.raises(KeyboardInterrupt):
            fastbucket.merge(out)


@pytest.mark.parametrize(("module", "name"), [(fill, "_carry_out"), (manifest, "write")])
def test_a_merge_that_is_interrupted_is_repeated(
    source, whole, tmp_path, monkeypatch, module, name
):
    out = tmp_path / "out"
    merge_interrupted(source, out, monkeypatch, module, name)
    assert not (out / "manifest.json").exists()
    part(source, out, "2/3")  # a job that was put into the queue twice finds nothing to do
    fastbucket.merge(out)
    assert crashes.tree(out) == whole
    assert fastbucket.merge(out).status == "already complete"
    assert part(source, out, "2/3").status == "already complete"
    assert crashes.tree(out) == whole


def test_parts_take_turns_at_a_filled_bucket(source, whole, tmp_path, monkeypatch):
    """A merge was interrupted when it had filled the gaps, and a shard has to be made again. While
    one part takes the bucket apart no other does."""
    out = tmp_path / "out"
    merge_interrupted(source, out, monkeypatch, manifest, "write")
    (journal, *_) = sorted(out.glob(f"{STATE}/fill/*.json"))
    record = min((out / STATE / "shards").glob(f"{journal.stem}*.json"))
    record.unlink()
    filled = {path: path.stat().st_ino for path in out.glob(f"buckets/{journal.stem}/*.tar")}
    monkeypatch.setattr(lock, "_PATIENCE", 0.3)
    with lock.turn(out / STATE / making.UNDOING):
        reports = []
        for number in (1, 2, 3):
            with suppress(RunError):
                reports.append(part(source, out, f"{number}/3"))
        assert len(reports) == 2, "those whose shards are not missing have nothing to wait for"
        there = {path: path.stat().st_ino for path in out.glob(f"buckets/{journal.stem}/*.tar")}
        assert there == filled
    for number in (1, 2, 3):
        part(source, out, f"{number}/3")
    fastbucket.merge(out)
    assert crashes.tree(out) == whole


def test_a_signature_of_its_own_for_each_part(tmp_path):
    """The parts name one archive by addresses that are signed anew; the merge takes that of the
    plan."""
    folder, out = tmp_path / "served", tmp_path / "out"
    folder.mkdir()
    names = [Path(path).name for path in gaps.tars(lambda: folder)]
    with FileServer(folder, lambda asked: Way()) as server:
        for number in (1, 2):
            signed = [f"{server.url}/{name}?sig={number}" for name in names]
            part(signed, out, f"{number}/2")
            if number == 1:  # as if the first had not come to its plan
                for name in ("plan.json", "plan.arrow", "decisions.arrow"):
                    (out / STATE / name).unlink()
        assert "sig=2" in (out / STATE / "plan.json").read_text()
    assert fastbucket.merge(out).status == "exported"
    assert fastbucket.verify(out, workers=1).ok


def test_a_merge_that_ended_while_it_removed_the_state(source, whole, tmp_path, monkeypatch):
    out = tmp_path / "out"
    for number in (1, 2, 3):
        part(source, out, f"{number}/3")

    def stop(self) -> None:
        shutil.rmtree(self.path / "shards")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Merging, "remove", stop)
        with pytest.raises(KeyboardInterrupt):
            fastbucket.merge(out)
    assert (out / ".fastbucket" / "parts.json").exists()
    assert fastbucket.merge(out).status == "already complete"
    assert crashes.tree(out) == whole


def test_one_run_completes_what_parts_have_begun(source, whole, tmp_path):
    out = tmp_path / "out"
    part(source, out, "3/3")
    report = fastbucket.export(source, out, RECIPE, Resources(workers=3), licence="cc0-1.0")
    assert report.resumed_shards > 0
    assert crashes.tree(out) == whole


def test_parts_go_on_with_what_one_run_has_begun(source, whole, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(RunError, match="--max-errors"):
        fastbucket.export(source, out, RECIPE, Resources(workers=1, max_errors=1))
    assert list(out.glob(".fastbucket/shards/*.json"))
    for number in (1, 2, 3):
        part(source, out, f"{number}/3")
    fastbucket.merge(out)
    assert crashes.tree(out) == whole


# Refused


def test_parts_of_something_else(source, tmp_path):
    out = tmp_path / "out"
    part(source, out, "1/3")
    (out / STATE / "lock").unlink()  # it says since when
    before = crashes.tree(out)
    with pytest.raises(RunError, match=r"is being made in 3 parts, and --shards 1/4 is one of 4"):
        part(source, out, "1/4")
    with pytest.raises(RunError, match=r"quality: 95 -> 90.*Remove the folder"):
        part(source, out, "2/3", Recipe.from_json({**gaps.RECIPE, "quality": 90}))
    with pytest.raises(RunError, match=r"another source"):
        part(source[:2], out, "2/3")
    with pytest.raises(RunError, match=r"another --exclude"):
        part(source, out, "2/3", exclude=["00"])
    with pytest.raises(RunError, match=r"licence 'cc0-1.0', this one ''"):
        part(source, out, "2/3", licence="")
    moved = [shutil.copy2(path, tmp_path) for path in source]
    os.utime(moved[0], (1, 1))
    with pytest.raises(RunError, match=r"part0\.tar changed since.*Remove the folder"):
        part(moved, out, "2/3")
    (out / STATE / "lock").unlink()
    assert crashes.tree(out) == before


def test_merge_runs_no_command(source, tmp_path):
    """A folder names the commands of its sources; only who exports may allow them."""
    ran, out = tmp_path / "ran", tmp_path / "out"
    command = f"pipe:echo ran >> {ran}; cat {source[0]}"
    allowed = Resources(workers=1, allow_pipe=True)
    fastbucket.export_part([command], out, "1/1", RECIPE, allowed)
    assert ran.read_text() == "ran\n"
    for path in out.glob(".fastbucket/catalogue/*"):
        path.unlink()
    with pytest.raises(RunError, match=r"runs a command in a shell.*--allow-pipe"):
        fastbucket.merge(out)
    assert ran.read_text() == "ran\n"
    fastbucket.export([command], out, RECIPE, allowed)
    assert (out / "manifest.json").is_file()


def test_a_folder_of_something_else(source, tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunError, match="is not empty"):
        part(source, tmp_path, "1/3")
    assert os.listdir(tmp_path) == ["notes.txt"]
    shard = tmp_path / "out" / "buckets" / "p128x128" / "shard-000000.tar"
    shard.parent.mkdir(parents=True)
    shard.touch()
    with pytest.raises(RunError, match="neither manifest"):
        part(source, tmp_path / "out", "1/3")
    assert os.listdir(tmp_path / "out") == ["buckets"]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "-1/3", "1/3/5", "a/b", ""])
def test_what_is_no_part(source, tmp_path, text):
    with pytest.raises(RunError, match=r"is no part: 3/16 is the third of sixteen"):
        part(source, tmp_path / "out", text)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--dry-run", "--overwrite"])
def test_options_that_a_part_has_not(source, tmp_path, option):
    from click.testing import CliRunner

    from fastbucket.cli import cli

    words = ["export", *source, str(tmp_path / "out"), "--shards", "1/3", option]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert f"not with {option}" in done.output


def test_shares_are_all_and_do_not_meet():
    for of in (1, 2, 7):
        shares = [[n for n in range(20) if Part(number, of).owns(n)] for number in range(1, of + 1)]
        assert sorted(n for share in shares for n in share) == list(range(20))


# Locks, and none


def test_a_second_job_of_a_part_and_an_early_merge_are_kept_away(source, tmp_path, monkeypatch):
    out, tried = tmp_path / "out", []

    def stop(*arguments, **options):
        for call in (
            lambda: part(source, out, "1/3"),
            lambda: fastbucket.merge(out),
            lambda: fastbucket.export(source, out, RECIPE, ONE),
        ):
            with pytest.raises(RunError, match="in use by process") as said:
                call()
            tried.append(str(said.value))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(crashes.InProcess, "start", stop)
        with pytest.raises(KeyboardInterrupt):
            part(source, out, "1/3")
    assert tried[0].startswith(f"part 1/3 of {out} is in use")
    assert len(tried) == 3
    part(source, out, "1/3")


def test_without_locks_parts_work_all_the_same(source, whole, tmp_path, monkeypatch):
    def none(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    out = tmp_path / "out"
    with pytest.raises(RunError, match="cannot lock"):
        fastbucket.export(source, out, RECIPE, ONE)
    for number in (1, 2, 3):
        part(source, out, f"{number}/3")
    fastbucket.merge(out)
    assert crashes.tree(out) == whole


def test_without_links_too(source, whole, tmp_path, monkeypatch):
    def none(source, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", none)
    out = tmp_path / "out"
    for number in (3, 2, 1):
        part(source, out, f"{number}/3")
    fastbucket.merge(out)
    assert crashes.tree(out) == whole


def test_an_attempt_that_comes_too_late_changes_nothing(source, whole, tmp_path, monkeypatch):
    """A part that nobody hears of any more, on a machine that no lock reaches, is at work when the
    parts are merged: its second attempt at every shard is behind that."""
    late = tmp_path / "late"
    out = tmp_path / "out"
    for number in (1, 2, 3):
        part(source, out, f"{number}/3")
    fence = (out / ".fastbucket" / "fence").read_text()
    program = f"""
import json, pathlib, sys, time
sys.path[:0] = {sys.path!r}
from crashes import Report
from fastbucket import RunError, commit, index, shard
from fastbucket.task import ShardTask
out = pathlib.Path({str(out)!r})
commit.keep_within(commit.Fence(str(out / ".fastbucket" / "fence"), {fence!r}))
task = ShardTask({{"out": str(out), "recipe": {RECIPE.to_json()!r}}})
publish = commit.move
def wait(*paths):
    pathlib.Path({str(late)!r}).touch()
    while not (out / "manifest.json").exists():
        time.sleep(0.01)
    publish(*paths)
commit.move = wait
for number in range(len(task._shards)):
    try:
        task([number], Report())
    except RunError as error:
        assert "not wanted any more" in str(error) or "cannot write" in str(error), error
    else:
        sys.exit("it came through")
"""
    zombie = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not late.exists():
        assert time.monotonic() < deadline
        assert zombie.poll() is None, zombie.stderr.read()
        time.sleep(0.01)
    fastbucket.merge(out)
    _, words = zombie.communicate(timeout=240)
    assert zombie.returncode == 0, words
    found = crashes.tree(out)
    empty = {path for path in found.keys() - whole.keys() if (out / path).is_dir()}
    assert {path: found[path] for path in found.keys() - empty} == whole
