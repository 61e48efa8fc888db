"""Exports pushed to a Hub: huggingface_hub itself, in a process of its own, against loopback."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import exported
import pytest
from conftest import Export
from hub_server import HubServer

PUSH = """
import json, sys, fastbucket
from fastbucket.sinks import hub
from fastbucket.sinks.patience import Patience
hub.BATCH_FILES = 5
hub.Patience = lambda: Patience(attempts=3, base=0.01, cap=0.05)
try:
    report = fastbucket.push(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3]))
    print(json.dumps(report.to_json()))
except fastbucket.RunError as error:
    sys.exit(f"RunError: {error}")
"""


class Said(NamedTuple):
    report: dict[str, Any]
    error: str


@pytest.fixture
def hub() -> Iterator[HubServer]:
    pytest.importorskip("huggingface_hub", reason="the extra remote is absent")
    with HubServer() as server:
        yield server


@pytest.fixture
def out(few_export: Export, tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    shutil.copytree(few_export.out, folder)
    for name in ("captions.sqlite", "report.html", "suspects.jsonl"):
        (folder / name).write_text("mine")
    return folder


def push(hub: HubServer, out: Path, url: str, xet: bool = False, **options: Any) -> Said:
    """In a process of its own: the library reads its environment once, and ours says offline."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": "hf_nobody",
        "HF_HOME": str(out.parent / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "0" if xet else "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PUSH, str(out), url, json.dumps(options)],
        env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    if done.returncode:
        assert "RunError: " in done.stderr, done.stderr
        return Said({}, done.stderr[done.stderr.index("RunError: ") :])
    return Said(json.loads(done.stdout), "")


def held(hub: HubServer, name: str) -> dict[str, bytes]:
    """What a repository holds beside its .gitattributes."""
    files = hub.repositories[name].files
    return {path: content for path, content in files.items() if path != ".gitattributes"}


def test_all_of_an_export_arrives_the_manifest_last(hub, out):
    """Large files by LFS, the others in the commit itself, as huggingface_hub does without Xet."""
    said = push(hub, out, "hf://datasets/me/photos")
    assert said.error == ""
    assert held(hub, "me/photos") == exported.belonging(out)
    repository = hub.repositories["me/photos"]
    assert repository.private, "what is public cannot be taken back"
    assert repository.large == {
        p for p in exported.belonging(out) if p.endswith((".tar", ".parquet"))
    }
    assert repository.commits[-1] == (["manifest.json"], [])
    assert len(repository.commits) == -(-(len(exported.belonging(out)) - 1) // 5) + 1
    assert not any("manifest.json" in added for added, _ in repository.commits[:-1])
    assert said.report["status"] == "pushed"
    assert said.report["sent"] == len(exported.belonging(out))
    assert not (out / ".fastbucket").exists()
    assert not list(out.rglob(".cache"))
    before = len(repository.commits)
    again = push(hub, out, "hf://datasets/me/photos").report
    assert again["status"] == "already complete"
    assert again["others"] == 1  # .gitattributes
    assert len(repository.commits) == before


@pytest.mark.skipif(not importlib.util.find_spec("hf_xet"), reason="hf_xet is absent")
def test_by_the_upload_of_large_folders(hub, out):
    """The library's pipeline of several commits, with nothing that needs Xet's own store."""
    hub.is_large = lambda path: False
    said = push(hub, out, "hf://datasets/me/large@main", xet=True)
    assert said.error == ""
    assert held(hub, "me/large") == exported.belonging(out)
    assert hub.repositories["me/large"].commits[-1] == (["manifest.json"], [])


def test_a_push_goes_on_where_it_failed(hub, out):
    """Every LFS upload of one shard fails for good, then none does."""
    shard = exported.shards(out)[2]
    oid = exported.digests(out)[shard.relative_to(out).as_posix()]
    hub.script = lambda method, path, attempt: 400 if path == f"/lfs/{oid}" else 0
    said = push(hub, out, "hf://datasets/me/failing")
    assert "cannot upload" in said.error
    assert "tried 3 times" in said.error
    assert "manifest.json" not in held(hub, "me/failing")
    arrived = {path for method, path in hub.asked if method == "PUT"} - {f"/lfs/{oid}"}
    assert arrived
    hub.script = lambda method, path, attempt: 0
    hub.asked.clear()
    assert push(hub, out, "hf://datasets/me/failing").error == ""
    assert held(hub, "me/failing") == exported.belonging(out)
    large = [
        b for path, b in exported.belonging(out).items() if path.endswith((".tar", ".parquet"))
    ]
    missing = {f"/lfs/{hashlib.sha256(b).hexdigest()}" for b in large} - arrived
    assert {path for method, path in hub.asked if method == "PUT"} == missing


@pytest.mark.parametrize("status", [500, 429])
def test_requests_that_fail_are_made_again(hub, out, status):
    hub.script = lambda method, path, attempt: status if attempt == 1 and "tree" in path else 0
    assert push(hub, out, "hf://datasets/me/faults").error == ""
    assert held(hub, "me/faults") == exported.belonging(out)


def test_a_token_that_is_refused(hub, out):
    hub.script = lambda method, path, attempt: 401 if method == "POST" else 0
    said = push(hub, out, "hf://datasets/me/refused")
    assert "hf://datasets/me/refused: cannot create it: " in said.error
    assert "401" in said.error
    assert len([path for method, path in hub.asked if method == "POST"]) == 1


def test_wrong_and_stale_files_are_found(hub, out):
    assert push(hub, out, "hf://datasets/me/wrong").error == ""
    repository = hub.repositories["me/wrong"]
    shard = exported.shards(out)[0].relative_to(out).as_posix()
    index = next(path for path in exported.belonging(out) if path.startswith("index/webshart"))
    for path in (shard, index):
        repository.files[path] = b"\0" * len(repository.files[path])
    said = push(hub, out, "hf://datasets/me/wrong")
    assert said.report["differed"] == sorted([shard, index])
    assert held(hub, "me/wrong") == exported.belonging(out)
    assert repository.commits[-1] == (["manifest.json"], [])
    assert ([], ["manifest.json"]) in repository.commits
    stale = "buckets/p1x1/shard-000000.tar"
    repository.files |= {stale: b"old", "mine.txt": b"mine"}
    said = push(hub, out, "hf://datasets/me/wrong")
    assert stale in said.error
    assert "--replace" in said.error
    assert repository.files[stale] == b"old"
    assert push(hub, out, "hf://datasets/me/wrong", replace=True).report["stale"] == [stale]
    assert held(hub, "me/wrong") == {**exported.belonging(out), "mine.txt": b"mine"}


def test_a_damaged_shard_does_not_go_out(hub, out):
    """Of its size, other bytes: named before anything of its batch is sent, with a remedy."""
    shard = exported.shards(out)[1]
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    said = push(hub, out, "hf://datasets/me/damaged")
    assert f"{shard} is not as manifest.json says, and was not sent" in said.error
    assert "fastbucket verify first" in said.error
    assert held(hub, "me/damaged") == {}
    assert not [path for method, path in hub.asked if method == "PUT"]
