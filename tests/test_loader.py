"""The loader: every sample once, over ranks and workers, in an order that can be gone on with."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections import Counter
from itertools import islice
from pathlib import Path

import exported
import numpy as np
import pytest
import shardsets
from PIL import Image

from fastbucket import Loader, RunError
from fastbucket.loader import time_ids
from fastbucket.loader.order import Epoch, Rules

ROOT = Path(__file__).resolve().parents[1]
UNEVEN = {"p1024x1024": 37, "p1152x832": 8, "p832x1152": 1, "p640x1536": 21}
"""In shards of 8: five, one full one, one of a single sample, three."""

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch and webdataset
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> shardsets.ShardSet:
    return shardsets.make(tmp_path_factory.mktemp("uneven") / "out", UNEVEN, 8)


def keys(batches) -> list[list[str]]:
    return [list(names) for (names,) in batches]


def loader(shards: shardsets.ShardSet, batch_size: int = 4, **settings) -> Loader:
    return Loader(shards.out, batch_size, fields=("__key__",), **settings)


@pytest.fixture
def as_worker(monkeypatch):
    """Plays a worker of a DataLoader: webdataset's way to name one in the environment."""

    def play(worker: int, workers: int) -> None:
        monkeypatch.setenv("WORKER", str(worker))
        monkeypatch.setenv("NUM_WORKERS", str(workers))

    return play


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [2, 3, 4, 64])
@pytest.mark.parametrize(("ranks", "workers"), [(1, 1), (1, 3), (2, 1), (3, 2), (4, 3), (8, 1)])
def test_every_sample_once_over_ranks_and_workers(
    uneven, as_worker, ranks, workers, batch_size, shuffle
):
    seen: Counter[str] = Counter()
    for rank in range(ranks):
        of_rank = 0
        for worker in range(workers):
            as_worker(worker, workers)
            made = loader(uneven, batch_size, rank=rank, ranks=ranks, shuffle=shuffle)
            batches = keys(made)
            assert all(0 < len(batch) <= batch_size for batch in batches)
            seen.update(key for batch in batches for key in batch)
            of_rank += len(batches)
        assert of_rank == len(made), "every rank has the same number, known beforehand"
    assert seen == Counter(uneven.every)


