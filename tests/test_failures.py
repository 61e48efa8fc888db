"""The real thing: full disks, lacking permissions, vanished folders, signals, closed pipes.

After each, the command has ended with exit code 1 and one or two lines that name the path and say
what to do; and once the cause is removed, the same command completes the export as if nothing had
been.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import exported
import pytest
from conftest import long

import fastbucket
from fastbucket import Recipe, Resources
from fastbucket.draw import draw
from fastbucket.drawn_source import photo_jpeg

RECIPE = Recipe(shard_size=2)  # that of drawn_export
ONE = Resources(workers=1)
ROOT = os.geteuid() == 0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="acts on Linux")

_PR_CAPBSET_DROP = 24  # <linux/prctl.h>
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2  # <linux/capability.h>


def humble() -> None:
    """Before exec: what the process then runs is bound by permissions, even as root; and it hears
    Ctrl-C, even where all this runs in the background of a shell."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if ROOT:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def command(sources, out: Path, *options: str) -> list[str]:
    return [
        sys.executable, "-m", "fastbucket", "export", *map(str, sources), str(out),
        "--shard-size", "2", "--workers", "1", *options,
    ]  # fmt: skip


def start(sources, out: Path, *options: str, **more) -> subprocess.Popen:
    return subprocess.Popen(
        command(sources, out, "--quiet", *options),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=humble,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        **more,
    )


def failed(process: subprocess.Popen, *parts: str, code: int = 1) -> str:
    """Wait for its end and check what it says; returns that."""
    _, words = process.communicate(timeout=240)
    words = words.strip()  # click ends the line of a ^C
    assert process.returncode == code, words
    assert words.startswith("fastbucket: "), words
    assert 1 <= len(words.splitlines()) <= 2, words
    for part in parts:
        assert re.search(part, words), (part, words)
    return words


@contextmanager
def paused(process: subprocess.Popen, out: Path, shards: int = 2) -> Iterator[None]:
    """Inside, the parent stands still, with some shards made and most not, and its worker waits."""
    deadline = time.monotonic() + 60
    records = out / ".fastbucket" / "shards"
    while len(list(records.glob("[!.]*.json"))) < shards:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    process.send_signal(signal.SIGSTOP)
    before = -1  # the worker ends the shard at hand
    while before != (before := len(list(out.rglob("*.json")))) or list(out.rglob("*.tmp")):
        time.sleep(0.1)
    assert not (out / "manifest.json").exists()
    assert not list(out.glob(".fastbucket/fill/*"))
    yield
    process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def killed(drawn, tmp_path_factory) -> Path:
    """An export that was killed when some shards were there; to be copied, not changed."""
    out = tmp_path_factory.mktemp("killed") / "out"
    process = start(drawn.paths, out)
    with paused(process, out):
        process.kill()
    process.communicate(timeout=20)
    return out


@pytest.fixture
def half_done(killed, tmp_path) -> Path:
    return Path(shutil.copytree(killed, tmp_path / "out"))


def complete(drawn, out: Path, whole: Path, overwrite: bool = False) -> None:
    """The same command, now undisturbed: every byte as it should be, and nothing else there."""
    fastbucket.export(drawn.paths, out, RECIPE, ONE, overwrite=overwrite)
    for path in whole.rglob("*"):
        if path.is_file() and path.name not in ("manifest.json", "run.json"):
            assert (out / path.relative_to(whole)).read_bytes() == path.read_bytes(), path
    theirs, ours = exported.manifest(out), exported.manifest(whole)
    for field in ("created_at", "export_settings"):  # that of the time, and that of the workers
        theirs[field] = ours[field]
    assert theirs == ours
    assert {p.relative_to(out) for p in out.rglob("*")} == {
        p.relative_to(whole) for p in whole.rglob("*")
    }


@pytest.fixture
def whole(drawn_export) -> Path:
    return drawn_export.out


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[None]:
    """A mount on `folder`; the test is skipped where that is not allowed."""
    done = subprocess.run(
        ["mount", *arguments, str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def needs_mount():
    if not ROOT or shutil.which("mount") is None:
        pytest.skip("only root may mount")


# The output


@pytest.mark.usefixtures("needs_mount")
@pytest.mark.parametrize("share", [0.03, 0.7, *long(0.01, 0.3, 0.98)])
def test_a_full_disk(drawn, whole, tmp_path, share):
    """A disk with room for a share of the export: what fails is the state, a shard, a total."""
    room = int(share * sum(path.stat().st_size for path in whole.rglob("*") if path.is_file()))
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "-t", "tmpfs", "-o", f"size={room}", "tmpfs"):
        failed(start(drawn.paths, disk / "out"), str(disk / "out"), "No space left", "Make room")
        assert not list((disk / "out").rglob("*.tmp"))
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        complete(drawn, disk / "out", whole)


@pytest.mark.usefixtures("needs_mount")
def test_a_read_only_file_system(drawn, whole, half_done):
    out = half_done
    with mounted(out, "--bind", str(out)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(out)], check=True)
        failed(start(drawn.paths, out), str(out), "Read-only file system", "writable")
    complete(drawn, out, whole)


