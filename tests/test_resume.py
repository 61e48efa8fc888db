"""Same bytes: however many workers, killed or interrupted anywhere and started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import exported
import pyarrow.parquet as pq
import pytest

import fastbucket
from fastbucket import Recipe, Resources, RunError
from fastbucket.state import State

pytestmark = pytest.mark.processes

RECIPE = Recipe(shard_size=2)  # that of drawn_export: many small shards, and gaps to fill
ONE, TWO = Resources(workers=1), Resources(workers=2)

SCRIPT = """
import json, resource, sys
import fastbucket
from fastbucket import Recipe, Resources

paths, out, recipe, workers, limit = json.loads(sys.argv[1])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    fastbucket.export(paths, out, Recipe.from_json(recipe), Resources(workers=workers))
except fastbucket.RunError as error:
    sys.exit(f"RunError: {error}")
"""


def start(paths, out: Path, recipe: Recipe, limit: int = 0) -> subprocess.Popen:
    """An export by two workers in a process of its own; no file may have more bytes than limit."""
    arguments = json.dumps([[str(p) for p in paths], str(out), recipe.to_json(), 2, limit])
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


def wait_for_shards(process: subprocess.Popen, out: Path, number: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(out.glob("buckets/*/*.tar"))) < number:
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.002)


def workers_of(process: subprocess.Popen) -> list[int]:
    """Process numbers of the workers of a run: their parent's is in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(process.pid).encode() in words and any(b"engines.worker" in w for w in words):
            found.append(int(folder.name))
    return found


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def leftovers(out: Path) -> list[Path]:
    return [path for path in out.rglob("*") if path.name.endswith(".tmp")]


def half_done(drawn, out: Path, how: signal.Signals) -> None:
    """Start an export and end it by a signal when five more shards are there."""
    there = len(list(out.glob("buckets/*/*.tar")))
    process = start(drawn.paths, out, RECIPE)
    wait_for_shards(process, out, there + 5)
    workers = workers_of(process)
    process.send_signal(how)
    process.communicate(timeout=20)
    assert process.returncode != 0
    if sys.platform == "linux":
        assert workers
        deadline = time.monotonic() + 5
        while any(map(alive, workers)):
            assert time.monotonic() < deadline, "a worker outlived its parent"
            time.sleep(0.01)
    assert not (out / "manifest.json").exists()


@pytest.fixture(scope="module")
def killed(drawn, tmp_path_factory) -> Path:
    """An export that was killed when some shards were there; to be copied, not changed."""
    out = tmp_path_factory.mktemp("killed") / "out"
    half_done(drawn, out, signal.SIGKILL)
    return out


@pytest.fixture
def unfinished(killed, tmp_path) -> Path:
    return Path(shutil.copytree(killed, tmp_path / "unfinished"))


# One, two, interrupted


def test_interrupted_killed_and_resumed(drawn, drawn_export, tmp_path):
    """Ended twice in the middle, gone on with by one worker: the bytes of a run of two."""
    out = tmp_path / "out"
    whole = exported.digests(drawn_export.out)
    gaps = {
        path.relative_to(drawn_export.out).as_posix()
        for row in pq.read_table(drawn_export.out / "meta").to_pylist()
        if row["reason"] == "undecodable"
        for path in (drawn_export.out / "buckets" / row["bucket_id"]).glob("*.tar")
    }
    for how in (signal.SIGINT, signal.SIGKILL):
        half_done(drawn, out, how)
        if how == signal.SIGINT:
            assert not leftovers(out)
        found = exported.digests(out)  # what is visible is whole, and final but for gaps
        assert {path: whole[path] for path in found if path not in gaps} == {
            path: digest for path, digest in found.items() if path not in gaps
        }
    before = len(list(out.glob(".fastbucket/shards/*.json")))
    report = fastbucket.export(drawn.paths, out, RECIPE, ONE)
    assert report.status == "exported"
    assert report.resumed_shards == before > 5
    assert report.dropped == drawn_export.report.dropped
    assert exported.digests(out) == whole
    assert not leftovers(out)
    assert not (out / ".fastbucket").exists()
    theirs = exported.manifest(out)
    for field in ("created_at", "export_settings"):  # nothing else tells the runs apart
        theirs[field] = drawn_export.manifest[field]
    assert theirs == drawn_export.manifest
    card = (out / "README.md").read_text(encoding="utf-8")
    assert card == (drawn_export.out / "README.md").read_text(encoding="utf-8")
    assert [p.read_bytes() for p in sorted((out / "meta").iterdir())] == [
        p.read_bytes() for p in sorted((drawn_export.out / "meta").iterdir())
    ]