@pytest.mark.parametrize("ranks", [2, 5, 100])
def test_ranks_that_cannot_share_evenly_repeat_the_least(uneven, ranks):
    """67 samples in batches of one."""
    lengths, seen = set(), Counter()
    for rank in range(ranks):
        made = loader(uneven, 1, rank=rank, ranks=ranks)
        batches = keys(made)
        lengths.add(len(batches))
        seen.update(key for batch in batches for key in batch)
    assert lengths == {-(-67 // ranks)}
    assert set(seen) == set(uneven.every)
    assert sum(seen.values()) == ranks * -(-67 // ranks)
    assert max(seen.values()) <= 2  # of 100 ranks 33 come twice, nobody three times


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_drop_last_leaves_full_batches_alone(uneven, ranks):
    seen: Counter[str] = Counter()
    for rank in range(ranks):
        made = loader(uneven, 4, rank=rank, ranks=ranks, drop_last=True)
        batches = keys(made)
        assert {len(batch) for batch in batches} == {4}
        assert len(batches) == len(made) == (9 + 2 + 0 + 5) // ranks
        seen.update(key for batch in batches for key in batch)
    assert max(seen.values()) == 1
    with pytest.raises(RunError, match="16 full batches of 4, not one for each of 17 ranks"):
        loader(uneven, 4, rank=0, ranks=17, drop_last=True)


def test_a_batch_is_of_one_bucket_and_one_size(uneven):
    """And each sample's image, caption and facts are its own."""
    seen = 0
    for batch in Loader(uneven.out, 4):
        width, height = shardsets.TARGETS[batch["bucket_id"]]
        assert batch["jpg"].shape == (len(batch["__key__"]), height, width, 3)
        names = uneven.keys[batch["bucket_id"]]
        numbers = [names.index(key) for key in batch["__key__"]]
        assert batch["txt"] == [f"Number {n}" for n in numbers]
        assert [facts["image_id"] for facts in batch["json"]] == [f"x/{n}" for n in numbers]
        assert [int(image[0, 0, 0]) for image in batch["jpg"]] == numbers
        expected = [[height + n, width + n, 2, 1, height, width] for n in numbers]
        assert batch["time_ids"].tolist() == expected
        assert all(Path(url).parent.name == batch["bucket_id"] for url in batch["__url__"])
        seen += len(numbers)
    assert seen == len(uneven.every)


def test_the_samples_of_a_real_export(drawn_export):
    """Image, caption and JSON as tarfile reads them; the image as webdataset decodes it."""
    wanted = {sample.key: sample for sample in drawn_export.samples}
    fields = "__key__", "jpg", "txt", "json"
    for spec in ("rgb8", "pil", "bytes"):
        left = dict(wanted)
        for batch in Loader(drawn_export.out, 3, fields=fields, images=spec):
            for key, image, caption, facts in zip(*batch, strict=True):
                sample = left.pop(key)
                assert caption + "\n" == sample.txt.decode()
                assert facts == sample.json
                assert time_ids(facts)[:2] == (facts["source_h"], facts["source_w"])
                if spec == "bytes":
                    assert image == sample.jpg
                    continue
                with Image.open(io.BytesIO(sample.jpg)) as stored:
                    assert np.array_equal(np.asarray(image), np.asarray(stored))
        assert not left


def test_without_indexes_the_tars_are_walked(tmp_path):
    shards = shardsets.make(tmp_path / "out", {"p1024x1024": 11}, 4, indexed=False)
    assert not (shards.out / "index").exists()
    assert sorted(key for batch in keys(loader(shards)) for key in batch) == sorted(shards.every)


def test_the_order_is_the_seeds_and_the_epochs(uneven):
    first = loader(uneven, seed=7)
    epochs = [keys(first) for _ in range(3)]
    again = loader(uneven, seed=7)
    assert [keys(again) for _ in range(3)] == epochs
    assert epochs[0] != epochs[1] != epochs[2]
    assert keys(loader(uneven, seed=8)) != epochs[0]
    again.set_epoch(1)
    assert keys(again) == epochs[1]
    plain = loader(uneven, shuffle=False)
    assert [key for batch in keys(plain) for key in batch] == uneven.every


def test_shards_and_samples_are_shuffled_within_the_buffer():
    """A group is of whole shards; within it any sample can be anywhere."""
    rules = Rules([[100] * 10], 50, 0, True, 200, False, 1)
    groups = [[place for n in range(4) for place in Epoch(rules, e).batch(4 * g + n, 0).places]
              for e in range(2) for g in range(5)]  # fmt: skip
    for places in groups:
        shards = {shard for shard, _ in places}
        assert len(shards) == 2
        assert sorted(places) == [(shard, at) for shard in sorted(shards) for at in range(100)]
        assert places != sorted(places)
    assert [{s for s, _ in g} for g in groups[:5]] != [{s for s, _ in g} for g in groups[5:]]


def test_buckets_come_in_proportion_to_what_they_have_left():
    """Of 300, 100 and 8 batches: at every quarter of the epoch about a quarter of each is gone."""
    rules = Rules([[4] * 300, [4] * 100, [4] * 8], 4, 0, True, 0, False, 1)
    shares = np.zeros((4, 3))
    for number in range(40):
        labels = [Epoch(rules, number).batch(turn, 0).bucket for turn in range(408)]
        for quarter in range(4):
            shares[quarter] += np.bincount(labels[quarter * 102 : (quarter + 1) * 102], minlength=3)
    shares /= 40 * np.array([75, 25, 2])
    assert abs(shares[:, :2] - 1).max() < 0.05
    assert abs(shares[:, 2] - 1).max() < 0.4
    assert shares.sum() == pytest.approx(12)


@pytest.mark.parametrize("heard", [0, 1, 7, 18, 19])
def test_a_position_goes_on_exactly(uneven, heard):
    whole = loader(uneven, seed=3)
    expected = keys(whole) + keys(whole)
    first = loader(uneven, seed=3)
    running = iter(first)
    begun = keys(islice(running, heard))
    state = json.loads(json.dumps(first.state_dict()))
    second = loader(uneven, seed=3)
    second.load_state_dict(state)
    rest = keys(second) + keys(second)
    assert (begun + rest)[: len(expected)] == expected
    third = loader(uneven, seed=3)
    third.load_state_dict(third.position(0, heard))
    assert keys(third) == expected[heard : len(whole)]
    assert keys(third) == expected[len(whole) :]
    assert third.state_dict() == third.position(2, 0)


def test_a_position_within_workers_goes_on_exactly(uneven, as_worker):
    """As StatefulDataLoader keeps it: each worker's own, taken when others are ahead or behind."""
    expected = keys(loader(uneven))
    found: dict[int, list[str]] = {}
    for worker, heard in ((0, 4), (1, 2)):
        as_worker(worker, 2)
        first = loader(uneven)
        begun = keys(islice(iter(first), heard))
        second = loader(uneven)
        second.load_state_dict(first.state_dict())
        for number, batch in enumerate(begun + keys(second)):
            found[2 * number + worker] = batch
    assert [found[n] for n in sorted(found)] == expected
    as_worker(0, 3)
    with pytest.raises(RunError, match="by one of 2 workers of a DataLoader"):
        iter(_loaded(loader(uneven), first.state_dict()))


def _loaded(made: Loader, state) -> Loader:
    made.load_state_dict(state)
    return made


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"batch_size": 5}, "batch_size is another"),
        ({"seed": 1}, "seed is another"),
        ({"buffer": 3}, "buffer is another"),
        ({"shuffle": False}, "shuffle is another"),
        ({"drop_last": True}, "drop_last is another"),
        ({"rank": 0, "ranks": 2}, "the number of ranks is another"),
        ({"buckets": ["p1152x832"]}, "other numbers of samples"),
    ],
)
def test_a_position_of_other_settings_is_refused(uneven, settings, word):
    state = loader(uneven).state_dict()
    with pytest.raises(RunError, match=word):
        loader(uneven, **settings).load_state_dict(state)


