"""A task: samples that are made together, step by step, come out as one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from exported import write_tar
from shardtasks import Planned, Unheard

from fastbucket import Recipe, task
from fastbucket.draw import draw
from fastbucket.drawn_source import photo_jpeg
from fastbucket.errors import SampleError
from fastbucket.progress import GOING_ON
from fastbucket.records import Record

RECIPE = Recipe(base_resolution=256, shard_size=64, duplicates="keep")
SAMPLES = 37  # no multiple of what is made together
DAMAGED = (3, 4, 20)


def damaged(jpeg: bytes) -> bytes:
    """With a header as before, and half of its pixels."""
    return jpeg[: len(jpeg) // 2]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    members = []
    for number in range(SAMPLES):
        jpeg = photo_jpeg(draw(420 + number, 300 + number % 5, number))
        members += [
            (f"{number:03d}.cls", b"%d" % number),
            (f"{number:03d}.jpg", damaged(jpeg) if number in DAMAGED else jpeg),
            (f"{number:03d}.json", b'{"label": %d}' % number),
            (f"{number:03d}.txt", b"caption %d" % number),
        ]
    return write_tar(tmp_path_factory.mktemp("together") / "train-0000.tar", members)


def made(source: Path, out: Path) -> tuple[bytes, Record]:
    planned = Planned([source], out, RECIPE)
    assert len(planned.plan.shards) == 1
    record = planned.make(0)
    (shard,) = out.rglob("*.tar")  # with gaps it waits within the state
    return shard.read_bytes(), record


@pytest.fixture(scope="module")
def alone(source, tmp_path_factory) -> tuple[bytes, Record]:
    """The shard, made sample by sample."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(task, "_TOGETHER", 1)
        return made(source, tmp_path_factory.mktemp("alone") / "out")


@pytest.mark.parametrize("together", [2, 5, 16, 100])
@pytest.mark.parametrize("size", [4 << 20, 1 << 16])
def test_however_many_are_made_together(source, alone, tmp_path, monkeypatch, together, size):
    monkeypatch.setattr(task, "_TOGETHER", together)
    monkeypatch.setattr(task, "_TOGETHER_BYTES", size)
    shard, record = made(source, tmp_path / "out")
    assert shard == alone[0]
    assert record._replace(nanoseconds={}) == alone[1]._replace(nanoseconds={})
    assert [drop.position for drop in record.drops] == list(DAMAGED)
    assert {drop.reason for drop in record.drops} == {"undecodable"}


class Places(Unheard):
    """Where the task was, in turn; as in a worker, one position may be refused."""

    def __init__(self, refused: int | None = None) -> None:
        self.seen: list[int | None] = []
        self._refused = refused

    def at(self, position: int | None) -> None:
        self.seen.append(position)
        if position is not None and position == self._refused:
            raise SampleError("decoder_crash", "it has ended processes")


def test_a_drive_is_read_at_no_position_and_pixels_are_at_theirs(source, tmp_path):
    planned, places = Planned([source], tmp_path / "out", RECIPE), Places()
    planned.task((0,), places)
    positions = [place for place in places.seen if place not in (None, GOING_ON)]
    assert positions == list(range(SAMPLES))  # each once, in order: a trial ends behind its suspect
    first = places.seen.index(0)
    assert set(places.seen[:first]) == {GOING_ON}
    assert places.seen[first : first + task._TOGETHER] == list(range(task._TOGETHER))
    assert places.seen[first + task._TOGETHER] is None  # what is slow now is the drive


def test_a_refused_sample_is_dropped_and_its_neighbours_are_not(source, alone, tmp_path):
    planned = Planned([source], tmp_path / "out", RECIPE)
    (record,) = planned.task((0,), Places(refused=7))
    drops = {drop.position: drop.reason for drop in record.drops}
    assert drops == {**dict.fromkeys(DAMAGED, "undecodable"), 7: "decoder_crash"}
    assert list(drops) == sorted(drops)
    assert record.kept == [position for position in alone[1].kept if position != 7]


def test_large_images_are_alone_and_their_buffers_go(source, tmp_path, monkeypatch):
    planned = Planned([source], tmp_path / "out", RECIPE)
    rows = planned.rows(0)
    largest = max(row["image_size"] for row in rows)
    monkeypatch.setattr(task, "_TOGETHER_BYTES", largest - 1)
    groups = list(planned.task._together([{**row, "archive": 0} for row in rows]))
    assert [position for group in groups for position in group] == list(range(SAMPLES))
    sizes = [[rows[position]["image_size"] for position in group] for group in groups]
    assert all(len(group) == 1 or sum(group) < largest for group in sizes)
    assert [largest] in sizes
    monkeypatch.setattr(task, "_KEPT", 1)
    planned.make(0)
    first, *others = planned.task._buffers
    assert len(first) >= largest // 2
    assert not any(map(len, others))
