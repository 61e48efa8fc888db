"""What an output folder goes through between runs: nothing is lost, nothing is a dead end."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import exported
import pytest

import fastbucket
from fastbucket import Recipe, Resources, RunError
from fastbucket.drawn_source import DrawnSource
from fastbucket.state import State

RECIPE = Recipe(shard_size=2)
ONE = Resources(workers=1)


@pytest.fixture
def stopped(drawn: DrawnSource, tmp_path: Path) -> Path:
    """An export that stopped over damaged samples, with finished shards in it."""
    out = tmp_path / "out"
    with pytest.raises(RunError, match="--max-errors allows 2"):
        fastbucket.export(drawn.paths, out, RECIPE, Resources(workers=1, max_errors=2))
    assert list(out.glob(".fastbucket/shards/*.json"))
    return out


def test_a_dry_run_clears_nothing(drawn, drawn_export, tmp_path):
    out = tmp_path / "out"
    fastbucket.export(drawn.paths, out, RECIPE, ONE)
    before = exported.digests(out)
    fastbucket.plan(drawn.paths, out, Recipe(quality=90), ONE, overwrite=True)
    assert exported.digests(out) == before
    assert fastbucket.verify(out, fast=True, workers=1).ok


def test_repeating_the_command_does_not_get_round_the_limit(drawn, stopped):
    with pytest.raises(RunError, match="--max-errors allows 2"):
        fastbucket.export(drawn.paths, stopped, RECIPE, Resources(workers=1, max_errors=2))
    assert not (stopped / "manifest.json").exists()


@pytest.mark.parametrize("damage", ["removed", "cut", "empty record"])
def test_a_record_alone_is_no_shard(drawn, drawn_export, stopped, damage):
    shard = exported.shards(stopped)[0]
    if damage == "removed":
        shard.unlink()
    elif damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-512])
    else:
        next(stopped.glob(".fastbucket/shards/*.json")).write_bytes(b"")
    fastbucket.export(drawn.paths, stopped, RECIPE, ONE)
    assert exported.digests(stopped) == exported.digests(drawn_export.out)


def test_other_versions_do_not_go_on(drawn, stopped):
    run = stopped / ".fastbucket" / "run.json"
    facts = json.loads(run.read_text())
    facts["software"]["fastbucket"] = "0.0.1"
    run.write_text(json.dumps(facts))
    with pytest.raises(RunError, match=r"other versions.*0\.0\.1"):
        fastbucket.export(drawn.paths, stopped, RECIPE, ONE)


def test_whoever_is_killed_while_clearing_can_clear_again(drawn, drawn_export, tmp_path):
    out = tmp_path / "out"
    fastbucket.export(drawn.paths, out, RECIPE, ONE)
    (out / "manifest.json").unlink()  # the first step of clearing, and then the kill
    fastbucket.export(drawn.paths, out, RECIPE, ONE, overwrite=True)
    assert exported.digests(out) == exported.digests(drawn_export.out)


def test_a_damaged_manifest_can_be_overwritten(drawn, drawn_export, tmp_path):
    out = tmp_path / "out"
    fastbucket.export(drawn.paths, out, RECIPE, ONE)
    (out / "manifest.json").write_text("{")
    with pytest.raises(RunError, match="--overwrite"):
        fastbucket.export(drawn.paths, out, RECIPE, ONE)
    fastbucket.export(drawn.paths, out, RECIPE, ONE, overwrite=True)
    assert exported.digests(out) == exported.digests(drawn_export.out)


def test_two_runs_on_one_output_are_kept_apart(drawn, tmp_path):
    with State(tmp_path), pytest.raises(RunError, match="in use by process"):
        fastbucket.export(drawn.paths, tmp_path, RECIPE, ONE)


def test_the_output_lies_in_no_source(drawn, tmp_path):
    source = tmp_path / "tars"
    source.mkdir()
    (source / "train.tar").write_bytes(drawn.paths[0].read_bytes())
    with pytest.raises(RunError, match="lies in the source"):
        fastbucket.export([source], source / "out", RECIPE, ONE)


def test_a_lock_whose_file_is_gone_is_no_lock(tmp_path, monkeypatch):
    """A run ends, and takes its lock with it, just as another one has opened that file."""
    flock, calls = fcntl.flock, []

    def once_too_late(file, how):
        if not calls:
            (tmp_path / ".fastbucket" / "lock").unlink()
        calls.append(file)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", once_too_late)
    with State(tmp_path):
        assert len(calls) == 2
        with pytest.raises(RunError, match=r"in use by process .* since 20"):
            State(tmp_path)


def test_temporary_files_of_others_stay(drawn, tmp_path):
    theirs = tmp_path / "buckets" / "sand" / ".castle.tmp"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    with pytest.raises(RunError, match="no export of this tool"):
        fastbucket.export(drawn.paths, tmp_path, RECIPE, ONE)
    assert theirs.read_text() == "mine"


def test_a_folder_that_was_being_cleared_for_another_recipe(drawn, drawn_export, stopped):
    """Killed right after it began to clear: nobody goes on with what is left."""
    run = stopped / ".fastbucket" / "run.json"
    run.write_text(json.dumps({"export_id": "", "recipe": {}, "stamps": {}}))
    report = fastbucket.export(drawn.paths, stopped, RECIPE, ONE)
    assert report.resumed_shards == 0
    assert exported.digests(stopped) == exported.digests(drawn_export.out)


def test_overwrite_empties_a_linked_folder_and_keeps_the_link(drawn, tmp_path):
    """buckets/ may lie on a larger disk."""
    out, large = tmp_path / "out", tmp_path / "large"
    one = Resources(workers=1)
    fastbucket.export(drawn.paths, out, Recipe(base_resolution=256), one)
    (out / "buckets").rename(large)
    (out / "buckets").symlink_to(large)
    fastbucket.export(drawn.paths, out, Recipe(base_resolution=192), one, overwrite=True)
    assert (out / "buckets").is_symlink()
    assert fastbucket.verify(out).ok
