"""The indexes beside the shards: what other tools read at them is what tarfile reads."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import exported
import pytest
import shardsets
from click.testing import CliRunner
from PIL import Image

import fastbucket
from fastbucket import Recipe, Resources, RunError, index, verify
from fastbucket.captions import application, intake, workspace
from fastbucket.cli import cli

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # wids, of its own arguments
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]


def files(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes()
            for p in sorted((out / "index").rglob("*")) if p.is_file()}  # fmt: skip


def check(out: Path) -> int:
    """Every member of every shard, read at the offset of the index; the number of samples."""
    listed = exported.shards(out)
    assert len(files(out)) == len(listed) + 1
    samples = 0
    for path in listed:
        place = path.relative_to(out / "buckets").with_suffix(".json")
        values = json.loads((out / "index/webshart" / place).read_bytes())
        data = path.read_bytes()
        assert values["filesize"] == len(data)
        with tarfile.open(path, "r:") as tar:
            assert list(values["files"]) == tar.getnames()
            for member in tar:
                entry = values["files"][member.name]
                inside = data[entry["offset"] : entry["offset"] + entry["length"]]
                assert inside == tar.extractfile(member).read()
                if member.name.endswith(".jpg"):
                    with Image.open(io.BytesIO(inside)) as image:
                        assert image.size == (entry["width"], entry["height"])
                    assert entry["aspect"] == pytest.approx(entry["width"] / entry["height"], 1e-5)
                    samples += 1
    wids = json.loads((out / "index/wids.json").read_bytes())
    found = [(out / "index" / s["url"]).resolve() for s in wids["shardlist"]]
    assert sorted(found) == [path.resolve() for path in listed]
    assert [s["filesize"] for s in wids["shardlist"]] == [p.stat().st_size for p in found]
    assert sum(s["nsamples"] for s in wids["shardlist"]) == samples
    return samples


def test_everything_is_where_the_indexes_say(any_export):
    """Of the drawn export some shards were filled: their offsets were not known while writing."""
    assert check(any_export.out) == any_export.report.exported


def test_they_are_the_same_however_they_are_made(drawn_export, tmp_path):
    """Written by the workers and for filled shards at the end, or all afterwards of the shards."""
    out = tmp_path / "out"
    shutil.copytree(drawn_export.out, out)
    before = files(out)
    assert index.write(out) == 0
    shutil.rmtree(out / "index")
    assert index.write(out) == len(before) - 1
    assert files(out) == before
    assert index.write(out, afresh=True) == len(before) - 1
    assert files(out) == before


def test_copied_jpegs_have_their_own_size(drawn, tmp_path):
    recipe = Recipe(image_mode="passthrough_jpeg", shard_size=4)
    fastbucket.export(drawn.paths, tmp_path / "out", recipe, Resources(workers=1))
    written = files(tmp_path / "out")
    check(tmp_path / "out")
    index.write(tmp_path / "out", afresh=True)
    assert files(tmp_path / "out") == written
    assert verify(tmp_path / "out", fast=True, workers=1).ok


def test_captions_move_the_offsets(drawn_export, tmp_path):
    """Applied once to all samples, then to a few alone, whose buckets are repacked."""
    out = tmp_path / "out"
    shutil.copytree(drawn_export.out, out)
    before = files(out)
    workspace.init(out)
    rows = tmp_path / "rows.jsonl"
    for variant, samples in (("all", drawn_export.samples), ("few", drawn_export.samples[::3])):
        rows.write_text("".join(
            json.dumps({"key": s.key, "caption": f"{variant} {n} " * 50}) + "\n"
            for n, s in enumerate(samples)))  # fmt: skip
        intake.take(out, rows, f"caption_{variant}")
    application.apply(out, ["caption_all"], workers=1)
    assert check(out) == drawn_export.report.exported
    assert files(out) != before
    assert verify(out, fast=True, workers=1).ok
    report = application.apply(out, ["caption_few"], "drop", workers=1)
    assert check(out) == report.samples < drawn_export.report.exported
    assert verify(out, fast=True, workers=1).ok
    written = files(out)
    index.write(out, afresh=True)
    assert files(out) == written


def test_an_index_of_another_state_of_its_shard_is_made_again(tmp_path):
    shards = shardsets.make(tmp_path / "out", {"p1024x1024": 6, "p1152x832": 2}, 4)
    right = files(shards.out)
    path = shards.out / "index/webshart/p1024x1024/shard-000000.json"
    text = path.read_text()
    stray = path.with_name("shard-000009.json")
    gone = shards.out / "index/webshart/p1x1/shard-000000.json"
    gone.parent.mkdir()
    for stale in (text.replace('"hash":"', '"hash":"0'), text[:40], ""):
        path.write_text(stale)
        stray.write_text(text)
        gone.write_text(text)
        assert index.write(shards.out) == 1
        assert files(shards.out) == right
        gone.parent.mkdir(exist_ok=True)
    (path.parents[3] / "buckets/p1152x832/shard-000000.tar").write_bytes(b"no tar" * 1000)
    shutil.rmtree(shards.out / "index")
    with pytest.raises(RunError, match=r"p1152x832/shard-000000.tar is not as it was written"):
        index.write(shards.out)
    with pytest.raises(RunError, match="is no complete export"):
        index.write(tmp_path)


SHARD, WIDS = "index/webshart/{}", "index/wids.json"
BROKEN = {  # which index, what is put in the place of what, and a word of the finding
    "an offset": (SHARD, '"offset":512,', '"offset":513,', "is at"),
    "a length": (SHARD, '"length":', '"length":1', "is at"),
    "a width": (SHARD, '"width":', '"width":1', "is at"),
    "a name": (SHARD, ".txt", ".text", "alone"),
    "the hash": (SHARD, '"hash":"', '"hash":"0', "hash is"),
    "no JSON": (SHARD, "}}", "", "is no index"),
    "no entry": (SHARD, '{"offset":512,', '{"off":1},{"offset":512,', "is no index"),
    "wids": (WIDS, '"nsamples": ', '"nsamples": 1', "does not list"),
    "no wids": (WIDS, '"shardlist"', '"shards"', "is no index"),
}


@pytest.fixture(scope="module")
def copied(drawn_export, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("copied") / "out"
    shutil.copytree(drawn_export.out, out)
    return out


@pytest.mark.parametrize("what", BROKEN)
def test_verify_finds(copied, drawn_export, what):
    name, old, new, word = BROKEN[what]
    shard = drawn_export.manifest["buckets"][0]["shards"][0]["path"]
    path = copied / name.format(shard.removeprefix("buckets/").replace(".tar", ".json"))
    right = path.read_text()
    path.write_text(right.replace(old, new))
    try:
        assert path.read_text() != right
        (problem,) = verify(copied, fast=True, workers=1).problems
    finally:
        path.write_text(right)
    assert problem.path == path.relative_to(copied).as_posix()
    assert word in problem.text
    assert "fastbucket index" in problem.text


def test_verify_knows_what_may_lie_there_and_what_may_not(copied):
    """None of our indexes, or all; Energon's beside a shard, but not beside none."""
    folder = copied / "index"
    (folder / "webshart/p1x1.json").write_text("{}")
    first = exported.shards(copied)[0]
    beside = first.with_name(first.name + ".idx")
    stray = first.with_name("shard-000777.tar.idx")
    for path in (beside, stray):
        path.write_bytes(b"")
    paths = [problem.path for problem in verify(copied, fast=True, workers=1).problems]
    assert set(paths) == {stray.relative_to(copied).as_posix(), "index/webshart/p1x1.json"}
    assert len(paths) == 2
    stray.unlink()
    beside.unlink()
    (folder / "webshart/p1x1.json").unlink()
    (folder / "wids.json").rename(copied / "kept.json")
    assert "is missing" in verify(copied, fast=True, workers=1).problems[0].text
    (copied / "kept.json").rename(folder / "wids.json")
    folder.rename(copied.parent / "index")
    assert verify(copied, fast=True, workers=1).ok
    (copied.parent / "index").rename(folder)


