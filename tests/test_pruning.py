"""Samples taken out of a finished export: who goes, what stays, what is brought up to date."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
import shutil
from collections import Counter
from pathlib import Path

import exported
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import fastbucket
from fastbucket import Recipe, Resources, RunError, gaps
from fastbucket.captions import application, workspace
from fastbucket.captions.store import Store
from fastbucket.cli import cli
from fastbucket.format import APPLYING, PRUNING, STATE
from fastbucket.look import MISSING
from fastbucket.pruning import prune
from fastbucket.pruning.lists import names
from fastbucket.pruning.selection import select
from fastbucket.repack.layout import layout
from fastbucket.state import State
from fastbucket.verification import verify

ONE = Resources(workers=1)


@pytest.fixture
def out(drawn_export, tmp_path) -> Path:
    """A copy of the drawn export, in shards of two."""
    folder = tmp_path / "out"
    shutil.copytree(drawn_export.out, folder)
    return folder


def keys_of(out: Path) -> list[str]:
    return [sample.key for sample in exported.samples(out)]


def rows(out: Path) -> list[dict]:
    return pq.read_table(out / "meta").to_pylist()


def check(out: Path) -> None:
    """Sound for the verifier, and nothing left lying about."""
    assert verify(out, fast=True, workers=1).problems == []
    assert not (out / STATE).exists()
    assert not list(out.rglob("*.tmp"))


def inodes(out: Path) -> dict[str, tuple[int, int]]:
    return {
        path.relative_to(out).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in exported.shards(out)
    }


# Who goes, and what stays


@pytest.mark.parametrize("step", [2, 3, 20])
def test_samples_go_and_everything_else_stays(out, step):
    """Members byte for byte; shards full; manifest, meta/ and card agree with what is there."""
    before = {s.key: s for s in exported.samples(out)}
    facts, old_rows = exported.manifest(out), rows(out)
    gone = set(list(before)[1::step])
    report = prune(out, gone, "by eye", workers=1)
    after = {s.key: s for s in exported.samples(out)}
    assert set(after) == set(before) - gone
    for key, sample in after.items():
        assert (sample.jpg, sample.txt, sample.json) == (
            before[key].jpg, before[key].txt, before[key].json,
        )  # fmt: skip
    new = exported.manifest(out)
    assert report.removed == len(gone)
    assert report.samples == new["counts"]["exported"] == len(after)
    assert new["counts"]["dropped"] == {"excluded": len(gone), **facts["counts"]["dropped"]}
    assert new["counts"]["pruned"] == len(gone)
    for bucket in new["buckets"]:
        assert [s["count"] for s in bucket["shards"][:-1]] == [2] * (len(bucket["shards"]) - 1)
        for shard in bucket["shards"]:
            raw = (out / shard["path"]).read_bytes()
            assert (shard["bytes"], shard["sha256"]) == (len(raw), hashlib.sha256(raw).hexdigest())
    (source,) = new["caption_sources"]
    assert source["count"] == sum(s.json["caption_source_id"] == 1 for s in after.values())
    places = {s.key: (s.path, s.index) for s in after.values()}
    for row, old in zip(rows(out), old_rows, strict=True):
        if old["key"] in gone:
            left = {
                "key": "",
                "reason": "excluded",
                "detail": "by eye",
                "shard": -1,
                "position": -1,
            }
            assert row == {**old, **left}
        elif old["key"]:
            path = f"buckets/{row['bucket_id']}/shard-{row['shard']:06d}.tar"
            assert (path, row["position"]) == places[row["key"]]
            assert {**row, "shard": 0, "position": 0} == {**old, "shard": 0, "position": 0}
        else:
            assert row == old
    assert f"{len(after):,} images in {len(new['buckets'])}" in (out / "README.md").read_text()
    check(out)


def test_shards_that_lose_nothing_are_not_written(out):
    """Of one bucket, one sample: its gap is filled from its last shard, all else has its inode."""
    before = inodes(out)
    samples = list(exported.samples(out))
    counts = Counter(s.json["bucket_id"] for s in samples)
    bucket_id = max(counts, key=counts.__getitem__)
    assert counts[bucket_id] > 5
    inside = [s for s in samples if s.json["bucket_id"] == bucket_id]
    report = prune(out, [inside[2].json["image_id"]], workers=1)
    assert report.rewritten == 1 + (counts[bucket_id] % 2 == 0)
    last = inside[-1]
    touched = {inside[2].path, last.path}
    after = inodes(out)
    for path, facts in before.items():
        assert (after.get(path) == facts) == (path not in touched)
    now = [s.key for s in exported.samples(out) if s.json["bucket_id"] == bucket_id]
    wanted = [s.key for s in inside[:-1]]
    wanted[2] = last.key
    assert now == wanted
    check(out)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_byte(drawn_export, tmp_path, workers):
    gone = [s.key for s in drawn_export.samples][::3]
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, n in zip(folders, (1, workers), strict=True):
        shutil.copytree(drawn_export.out, folder)
        prune(folder, gone, workers=n)
    assert exported.digests(folders[0]) == exported.digests(folders[1])
    assert exported.manifest(folders[0]) == exported.manifest(folders[1])


def test_a_fresh_export_without_them_holds_the_same(drawn, drawn_export, out, tmp_path):
    """Samples, bytes and counts; also where a sample goes that drove out its copies."""
    ids = {s.json["source_sha256"]: s.json["image_id"] for s in drawn_export.samples}
    copied = {
        ids[hashlib.sha256(image).hexdigest()]
        for name, members in drawn_export.source.items()
        if drawn.fates.get(name) == "duplicate"
        and (image := exported.image_of(members)) is not None
        and hashlib.sha256(image).hexdigest() in ids
    }
    assert copied
    gone = sorted(copied | {s.json["image_id"] for s in drawn_export.samples[::4]})
    prune(out, gone, workers=1)
    fresh = tmp_path / "fresh"
    fastbucket.export(drawn.paths, fresh, Recipe(shard_size=2), ONE, exclude=gone)
    old = {s.key: (s.jpg, s.txt, s.json) for s in exported.samples(out)}
    assert {s.key: (s.jpg, s.txt, s.json) for s in exported.samples(fresh)} == old
    counts = exported.manifest(out)["counts"]
    assert counts.pop("pruned") == len(gone)
    assert exported.manifest(fresh)["counts"] == counts
    strip = {"shard": 0, "position": 0, "detail": ""}
    unseen = MISSING._asdict()  # what was pruned had been looked at, what was excluded had not
    assert [{**row, **strip, **({} if row["key"] else unseen)} for row in rows(out)] == [
        {**row, **strip} for row in rows(fresh)
    ]


def test_the_export_again_after_it(drawn, drawn_export, out):
    """The same command says that some are gone; with --exclude, how to go on. Nothing changes."""
    gone = [s.json["image_id"] for s in drawn_export.samples[::9]]
    prune(out, gone, workers=1)
    before = exported.digests(out)
    report = fastbucket.export(drawn.paths, out, Recipe(shard_size=2), ONE)
    assert (report.status, report.pruned) == ("already complete", len(gone))
    done = CliRunner().invoke(
        cli, ["export", *map(str, drawn.paths), str(out), "--shard-size", "2", "-q"]
    )
    assert f"{len(gone)} samples were pruned since" in done.stdout
    with pytest.raises(RunError, match=rf"{len(gone)} samples were pruned.*--overwrite"):
        fastbucket.export(drawn.paths, out, Recipe(shard_size=2), ONE, exclude=gone)
    assert exported.digests(out) == before
    check(out)
    again = fastbucket.export(
        drawn.paths, out, Recipe(shard_size=2), ONE, exclude=gone, overwrite=True
    )
    assert again.dropped["excluded"] == len(gone)
    assert "pruned" not in exported.manifest(out)["counts"]
    check(out)


def test_twice(out):
    """A second list adds up; the first one again does nothing."""
    keys = keys_of(out)
    prune(out, keys[:5], "first", workers=1)
    report = prune(out, keys[3:9], "second", workers=1)
    assert (report.removed, report.gone) == (4, 2)
    assert exported.manifest(out)["counts"]["pruned"] == 9
    details = Counter(row["detail"] for row in rows(out) if row["reason"] == "excluded")
    assert details == {"first": 5, "second": 4}
    before = inodes(out), exported.manifest(out)
    report = prune(out, keys[:9], workers=1)
    assert (report.removed, report.gone, report.unknown) == (0, 9, [])
    assert (inodes(out), exported.manifest(out)) == before
    check(out)


# Captions


def test_with_captions(out):
    """The workspace loses their places and keeps their captions; apply goes on from there."""
    workspace.init(out)
    keys = keys_of(out)
    with Store.open(out) as store:
        number = store.source("caption_one", "some model")
        store.put(number, [(key, f"Of {key}", "ok", "") for key in keys[::2]])
    application.apply(out, ["caption_one", "caption_source"], workers=1)
    prune(out, keys[1::3], workers=1)
    check(out)
    with Store.open(out) as store:
        assert {(s.key, s.bucket_id, s.shard, s.position) for s in store.samples()} == {
            (r["key"], r["bucket_id"], r["shard"], r["position"]) for r in rows(out) if r["key"]
        }
        assert store.query("SELECT count(*) FROM captions WHERE source_id = ?", (number,)) == [
            (len(keys[::2]),)
        ]
    shards = exported.digests(out)
    report = application.apply(out, workers=1)
    assert (report.rewritten, report.dropped) == (0, 0)
    report = application.apply(out, ["caption_one"], "drop", workers=1)
    assert report.dropped == len(set(keys) - set(keys[::2]) - set(keys[1::3]))
    facts = exported.manifest(out)
    assert facts["counts"]["pruned"] == facts["counts"]["dropped"]["excluded"] == len(keys[1::3])
    assert exported.digests(out) != shards
    check(out)
    prune(out, keys[:3], workers=1)
    check(out)


def test_a_caption_source_that_is_gone(out):
    """The last caption of a variant takes its entry out of the manifest."""
    with_caption = [s.key for s in exported.samples(out) if s.json["caption_source_id"] == 1]
    prune(out, with_caption, workers=1)
    assert exported.manifest(out)["caption_sources"] == []
    check(out)


# What is named


def test_names(tmp_path):
    lines = ["\ufeffone\n", "  a/b c  \r\n", "\n", '{"key": "two", "why": 1}\n', "{brace}\n",
             '{"image_id": "x/y"}']  # fmt: skip
    assert list(names(lines, "list.txt")) == ["one", "a/b c", "two", "{brace}", "x/y"]
    for wrong, why in (("{", "no JSON"), ("key", "no JSON"), ('{"k": 1}', "no text in any of key"),
                       ('{"key": 3}', "no text"), ("[1]", "no JSON object")):  # fmt: skip
        with pytest.raises(RunError, match=rf"s\.jsonl: line 2.*{why}"):
            list(names(['{"key": "a"}', wrong], "s.jsonl"))


def test_unknown_names(out):
    """Named one by one, and the others go; dropped ones are not unknown, by key or by image_id."""
    keys = keys_of(out)
    lost = [r["image_id"] for r in rows(out) if not r["key"]][:2]
    asked = [keys[0], "nobody/1", hashlib.sha256(lost[0].encode()).hexdigest(), lost[1], "0" * 64]
    report = prune(out, asked, workers=1)
    assert (report.named, report.removed, report.gone) == (5, 1, 2)
    assert report.unknown == ["nobody/1", "0" * 64]
    check(out)
    with pytest.raises(RunError, match="none of the 2 names is of a sample"):
        prune(out, ["nobody/1", "nobody/2"], workers=1)
    with pytest.raises(RunError, match="name no sample"):
        prune(out, [], workers=1)
    check(out)


def test_a_dry_run_changes_nothing(out):
    keys = keys_of(out)
    workspace.init(out)
    files = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    dry = prune(out, keys[::3], dry_run=True)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == files
    real = prune(out, keys[::3], workers=1)
    assert dry.dry_run
    fields = ("removed", "samples", "shards", "buckets", "rewritten")
    assert [getattr(dry, f) for f in fields] == [getattr(real, f) for f in fields]


def test_nothing_would_be_left(out):
    before = exported.digests(out)
    with pytest.raises(RunError, match="nothing would be left"):
        prune(out, keys_of(out), workers=1)
    assert exported.digests(out) == before
    check(out)


# What is refused


def test_no_export(tmp_path):
    with pytest.raises(RunError, match="complete export"):
        prune(tmp_path, ["a"])
    assert list(tmp_path.iterdir()) == []


def test_one_at_a_time(out):
    with State(out), pytest.raises(RunError, match="in use by"):
        prune(out, keys_of(out)[:1])


def test_a_shard_that_is_not_the_export_s(out):
    path = exported.shards(out)[0]
    path.write_bytes(path.read_bytes() + bytes(512))
    with pytest.raises(RunError, match="is not as the export left it"):
        prune(out, keys_of(out)[:1], workers=1)
    assert not (out / STATE).exists()


def test_interrupted_work_is_known_to_others(drawn, out):
    """apply's to prune; prune's to verify, export, captions init and a dry run."""
    (out / APPLYING).parent.mkdir(parents=True)
    (out / APPLYING).write_text("{}")
    key = keys_of(out)[0]
    with pytest.raises(RunError, match="captions are being applied"):
        prune(out, [key], workers=1)
    shutil.rmtree(out / STATE)
    (out / PRUNING).parent.mkdir(parents=True)
    captions = {"1": exported.manifest(out)["caption_sources"][0]["count"]}
    exported_now = exported.manifest(out)["counts"]["exported"]
    before = {"exported": exported_now, "pruned": 0, "captions": captions}
    (out / PRUNING).write_text(json.dumps({"lists": [], "before": before}))
    (problem,) = verify(out, fast=True, workers=1).problems
    assert f"fastbucket prune {out} again" in problem.text
    with pytest.raises(RunError, match="samples are being pruned"):
        workspace.init(out)
    with pytest.raises(RunError, match="samples are being pruned"):
        fastbucket.export(drawn.paths, out, Recipe(shard_size=2), ONE)
    with pytest.raises(RunError, match="samples are being pruned"):
        prune(out, [key], dry_run=True)
    assert prune(out, [key], workers=1).resumed
    check(out)


# The rule


@pytest.mark.parametrize("n", [1, 2, 7, 24])
def test_the_rule_of_the_gaps(n):
    """As it is written down: a place below N stays, a gap takes the next that stays from N on."""
    for seed in range(1 << min(n, 7)):
        dropped = [at for at in range(n) if seed * 2654435761 >> at & 1]
        stays = [at for at in range(n) if at not in dropped]
        rest = iter([at for at in stays if at >= len(stays)])
        wanted = [at if at in stays else next(rest) for at in range(len(stays))]
        assert gaps.order([n], dropped).tolist() == wanted
        made = layout(n, dropped, 3)
        flat = [
            made.pieces.get(number) or [divmod(at, 3) for at in range(3 * number, 3 * number + 3)]
            for number in range(made.shards)
        ]
        assert [3 * s + i for shard in flat for s, i in shard][: len(wanted)] == wanted
        assert sorted([*made.kept, *made.pieces]) == list(range(-(-len(wanted) // 3)))


# The command


def test_the_command(out, tmp_path):
    keys = keys_of(out)
    listed, found = tmp_path / "keys.txt", tmp_path / "suspects.jsonl"
    listed.write_text("".join(f"{key}\n" for key in keys[:3]))
    found.write_text("".join(json.dumps({"key": key, "kind": "blank"}) + "\n" for key in keys[3:5]))

    def run(*words, code=0, **more):
        done = CliRunner().invoke(cli, ["prune", str(out), *map(str, words), "-q"], **more)
        assert done.exit_code == code, done.output
        return done

    done = run(listed, found, "--dry-run")
    assert "Would take out 5 samples" in done.stdout
    assert keys_of(out) == keys
    done = run(listed, found, "-", "--reason", "dull", "--json", code=1, input="stranger/1\n")
    facts = json.loads(done.stdout)
    assert (facts["removed"], facts["unknown"]) == (5, ["stranger/1"])
    assert "no sample of" in done.stderr
    assert "stranger/1" in done.stderr
    assert {r["detail"] for r in rows(out) if r["reason"] == "excluded"} == {"dull"}
    assert f"0 samples taken out, 3 were dropped before; {len(keys) - 5} are left" in (
        run(listed).stdout
    )
    assert CliRunner().invoke(cli, ["prune", str(out), str(tmp_path / "none")]).exit_code == 2
    (tmp_path / "latin").write_bytes("ü".encode("latin-1"))
    done = CliRunner().invoke(cli, ["prune", str(out), str(tmp_path / "latin")])
    assert isinstance(done.exception, RunError)
    assert "not UTF-8" in str(done.exception)
    check(out)


def test_suspects_hold_what_names_them():
    """Rows with more than a key, as a program writes them."""
    rows = io.StringIO('{"kind": "cluster", "key": "k1", "with": ["k2"]}\n{"key": "k3"}\n')
    assert list(names(rows, "suspects.jsonl")) == ["k1", "k3"]


# What meta/ says is not taken on trust


def test_a_wrong_place_in_meta_takes_nobody_else_out(out):
    """Two samples of a shard, their positions exchanged: nothing goes."""
    (path,) = (out / "meta").glob("*.parquet")
    table = pq.read_table(path)
    here = [i for i, row in enumerate(table.to_pylist()) if row["key"] and row["shard"] == 0]
    buckets = Counter(table["bucket_id"][i].as_py() for i in here)
    bucket = next(name for name, n in buckets.items() if n == 2)
    pair = [i for i in here if table["bucket_id"][i].as_py() == bucket]
    column = table["position"].to_pylist()
    column[pair[0]], column[pair[1]] = column[pair[1]], column[pair[0]]
    at = table.schema.get_field_index("position")
    field = table.schema.field(at)
    pq.write_table(table.set_column(at, field, pa.array(column, field.type)), path)
    before = inodes(out)
    with pytest.raises(RunError, match="as meta/ says"):
        prune(out, [table["key"][pair[0]].as_py()], workers=1)
    assert inodes(out) == before


def test_bits_that_turned_in_meta_move_nobody(out):
    """Wherever: it is an error, or means the same."""
    (path,) = (out / "meta").glob("*.parquet")
    whole, asked = path.read_bytes(), keys_of(out)[::4]
    expected, dice, told = select(out, asked), random.Random(3), 0
    for _ in range(150):
        data = bytearray(whole)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        try:
            assert select(out, asked) == expected
        except RunError:
            told += 1
    assert told > 25


def test_shards_on_another_file_system(out, monkeypatch):
    """What cannot be renamed from the state to there is copied."""
    real = os.replace

    def replace(source, target):
        if Path(source).parent != Path(target).parent and "buckets" in Path(target).parts:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    keys = keys_of(out)
    prune(out, keys[::3], workers=1)
    assert set(keys_of(out)) == set(keys) - set(keys[::3])
    check(out)
