"""Captions of an export: the workspace, what goes in and comes out, and applying them."""

from __future__ import annotations

import csv
import gc
import hashlib
import json
import shutil
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import exported
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import fastbucket
from fastbucket import Recipe, Resources, RunError, commit
from fastbucket.captions import application, beside, intake, listing, rewrite, survey, workspace
from fastbucket.captions.store import Sample, Store
from fastbucket.captions.text import clean
from fastbucket.cli import cli
from fastbucket.format import APPLYING, CAPTIONS, STATE
from fastbucket.repack.staging import Staging
from fastbucket.state import State
from fastbucket.verification import verify

GEMINI, MINISTRAL = "caption_gemini_2_5_flash_lite", "caption_ministral_14b_2512"
BOTH = (GEMINI, MINISTRAL)


@pytest.fixture
def out(drawn_export, tmp_path) -> Path:
    """A copy of the drawn export, in shards of two, with a workspace."""
    folder = tmp_path / "out"
    shutil.copytree(drawn_export.out, folder)
    workspace.init(folder)
    return folder


def put(out: Path, variant: str, captions: dict[str, str], model: str = "") -> int:
    with Store.open(out) as store:
        number = store.source(variant, model)
        store.put(number, [(key, text, "ok", "") for key, text in captions.items()])
    return number


def keys_of(out: Path) -> list[str]:
    return [sample.key for sample in exported.samples(out)]


def images(out: Path) -> dict[str, str]:
    return {s.key: hashlib.sha256(s.jpg).hexdigest() for s in exported.samples(out)}


def check(out: Path) -> None:
    """Sound for the verifier, and nothing left lying about."""
    assert verify(out, fast=True, workers=1).problems == []
    assert not (out / STATE).exists()
    assert not list(out.rglob("*.tmp"))


def expected_sample(sample: exported.Sample, variant: str, rank: int, number: int, text: str):
    facts = {**sample.json, "caption_variant": variant}
    facts |= {"caption_selector_index": rank, "caption_source_id": number}
    return sample.key, sample.jpg, text.encode() + b"\n", list(facts.items())


# The case of the reference


def test_the_case_of_the_reference(out, tmp_path):
    """Two variants, the second where the first is missing: all samples, no image touched."""
    before = list(exported.samples(out))
    old = images(out)
    first = {
        s.key: f"Gemini sees {s.json['image_id']}:\na ü 日本語 🐙 picture." for s in before[::3]
    }
    second = {s.key: f"Ministral sees {s.json['image_id']}." for s in before}
    prompt = tmp_path / "prompt.txt"
    prompt.write_bytes(b"Describe the image.\n")
    for variant, model, captions in (
        (GEMINI, "gemini-2.5-flash-lite", first),
        (MINISTRAL, "ministral-14b-2512", second),
    ):
        file = tmp_path / f"{variant}.jsonl"
        file.write_text("".join(json.dumps({"key": k, "caption": t}) + "\n"
                                for k, t in captions.items()))  # fmt: skip
        report = intake.take(out, file, variant, model, prompt.read_bytes())
        assert (report.stored, report.rejected) == (len(captions), "")
    found = survey.status(out, BOTH)
    counts = {GEMINI: len(first), MINISTRAL: len(before) - len(first)}
    assert (found.choice, found.without) == (counts, 0)
    report = application.apply(out, BOTH)
    assert (report.counts, report.without, report.samples) == (counts, 0, len(before))
    assert report.rewritten == report.shards == len(exported.shards(out))
    facts = exported.manifest(out)
    sha256 = hashlib.sha256(prompt.read_bytes()).hexdigest()
    ids = {entry["variant"]: entry["id"] for entry in facts["caption_sources"]}
    assert facts["caption_priority"] == [{"variant": GEMINI}, {"variant": MINISTRAL}]
    assert facts["caption_sources"] == [
        {"id": ids[v], "variant": v, "model": m, "prompt_sha256": sha256, "count": counts[v]}
        for v, m in ((GEMINI, "gemini-2.5-flash-lite"), (MINISTRAL, "ministral-14b-2512"))
    ]
    after = list(exported.samples(out))
    for sample, was in zip(after, before, strict=True):
        variant = GEMINI if sample.key in first else MINISTRAL
        text = first.get(sample.key, second[sample.key])
        wanted = expected_sample(was, variant, BOTH.index(variant), ids[variant], text)
        assert (sample.key, sample.jpg, sample.txt, list(sample.json.items())) == wanted
    assert images(out) == old
    assert verify(out, workers=1).problems == []  # decodes every image
    check(out)
    assert f"{GEMINI}: {counts[GEMINI]:,}" in (out / "README.md").read_text()