def test_no_permission_to_make_the_output(drawn, whole, tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(0o500)
    failed(start(drawn.paths, folder / "out"), str(folder / "out"), "Permission denied", "Mend")
    folder.chmod(0o700)
    complete(drawn, folder / "out", whole)


@pytest.mark.parametrize(
    "where",
    ["", "buckets", *long(".fastbucket", ".fastbucket/shards", ".fastbucket/short", "bucket")],
)
def test_no_permission_inside_the_output(drawn, whole, half_done, where):
    out = half_done
    shard = next((out / "buckets").glob("*/*.tar"))
    if where == "bucket":  # a shard of it has to be made again
        shard.unlink()
        folder = shard.parent
    else:
        folder = out / where
    if where == "buckets":  # a bucket has to be made again
        shutil.rmtree(shard.parent)
    folder.chmod(0o500)
    failed(start(drawn.paths, out), str(folder), "Permission denied", "Mend the permission")
    folder.chmod(0o700)
    complete(drawn, out, whole)


@pytest.mark.parametrize("how", ["renamed", *long("removed")])
def test_the_output_folder_vanishes(drawn, whole, tmp_path, how):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    process = start(drawn.paths, out)
    with paused(process, out):
        if how == "removed":
            shutil.rmtree(out)
        else:
            out.rename(elsewhere)
    failed(process, str(out), "No such file or directory", "[Pp]ut the folder back")
    assert not out.exists()  # no second one is begun
    if how == "renamed":
        elsewhere.rename(out)
        assert list(out.glob(".fastbucket/shards/*.json"))
    complete(drawn, out, whole)


@pytest.mark.parametrize("what", [".fastbucket", *long("buckets", ".fastbucket/plan.arrow")])
def test_a_part_of_the_output_vanishes(drawn, whole, tmp_path, what):
    out = tmp_path / "out"
    process = start(drawn.paths, out)
    with paused(process, out):
        if (out / what).is_dir():
            shutil.rmtree(out / what)
        else:
            (out / what).unlink()
    if what.endswith("plan.arrow"):  # it is mapped: nothing is lost
        assert process.wait(120) == 0
        process.stderr.close()
    else:
        failed(process, str(out / what), "No such file or directory", "[Pp]ut the folder back")
    if what == ".fastbucket":  # whose shards they are, nobody can tell now
        failed(start(drawn.paths, out), "neither manifest.json nor the state", "--overwrite")
        complete(drawn, out, whole, overwrite=True)
    else:
        complete(drawn, out, whole)


def test_finished_shards_vanish(drawn, whole, tmp_path):
    """What was made and is gone is not listed as if it were there."""
    out = tmp_path / "out"
    process = start(drawn.paths, out)
    with paused(process, out):
        gone = next((out / "buckets").glob("*/*.tar"))
        shutil.rmtree(gone.parent)
    failed(process, gone.name, "the same export makes it again")
    complete(drawn, out, whole)


def test_a_state_that_went_astray(drawn, whole, tmp_path):
    """Shards that nothing tells about are not cleared where they may be a whole export."""
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    (out / "manifest.json").unlink()
    before = exported.digests(out)
    failed(start(drawn.paths, out), str(out), "neither manifest.json nor the state", "--overwrite")
    assert exported.digests(out) == before
    shutil.copy(whole / "manifest.json", out)
    complete(drawn, out, whole)


def test_shards_of_somebody_else_are_kept(drawn, tmp_path):
    """Copied from elsewhere without their manifest, say."""
    shard = tmp_path / "out" / "buckets" / "p1024x1024" / "shard-000000.tar"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"a week of work")
    failed(start(drawn.paths, tmp_path / "out"), "neither manifest.json nor the state")
    assert shard.read_bytes() == b"a week of work"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["buckets"]


# The source


