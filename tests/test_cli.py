"""The command line: what it prints, where, and the exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT, Export

from fastbucket import Recipe, Resources
from fastbucket.cli import COMMANDS, cli
from fastbucket.drawn_source import DrawnSource


def run(*args: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastbucket", *map(str, args)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_the_page_in_docs_is_what_help_says() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "make_cli_docs.py", "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(command: str) -> None:
    text = CliRunner().invoke(cli, [command, "--help"]).output
    assert "Example" in text
    assert f"fastbucket {command}" in text.split("Example", 1)[1]


@pytest.mark.parametrize("kind", [Recipe, Resources])
def test_every_field_is_an_option(kind: type) -> None:
    text = CliRunner().invoke(cli, ["export", "--help"]).output
    for field in fields(kind):
        assert f"--{field.name.replace('_', '-')} " in text.replace("\n", " ")


def test_export_then_nothing_to_do_then_another_recipe(drawn: DrawnSource, tmp_path: Path) -> None:
    source, out = drawn.paths[0].parent, tmp_path / "out"
    first = run("export", source, out, "--shard-size", "8", "--json")
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert report["scanned"] == report["exported"] + sum(report["dropped"].values())
    assert "scan: 3 archives" in first.stderr  # a line each phase where there is no terminal
    second = run("export", source, out, "--shard-size", "8", "-q")
    assert second.returncode == 0
    assert "Nothing to do" in second.stdout
    assert second.stderr == ""
    third = run("export", source, out, "--shard-size", "8", "--quality", "90")
    assert third.returncode == 1
    assert "quality: 95 -> 90" in third.stderr
    again = run("export", source, tmp_path / "again", "--recipe", out / "manifest.json", "-q")
    assert again.returncode == 0, again.stderr
    for shard in sorted(out.glob("buckets/*/*.tar")):
        other = tmp_path / "again" / shard.relative_to(out)
        assert other.read_bytes() == shard.read_bytes()


def test_dry_run_shows_the_plan_and_writes_no_shard(drawn: DrawnSource, tmp_path: Path) -> None:
    source, out = drawn.paths[0].parent, tmp_path / "out"
    done = run("export", source, out, "--dry-run", "-q")
    assert done.returncode == 0, done.stderr
    assert "Would export" in done.stdout
    assert "too_small" in done.stdout
    assert "duplicate" in done.stdout
    assert not (out / "buckets").exists()
    other = run("export", source, out, "--dry-run", "--base-resolution", "256", "-q", "--json")
    assert json.loads(other.stdout)["exported"] > 40  # a dry run binds no recipe


def test_sources_on_standard_input(drawn: DrawnSource, tmp_path: Path) -> None:
    lines = "".join(f"{path}\n" for path in drawn.paths)
    done = run("export", "-", tmp_path / "out", "--dry-run", "--json", "-q", stdin=lines)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scanned"] == drawn.samples


def test_excluded_samples_are_dropped_by_id_and_by_key(
    drawn: DrawnSource, drawn_export: Export, tmp_path: Path
) -> None:
    listed = [drawn_export.samples[0].json["image_id"], drawn_export.samples[1].key]
    names = tmp_path / "names.txt"
    names.write_text("\n".join(listed) + "\n")
    source = drawn.paths[0].parent
    done = run("export", source, tmp_path / "o", "--dry-run", "--exclude", names, "--json", "-q")
    assert json.loads(done.stdout)["dropped"]["excluded"] == 2


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["export"], 2, "Usage"),
        (["export", "missing.tar", "OUT"], 1, "missing.tar"),
        (["export", "SOURCE", "OUT", "--quality", "101"], 1, "quality: 101"),
        (["export", "SOURCE", "OUT", "--crop-strategy", "sideways"], 2, "sideways"),
        (["export", "SOURCE", "OUT", "--allowed-corners", "2,x"], 2, "2,x"),
        (["export", "SOURCE", "OUT", "--split", "train"], 2, "NAME=PATTERN"),
        (["export", "SOURCE", "OUT", "--max-errors", "0"], 1, "--max-errors allows 0"),
        (["verify", "OUT"], 2, "does not exist"),
        (["verify", "SOURCE"], 1, "manifest.json"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_exit_codes(
    args: list[str], code: int, words: str, drawn: DrawnSource, tmp_path: Path
) -> None:
    places = {"SOURCE": str(drawn.paths[0].parent), "OUT": str(tmp_path / "out")}
    done = run(*(places.get(arg, arg) for arg in args))
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_buckets_lists_the_forty() -> None:
    rows = json.loads(run("buckets", "--json").stdout)
    assert len(rows) == 40
    assert {"bucket_id": "p1152x832", "target_w": 576, "target_h": 416} in rows
    assert "p1152x832" in run("buckets").stdout


def test_demo_runs_the_main_job(tmp_path: Path) -> None:
    done = run("demo", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert "Verified" in done.stdout
    assert "load_dataset" in done.stdout
    dataset = tmp_path / "demo" / "dataset"
    assert (dataset / "manifest.json").is_file()
    assert done.stdout.splitlines()[-1].endswith(str(dataset / "report.html"))
    assert "caption_source" in (dataset / "report.html").read_text(encoding="utf-8")


def test_ctrl_c_ends_soon_with_130_and_no_half_shard(tmp_path: Path) -> None:
    make = [sys.executable, ROOT / "tools" / "make_source.py", "--draw", "40", "--small-share", "0"]
    subprocess.run(
        [*make, "--copies", "2", "--per-tar", "40", tmp_path / "tars"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    out = tmp_path / "out"
    command = [sys.executable, "-m", "fastbucket", "export", tmp_path / "tars", out, "-q"]
    command += ["--shard-size", "4", "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(out.glob(".fastbucket/shards/*.json")):  # a shard is finished with its record
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.01)
    start = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    _, words = process.communicate(timeout=20)
    assert time.monotonic() - start < 3
    assert process.returncode == 130
    assert "interrupted" in words
    assert not (out / "manifest.json").exists()
    assert not list(out.rglob("*.tmp"))
    again = run(*command[3:], "--json")
    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout)
    assert report["resumed_shards"] > 0
    assert run("verify", out, "-q").returncode == 0