@pytest.mark.filterwarnings("ignore:unclosed file .*shard-:ResourceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_was_applied_loads(out, tmp_path):
    import datasets
    import webdataset as wds

    captions = {key: f"Caption of {key}" for key in keys_of(out)}
    put(out, GEMINI, captions)
    application.apply(out, [GEMINI])
    shards = [str(path) for path in exported.shards(out)]
    rows = wds.WebDataset(shards, shardshuffle=False).decode("pil")
    found = {row["__key__"]: row["txt"] for row in rows}
    assert found == {key: f"{text}\n" for key, text in captions.items()}
    datasets.disable_progress_bars()
    rows = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert {row["__key__"]: row["txt"] for row in rows} == found
    assert {row["json"]["caption_variant"] for row in rows} == {GEMINI}
    del rows
    gc.collect()


# Applying


def test_source_captions_are_a_variant_like_others(out, drawn_export):
    """Put anywhere in the priority; and put first again, every byte is what the export wrote."""
    shards = exported.digests(out)
    source = {s.key: s.txt for s in exported.samples(out) if s.json["caption_variant"]}
    assert 0 < len(source) < len(keys_of(out))
    put(out, GEMINI, dict.fromkeys(keys_of(out)[::2], "Gemini's"))
    report = application.apply(out, [GEMINI, "caption_source"])
    assert report.without == len(set(keys_of(out)[1::2]) - set(source))
    for at, sample in enumerate(exported.samples(out)):
        wanted = b"Gemini's\n" if at % 2 == 0 else source.get(sample.key, b"\n")
        assert sample.txt == wanted
    check(out)
    application.apply(out, ["caption_source"])
    assert exported.digests(out) == shards
    assert exported.manifest(out) == drawn_export.manifest
    assert (out / "README.md").read_text() == (drawn_export.out / "README.md").read_text()
    check(out)


def test_only_shards_that_change_are_written(out):
    samples = list(exported.samples(out))
    path = samples[0].path
    put(out, GEMINI, {s.key: "New" for s in samples if s.path == path})
    written = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in exported.shards(out)}
    report = application.apply(out, [GEMINI, "caption_source"])
    # The rank of caption_source has changed, so its samples' shards do too.
    touched = {s.path for s in samples if s.json["caption_variant"]} | {path}
    for p, facts in written.items():
        same = (p.stat().st_ino, p.stat().st_mtime_ns) == facts
        assert same == (p.relative_to(out).as_posix() not in touched)
    assert report.rewritten == len(touched) < report.shards
    inode = (out / "manifest.json").stat().st_ino
    again = application.apply(out)  # the manifest's own priority
    assert (again.rewritten, again.bytes_written) == (0, 0)
    assert (out / "manifest.json").stat().st_ino == inode
    assert again.counts == report.counts
    check(out)


@pytest.mark.parametrize("workers", [1, 2])
def test_missing_drop_repacks(out, workers):
    """Shards stay full, those that are dropped are counted, and every other stays whole."""
    before = {s.key: s for s in exported.samples(out)}
    facts = exported.manifest(out)
    keys = list(before)
    kept = set(keys[1::2]) | set(keys[:7])
    put(out, GEMINI, {key: f"Of {key}" for key in kept})
    report = application.apply(out, [GEMINI], "drop", workers)
    assert (report.samples, report.dropped, report.without) == (
        len(kept), len(keys) - len(kept), 0,
    )  # fmt: skip
    after = {s.key: s for s in exported.samples(out)}
    assert set(after) == kept
    for key, sample in after.items():
        assert (sample.jpg, sample.txt) == (before[key].jpg, f"Of {key}\n".encode())
    new = exported.manifest(out)
    assert new["counts"]["dropped"] == {**facts["counts"]["dropped"], "no_caption": report.dropped}
    assert new["missing_caption_policy"] == "drop"
    for bucket in new["buckets"]:
        assert [s["count"] for s in bucket["shards"][:-1]] == [2] * (len(bucket["shards"]) - 1)
    assert {b["bucket_id"] for b in new["buckets"]} < {b["bucket_id"] for b in facts["buckets"]}
    rows = pq.read_table(out / "meta").to_pylist()
    assert len(rows) == facts["source"]["samples"]
    assert {r["key"] for r in rows if r["reason"] == ""} == kept
    with Store.open(out) as store:
        assert {s.key: (s.bucket_id, s.shard, s.position) for s in store.samples()} == {
            r["key"]: (r["bucket_id"], r["shard"], r["position"]) for r in rows if r["key"]
        }
    check(out)
    again = application.apply(out)
    assert (again.missing, again.rewritten, again.dropped) == ("drop", 0, report.dropped)


