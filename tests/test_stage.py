"""The transcoder in other pipelines: the samples of an export, by any number of threads."""

from __future__ import annotations

import json
import logging
import pickle
import threading
import time

import exported
import pytest
from tars import PNG

import fastbucket
from fastbucket import Recipe, SampleError, Transcoded, Transcoder
from fastbucket.format import SAMPLE_FIELDS
from fastbucket.stage import Stage, image_suffix
from fastbucket.threads import ordered

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),  # of webdataset
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def staged(paths, stage: Stage) -> list[dict]:
    import webdataset as wds

    urls = [str(path) for path in paths]
    return list(wds.WebDataset(urls, shardshuffle=False).compose(stage))


@pytest.fixture(scope="module")
def stage() -> Stage:
    return fastbucket.webdataset_stage(Recipe(shard_size=2))


@pytest.fixture(scope="module")
def samples(drawn, stage) -> list[dict]:
    return staged(drawn.paths, stage)


def test_the_samples_of_an_export(drawn_export, samples, stage):
    found = {sample["__key__"]: sample for sample in samples}
    assert len(found) == len(samples)
    for wanted in drawn_export.samples:
        sample = found.pop(wanted.key)
        assert sample["jpg"] == wanted.jpg
        assert sample["txt"] == wanted.txt
        document = json.loads(sample["json"])
        assert list(document)[: len(SAMPLE_FIELDS)] == list(SAMPLE_FIELDS)
        # webdataset hands over suffixes in lower case; and a field that the sample has not is not
        # carried where no other sample is looked at.
        assert document.pop("source_member").lower() == wanted.json["source_member"].lower()
        assert document.items() <= wanted.json.items()
        assert sample["__bucket__"] == wanted.json["bucket_id"]
        assert sample["__url__"].endswith(wanted.json["source_archive"] + ".tar")
    # What is left is what only an export can know of.
    dropped = dict(drawn_export.report.dropped)
    assert len(found) == dropped.pop("duplicate") > 0
    assert stage.dropped == dropped


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing(drawn, samples, threads):
    again = fastbucket.webdataset_stage(Recipe(shard_size=2), threads=threads)
    assert staged(drawn.paths, again) == samples


def test_every_drop_is_told(drawn, caplog):
    told: list[SampleError] = []
    stage = fastbucket.webdataset_stage(handler=told.append)
    with caplog.at_level(logging.INFO, "fastbucket"):
        kept = staged(drawn.paths, stage)
    assert sum(stage.dropped.values()) == len(told) > 0
    assert all(error.reason in stage.dropped and "/" in error.sample for error in told)
    (line,) = (record.getMessage() for record in caplog.records if record.name == "fastbucket")
    assert line.startswith(f"{len(kept) + len(told)} samples, dropped: ")
    assert all(f"{reason} {n}" in line for reason, n in stage.dropped.items())

    import webdataset as wds

    with pytest.raises(SampleError):
        staged(drawn.paths, fastbucket.webdataset_stage(handler=wds.reraise_exception))


def test_captions(drawn):
    field = Recipe(
        caption_field="title", missing_caption_policy="drop", carry=("title", "none_such")
    )
    jpeg = exported.image_of(
        next(m for m in exported.source_members(drawn.paths).values() if "jpg" in m)
    )
    stage = fastbucket.webdataset_stage(field)
    rows = [
        {"__key__": "a", "__url__": "x/val-1.tar", "jpg": jpeg, "json": b'{"title": "words"}'},
        {"__key__": "b", "__url__": "x/val-1.tar", "jpg": jpeg, "txt": b"own\n"},
        {"__key__": "c", "__url__": "x/val-1.tar", "jpg": jpeg},
    ]
    found = list(stage(rows))
    assert [sample["txt"] for sample in found] == [b"words\n", b"own\n"]
    facts = json.loads(found[0]["json"])
    assert (facts["title"], facts["none_such"], facts["source_split"]) == ("words", "", "val")
    assert facts["image_id"] == "val-1/a"
    assert stage.dropped == {"no_caption": 1}