def test_the_command_writes_them_again(copied):
    right = files(copied)
    for path in (copied / "index").rglob("*.json"):
        path.write_text(path.read_text().replace('"length":', '"length":1'))
    result = CliRunner().invoke(cli, ["index", str(copied)])
    assert result.exit_code == 0, result.output
    assert f"{len(right) - 1} shard indexes written" in result.output
    assert files(copied) == right
    assert not (copied / ".fastbucket").exists()


def test_a_hundred_thousand_samples_take_a_second_or_so(tmp_path):
    """CPU time of text and files; a loose bound against what would be 10 times as slow."""
    sizes = (90_000, 100, 700)
    each = sum(512 + size + -size % 512 for size in sizes)
    entries = [index.Entry(f"{n:064x}", 576, 416, sizes) for n in range(1000)]
    start = time.process_time()
    for number in range(100):
        shard = index.Shard("p1152x832", number, 1000, 1000 * each + 1024, "0" * 64)
        index.write_shard(tmp_path, shard, entries)
    assert time.process_time() - start < 10


def test_wids_reads_the_export(drawn_export, monkeypatch, tmp_path):
    """As docs/indexes.md has it. webdataset had the module until 0.2; a later one has not."""
    monkeypatch.setenv("WIDS_CACHE", str(tmp_path))
    wids = pytest.importorskip("wids", reason="webdataset is of a version without wids")
    dataset = wids.ShardListDataset(
        str(drawn_export.out / "index/wids.json"), localname=lambda url: url, keep=True,
        transformations=[],
    )  # fmt: skip
    wanted = {sample.key: sample for sample in drawn_export.samples}
    assert len(dataset) == len(wanted)
    for number in range(len(dataset)):
        found = dataset[number]
        sample = wanted.pop(found["__key__"])
        assert found[".jpg"].read() == sample.jpg
        assert found[".txt"].read() == sample.txt
        assert json.loads(found[".json"].read()) == sample.json
    dataset.close()
    assert not wanted