def applied_here(out: Path, number: int, each: int) -> dict[str, str]:
    """Apply a source in this process, `each` shards at a time; what it says of the SHA-256."""
    setup = {"out": str(out), "chosen": [(number, GEMINI, 0)], "mtime": 0}
    task = rewrite.ApplyTask(setup)
    jobs = [rewrite.Job(p.parent.name, int(p.stem[6:]), "?") for p in exported.shards(out)]
    found = {}
    for at in range(0, len(jobs), each):
        group = jobs[at : at + each]
        for job, done in zip(group, task(group, lambda n: None), strict=True):
            assert done.changed
            path = out / rewrite.shard_path(job.bucket_id, job.number)
            assert done.final.bytes == path.stat().st_size
            found[path.relative_to(out).as_posix()] = done.final.sha256
    return found


@pytest.mark.parametrize("sha", [True, False], ids=["sha", "hashlib"])
def test_shards_side_by_side(out, tmp_path, monkeypatch, sha):
    """Of any two sizes, in pieces of any size, with the instructions and without: the same bytes,
    and the hash that is said of them is theirs."""
    if sha and not beside.sha256.available():
        pytest.skip("numba's target has no SHA")
    monkeypatch.setattr(beside.sha256, "available", lambda: sha)
    keys = keys_of(out)
    number = put(out, GEMINI, {key: "word " * (7 * n * n % 997 + 1) for n, key in enumerate(keys)})
    wanted = None
    for piece, each in ((beside.PIECE, 1), (beside.PIECE, 2), (512, 2), (7 * 512, 2), (1 << 16, 2)):
        copy = tmp_path / f"{piece}-{each}"
        shutil.copytree(out, copy)
        monkeypatch.setattr(beside, "PIECE", piece)
        said = applied_here(copy, number, each)
        assert said == exported.digests(copy)
        assert images(copy) == images(out)
        wanted = wanted or said
        assert said == wanted


