"""run.json: what it says of the run, that it decides nothing, and that a broken one is named."""

from __future__ import annotations

import json
import os
import shutil
from datetime import datetime
from pathlib import Path

import exported
import pytest

import fastbucket
from fastbucket import Recipe, Resources
from fastbucket.stopwatch import STAGES

pytestmark = pytest.mark.processes

KEYS = (
    "export_id finished_at workers cpus machine system archives scanned exported shards "
    "resumed_shards resumed_samples bytes_in bytes_out phases stages sources"
).split()


def run_of(out: Path) -> dict:
    return json.loads((out / "run.json").read_text(encoding="ascii"))


@pytest.fixture
def copy(drawn_export, tmp_path):
    return Path(shutil.copytree(drawn_export.out, tmp_path / "copy"))


def test_says_what_the_report_says(any_export):
    run, report, manifest = run_of(any_export.out), any_export.report, any_export.manifest
    assert list(run) == KEYS
    assert run["export_id"] == manifest["export_id"]
    assert run["exported"] == manifest["counts"]["exported"]
    assert run["scanned"] == manifest["source"]["samples"]
    sizes = [path.stat().st_size for path in exported.shards(any_export.out)]
    assert run["bytes_out"] == sum(sizes)
    assert run["shards"] == len(exported.shards(any_export.out))
    assert (run["workers"], run["resumed_shards"], run["resumed_samples"]) == (2, 0, 0)
    assert list(run["phases"]) == ["scan", "plan", "export", "finish"]
    for phase, seconds in run["phases"].items():
        assert 0 <= seconds <= report.seconds[phase] + 0.001
    assert list(run["stages"]) == list(STAGES)
    assert run["stages"] == {k: round(v, 3) for k, v in report.stages.items()}
    datetime.strptime(run["finished_at"], "%Y-%m-%dT%H:%M:%SZ")


def test_names_the_sources_relative_to_the_export(drawn, drawn_export):
    named = run_of(drawn_export.out)["sources"]
    found = [os.path.realpath(drawn_export.out / source) for source in named]
    assert found == [os.path.realpath(path) for path in drawn.paths]
    assert not any(os.path.isabs(source) for source in named)


def test_counts_what_an_earlier_run_made(drawn, drawn_export, tmp_path, monkeypatch):
    def crash(*arguments, **options):
        raise KeyboardInterrupt

    out, recipe = tmp_path / "out", Recipe(shard_size=2)
    with monkeypatch.context() as patched:
        patched.setattr("fastbucket.manifest.write", crash)
        with pytest.raises(KeyboardInterrupt):
            fastbucket.export(drawn.paths, out, recipe, Resources(workers=1))
    assert run_of(out)["resumed_shards"] == 0
    fastbucket.export(drawn.paths, out, recipe, Resources(workers=1))
    run = run_of(out)
    assert run["resumed_samples"] == run["exported"] == drawn.kept
    assert run["resumed_shards"] >= run["shards"]  # some were emptied to fill the gaps of others
    assert sum(run["stages"].values()) > 0  # those of the first run
    assert exported.digests(out) == exported.digests(drawn_export.out)


def test_verify_is_content_without_it_and_with_one_of_another_time(copy):
    (copy / "run.json").write_text(json.dumps({**run_of(copy), "finished_at": "later"}))
    assert fastbucket.verify(copy, fast=True).ok
    (copy / "run.json").unlink()
    assert fastbucket.verify(copy, fast=True).ok


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[]", "is list"),
        (b"{}", "workers is missing"),
        (b'{"workers": 1, "workers": 2}', "twice"),
    ],
)
def test_verify_names_a_broken_one(copy, content, words):
    (copy / "run.json").write_bytes(content)
    found = fastbucket.verify(copy, fast=True)
    assert {problem.path for problem in found.problems} == {"run.json"}
    assert any(words in problem.text for problem in found.problems), found.problems


def test_goes_with_the_export_that_it_is_of(drawn, copy):
    (copy / "report.html").write_text("of the export before")
    recipe = Recipe(base_resolution=256)
    fastbucket.export(drawn.paths, copy, recipe, Resources(workers=2), overwrite=True)
    assert run_of(copy)["export_id"] == exported.manifest(copy)["export_id"]
    assert not (copy / "report.html").exists()
