"""Exports pushed to a real S3 server that fails now and then, and to other file systems."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import exported
import pytest
from conftest import Export
from s3_server import Asked, S3Server

import fastbucket
from fastbucket import Recipe, Resources, RunError, sinks
from fastbucket.sinks import crew, digests, files, objects
from fastbucket.sinks.destination import Remote, opened
from fastbucket.sinks.files import File
from fastbucket.sinks.ledger import Ledger
from fastbucket.sinks.objects import Objects
from fastbucket.sinks.patience import Patience, persist
from fastbucket.sinks.work import work_folder

QUICK = Patience(attempts=4, base=0.01, cap=0.05)


@pytest.fixture
def fsspec() -> Any:
    return pytest.importorskip("fsspec", reason="the extra remote is absent")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    for library in ("s3fs", "moto", "flask", "flask_cors", "boto3"):
        pytest.importorskip(library, reason=f"{library} is absent: pip install s3fs 'moto[server]'")
    with S3Server() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server for one test: it works, and has been asked nothing."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setattr(objects, "Patience", lambda: QUICK)
    s3_server.script = lambda asked: ""
    s3_server.asked.clear()
    return s3_server


@pytest.fixture
def out(few_export: Export, tmp_path: Path) -> Path:
    """A copy of an export, with what lies beside one: none of that is to go along."""
    folder = tmp_path / "out"
    shutil.copytree(few_export.out, folder)
    for name in ("captions.sqlite", "report.html", "suspects.jsonl", "notes.txt"):
        (folder / name).write_text("mine")
    return folder


# To S3


def test_all_of_an_export_arrives_the_manifest_last(s3, out):
    done = fastbucket.push(out, "s3://photos/all/of it/")
    assert s3.objects("all/of it/") == exported.belonging(out)
    keys = s3.written("all/of%20it/")
    assert keys[-1] == "manifest.json"
    assert Counter(keys) == Counter(list(exported.belonging(out)))
    assert (done.status, done.files, done.sent) == ("pushed", len(keys), len(keys))
    assert done.bytes == done.sent_bytes == sum(map(len, exported.belonging(out).values()))
    assert done.read_back == 0, "the server's ETags are what we make of the files"
    assert not (out / ".fastbucket").exists()


def test_what_is_there_is_not_sent_again(s3, out):
    fastbucket.push(out, "s3://photos/twice")
    s3.asked.clear()
    done = fastbucket.push(out, "s3://photos/twice")
    assert (done.status, done.sent) == ("already complete", 0)
    assert {asked.method for asked in s3.asked} == {"GET"}
    assert not (out / ".fastbucket").exists()


@pytest.mark.parametrize("size", [0, 1, digests.PART * 2 - 1, digests.PART * 2, 37_000_001])
def test_large_files_go_in_parts(s3, tmp_path, size):
    """moto's ETag, made of the parts that it got, is the oracle for ours."""
    local = tmp_path / "big.bin"
    local.write_bytes(random.Random(size).randbytes(size))
    file = File("big.bin", local, size, 0)
    told: list[int] = []
    sent = []
    place = Objects("s3://photos/parts")
    place.send([file], lambda file, there: sent.append(there), told.append)
    there = s3.client().get_object(Bucket="photos", Key="parts/big.bin")
    assert there["Body"].read() == local.read_bytes()
    parts = -(-size // digests.PART)
    suffix = f"-{parts}" if size >= 2 * digests.PART else ""
    assert there["ETag"].strip('"').partition("-")[2] == suffix[1:]
    etag = digests.Etag(size)
    digests.read(local, etag)
    assert etag.hexdigest() == there["ETag"].strip('"')
    assert sum(told) == size
    assert [item.read_back for item in sent] == [False]
    assert [asked.method for asked in s3.asked].count("PUT") == (parts if suffix else 1)


def test_objects_in_other_parts_are_the_same_bytes(s3, tmp_path):
    """As aws s3 cp leaves them, in parts of 8 MiB: the ETag differs, the bytes decide."""
    local = tmp_path / "big.bin"
    local.write_bytes(random.Random(1).randbytes(12 << 20))
    s3.client().upload_file(str(local), "photos", "others/big.bin")
    place = Objects("s3://photos/others")
    there = place.listing()["big.bin"]
    assert there.mark.strip('"').endswith("-2")
    found = []
    file = File("big.bin", local, local.stat().st_size, 0)
    assert place.compare([(file, there)], lambda file, sent: found.append(sent.read_back)) == []
    assert found == [True]
    local.write_bytes(random.Random(2).randbytes(12 << 20))
    assert place.compare([(file, there)], lambda file, sent: None) == [file]


@pytest.mark.parametrize("fault", ["500", "503", "drop", "late"])
def test_requests_that_fail_are_made_again(s3, out, fault):
    """A third of all first requests fails, also those that list and look."""
    coin = random.Random(fault)
    s3.script = lambda asked: fault if asked.attempt == 1 and coin.random() < 0.34 else ""
    fastbucket.push(out, "s3://photos/faults")
    assert s3.objects("faults/") == exported.belonging(out)
    assert s3.written("faults/")[-1] == "manifest.json"
    for key in s3.objects("faults/"):
        s3.client().delete_object(Bucket="photos", Key=f"faults/{key}")


def test_a_part_that_fails_for_good_ends_the_push_and_leaves_no_manifest(s3, out):
    bad = next(path for path in exported.belonging(out) if path.endswith(".parquet"))
    s3.script = lambda asked: "500" if asked.path.endswith(bad) and asked.method == "PUT" else ""
    with pytest.raises(RunError, match=rf"s3://photos/broken/{bad}.*tried 4 times.*goes on"):
        fastbucket.push(out, "s3://photos/broken")
    assert "manifest.json" not in s3.objects("broken/")
    before = set(s3.objects("broken/"))
    assert before
    s3.script = lambda asked: ""
    s3.asked.clear()
    done = fastbucket.push(out, "s3://photos/broken")
    assert s3.objects("broken/") == exported.belonging(out)
    assert set(s3.written("broken/")) == set(exported.belonging(out)) - before
    assert done.sent == len(exported.belonging(out)) - len(before)


def test_bytes_that_change_on_the_way_are_sent_again(s3, out):
    shard = next(iter(exported.shards(out))).relative_to(out).as_posix()
    s3.script = lambda asked: (
        "flip"
        if asked.path.endswith(shard) and asked.method == "PUT" and asked.attempt == 1
        else ""
    )
    fastbucket.push(out, "s3://photos/flipped")
    assert s3.written("flipped/").count(shard) == 2
    assert s3.objects("flipped/") == exported.belonging(out)


PUSH = "import sys, fastbucket; fastbucket.push(sys.argv[1], sys.argv[2], at_once=2)"


def killed(out: Path, url: str, s3: S3Server, hang: Any, number: int = signal.SIGKILL) -> Any:
    """A push in a process of its own, ended when a request hangs. Returns its exit code, and the
    seconds that it went on."""
    reached: list[Asked] = []

    def script(asked: Asked) -> str:
        if hang(asked):
            reached.append(asked)
            return "hang"
        return ""

    s3.script = script
    process = subprocess.Popen(
        [sys.executable, "-c", PUSH, str(out), url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not reached and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert reached, "the push came to an end without being killed"
    process.send_signal(number)
    sent = time.monotonic()
    code = process.wait(60)
    s3.script = lambda asked: ""
    return code, time.monotonic() - sent


@pytest.mark.parametrize("at", [1, 6, "manifest.json"])
def test_a_killed_push_goes_on(s3, out, at):
    prefix = f"killed-{at}/"

    def hang(asked: Asked) -> bool:
        if isinstance(at, str):
            return asked.writes and asked.path.endswith(at)
        return asked.writes and len(s3.written(prefix)) >= at

    assert killed(out, f"s3://photos/{prefix}", s3, hang)[0] == -signal.SIGKILL
    there = s3.objects(prefix)
    assert "manifest.json" not in there
    assert there.items() <= exported.belonging(out).items()
    s3.asked.clear()
    done = fastbucket.push(out, f"s3://photos/{prefix}")
    assert s3.objects(prefix) == exported.belonging(out)
    again = set(s3.written(prefix)) & set(there)
    assert not again, "what was there and right was sent again"
    assert done.sent == len(exported.belonging(out)) - len(there)
    assert s3.written(prefix)[-1] == "manifest.json"


def test_an_interrupt_ends_a_push_soon(s3, out):
    code, seconds = killed(out, "s3://photos/ctrl-c", s3, lambda a: a.writes, signal.SIGINT)
    assert code not in (0, -signal.SIGKILL)
    assert seconds < 30, "it waited for an answer that never comes"
    assert fastbucket.push(out, "s3://photos/ctrl-c").status == "pushed"
    assert s3.objects("ctrl-c/") == exported.belonging(out)


def test_the_ledger_saves_reading_what_was_sent(s3, out, monkeypatch):
    """What was noted is not even compared when the push goes on; without the ledger it is."""
    s3.script = lambda asked: "500" if asked.path.endswith("README.md") else ""
    with pytest.raises(RunError, match=r"README\.md"):
        fastbucket.push(out, "s3://photos/ledger")
    s3.script = lambda asked: ""
    ledgers = list(out.glob(".fastbucket/push/*/sent.jsonl"))
    assert len(ledgers) == 1
    text = ledgers[0].read_text()
    ledgers[0].write_text(text + '{"path": "half')  # a line that a death has cut
    compared: list[str] = []
    real = Objects.compare
    monkeypatch.setattr(
        Objects,
        "compare",
        lambda self, pairs, done: (
            compared.extend(f.path for f, _ in pairs) or real(self, pairs, done)
        ),
    )
    assert fastbucket.push(out, "s3://photos/ledger", dry_run=True).sent == 2
    assert compared == []
    ledgers[0].unlink()
    assert fastbucket.push(out, "s3://photos/ledger").sent == 2
    assert set(compared) == set(exported.belonging(out)) - {"README.md", "manifest.json"}


def test_a_ledger_is_of_a_place_and_holds_no_password(out):
    url = "sftp://me:se-cret@host/there?token=se-cret"
    first = Ledger(out, url + "/")
    first.begin()
    file = files.listed(out, json.loads((out / "manifest.json").read_bytes()))[0]
    there = Remote(file.bytes, "mark")
    first.note(file, there)
    first.close()
    again = Ledger(out, url)
    assert again.begun, "a slash at the end made another destination of it"
    assert again.knows(file, there)
    assert not Ledger(out, url.replace("there", "elsewhere")).begun
    lines = [path for path in out.glob(".fastbucket/push/**/*") if path.is_file()]
    assert len(lines) == 1
    assert "se-cret" not in lines[0].read_text()


def test_tampered_and_lost_objects_are_found_and_mended(s3, out):
    fastbucket.push(out, "s3://photos/tampered")
    shards = [path.relative_to(out).as_posix() for path in exported.shards(out)]
    changed = bytearray((out / shards[0]).read_bytes())
    changed[1000] ^= 1  # of the same size
    s3.client().put_object(Bucket="photos", Key=f"tampered/{shards[0]}", Body=bytes(changed))
    s3.client().delete_object(Bucket="photos", Key=f"tampered/{shards[1]}")
    planned = fastbucket.push(out, "s3://photos/tampered", dry_run=True)
    assert (planned.status, planned.differed, planned.sent) == ("planned", [shards[0]], 3)
    s3.asked.clear()
    done = fastbucket.push(out, "s3://photos/tampered")
    assert done.differed == [shards[0]]
    assert s3.objects("tampered/") == exported.belonging(out)
    assert sorted(s3.written("tampered/")) == sorted([*shards[:2], "manifest.json"])
    gone = [a.number for a in s3.asked if a.method == "DELETE" and a.path.endswith("manifest.json")]
    first = next(a.number for a in s3.asked if a.writes)
    assert gone, "while it was mended it looked complete"
    assert gone[0] < first


def test_another_export_is_replaced_on_request_alone(s3, out, tmp_path, few_export):
    other = tmp_path / "other"
    fastbucket.export(few_export.sources, other, Recipe(shard_size=2), Resources(workers=1))
    fastbucket.push(other, "s3://photos/other")
    s3.client().put_object(Bucket="photos", Key="other/mine.txt", Body=b"mine")
    s3.client().put_object(Bucket="photos", Key="other/buckets/mine.txt", Body=b"mine")
    before = s3.objects("other/")
    stale = sorted(set(exported.belonging(other)) - set(exported.belonging(out)))
    assert stale
    with pytest.raises(RunError, match=r"of another export.*--replace"):
        fastbucket.push(out, "s3://photos/other")
    assert s3.objects("other/") == before
    planned = fastbucket.push(out, "s3://photos/other", dry_run=True)
    assert planned.stale == stale
    assert planned.others == 2
    assert s3.objects("other/") == before
    s3.asked.clear()
    done = fastbucket.push(out, "s3://photos/other", replace=True)
    assert done.stale == stale
    mine = {"mine.txt": b"mine", "buckets/mine.txt": b"mine"}
    assert s3.objects("other/") == {**exported.belonging(out), **mine}
    changes = [a for a in s3.asked if a.writes or a.method == "DELETE"]
    assert changes[0].method == "DELETE"
    assert changes[0].path == "other/manifest.json", "it looked complete while it was mixed"
    assert changes[-1].path == "other/manifest.json"


def test_other_files_of_our_names_are_not_overwritten_unasked(s3, out):
    s3.client().put_object(Bucket="photos", Key="readme/README.md", Body=b"of something else")
    with pytest.raises(RunError, match=r"other files of these names \(README\.md\)"):
        fastbucket.push(out, "s3://photos/readme")
    assert s3.objects("readme/") == {"README.md": b"of something else"}
    assert not (out / ".fastbucket").exists()
    fastbucket.push(out, "s3://photos/readme", replace=True)
    assert s3.objects("readme/") == exported.belonging(out)


def test_a_bucket_that_is_not_there(s3, out):
    with pytest.raises(RunError, match=r"s3://nowhere-at-all/x.*does not exist"):
        fastbucket.push(out, "s3://nowhere-at-all/x")
    assert not (out / ".fastbucket").exists()


def test_without_a_login(s3, out, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(RunError, match=r"s3://photos/x: .*[Cc]redentials"):
        fastbucket.push(out, "s3://photos/x")
    assert s3.asked == []


def test_an_object_removed_meanwhile_leaves_no_manifest(s3, out):
    shard = exported.shards(out)[0].relative_to(out).as_posix()

    def script(asked: Asked) -> str:
        if asked.writes and asked.path.endswith("README.md"):
            s3.client().delete_object(Bucket="photos", Key=f"racing/{shard}")
        return ""

    s3.script = script
    with pytest.raises(RunError, match="removed or changed while others were sent"):
        fastbucket.push(out, "s3://photos/racing", at_once=1)
    assert "manifest.json" not in s3.objects("racing/")


# In a process of its own, since ours is offline for datasets; it asks the Hub for nothing. Not as a
# stream: for that datasets 5.2 hands s3fs a block_size, which it does not take.
LOAD = """
import json, sys
from datasets import load_dataset
rows = load_dataset(
    "webdataset", data_files={"train": sys.argv[1]}, split="train", cache_dir=sys.argv[2]
)
print(json.dumps([(row["__key__"], row["txt"]) for row in rows.select_columns(["__key__", "txt"])]))
"""


def test_loaders_read_it_from_there(s3, out, fsspec, tmp_path):
    fastbucket.push(out, "s3://photos/loaded")
    import webdataset

    expected = {sample.key: sample for sample in exported.samples(out)}
    fs = fsspec.filesystem("s3")
    shards = sorted(fs.glob("photos/loaded/buckets/*/*.tar"))
    assert [path.removeprefix("photos/loaded/") for path in shards] == [
        path.relative_to(out).as_posix() for path in exported.shards(out)
    ]
    seen = 0
    for path in shards:
        with fs.open(path) as file:
            for sample in webdataset.tariterators.group_by_keys(
                webdataset.tariterators.tar_file_expander([{"url": path, "stream": file}])
            ):
                seen += 1
                assert sample["jpg"] == expected[sample["__key__"]].jpg
                assert sample["txt"] == expected[sample["__key__"]].txt
    assert seen == len(expected)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, "s3://photos/loaded/buckets/*/*.tar", str(tmp_path)],
        env={**os.environ, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])
    assert {key: text.encode() for key, text in rows} == {k: s.txt for k, s in expected.items()}


# To other file systems


def test_into_a_folder(fsspec, out, tmp_path):
    done = fastbucket.push(out, f"file://{tmp_path}/there")
    assert exported.belonging(tmp_path / "there") == exported.belonging(out)
    assert sorted(p.name for p in (tmp_path / "there").iterdir()) == [
        "README.md", "buckets", "index", "manifest.json", "meta",
    ]  # fmt: skip
    assert done.read_back == done.files, "a folder tells no checksum"
    assert fastbucket.verify(tmp_path / "there", fast=True, workers=1).ok
    assert fastbucket.push(out, f"file://{tmp_path}/there").status == "already complete"


def test_into_memory(fsspec, out):
    fs = fsspec.filesystem("memory")
    fastbucket.push(out, "memory://fb/there")
    assert {
        path.removeprefix("/fb/there/"): fs.cat_file(path) for path in fs.find("/fb/there")
    } == exported.belonging(out)
    shard = exported.shards(out)[0].relative_to(out).as_posix()
    fs.pipe_file(f"/fb/there/{shard}", b"x" * (out / shard).stat().st_size)
    assert fastbucket.push(out, "memory://fb/there").differed == [shard]
    assert fs.cat_file(f"/fb/there/{shard}") == (out / shard).read_bytes()
    fs.rm("/fb", recursive=True)


@pytest.mark.parametrize("right", [True, False])
def test_google_tells_an_md5(fsspec, out, monkeypatch, right):
    """A file system of that protocol in memory, which tells of an object what gcsfs does."""
    import base64

    from fsspec.implementations.memory import MemoryFileSystem

    class Google(MemoryFileSystem):
        protocol = "gs"
        store: dict[str, Any] = {}  # noqa: RUF012 as its parent's
        pseudo_dirs: list[str] = [""]  # noqa: RUF012

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return MemoryFileSystem._strip_protocol(path.replace("gs://", "memory://"))

        def info(self, path: str, **more: Any) -> dict[str, Any]:
            facts = super().info(path, **more)
            if facts["type"] == "file":
                content = self.store[self._strip_protocol(path)].getvalue() + b"x" * (not right)
                facts["md5Hash"] = base64.b64encode(hashlib.md5(content).digest()).decode()
            return facts

    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "gs", Google)
    done = fastbucket.push(out, "gs://bucket/there")
    assert done.read_back == (0 if right else done.files)
    found = {p.removeprefix("/bucket/there/"): f.getvalue() for p, f in Google.store.items()}
    assert found == exported.belonging(out)


# What is refused


def test_only_a_complete_export_is_pushed(out, tmp_path):
    url = f"file://{tmp_path}/there"
    with pytest.raises(RunError, match=r"no manifest\.json; what is pushed is a complete export"):
        fastbucket.push(tmp_path, url)
    marker = out / ".fastbucket" / "pruning" / "pruning.json"
    marker.parent.mkdir(parents=True)
    marker.write_text("{}")
    for dry_run in (True, False):
        with pytest.raises(RunError, match="samples are being pruned"):
            fastbucket.push(out, url, dry_run=dry_run)
    marker.unlink()
    with open(out / ".fastbucket" / "lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="is in use by"):
            fastbucket.push(out, url)
    assert not (tmp_path / "there").exists()


def test_a_damaged_shard_does_not_go_out(fsspec, out, tmp_path):
    shard = exported.shards(out)[3]
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    with pytest.raises(RunError, match=rf"{shard.name} is not as manifest\.json says"):
        fastbucket.push(out, f"file://{tmp_path}/there")
    assert not (tmp_path / "there" / "manifest.json").exists()
    shard.write_bytes(content[:-512])
    with pytest.raises(RunError, match=rf"{shard.name} is not as manifest\.json says"):
        fastbucket.push(out, f"file://{tmp_path}/elsewhere")
    shard.unlink()
    with pytest.raises(RunError, match=rf"cannot read .*{shard.name}"):
        fastbucket.push(out, f"file://{tmp_path}/elsewhere")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("how", ["path", "dots", "symlink", "symlinked out"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_an_export_does_not_take_its_own_place(fsspec, out, tmp_path, how, dry_run):
    """Pushed over itself it would lose its manifest before anything was sent."""
    link = tmp_path / "link"
    link.symlink_to(out)
    there = {"path": out, "dots": out / "buckets" / "..", "symlink": link, "symlinked out": out}
    before = exported.belonging(out)
    with pytest.raises(RunError, match="itself: what is pushed goes to another folder"):
        fastbucket.push(
            link if how == "symlinked out" else out,
            f"file://{there[how]}",
            replace=True,
            dry_run=dry_run,
        )
    assert exported.belonging(out) == before
    assert not (out / ".fastbucket").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_export_to_its_own_work_folder(
    fsspec, out, few_export, tmp_path, monkeypatch, overwrite
):
    """The default folder to work in is the destination, when that lies in the working folder."""
    monkeypatch.chdir(tmp_path)
    before = exported.belonging(out)
    for name in ("out", "new"):
        with pytest.raises(RunError, match=f"{name} itself: what is pushed goes to another folder"):
            sinks.export(few_export.sources, f"file://{tmp_path}/{name}", overwrite=overwrite)
    assert exported.belonging(out) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("url", "library", "words"),
    [
        ("s3://a/b", "fsspec", r"needs fsspec: pip install 'fastbucket\[remote\]'"),
        ("s3://a/b", "s3fs", r"pip install 'fastbucket\[remote\]'"),
        ("hf://datasets/me/it", "huggingface_hub", r"pip install 'fastbucket\[remote\]'"),
        ("there", "", "there is no URL: s3://"),
        ("nonsense://x", "", "nonsense"),
        ("hf://datasets/me", "", "hf://datasets/user/name, with @branch"),
        ("hf://datasets/me/it/sub", "", "hf://datasets/user/name, with @branch"),
    ],
)
def test_destinations_that_cannot_be(fsspec, monkeypatch, tmp_path, url, library, words):
    if library:
        monkeypatch.setitem(sys.modules, library, None)
    if library == "s3fs":
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(RunError, match=words):
        opened(url, tmp_path, 1, False)


# An export whose output is a URL


def test_an_export_to_a_url(s3, few_export, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe, resources = Recipe(shard_size=4), Resources(workers=1)
    report, pushed = sinks.export(few_export.sources, "s3://photos/direct/set", recipe, resources)
    assert (report.status, pushed.status) == ("exported", "pushed")
    there = s3.objects("direct/set/")
    assert there == exported.belonging(tmp_path / "set")
    shards = {path: hashlib.sha256(b).hexdigest() for path, b in there.items() if ".tar" in path}
    assert shards == exported.digests(few_export.out)
    report, pushed = sinks.export(few_export.sources, "s3://photos/direct/set", recipe, resources)
    assert (report.status, pushed.status) == ("already complete", "already complete")
    shutil.rmtree(tmp_path / "set")
    with pytest.raises(RunError, match="holds an export, or part of one, and set none to compare"):
        sinks.export(few_export.sources, "s3://photos/direct/set", recipe, resources)
    assert not (tmp_path / "set").exists()
    with pytest.raises(RunError, match=r"does not exist"):
        sinks.export(few_export.sources, "s3://nowhere-at-all/set", recipe, resources)
    with pytest.raises(RunError, match="is no folder"):
        fastbucket.export(few_export.sources, "s3://photos/direct/set")


def test_an_interrupted_replacement_is_told_how_to_go_on(fsspec, tmp_path):
    there, place = tmp_path / "there", tmp_path / "place"
    for path in (there / "manifest.json", place / ".fastbucket" / "run.json"):
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    url = f"file://{there}"
    way = f"export into {place} goes on with it, then fastbucket push {place} {url} --replace"
    with pytest.raises(RunError, match=re.escape(way)):
        sinks.export([str(tmp_path)], url, work=place)
    shutil.rmtree(place)
    with pytest.raises(RunError, match="none to compare it with"):
        sinks.export([str(tmp_path)], url, work=place)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://bucket/sets/a-512/", "a-512"),
        ("s3://bucket", "bucket"),
        ("hf://datasets/me/photos@dev", "photos"),
        ("file:///mnt/x%20y", "x y"),
        ("s3://bucket/%2Fetc%2Fx", "x"),
        ("s3://bucket/a%2F..%2Fx", "x"),
        ("sftp://me:secret@host/", "host"),
    ],
)
def test_the_work_folder_has_the_last_name_of_the_url(url, name):
    assert work_folder(url) == Path(name)


@pytest.mark.parametrize(
    "url", ["s3://b/..", "s3://b/x/.", "s3://b/x%2F..", "s3://b/%2E%2E", "s3://..", "file:///"]
)
def test_the_work_folder_does_not_leave_the_working_folder(url):
    with pytest.raises(RunError, match="has no name for the folder to work in: say --work DIR"):
        work_folder(url)


def test_from_the_command_line(s3, few_export, out, tmp_path):
    def run(*words: object) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "fastbucket", *map(str, words)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        return done

    done = run("push", out, "s3://photos/line", "--json", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["status"] == "pushed"
    done = run("push", out, "s3://photos/line")
    assert "complete already" in done.stdout
    done = run("push", out, "s3://nowhere-at-all/line")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "does not exist" in done.stderr
    folder = tmp_path / "work"
    words = (
        "export",
        *few_export.sources,
        "s3://photos/line-export",
        "--workers",
        1,
        "--work",
        folder,
    )
    done = run(*words, "--json", "-q")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["status"], said["push"]["status"]) == ("exported", "pushed")
    assert s3.objects("line-export/") == exported.belonging(folder)


# Threads and patience


def test_the_crew_does_all_and_ends_with_the_first_error():
    told: list[int] = []
    done = dict(crew.each(lambda n, turn: turn.advance(1) or n * n, range(50), 7, told.append))
    assert done == {n: n * n for n in range(50)}
    assert sum(told) == 50
    stopped: list[int] = []

    def work(n: int, turn: crew.Turn) -> None:
        if n == 3:
            raise OSError("three")
        try:
            turn.wait(30)
        except crew.Stopped:
            stopped.append(n)
            raise

    start = time.monotonic()
    with pytest.raises(OSError, match="three"):
        list(crew.each(work, range(9), 4, told.append))
    assert time.monotonic() - start < 10
    assert sorted(stopped) == [0, 1, 2], "others were begun, or did not learn of the end"


def test_what_is_in_vain_is_not_tried_again():
    waits: list[float] = []
    calls: list[int] = []

    def fails(error: Exception, times: int) -> Any:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "done"

    assert persist("it", lambda: fails(OSError("so"), 3), Patience(), waits.append) == "done"
    assert len(waits) == 3
    assert all(half <= wait <= 2 * half for wait, half in zip(waits, (0.25, 0.5, 1), strict=True))
    for error in (PermissionError("no"), FileNotFoundError("no"), ValueError("no")):
        calls.clear()
        with pytest.raises(RunError, match="it: no"):
            persist("it", lambda error=error: fails(error, 9), Patience(), waits.append)
        assert len(calls) == 1
    calls.clear()
    with pytest.raises(RunError, match=r"it: so; tried 6 times"):
        persist("it", lambda: fails(OSError("so"), 9), Patience(), waits.append)
    assert len(calls) == 6


def test_the_table_of_files_matches_the_format(drawn_export):
    manifest = drawn_export.manifest
    paths = [file.path for file in files.listed(drawn_export.out, manifest)]
    assert sorted(paths) == sorted(exported.belonging(drawn_export.out))
    assert paths[-1] == "manifest.json"
    assert all(files.is_ours(path) for path in paths)
    for path in ("run.json", "captions.sqlite", "report.html", ".gitattributes", "buckets/x.txt",
                 "buckets/p1x1/shard-000000.tar.idx", ".fastbucket/lock"):  # fmt: skip
        assert not files.is_ours(path)