def test_webshart_reads_the_export(drawn_export):
    """As docs/indexes.md has it, bucket by bucket; every member through webshart's reader."""
    webshart = pytest.importorskip("webshart", reason="webshart is not installed")
    out, seen = drawn_export.out, 0
    for bucket in drawn_export.manifest["buckets"]:
        name = bucket["bucket_id"]
        dataset = webshart.discover_dataset(
            source=str(out / "buckets" / name), metadata=str(out / "index/webshart" / name)
        )
        assert dataset.num_shards == len(bucket["shards"])
        loader = webshart.TarDataLoader(dataset)
        for number, path in enumerate(sorted((out / "buckets" / name).glob("*.tar"))):
            reader = dataset.open_shard(number)
            names = dataset.list_files_in_shard(number)
            with tarfile.open(path, "r:") as tar:
                assert sorted(names) == sorted(tar.getnames())
                for at, member in enumerate(names):
                    assert bytes(reader.read_file(at)) == tar.extractfile(member).read()
            shapes = loader.list_shard_aspect_buckets([number], key="geometry-tuple")[0]["buckets"]
            assert list(shapes) == [f"({bucket['target_w']}, {bucket['target_h']})"]
            seen += sum(map(len, shapes.values()))
    assert seen == drawn_export.report.exported


ENERGON = """
import sys
from megatron.energon import WorkerConfig, get_loader, get_train_dataset
config = WorkerConfig(rank=0, world_size=1, num_workers=0)
dataset = get_train_dataset(sys.argv[1], batch_size=1, worker_config=config, repeat=False,
                            shuffle_buffer_size=None, max_samples_per_sequence=None)
for batch in get_loader(dataset):
    print(batch.__key__[0].rpartition("/")[2], *batch.image.shape[-2:], len(batch.caption[0]))
"""


def test_energon_prepares_and_loads_the_export(drawn_export, tmp_path):
    """The command of docs/indexes.md, and what is loaded then."""
    if importlib.util.find_spec("megatron") is None:
        pytest.skip("megatron-energon is not installed")
    out = tmp_path / "out"
    shutil.copytree(drawn_export.out, out)
    command = [Path(sys.executable).with_name("energon"), "prepare", out, "--non-interactive"]
    command += ["--split-ratio", "1,0,0", "--sample-type", "CaptioningSample"]
    command += ["--field-map", '{"image": "jpg", "caption": "txt"}']
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=240)
    facts = json.loads((out / ".nv-meta/.info.json").read_text())
    assert sum(facts["shard_counts"].values()) == drawn_export.report.exported
    assert verify(out, fast=True, workers=1).ok
    done = subprocess.run(
        [sys.executable, "-c", ENERGON, out], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    found = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert found == {
        s.key: [str(s.json["h"]), str(s.json["w"]), str(len(s.txt.decode()))]
        for s in drawn_export.samples
    }