@pytest.mark.long  # test_interrupted_killed_and_resumed does so with drawn images
def test_photos_by_one_worker_killed_and_resumed(photo_export, tmp_path):
    out = tmp_path / "out"
    process = start(photo_export.sources, out, Recipe())
    wait_for_shards(process, out, 3)
    process.kill()
    process.communicate(timeout=20)
    report = fastbucket.export(photo_export.sources, out, Recipe(), ONE)
    assert report.resumed_shards >= 1  # a shard may be there whose record is not yet
    assert exported.digests(out) == exported.digests(photo_export.out)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_a_worker_that_dies_is_replaced(drawn, drawn_export, tmp_path):
    out = tmp_path / "out"
    process = start(drawn.paths, out, RECIPE)
    wait_for_shards(process, out, 3)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    _, words = process.communicate(timeout=240)
    assert process.returncode == 0, words
    assert exported.digests(out) == exported.digests(drawn_export.out)


def test_an_output_error_stops_the_run_and_the_run_resumes(drawn, drawn_export, tmp_path):
    """No file may grow beyond 128 KiB: as a full disk, some shards get through and one does not."""
    out = tmp_path / "out"
    process = start(drawn.paths, out, RECIPE, limit=128 << 10)
    _, words = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "RunError: cannot write" in words
    assert "File too large" in words
    assert not (out / "manifest.json").exists()
    assert not leftovers(out)
    fastbucket.export(drawn.paths, out, RECIPE, TWO)
    assert exported.digests(out) == exported.digests(drawn_export.out)


@pytest.mark.parametrize("room", ["fill.fill", "manifest.write"])
def test_a_crash_behind_the_last_shard(drawn, drawn_export, tmp_path, monkeypatch, room):
    out, module = tmp_path / "out", room.split(".")[0]

    def crash(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"fastbucket.{room}", crash)
        with pytest.raises(KeyboardInterrupt):
            fastbucket.export(drawn.paths, out, RECIPE, TWO)
    assert not (out / "manifest.json").exists(), module
    report = fastbucket.export(drawn.paths, out, RECIPE, ONE)
    assert report.resumed_shards > 0
    assert report.exported == drawn.kept
    assert exported.digests(out) == exported.digests(drawn_export.out)
    assert fastbucket.verify(out).ok


# Nothing to do


def times(out: Path) -> dict[str, int]:
    return {str(p.relative_to(out)): p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}


def test_a_second_run_does_nothing_and_says_so(any_export, tmp_path):
    recipe = Recipe.from_json(any_export.manifest)
    before = times(any_export.out)
    report = fastbucket.export(any_export.sources, any_export.out, recipe, ONE)
    assert report.status == "already complete"
    assert times(any_export.out) == before
    assert {p.name for p in any_export.out.iterdir()} == {
        "manifest.json", "README.md", "run.json", "buckets", "index", "meta",
    }  # fmt: skip
    first = any_export.report
    for field in ("out", "export_id", "archives", "scanned", "exported", "dropped", "buckets",
                  "captions", "bytes_out", "broken_archives"):  # fmt: skip
        assert getattr(report, field) == getattr(first, field), field


def test_the_source_may_have_moved(drawn, drawn_export, tmp_path):
    """What was mounted elsewhere is the same source."""
    moved = [Path(shutil.copy(path, tmp_path / path.name)) for path in drawn.paths]
    report = fastbucket.export(moved, drawn_export.out, RECIPE, ONE)
    assert report.status == "already complete"


# Another recipe, another source


@pytest.fixture
def finished(drawn_export, tmp_path):
    """A copy of a finished export, to be changed."""
    return Path(shutil.copytree(drawn_export.out, tmp_path / "out"))


@pytest.mark.parametrize(
    ("fields", "difference"),
    [
        ({"quality": 90}, ["quality: 95 -> 90"]),
        ({"shard_size": 3, "icc": "ignore"}, ["shard_size: 2 -> 3", "icc: srgb -> ignore"]),
        ({"allowed_corners": (0,)}, ["allowed_corners: [2, 3] -> [0]"]),
    ],
)
def test_another_recipe_on_a_finished_export_is_refused(drawn, finished, fields, difference):
    before = times(finished)
    with pytest.raises(RunError) as refused:
        fastbucket.export(drawn.paths, finished, Recipe(**{"shard_size": 2, **fields}), ONE)
    for line in difference:
        assert line in str(refused.value)
    assert "--overwrite" in str(refused.value)
    assert str(finished) in str(refused.value)
    assert times(finished) == before


