"""Faults by script, and signals from outside: every sample ends somewhere, and the rest comes out
the same.

Scripts are an ordinary source kind, see `fastbucket.sources.script`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import exported
import pyarrow.parquet as pq
import pytest
from PIL import Image

import fastbucket
from fastbucket import Recipe, Report, Resources, RunError
from fastbucket.catalogue import KINDS, Archive
from fastbucket.sources import script

pytestmark = pytest.mark.processes

TWO = Resources(workers=2)
RECIPE = Recipe(shard_size=2)

SEGV = "ended its worker process with signal 11 (SIGSEGV)"

linux = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """write(words): a script of that name in a folder of its own, so that image_ids are equal."""
    made = iter(range(99))

    def write(words: str) -> Path:
        path = tmp_path / str(next(made)) / "train.script"
        path.parent.mkdir()
        path.write_text(words)
        return path

    return write


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    yield
    if sys.platform == "linux":
        assert not workers_of(os.getpid())


def workers_of(parent: int) -> list[int]:
    """The workers of a run: their parent's number is in their command line; zombies have none."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(parent).encode() in words and any(b"engines.worker" in word for word in words):
            found.append(int(folder.name))
    return found


def cli(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=240)


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "fastbucket", *map(str, words)]


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """start(words): the command in a process of its own, which does not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: object) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command(*words), text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return found


def samples(out: Path) -> dict[str, tuple[bytes, bytes, dict]]:
    return {s.json["image_id"]: (s.jpg, s.txt, s.json) for s in exported.samples(out)}


def rows(out: Path) -> dict[str, dict[str, Any]]:
    return {row["image_id"]: row for row in pq.read_table(out / "meta").to_pylist()}


def sound(report: Report, out: Path) -> None:
    assert report.scanned == report.exported + sum(report.dropped.values())
    assert exported.manifest(out)["counts"]["dropped"] == report.dropped
    found = rows(out)
    assert len(found) == report.scanned
    assert all((row["reason"] == "") == (row["shard"] >= 0) for row in found.values())
    checked = fastbucket.verify(out, workers=1)
    assert checked.ok, checked.problems


# The script itself


def test_images_of_a_script_are_images(write):
    """By Pillow: sizes, and no two alike in bytes or pixels."""
    path = write("r r r hr hr hr")
    archive = Archive("script", str(path), "train", "", 0)
    reader = script.Reader(archive)
    catalogue = script.scan(archive).columns
    pixels, sizes = set(), set()
    for number in range(6):
        data = reader.read(b"%06d.jpg" % number, 0, 1 << 20, bytearray())
        file = path.with_name(f"{number}")
        file.write_bytes(data)
        image = Image.open(file)
        assert image.format == ("PNG" if number > 2 else "JPEG")
        assert image.size == (catalogue["width"][number], catalogue["height"][number])
        assert KINDS[catalogue["kind"][number]] == image.format.lower()
        assert len(data) == catalogue["image_size"][number]
        pixels.add(image.tobytes())
        sizes.add(len(data))
    assert len(pixels) == len(sizes) == 6
    assert (
        bytes(reader.read("000001.jpg", 3, 5, bytearray())) == path.with_name("1").read_bytes()[3:8]
    )


def test_a_word_that_is_none(write, tmp_path):
    path = write("r x r")
    with pytest.raises(RunError, match=r"train\.script: word 1: 'x'"):
        fastbucket.export([path], tmp_path / "out", RECIPE, TWO)


# Samples that end their workers


def test_a_sample_that_kills_is_dropped_and_named_and_nothing_else_changes(write, tmp_path):
    words, out = "r r {} r r D r hr hD r r", tmp_path / "out"
    path = write(words.format("K"))
    done = cli("export", path, out, "--shard-size", 4, "--workers", 2, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["dropped"] == {"decoder_crash": 1, "undecodable": 1, "unreadable": 1}
    assert report["scanned"] == report["exported"] + 3 == 11
    assert {"image_id": "train/000002", "reason": "decoder_crash", "detail": SEGV} in report[
        "bad_inputs"
    ]
    assert done.stderr.count(f"train/000002: {SEGV}") == 3
    row = rows(out)["train/000002"]
    assert (row["reason"], row["detail"], row["shard"]) == ("decoder_crash", SEGV, -1)
    assert exported.manifest(out)["counts"]["dropped"] == report["dropped"]
    assert fastbucket.verify(out, workers=1).ok
    without = fastbucket.export(
        [write(words.format("-"))], tmp_path / "without", Recipe(shard_size=4), TWO
    )
    assert without.exported == report["exported"]
    assert samples(out) == samples(tmp_path / "without")
    assert exported.digests(out) == exported.digests(tmp_path / "without")


def test_a_sample_that_stalls(write, tmp_path):
    words, out = "r r r {} r r", tmp_path / "out"
    limit = Resources(workers=2, sample_timeout=1)
    report = fastbucket.export([write(words.format("S"))], out, RECIPE, limit)
    assert report.dropped == {"decoder_crash": 1}
    assert report.bad_inputs == [("train/000003", "decoder_crash", "no progress in 1 s")]
    sound(report, out)
    fastbucket.export([write(words.format("-"))], tmp_path / "without", RECIPE, TWO)
    assert samples(out) == samples(tmp_path / "without")


def test_a_header_that_kills(write, tmp_path):
    """When it is scanned: the plan knows of it already."""
    words, out = "r hr {} r hr", tmp_path / "out"
    path = write(words.format("hK"))
    with pytest.raises(RunError, match="--max-errors allows 0"):
        fastbucket.plan([path], out, RECIPE, Resources(workers=1, max_errors=0))
    planned = fastbucket.plan([path], out, RECIPE, TWO)
    report = fastbucket.export([path], out, RECIPE, TWO)
    assert planned.dropped == report.dropped == {"decoder_crash": 1}
    assert planned.bad_inputs == report.bad_inputs == [("train/000002", "decoder_crash", SEGV)]
    sound(report, out)
    row = rows(out)["train/000002"]
    assert (row["reason"], row["detail"], row["source_w"]) == ("decoder_crash", SEGV, 0)
    fastbucket.export([write(words.format("-"))], tmp_path / "without", RECIPE, TWO)
    assert samples(out) == samples(tmp_path / "without")


def test_what_ends_a_worker_once_changes_no_byte(write, tmp_path):
    usual, chance = "r r hr r r r", "k r hk r s r"
    fastbucket.export([write(usual)], tmp_path / "usual", RECIPE, TWO)
    out, limit = tmp_path / "chance", Resources(workers=2, sample_timeout=2)
    report = fastbucket.export([write(chance)], out, RECIPE, limit)
    assert (report.exported, report.dropped) == (6, {})
    assert exported.digests(out) == exported.digests(tmp_path / "usual")
    sound(report, out)


# Read errors


def test_a_read_error_stops_the_run_and_the_run_resumes(write, tmp_path):
    path, out = write("r r r r e r r r"), tmp_path / "out"  # in the last bucket
    words = ("export", path, out, "--shard-size", 2, "--workers", 1, "-q", "--json")
    first = cli(*words)
    assert first.returncode == 1
    assert f"{path}: sample 4: cannot be read" in first.stderr
    assert "Traceback" not in first.stderr
    assert not (out / "manifest.json").exists()
    assert not list(out.rglob("*.tmp"))
    again = cli(*words)  # the drive is mended
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["resumed_shards"] > 0
    fastbucket.export([write("r " * 8)], tmp_path / "usual", RECIPE, TWO)
    assert exported.digests(out) == exported.digests(tmp_path / "usual")


@pytest.mark.parametrize("word", ["E", "hE"])
def test_a_read_error_that_stays(write, tmp_path, word):
    path = write(f"r {word} r")
    for _ in range(2):
        with pytest.raises(RunError, match=r"train\.script: sample 1: cannot be read"):
            fastbucket.export([path], tmp_path / "out", RECIPE, Resources(workers=1))


# Signals from outside


@linux
@pytest.mark.long  # as in tools/soak.py
def test_workers_killed_at_random_change_no_byte(write, start, tmp_path):
    dice, words = random.Random(4), "r " * 150
    options = ("--shard-size", 5, "--workers", 2)
    out = tmp_path / "out"
    process = start("export", write(words), out, *options)
    kills = 0

    def records() -> int:
        assert process.poll() is None, "it ended before it could be disturbed"
        return len(list(out.glob(".fastbucket/shards/*.json")))

    for _ in range(6):
        before = records()
        if before > 24:
            break
        wait_for(lambda before=before: records() > before)
        time.sleep(0.03 * dice.random())
        for number in dice.sample(workers_of(process.pid), 1):
            os.kill(number, dice.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]))
            kills += 1
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert kills >= 3
    assert said.count("a new worker goes on") >= kills - 2  # the last may not have been needed
    report = fastbucket.export([write(words)], tmp_path / "usual", Recipe(shard_size=5), TWO)
    assert exported.digests(out) == exported.digests(tmp_path / "usual")
    assert exported.manifest(out)["counts"]["dropped"] == report.dropped == {}


@linux
def test_where_every_worker_is_killed_the_run_ends_and_says_so(write, start, tmp_path):
    path, out = write("r " * 4), tmp_path / "out"
    process = start("export", path, out, "--workers", 1)
    while process.poll() is None:
        for number in workers_of(process.pid):
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 1
    assert f"scan of {path}: ended its worker process" in said
    assert "fewer --workers" in said
    assert fastbucket.export([path], out, Recipe(), TWO).exported == 4


@linux
def test_stalled_workers_die_with_their_parent(write, start, tmp_path):
    path = write("S " * 4)
    process = start("export", path, tmp_path / "out", "--workers", 2, "--sample-timeout", 0)
    wait_for(lambda: list((tmp_path / "out").glob("buckets/*/.shard*.tmp")))
    assert workers_of(process.pid)
    process.kill()
    wait_for(lambda: not workers_of(process.pid), seconds=2)
    process.communicate(timeout=10)


@linux
def test_a_stopped_machine_is_nobodys_fault(write, start, tmp_path):
    """All processes stopped for longer than the limit, the parent the last to go on."""
    path, out = write("r " * 200), tmp_path / "out"
    words = ("--workers", 2, "--shard-size", 8, "--sample-timeout", 1.5)
    process = start("export", path, out, *words)
    wait_for(lambda: list(out.glob(".fastbucket/shards/*.json")))
    numbers = [process.pid, *workers_of(process.pid)]
    for number in numbers:
        os.kill(number, signal.SIGSTOP)
    time.sleep(2.5)
    assert process.poll() is None
    for number in reversed(numbers):
        os.kill(number, signal.SIGCONT)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert "no progress" not in said
    assert exported.manifest(out)["counts"] == {"exported": 200, "dropped": {}}
