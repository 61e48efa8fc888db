"""An export loads with what people load it with: webdataset, datasets, torch, tarfile, GNU tar."""

from __future__ import annotations

import dataclasses
import gc
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from types import SimpleNamespace

import exported
import numpy as np
import pytest
from conftest import Export
from PIL import Image

from fastbucket.captions import application, workspace
from fastbucket.captions.store import Store
from fastbucket.card import LOADING, edit
from fastbucket.pruning import prune
from fastbucket.verification import verify

# Shortcomings of the loaders, not ours.
IGNORED = [
    "ignore:unclosed file .*shard-:ResourceWarning",  # webdataset leaves the tars it read open
    "ignore::DeprecationWarning",  # what they use of one another and of Python, by version
    "ignore::FutureWarning",
]
pytestmark = [pytest.mark.filterwarnings(line) for line in IGNORED]


@pytest.fixture(autouse=True)
def collected():
    """What a loader left open is closed, and warned of, within the test that left it."""
    yield
    gc.collect()


def expected(export) -> dict[str, exported.Sample]:
    return {sample.key: sample for sample in export.samples}


def same_pixels(image: Image.Image, jpg: bytes) -> bool:
    with Image.open(io.BytesIO(jpg)) as stored:
        return image.size == stored.size and np.array_equal(
            np.asarray(image.convert("RGB")), np.asarray(stored)
        )


def test_webdataset(any_export):
    """As in the issue: every sample once, decoded, in the order of the shards."""
    import webdataset as wds

    shards = [str(path) for path in exported.shards(any_export.out)]
    dataset = wds.WebDataset(shards, shardshuffle=False)
    found = list(dataset.decode("pil").to_tuple("jpg", "txt", "json"))
    assert len(found) == any_export.report.exported
    for (image, caption, facts), sample in zip(found, any_export.samples, strict=True):
        assert same_pixels(image, sample.jpg)
        assert caption == sample.txt.decode()
        assert facts == sample.json


def test_webdataset_reads_the_key_before_the_first_dot(drawn_export):
    import webdataset as wds

    shards = [str(path) for path in exported.shards(drawn_export.out)]
    keys = [sample["__key__"] for sample in wds.WebDataset(shards, shardshuffle=False)]
    assert keys == [sample.key for sample in drawn_export.samples]