@pytest.fixture
def source(drawn, tmp_path) -> list[Path]:
    """A copy of the source, times and all, to be changed."""
    (tmp_path / "source").mkdir()
    return [Path(shutil.copy2(path, tmp_path / "source")) for path in drawn.paths]


def test_no_permission_to_read_the_source(source, drawn, whole, tmp_path):
    source[1].chmod(0)
    failed(start(source, tmp_path / "out"), str(source[1]), "Permission denied")
    source[1].chmod(0o600)
    complete(drawn, tmp_path / "out", whole)


@pytest.mark.parametrize("how", ["cut short", "removed"])
def test_the_source_changes_while_it_is_read(source, drawn, whole, tmp_path, how):
    out = tmp_path / "out"
    process = start(source, out)
    with paused(process, out):
        kept = [Path(shutil.copy2(path, tmp_path / path.name)) for path in source]
        for path in source:
            if how == "removed":
                path.unlink()
            else:
                os.truncate(path, 40_000)
    said = failed(process, str(tmp_path / "source"))
    assert "shorter" in said or how == "removed"
    if how == "cut short":
        failed(start(source, out), "changed since the export .* began", "Restore the source")
    for path, copy in zip(source, kept, strict=True):
        shutil.copy2(copy, path)
    complete(drawn, out, whole)


def test_a_file_of_the_source_that_cannot_be_read(tmp_path):
    """A read that fails in earnest: what was a file is a folder when it is read."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(60):
        (photos / f"{number:03d}.jpg").write_bytes(photo_jpeg(draw(540, 540, number)))
    process = start([photos], out)
    with paused(process, out, 1):
        last = photos / "059.jpg"
        content, times = last.read_bytes(), last.stat()
        last.unlink()
        last.mkdir()
    failed(process, str(last), "Is a directory")
    last.rmdir()
    last.write_bytes(content)
    os.utime(last, ns=(times.st_atime_ns, times.st_mtime_ns))
    fastbucket.export([photos], out, RECIPE, ONE)
    fastbucket.export([photos], tmp_path / "whole", RECIPE, ONE)
    assert exported.digests(out) == exported.digests(tmp_path / "whole")


# Signals, pipes, locks


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(process: subprocess.Popen) -> list[int]:
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(number) for path in tasks for number in path.read_text().split()]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_ends_it_cleanly(drawn, whole, tmp_path, number, code):
    out = tmp_path / "out"
    process = start(drawn.paths, out)
    with paused(process, out):
        workers = children(process)
        process.send_signal(number)
    failed(process, "the same command goes on from here", code=code)
    assert workers
    assert not any(map(alive, workers))
    assert not list(out.rglob("*.tmp"))
    complete(drawn, out, whole)


def test_impatience(drawn, whole, tmp_path):
    """Ctrl-C again and again, while it ends because of the first."""
    out = tmp_path / "out"
    process = start(drawn.paths, out)
    with paused(process, out):
        workers = children(process)
        os.kill(workers[0], signal.SIGSTOP)  # it will not end when asked
        process.send_signal(signal.SIGINT)
    for _ in range(5):
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
    failed(process, "interrupted", code=130)
    deadline = time.monotonic() + 5
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.01)
    complete(drawn, out, whole)


@pytest.mark.parametrize("closed", ["both", *long("stdout", "stderr")])
def test_nobody_listens(drawn, whole, tmp_path, closed):
    """`fastbucket export ... | head -1`: the export is made all the same."""
    out = tmp_path / "out"
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for name in ("stdout", "stderr"):
        if closed in (name, "both"):
            streams[name] = writing
    process = subprocess.Popen(
        command(drawn.paths, out),
        **streams,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    os.close(writing)
    _, words = process.communicate(timeout=240)
    assert b"Traceback" not in (words or b"")
    assert process.returncode == (0 if closed == "stderr" else 1)
    assert (out / "manifest.json").is_file()
    complete(drawn, out, whole)


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_a_second_run_is_kept_out(drawn, whole, tmp_path, options):
    out = tmp_path / "out"
    process = start(drawn.paths, out)
    with paused(process, out):
        before = exported.digests(out)
        failed(
            start(drawn.paths, out, *options),
            f"{out} is in use by process {process.pid} on .* since 20..-..-.. ..:..:.. UTC",
        )
        assert exported.digests(out) == before
    assert process.wait(120) == 0
    process.stderr.close()
    complete(drawn, out, whole)


def test_the_lock_of_a_dead_run_is_none(drawn, whole, half_done):
    assert (half_done / ".fastbucket" / "lock").read_text().startswith("process ")
    complete(drawn, half_done, whole)