def test_a_position_of_another_dataset_is_refused(uneven, tmp_path):
    state = loader(uneven).state_dict()
    smaller = shardsets.make(tmp_path / "out", {**UNEVEN, "p640x1536": 20}, 8)
    with pytest.raises(RunError, match="buckets or shards have other numbers of samples"):
        loader(smaller).load_state_dict(state)
    path = smaller.out / "manifest.json"
    path.write_text(path.read_text().replace("0" * 16, "1" * 16))
    with pytest.raises(RunError, match="it is of another export"):
        loader(smaller).load_state_dict(state)
    with pytest.raises(RunError, match="no position"):
        loader(smaller).load_state_dict({"epoch": 1})


def test_one_bucket_alone(uneven):
    made = loader(uneven, buckets=["p640x1536"])
    assert made.samples == 21
    assert sorted(k for b in keys(made) for k in b) == sorted(uneven.keys["p640x1536"])


def test_map_is_called_with_every_batch(uneven):
    made = Loader(uneven.out, 4, fields=("txt",), map=lambda batch: len(batch[0]))
    assert sum(made) == 67


def test_errors_name_the_thing_at_fault(uneven, tmp_path):
    with pytest.raises(RunError, match="holds no complete export"):
        Loader(tmp_path, 4)
    with pytest.raises(RunError, match="there is no 'p1x1'"):
        loader(uneven, buckets=["p1x1"])
    with pytest.raises(RunError, match="'png' is none of"):
        Loader(uneven.out, 4, fields=("png",))
    with pytest.raises(RunError, match="'rgb9' is none of bytes, l, l8"):
        loader(uneven, images="rgb9")
    with pytest.raises(RunError, match="rank 2 is none of 2"):
        loader(uneven, rank=2, ranks=2)
    shards = shardsets.make(tmp_path / "out", {"p1024x1024": 9}, 4)
    made = loader(shards)
    path = shards.out / "buckets/p1024x1024/shard-000001.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[:-512])
    with pytest.raises(RunError, match=r"shard-000001.tar is of \d+ bytes"):
        keys(made)
    with pytest.raises(RunError, match=r"shard-000001.tar is missing, or not of"):
        loader(shards)
    path.write_bytes(bytes(512) + whole[512:])
    with pytest.raises(RunError, match=r"shard-000001.tar: no sample at byte 0"):
        keys(loader(shards))
    made = loader(shards)
    path.unlink()
    with pytest.raises(RunError, match=r"shard-000001.tar: cannot be opened"):
        keys(made)


def test_a_damaged_image_is_an_error_and_never_grey(tmp_path):
    shards = shardsets.make(tmp_path / "out", {"p1024x1024": 2}, 4)
    path = shards.out / "buckets/p1024x1024/shard-000000.tar"
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xd9")
    data[at : at + 2] = b"\0\0"
    path.write_bytes(data)
    with pytest.raises(RunError, match=rf"{shards.every[0]}.jpg"):
        list(Loader(shards.out, 2))


def test_memory_does_not_grow_with_the_dataset(tmp_path):
    """The peak of an epoch over 16 times the samples: a batch, and what stands in order.py."""
    peaks = []
    for name, count in (("small", 100), ("large", 1600)):
        shards = shardsets.make(tmp_path / name, {"p1024x1024": count, "p1152x832": count}, 64)
        made = Loader(shards.out, 8, buffer=256)
        epochs = []
        for _ in range(3):  # the least of three: what is loaded or collected meanwhile is not ours
            tracemalloc.start()
            assert sum(len(batch["txt"]) for batch in made) == 2 * count
            epochs.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        peaks.append(min(epochs))
    assert peaks[1] < peaks[0] + 300_000, peaks