@pytest.mark.parametrize(
    ("members", "image"),
    [
        ({"png": PNG, "jpg": b"\xff\xd8\xff\xe0"}, "png"),
        ({"npy": b"x", "bin": b"\xff\xd8\xff\xe0", "jpg": b"<html>"}, "bin"),
        ({"npy": b"x", "jpg": b"<html>", "txt": b"\xff\xd8\xff\xe0"}, "jpg"),
        ({"npy": b"x", "__url__": b"\xff\xd8\xff\xe0"}, None),
    ],
)
def test_which_member_is_the_image(members, image):
    """By the rule of the scan, which test_tarwalk has."""
    if image is None:
        with pytest.raises(SampleError, match="no_image"):
            image_suffix(members)
    else:
        assert image_suffix(members) == image


def test_it_goes_to_workers_of_a_dataloader(drawn, samples):
    loader = pytest.importorskip("torch.utils.data", reason="torch is no dependency")
    import webdataset as wds

    urls = [str(path) for path in drawn.paths]
    stage = pickle.loads(pickle.dumps(fastbucket.webdataset_stage(Recipe(shard_size=2))))
    dataset = wds.WebDataset(urls, shardshuffle=False, empty_check=False).compose(stage)
    # Not by fork: this process has used libvips, whose threads would be missing there.
    workers = loader.DataLoader(
        dataset, batch_size=None, num_workers=2, multiprocessing_context="spawn"
    )
    found = list(workers)
    assert {s["__key__"]: s["jpg"] for s in found} == {s["__key__"]: s["jpg"] for s in samples}


# -- Transcoder.map


@pytest.mark.parametrize("threads", [1, 3])
def test_map_is_transcode_in_order(drawn_export, threads):
    images = {name: exported.image_of(parts) for name, parts in drawn_export.source.items()}
    pairs = [(image, name) for name, image in images.items() if image is not None]
    results = list(Transcoder(Recipe()).map(pairs, threads))
    assert len(results) == len(pairs)
    made = {name: r.jpeg for (_, name), r in zip(pairs, results, strict=True)
            if isinstance(r, Transcoded)}  # fmt: skip
    wanted = {sample.json["image_id"]: sample.jpg for sample in drawn_export.samples}
    assert made.items() >= wanted.items()
    errors = [r for r in results if isinstance(r, SampleError)]
    assert len(errors) + len(made) == len(pairs)
    assert {"too_small", "undecodable", "unreadable"} <= {error.reason for error in errors}


def test_a_transcoder_goes_elsewhere_as_its_recipe(drawn_export):
    again = pickle.loads(pickle.dumps(Transcoder(Recipe(quality=80))))
    assert again.recipe == Recipe(quality=80)


def test_results_come_in_order_and_little_is_taken_ahead():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number

    found = ordered(lambda: work, items(), 4)
    assert next(found) == 0
    assert len(taken) <= 16
    assert [next(found) for _ in range(10)] == list(range(1, 11))
    found.close()  # and no thread is left
    assert len(taken) <= 32
    assert not [t for t in threading.enumerate() if t.name.startswith("fastbucket")]


def test_each_thread_has_its_own_tools():
    made: list[int] = []

    def make():
        owner = threading.get_ident()
        made.append(owner)

        def work(number: int) -> int:
            assert threading.get_ident() == owner
            time.sleep(0.001)
            return number

        return work

    assert list(ordered(make, range(50), 3)) == list(range(50))
    assert 1 <= len(made) == len(set(made)) <= 3


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_raised_comes_out(threads):
    def broken():
        yield 1
        raise OSError("the source")

    def work(number: int) -> float:
        return 1 / number

    found = ordered(lambda: work, broken(), threads)
    assert next(found) == 1.0  # what came before is not lost
    with pytest.raises(OSError, match="the source"):
        next(found)
    with pytest.raises(ZeroDivisionError):
        list(ordered(lambda: work, [1, 0, 1], threads))