def test_a_shard_that_is_cut_short_meanwhile(out, monkeypatch):
    """Is an error with its name, and what stood there stays."""
    number = put(out, GEMINI, dict.fromkeys(keys_of(out), "words"))
    path = exported.shards(out)[0]
    plan = rewrite.ApplyTask._plan

    def cut(self, job):
        made = plan(self, job)
        with open(path, "r+b") as file:
            file.truncate(path.stat().st_size // 2)
        return made

    monkeypatch.setattr(rewrite.ApplyTask, "_plan", cut)
    with pytest.raises(RunError, match="shorter") as error:
        applied_here(out, number, 1)
    assert str(path) in str(error.value)
    assert not list(out.rglob("*.tmp"))


def test_nothing_would_be_left(out):
    with Store.open(out) as store:
        store.source(GEMINI)
    before = exported.digests(out)
    with pytest.raises(RunError, match="nothing would be left"):
        application.apply(out, [GEMINI], "drop")
    assert exported.digests(out) == before
    check(out)


def test_a_json_in_other_words(out, tmp_path):
    """Fields are exchanged as bytes only where the document ends in exactly them."""
    path = exported.shards(out)[0]
    with tarfile.open(path) as tar:
        members = [(m.name, tar.extractfile(m).read()) for m in tar]
    members = [
        (name, json.dumps(json.loads(raw), indent=1).encode() if name.endswith("json") else raw)
        for name, raw in members
    ]
    exported.write_tar(path, members)
    raw = path.read_bytes().rstrip(b"\0")  # tarfile pads to 10 KiB
    raw += bytes(-len(raw) % 512 + 1024)
    path.write_bytes(raw)
    facts = exported.manifest(out)
    name = path.relative_to(out).as_posix()
    (shard,) = [s for b in facts["buckets"] for s in b["shards"] if s["path"] == name]
    shard |= {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    (out / "manifest.json").write_text(json.dumps(facts, indent=2))
    put(out, GEMINI, dict.fromkeys(keys_of(out), "New"))
    application.apply(out, [GEMINI])
    check(out)
    assert {s.json["caption_variant"] for s in exported.samples(out)} == {GEMINI}


def test_a_card_that_was_edited(out):
    card = out / "README.md"
    text = card.read_text().replace("# Bucketed training set", "# Octopuses")
    card.write_text(text)
    put(out, GEMINI, dict.fromkeys(keys_of(out), "New"))
    application.apply(out, [GEMINI])
    new = card.read_text()
    assert "# Octopuses" in new
    assert f"{len(keys_of(out))} samples have a caption ({GEMINI}: {len(keys_of(out))})" in new
    check(out)


def test_the_licence_stays(drawn, tmp_path):
    out = tmp_path / "out"
    fastbucket.export(drawn.paths, out, Recipe(), Resources(workers=1), licence="cc-by-4.0")
    workspace.init(out)
    put(out, GEMINI, dict.fromkeys(keys_of(out), "New"))
    application.apply(out, [GEMINI])
    assert "license: cc-by-4.0" in (out / "README.md").read_text()
    assert GEMINI in (out / "README.md").read_text()


# What is refused


def test_an_unknown_variant(out):
    with pytest.raises(RunError, match=r"no such variant in .*caption_source"):
        application.apply(out, ["caption_typo"])
    check(out)


def test_a_variant_twice(out):
    with pytest.raises(RunError, match="twice"):
        application.apply(out, ["caption_source", "caption_source"])


def test_no_workspace(drawn_export):
    with pytest.raises(RunError, match="captions init"):
        application.apply(drawn_export.out, ["caption_source"])
    with pytest.raises(RunError, match="captions init"):
        survey.status(drawn_export.out)
    assert not (drawn_export.out / STATE).exists()


def test_no_export(tmp_path):
    with pytest.raises(RunError, match="complete export"):
        workspace.init(tmp_path)
    with pytest.raises(RunError, match="complete export"):
        application.apply(tmp_path, ["caption_source"])
    assert list(tmp_path.iterdir()) == []


def test_a_shard_that_is_not_the_export_s(out):
    path = exported.shards(out)[0]
    path.write_bytes(path.read_bytes() + bytes(512))
    with pytest.raises(RunError, match="is not as the export left it"):
        application.apply(out, ["caption_source"])


def test_a_damaged_shard_of_the_right_size(out):
    path = exported.shards(out)[0]
    raw = bytearray(path.read_bytes())
    raw[:512] = bytes(512)
    path.write_bytes(raw)
    with pytest.raises(RunError, match="not as it was written"):
        application.apply(out, ["caption_source"])


def test_one_at_a_time(out):
    with State(out), pytest.raises(RunError, match="in use by"):
        application.apply(out, ["caption_source"])


def test_a_workspace_of_another_export(drawn, out):
    fastbucket.export(drawn.paths, out, Recipe(shard_size=4), Resources(workers=1), overwrite=True)
    assert survey.status(out).stale
    with pytest.raises(RunError, match="captions init"):
        application.apply(out, ["caption_source"])


def test_another_schema(out):
    with sqlite3.connect(out / CAPTIONS) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(RunError, match="schema 99"):
        Store.open(out)


def test_no_database(out):
    (out / CAPTIONS).write_bytes(b"no database at all" * 100)
    with pytest.raises(RunError, match=CAPTIONS):
        Store.open(out)


# The workspace


def test_the_workspace_holds_every_sample_in_its_place(out):
    with Store.open(out) as store:
        samples = list(store.samples())
        assert store.count() == len(samples)
        one = samples[3]
        assert list(store.samples(one.bucket_id, one.shard))[one.position] == one
        assert {s.bucket_id for s in store.samples(one.bucket_id)} == {one.bucket_id}
    assert samples == [
        Sample(s.key, s.json["image_id"], s.json["bucket_id"], int(Path(s.path).stem[-6:]), s.index)
        for s in exported.samples(out)
    ]


def test_captions_survive_a_new_export(drawn, out):
    """In other places; and captions of what is gone wait, uncounted, until it is back."""
    keys = keys_of(out)
    put(out, GEMINI, {key: f"Of {key}" for key in keys})
    ids = [s.json["image_id"] for s in exported.samples(out)]
    fastbucket.export(
        drawn.paths, out, Recipe(shard_size=5), Resources(workers=1), overwrite=True,
        exclude=ids[:4],
    )  # fmt: skip
    report = workspace.init(out)
    assert (report.samples, report.gone) == (len(keys) - 4, 4)
    found = survey.status(out, [GEMINI])
    assert (found.gone, found.choice[GEMINI], found.stale) == (4, len(keys) - 4, False)
    application.apply(out, [GEMINI])
    assert all(s.txt == f"Of {s.key}\n".encode() for s in exported.samples(out))
    check(out)
    fastbucket.export(drawn.paths, out, Recipe(shard_size=2), Resources(workers=1), overwrite=True)
    assert workspace.init(out).gone == 0
    assert survey.status(out, [GEMINI]).choice == {GEMINI: len(keys)}


def test_a_lost_workspace_is_made_of_the_shards(out):
    keys = keys_of(out)
    put(out, GEMINI, {key: f"Of {key}\nin lines" for key in keys[::2]}, "gemini")
    application.apply(out, [GEMINI, "caption_source"])
    before = exported.digests(out)
    for path in out.glob(f"{CAPTIONS}*"):
        path.unlink()
    report = workspace.init(out)
    assert report.taken[GEMINI] == len(keys[::2])
    again = application.apply(out)
    assert again.rewritten == 0
    assert exported.digests(out) == before
    check(out)


def test_init_twice_changes_nothing(out):
    put(out, GEMINI, dict.fromkeys(keys_of(out), "Mine"))

    def rows() -> list[Any]:
        with Store.open(out) as store:
            return [store.query(f"SELECT * FROM {t}") for t in ("samples", "sources", "captions")]

    before = rows()
    workspace.init(out)
    assert rows() == before


def test_store_put_and_missing(out):
    with Store.open(out) as store:
        keys = [sample.key for sample in store.samples()]
        number = store.source(GEMINI, "gemini", b"Describe.")
        assert [s.key for s in store.missing(number)] == keys
        assert [s.key for s in store.missing(number, limit=2)] == keys[:2]
        rows = [
            (keys[0], " A dog. \n", "ok", ""),
            (keys[1], "", "refused", "I cannot"),
            (keys[2], "", "error", "timeout"),
            (keys[3], " \n", "ok", ""),
        ]
        assert store.put(number, rows) == 4
        assert store.query("SELECT status, text, detail FROM captions WHERE source_id = ?",
                           (number,)) == [
            ("ok", "A dog.", ""), ("refused", "", "I cannot"), ("error", "", "timeout"),
            ("empty", "", ""),
        ]  # fmt: skip
        assert [s.key for s in store.missing(number)] == [keys[2], *keys[4:]]
        left = [s.key for s in store.missing(number, retry=("error", "refused", "empty"))]
        assert left == keys[1:]
        assert store.put(number, [(keys[0], "", "error", "late")]) == 0  # a caption stays
        assert store.put(number, [(keys[1], "A cat.", "ok", "")]) == 1
        with pytest.raises(RunError, match="no sample"):
            store.put(number, [(keys[5], "x", "ok", ""), ("f" * 64, "x", "ok", "")])
        with pytest.raises(RunError, match="NUL"):
            store.put(number, [(keys[5], "x", "ok", ""), (keys[6], "a\0b", "ok", "")])
        assert keys[5] in [s.key for s in store.missing(number)]  # all or nothing


def test_a_variant_has_one_model_and_one_prompt(out):
    with Store.open(out) as store:
        number = store.source(GEMINI)
        assert store.source(GEMINI, "gemini", b"Describe.") == number  # noted later
        assert store.source(GEMINI) == number
        with pytest.raises(RunError, match=r"model 'gemini', not 'other'"):
            store.source(GEMINI, "other")
        with pytest.raises(RunError, match="prompt"):
            store.source(GEMINI, "gemini", b"Describe it.")
        assert store.source(GEMINI, "other", b"Describe it.", replace=True) == number
        (source,) = [s for s in store.sources() if s.variant == GEMINI]
        assert source.model == "other"
        assert source.prompt_sha256 == hashlib.sha256(b"Describe it.").hexdigest()
        for bad in ("", "a-b", "a b", "ünter"):
            with pytest.raises(RunError, match="make a variant"):
                store.source(bad)


@pytest.mark.parametrize(
    ("text", "stored"),
    [("A dog.", "A dog."), ("A dog.\n", "A dog."), ("\n A\n\ndog. \r\n", "A\n\ndog."), (" ", "")],
)
def test_text_is_kept_but_for_its_ends(text, stored):
    assert clean(text) == stored


@pytest.mark.parametrize(("text", "why"), [("a\0b", "NUL at character 1"), ("\ud83d", "U+D83D")])
def test_text_that_is_refused(text, why):
    with pytest.raises(ValueError, match=why.replace("+", r"\+")):
        clean(text)


# Import and export


def write(path: Path, columns: list[str], rows: list[tuple[str, str]]) -> Path:
    """A file of captions in the format that its suffix names."""
    if path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix == ".csv":
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *rows])
    else:
        columns_ = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        pq.write_table(pa.Table.from_arrays(columns_, columns), path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("by", ["key", "__key__", "image_id"])
def test_import(out, tmp_path, suffix, by):
    samples = list(exported.samples(out))
    names = [s.json["image_id"] if by == "image_id" else s.key for s in samples]
    text = 'Inner "quotes",\ncommas; ünïcode 🐙.'
    rows = [(name, f"{n}: {text} ") for n, name in enumerate(names)]
    rows[3] = (names[3], "  \n")
    rows.append(("stranger", "Whose?"))
    rows.append((names[5], "The last counts."))
    file = write(tmp_path / f"captions{suffix}", [by, "caption"], rows)
    report = intake.take(out, file, GEMINI)
    n = len(samples)
    assert (report.rows, report.stored) == (n + 2, n - 1)
    assert (report.unmatched, report.empty, report.repeated) == (1, 1, 1)
    rejected = [json.loads(line) for line in Path(report.rejected).read_text().splitlines()]
    assert [(r["row"], r["why"], r["name"]) for r in rejected] == [
        (4, "empty", names[3]), (n + 1, "unmatched", "stranger"),
    ]  # fmt: skip
    application.apply(out, [GEMINI])
    found = [s.txt.decode() for s in exported.samples(out)]
    wanted = [f"{at}: {text}\n" for at in range(n)]
    wanted[3], wanted[5] = "\n", "The last counts.\n"
    assert found == wanted
    check(out)


def test_import_by_other_columns(out, tmp_path):
    samples = list(exported.samples(out))
    rows = [(samples[0].key, "By key"), (samples[1].json["image_id"], "By image_id")]
    file = write(tmp_path / "a.csv", ["id", "description"], rows)
    with pytest.raises(RunError, match="looked for key, __key__, image_id, there are id"):
        intake.take(out, file, GEMINI)
    report = intake.take(out, file, GEMINI, id_column="id", text_column="description")
    assert (report.stored, report.rejected) == (2, "")


def _twice() -> bytes:
    """A Parquet file with two columns of one name."""
    file = pa.BufferOutputStream()
    columns = [pa.array([words]) for words in ("k", "a", "b")]
    pq.write_table(pa.table(columns, names=["key", "caption", "caption"]), file)
    return file.getvalue().to_pybytes()


BAD = {
    "nul.jsonl": (b'{"key": "k", "caption": "a"}\n{"key": "k2", "caption": "a\\u0000b"}\n',
                  "row 2 ('k2'): NUL at character 1"),
    "surrogate.jsonl": (b'{"key": "k", "caption": "\\ud83d"}\n', "row 1 ('k'): lone surrogate"),
    "latin.jsonl": (b'{"key": "k", "caption": "a"}\n{"key": "k", "caption": "caf\xe9"}\n', "row 2"),
    "torn.jsonl": (b'{"key": "k", "caption": "a"}\n{"key": "k", "cap', "row 2"),
    "list.jsonl": (b"[1]\n", "row 1 is no JSON object"),
    "number.jsonl": (b'{"key": "k", "caption": 7}\n', "row 1"),
    "latin.csv": (b"key,caption\nk,caf\xe9\n", "row 1"),
    "ragged.csv": (b"key,caption\nk,a\nk,a,b\n", "row 2 has 3 fields"),
    "columns.csv": (b"id,words\nk,a\n", "there are id, words"),
    "empty.csv": (b"", "no column"),
    "torn.parquet": (b"PAR1 no", "torn.parquet"),
    "twice.parquet": (_twice(), "2 columns are called caption"),
    "what.txt": (b"", ".jsonl, .csv, .parquet"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_taken(out, tmp_path, name):
    """Nothing of it is: not even the rows before the bad one."""
    content, why = BAD[name]
    file = tmp_path / name
    file.write_bytes(content.replace(b'"k"', f'"{keys_of(out)[0]}"'.encode()))
    with pytest.raises(RunError) as error:
        intake.take(out, file, GEMINI)
    assert why.replace("'k'", f"'{keys_of(out)[0]}'") in str(error.value)
    with Store.open(out) as store:
        ((count,),) = store.query("SELECT count(*) FROM sources WHERE variant = ?", (GEMINI,))
    assert count == 0  # no captions, and no model that another file would then contradict
    assert not list(tmp_path.glob("*.rejected.jsonl"))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_a_file_without_rows(out, tmp_path, content):
    file = tmp_path / "none.jsonl"
    file.write_bytes(content)
    report = intake.take(out, file, GEMINI)
    assert (report.rows, report.stored, report.rejected) == (0, 0, "")


def test_a_failed_import_leaves_the_model_as_it_was(out, tmp_path):
    put(out, GEMINI, {}, model="gemini")
    file = tmp_path / "bad.jsonl"
    file.write_text("[]\n")
    with pytest.raises(RunError, match="no JSON object"):
        intake.take(out, file, GEMINI, model="another", replace=True)
    with Store.open(out) as store:
        assert {s.variant: s.model for s in store.sources()}[GEMINI] == "gemini"


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_export_goes_back_in(out, tmp_path, suffix):
    texts = {key: f"Of\n{key} 🐙" for key in keys_of(out)}
    put(out, GEMINI, texts, "gemini")
    file = tmp_path / f"all{suffix}"
    source = sum(1 for s in exported.samples(out) if s.json["caption_variant"])
    assert listing.write(out, file) == len(texts) + source
    assert listing.write(out, file, [GEMINI]) == len(texts)
    if suffix == ".jsonl":
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    else:
        rows = pq.read_table(file).to_pylist()
    assert list(rows[0]) == ["key", "image_id", "bucket_id", "variant", "model", "text"]
    assert [r["key"] for r in rows] == keys_of(out)
    assert {r["key"]: r["text"] for r in rows} == texts
    assert {(r["variant"], r["model"]) for r in rows} == {(GEMINI, "gemini")}
    assert intake.take(out, file, "caption_edited").stored == len(texts)
    with pytest.raises(RunError, match="no such variant"):
        listing.write(out, file, ["caption_typo"])
    with pytest.raises(RunError, match=r"ends in none of \.jsonl, \.parquet"):
        listing.write(out, tmp_path / "a.csv")


def test_status(out):
    keys = keys_of(out)
    put(out, GEMINI, {key: "x" * n for n, key in enumerate(keys[:9], 1)})
    with Store.open(out) as store:
        store.put(store.source(GEMINI), [(keys[20], "", "refused", "no")])
    found = survey.status(out, [GEMINI, "caption_source"])
    (row,) = [v for v in found.variants if v.variant == GEMINI]
    assert (row.ok, row.refused, row.shortest, row.median, row.longest) == (9, 1, 1, 5, 9)
    by_bucket: dict[str, int] = {}
    for sample in list(exported.samples(out))[:9]:
        bucket = sample.json["bucket_id"]
        by_bucket[bucket] = by_bucket.get(bucket, 0) + 1
    assert {b: c[GEMINI] for b, c in found.buckets.items() if GEMINI in c} == by_bucket
    assert sum(c["samples"] for c in found.buckets.values()) == len(keys)
    report = application.apply(out, [GEMINI, "caption_source"])
    assert (found.choice, found.without) == (report.counts, report.without)
    assert len(found.examples) == 10
    applied = {s.key: (s.json["caption_variant"], s.txt) for s in exported.samples(out)}
    for example in found.examples:
        assert applied[example.key] == (example.variant, example.text.encode() + b"\n")
    assert (
        survey.status(out).examples
        == survey.status(out).examples
        != (survey.status(out, seed=1).examples)
    )


# The command line


def run(*words: object) -> str:
    done = CliRunner().invoke(cli, ["captions", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_the_commands(drawn_export, tmp_path):
    """init, import, status, apply, export, each as text and where there is one as JSON."""
    out = tmp_path / "out"
    shutil.copytree(drawn_export.out, out)
    n = len(keys_of(out))
    assert f"{n} samples." in run("init", out, "-q")
    assert json.loads(run("init", out, "-q", "--json"))["samples"] == n
    rows = [(key, "New") for key in keys_of(out)]
    file = write(tmp_path / "a.jsonl", ["key", "caption"], [*rows, ("stranger", "x")])
    (tmp_path / "prompt").write_text("Describe.")
    text = run("import", out, file, "--variant", GEMINI, "--model", "m",
               "--prompt-file", tmp_path / "prompt")  # fmt: skip
    assert f"{n} captions of {n + 1} rows" in text
    assert str(tmp_path / "a.rejected.jsonl") in text
    assert GEMINI in run("status", out)
    facts = json.loads(run("status", out, "--priority", GEMINI, "--json"))
    assert facts["choice"] == {GEMINI: n}
    assert f"{n} of {n} samples have a caption" in run("apply", out, "--priority", GEMINI, "-q")
    assert json.loads(run("apply", out, "-q", "--json", "--missing", "keep"))["rewritten"] == 0
    assert f"{n} captions" in run("export", out, tmp_path / "b.jsonl", "--variant", GEMINI)
    check(out)


def test_an_interrupted_apply_is_known(out):
    """To status, verify, export and init, until it is done."""
    (out / APPLYING).parent.mkdir(parents=True)
    (out / APPLYING).write_text(json.dumps({"priority": ["caption_source"], "missing": "keep"}))
    assert survey.status(out).applying
    (problem,) = verify(out, fast=True, workers=1).problems
    assert "captions apply" in problem.text
    with pytest.raises(RunError, match="captions are being applied"):
        workspace.init(out)
    with pytest.raises(RunError, match="captions are being applied"):
        State(out)
    assert application.apply(out).resumed
    check(out)


@pytest.mark.parametrize("missing", ["keep", "drop"])
def test_a_resumed_run_finds_that_shards_are_lost(out, missing):
    """And does not call their samples dropped, whatever else was to be."""
    (out / APPLYING).parent.mkdir(parents=True)
    (out / APPLYING).write_text(json.dumps({"priority": ["caption_source"], "missing": missing}))
    lost = exported.shards(out)[-1]
    lost.unlink()
    before = exported.manifest(out)
    with pytest.raises(RunError, match="is in no shard, and nobody removed it"):
        application.apply(out)
    assert exported.manifest(out) == before
    assert not verify(out, fast=True, workers=1).ok


def test_dropped_samples_are_told_from_lost_ones(out, monkeypatch):
    """Of a run that was interrupted behind its first bucket: those are known, others are not."""
    keys = keys_of(out)
    put(out, GEMINI, dict.fromkeys(keys[::2], "words"))
    real, done = Staging.conclude, []

    def conclude(self, made, *rest):
        if done:
            raise KeyboardInterrupt
        done.extend(made)
        real(self, made, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "conclude", conclude)
        with pytest.raises(KeyboardInterrupt):
            application.apply(out, [GEMINI], "drop", workers=1)
    shutil.copytree(out, lost := out.with_name("lost"))
    victim = next(path for path in exported.shards(lost) if path.parent.name not in done)
    victim.unlink()
    with pytest.raises(RunError, match="is in no shard, and nobody removed it"):
        application.apply(lost, workers=1)
    report = application.apply(out, workers=1)
    assert (report.resumed, report.samples) == (True, len(keys[::2]))
    assert exported.manifest(out)["counts"]["dropped"]["no_caption"] == len(keys) - len(keys[::2])
    check(out)


def test_what_an_interrupted_run_left_is_swept(out):
    (out / APPLYING).parent.mkdir(parents=True)
    (out / APPLYING).write_text(json.dumps({"priority": ["caption_source"], "missing": "keep"}))
    left = commit.temporary(exported.shards(out)[0])
    left.write_bytes(b"half")
    application.apply(out)
    assert not left.exists()
    check(out)


def test_a_damaged_marker_is_told_what_to_do(out):
    (out / APPLYING).parent.mkdir(parents=True)
    (out / APPLYING).write_text('{"pri')
    with pytest.raises(RunError, match="name --priority and --missing again"):
        application.apply(out)
    assert application.apply(out, ["caption_source"], "keep").resumed
    check(out)