def check_rows(rows, export) -> None:
    """Rows of `datasets` against what lies in the tars, each sample once."""
    wanted = expected(export)
    for row in rows:
        sample = wanted.pop(row["__key__"])
        assert same_pixels(row["jpg"], sample.jpg)
        assert row["txt"] == sample.txt.decode()
        assert row["json"] == sample.json
    assert not wanted


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of `datasets` for one test; conftest took it off the network."""
    import datasets

    datasets.disable_progress_bars()
    return str(tmp_path / "cache")


def test_datasets_streaming(any_export, cache):
    import datasets

    dataset = datasets.load_dataset(
        str(any_export.out), split="train", streaming=True, cache_dir=cache
    )
    check_rows(dataset, any_export)


def test_datasets(any_export, cache):
    import datasets

    dataset = datasets.load_dataset(str(any_export.out), cache_dir=cache)
    assert list(dataset) == ["train"]
    check_rows(dataset["train"], any_export)
    features = dataset["train"].features
    assert type(features["jpg"]).__name__ == "Image"
    assert (features["txt"].dtype, features["json"]["scale"].dtype) == ("string", "float64")


def test_datasets_of_one_bucket(drawn_export, cache):
    import datasets

    bucket = drawn_export.manifest["buckets"][-1]
    name = bucket["bucket_id"]
    assert name in datasets.get_dataset_config_names(str(drawn_export.out), cache_dir=cache)
    rows = datasets.load_dataset(
        str(drawn_export.out), name, split="train", streaming=True, cache_dir=cache
    )
    found = [row["jpg"].size for row in rows]
    assert found == [(bucket["target_w"], bucket["target_h"])] * bucket["count"]


STRANGERS = (
    "report.html", "suspects.html", "suspects.jsonl", "notes.csv", "LICENSE",
)  # fmt: skip
"""What other commands, and people, put into the folder of an export."""


@pytest.fixture(scope="module")
def curated(drawn_export, tmp_path_factory) -> Export:
    """An export that has been through everything: captions, prune, a card with all that a user can
    say; with other files beside it."""
    out = tmp_path_factory.mktemp("curated") / "out"
    shutil.copytree(drawn_export.out, out)
    workspace.init(out)
    keys = [sample.key for sample in drawn_export.samples]
    with Store.open(out) as store:
        number = store.source("caption_one", "model: 'one'")
        store.put(number, [(key, f"Of {key}", "ok", "") for key in keys[::2]])
    application.apply(out, ["caption_one", "caption_source"], workers=1)
    prune(out, keys[1::4], workers=1)
    edit(out, "Octopuses: 'a' #1", "cc-by-4.0", "https://example.org/x", "Notes: - a\n\n---\n")
    for name in STRANGERS:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text('{"key": "stranger"}\n')
    return dataclasses.replace(drawn_export, out=out)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_datasets_of_a_curated_export(curated, cache, streaming, whole):
    """All of it, or one bucket; and nothing of what lies beside."""
    import datasets

    name = "p1152x832"
    samples = [s for s in exported.samples(curated.out) if whole or s.json["bucket_id"] == name]
    assert len(samples) > 1
    rows = datasets.load_dataset(
        str(curated.out), *([] if whole else [name]), split="train", streaming=streaming,
        cache_dir=cache,
    )  # fmt: skip
    check_rows(rows, SimpleNamespace(samples=samples))


def test_configurations_of_a_curated_export(curated, cache):
    import datasets

    names = datasets.get_dataset_config_names(str(curated.out), cache_dir=cache)
    buckets = exported.manifest(curated.out)["buckets"]
    assert names == ["default", *(bucket["bucket_id"] for bucket in buckets)]
    assert verify(curated.out, fast=True, workers=1).problems == []


def test_tarfile(any_export):
    """Names and order; content is read by all the other tests through tarfile."""
    count = 0
    for path in exported.shards(any_export.out):
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                assert member.isreg()
                assert not member.pax_headers
                assert (member.mode, member.uid, member.gid) == (0o644, 0, 0)
                assert (member.uname, member.gname, member.mtime) == ("", "", 0)
                count += 1
    assert count == 3 * any_export.report.exported


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no tar on this machine")
def test_gnu_tar(any_export, tmp_path):
    """Lists and unpacks every shard without a word on stderr."""
    for number, path in enumerate(exported.shards(any_export.out)):
        listed = subprocess.run(
            ["tar", "-tf", path], capture_output=True, text=True, check=True, timeout=60
        )
        assert listed.stderr == ""
        with tarfile.open(path) as tar:
            assert listed.stdout.split() == tar.getnames()
        folder = tmp_path / str(number)
        folder.mkdir()
        unpacked = subprocess.run(
            ["tar", "-xf", path, "-C", folder], capture_output=True, text=True, timeout=60
        )
        assert (unpacked.returncode, unpacked.stderr) == (0, "")
    files = {path.name: path for path in tmp_path.rglob("*.*") if path.is_file()}
    assert len(files) == 3 * any_export.report.exported
    for key, sample in expected(any_export).items():
        assert files[f"{key}.jpg"].read_bytes() == sample.jpg
        assert files[f"{key}.txt"].read_bytes() == sample.txt
        assert json.loads(files[f"{key}.json"].read_text(encoding="utf-8")) == sample.json


TORCH = """
import io, sys
import torch, webdataset as wds

if __name__ == "__main__":
    dataset = wds.WebDataset(sys.argv[1:], shardshuffle=False, empty_check=False)
    dataset = dataset.decode("torchrgb8").to_tuple("__key__", "jpg", "txt", "json")
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2)
    for key, image, caption, facts in loader:
        print(key, *image.shape, facts["image_id"])
"""


def test_torch_dataloader_of_two_workers(any_export, tmp_path):
    """In a process of its own: workers are forked, and this process has threads of libvips."""
    pytest.importorskip("torch", reason="torch is no dependency, not even of the tests")
    script = tmp_path / "load.py"
    script.write_text(TORCH)
    shards = [str(path) for path in exported.shards(any_export.out)]
    done = subprocess.run(
        [sys.executable, script, *shards], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for line in done.stdout.splitlines():
        key, bands, height, width, image_id = line.split()
        assert key not in found
        found[key] = (int(bands), int(width), int(height), image_id)
    assert found == {
        key: (3, sample.json["w"], sample.json["h"], sample.json["image_id"])
        for key, sample in expected(any_export).items()
    }


def test_the_snippet_of_the_card_runs(drawn_export, tmp_path):
    """What the card tells people to type, typed."""
    bucket = drawn_export.manifest["buckets"][-1]
    text = LOADING.format(path=drawn_export.out, bucket=bucket["bucket_id"])
    first, second = (part.removeprefix("python\n") for part in text.split("```")[1::2])
    code = f"{first}\nprint(caption.strip() != '!', dataset.features['txt'].dtype)\n"
    code += f"{second}\nprint(len(dataset))\n"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "HF_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "string", str(bucket["count"])]


def test_loading_leaves_the_export_as_it_is(drawn_export):
    """Runs after the loaders: none of them wrote anything into the folder."""
    names = {path.name for path in drawn_export.out.iterdir()}
    assert names == {"manifest.json", "README.md", "run.json", "buckets", "index", "meta"}