def test_the_order_of_14_million_samples_is_small_and_quick():
    """As stated: 6 bytes a batch, and two groups a bucket."""
    rules = Rules([[1024] * 342] * 40, 16, 0, True, 16384, False, 8)
    tracemalloc.start()
    order = Epoch(rules, 0)
    for turn in range(0, rules.rounds(), 2000):
        assert len(order.batch(turn, turn % 8).places) == 16
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


def test_a_loader_can_be_pickled(uneven):
    made = loader(uneven)
    expected = keys(made)
    copy = pickle.loads(pickle.dumps(made))
    copy.set_epoch(0)
    assert keys(copy) == expected


def test_ranks_of_the_environment(uneven, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    made = loader(uneven)
    assert (made.rank, made.ranks) == (1, 3)


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from fastbucket import Loader, RunError
seen = sum(len(batch["txt"]) for batch in Loader(sys.argv[1], 4))
try:
    Loader(sys.argv[1], 4, images="torchrgb8")
except RunError as error:
    print(seen, error)
"""


def run(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torch_is_not_needed(uneven):
    said = run(WITHOUT_TORCH, uneven.out)
    assert said == "67 images: 'torchrgb8' needs torch; 'rgb8' does without\n"


TORCH = """
import json, sys, torch
from itertools import islice
from torch.utils.data import DataLoader
from fastbucket import Loader

def loader(**more):
    return Loader(sys.argv[1], 4, images="torchrgb8", **more)

def keys(batches):
    found = []
    for batch in batches:
        assert batch["jpg"].dtype == torch.uint8 and batch["jpg"].shape[1] == 3
        assert len(batch["jpg"]) == len(batch["__key__"])
        found.append(batch["__key__"])
    return found

if __name__ == "__main__":
    torch.set_num_threads(1)
    here = loader()
    said = {"here": [keys(here), keys(here)], "length": len(here)}
    for workers in (0, 2):
        made = loader().dataloader(workers)
        assert len(made) == len(here)
        said[f"workers {workers}"] = [keys(made), keys(made)]
    plain = loader(rank=1, ranks=2)
    said["rank"] = keys(DataLoader(plain, batch_size=None, num_workers=2))
    later = loader()
    later.load_state_dict(later.position(0, 5))
    said["position"] = keys(later.dataloader(2))
    try:
        from torchdata.stateful_dataloader import StatefulDataLoader
    except ImportError:
        StatefulDataLoader = None
    for workers in (0, 2) if StatefulDataLoader else ():
        def stateful():
            return StatefulDataLoader(loader(), batch_size=None, num_workers=workers)
        for heard in (0, 5, 19):
            first = stateful()
            running = iter(first)
            begun = keys(islice(running, heard))
            state = first.state_dict()
            second = stateful()
            second.load_state_dict(state)
            said[f"stateful {workers} {heard}"] = begun + keys(second)
        ended = stateful()
        keys(ended)
        state = ended.state_dict()
        second = stateful()
        second.load_state_dict(state)
        print(workers, "after the end", len(keys(second)), len(keys(second)), file=sys.stderr)
    print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def torch_said(uneven, tmp_path_factory):
    """In a process of its own: workers are forked, and this one has threads of libvips."""
    pytest.importorskip("torch", reason="torch is no dependency, not even of the tests")
    script = tmp_path_factory.mktemp("torch") / "load.py"
    script.write_text(TORCH)
    return json.loads(run(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')",
                          uneven.out))  # fmt: skip


def test_dataloader_workers_change_nothing(torch_said, uneven):
    """Order and epochs are those of the loader alone, with as many workers as you like."""
    here = torch_said["here"]
    assert sorted(key for batch in here[0] for key in batch) == sorted(uneven.every)
    assert [len(epoch) for epoch in here] == [torch_said["length"]] * 2
    assert torch_said["workers 0"] == torch_said["workers 2"] == here
    assert here[0] != here[1]
    assert torch_said["position"] == here[0][5:]
    assert torch_said["rank"] == keys(loader(uneven, rank=1, ranks=2))


def test_stateful_dataloader_goes_on_exactly(torch_said):
    pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")
    found = {name: batches for name, batches in torch_said.items() if "stateful" in name}
    assert len(found) == 6
    for name, batches in found.items():
        assert batches == torch_said["here"][0], name


def test_what_the_export_of_the_tests_holds(drawn_export):
    """The loader's counts are those of tarfile."""
    assert Loader(drawn_export.out, 4).samples == len(list(exported.samples(drawn_export.out)))