def test_another_recipe_or_source_on_a_half_done_export_is_refused(drawn, drawn_export, unfinished):
    shards = exported.digests(unfinished)
    with pytest.raises(RunError, match=r"unfinished export.*quality: 95 -> 90"):
        fastbucket.export(drawn.paths, unfinished, Recipe(shard_size=2, quality=90), ONE)
    with pytest.raises(RunError, match="another source"):
        fastbucket.export(drawn.paths[:2], unfinished, RECIPE, ONE)
    assert exported.digests(unfinished) == shards
    report = fastbucket.export(drawn.paths, unfinished, RECIPE, ONE)  # and it can still go on
    assert report.resumed_shards > 0
    assert exported.digests(unfinished) == exported.digests(drawn_export.out)


def test_another_source_or_exclusion_on_a_finished_export_is_refused(drawn, finished):
    with pytest.raises(RunError, match="another source"):
        fastbucket.export(drawn.paths[1:], finished, RECIPE, ONE)
    with pytest.raises(RunError, match="holds a complete export"):
        fastbucket.export(drawn.paths, finished, RECIPE, ONE, exclude=["nobody"])


def test_overwrite_starts_afresh(drawn, finished, tmp_path):
    recipe = Recipe(base_resolution=256, quality=80)
    report = fastbucket.export(drawn.paths, finished, recipe, TWO, overwrite=True)
    assert (report.status, report.resumed_shards) == ("exported", 0)
    fastbucket.export(drawn.paths, tmp_path / "fresh", recipe, ONE)
    assert exported.digests(finished) == exported.digests(tmp_path / "fresh")
    assert Recipe.from_json(exported.manifest(finished)) == recipe
    assert {p.name for p in finished.iterdir()} == {
        "manifest.json",
        "README.md",
        "run.json",
        "buckets",
        "index",
        "meta",
    }


def test_overwrite_of_a_half_done_export(drawn, drawn_export, unfinished):
    report = fastbucket.export(drawn.paths, unfinished, RECIPE, TWO, overwrite=True)
    assert report.resumed_shards == 0
    assert exported.digests(unfinished) == exported.digests(drawn_export.out)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_somebody_else_is_left_alone(drawn, tmp_path, overwrite):
    """Also with overwrite: a README.md is in many a folder that is no export."""
    for name in ("README.md", "thesis.txt", "meta/samples.csv", "buckets/sand.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = times(tmp_path)
    with pytest.raises(RunError, match="no export of this tool"):
        fastbucket.export(drawn.paths, tmp_path, RECIPE, ONE, overwrite=overwrite)
    assert times(tmp_path) == before
    assert not (tmp_path / ".fastbucket").exists()


def test_shards_without_a_record_do_not_survive_another_recipe(drawn, unfinished):
    """Killed between a shard's rename and its record: another recipe may start, and must not
    leave the other's shard among its own."""
    for record in unfinished.glob(".fastbucket/shards/*.json"):
        record.unlink()
    assert exported.shards(unfinished)
    fastbucket.export(drawn.paths, unfinished, Recipe(base_resolution=1024), ONE)
    listed = {s["path"] for b in exported.manifest(unfinished)["buckets"] for s in b["shards"]}
    assert set(exported.digests(unfinished)) == listed


def test_a_source_of_other_content_is_no_resume(drawn, unfinished, tmp_path):
    """Names and sizes are equal, content is not: shards of both must not be mixed."""
    tars = [tmp_path / path.name for path in drawn.paths]
    for theirs, ours in zip(drawn.paths, tars, strict=True):
        ours.write_bytes(theirs.read_bytes().replace(b'"class_name": "n0', b'"class_name": "N0'))
    try:
        fastbucket.export(tars, unfinished, RECIPE, ONE)
    except RunError as error:
        assert "changed" in str(error)  # said so: fine
        return
    fastbucket.export(tars, tmp_path / "fresh", RECIPE, ONE)
    assert exported.digests(unfinished) == exported.digests(tmp_path / "fresh")


def test_a_folder_in_use_is_refused(drawn, tmp_path):
    with (
        State(tmp_path / "out"),
        pytest.raises(RunError, match=f"in use by process {os.getpid()} on"),
    ):
        fastbucket.export(drawn.paths, tmp_path / "out", RECIPE, ONE)
