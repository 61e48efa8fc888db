"""A task: samples that are made together, step by step, come out as one by one."""

from __future__ import annotations

import gc
from pathlib import Path

import pyarrow as pa
import pytest
from exported import write_tar
from shardtasks import Planned, Unheard

from fastbucket import Recipe, task
from fastbucket.draw import draw
from fastbucket.drawn_source import photo_jpeg
from fastbucket.engines import worker
from fastbucket.errors import SampleError
from fastbucket.format import STATE
from fastbucket.progress import GOING_ON
from fastbucket.records import Record
from fastbucket.sample import Given
from fastbucket.sources import tar
from fastbucket.transcode import Transcoded

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
@pytest.mark.parametrize("size", [2 << 20, 1 << 16])
def test_however_many_are_made_together(source, alone, tmp_path, monkeypatch, together, size):
    monkeypatch.setattr(task, "_TOGETHER", together)
    monkeypatch.setattr(task, "_TOGETHER_BYTES", size)
    shard, record = made(source, tmp_path / "out")
    assert shard == alone[0]
    assert record._replace(nanoseconds={}) == alone[1]._replace(nanoseconds={})
    assert [drop.position for drop in record.drops] == list(DAMAGED)
    assert {drop.reason for drop in record.drops} == {"undecodable"}


class Places(Unheard):
    """Where the task was, in turn."""

    def __init__(self) -> None:
        self.seen: list[int | None] = []

    def at(self, position: int | None) -> None:
        self.seen.append(position)


def test_a_drive_is_read_at_no_position_and_pixels_are_at_theirs(source, tmp_path):
    planned, places = Planned([source], tmp_path / "out", RECIPE), Places()
    planned.task((0,), places)
    positions = [place for place in places.seen if place not in (None, GOING_ON)]
    assert positions == list(range(SAMPLES))
    first = places.seen.index(0)
    assert set(places.seen[:first]) == {GOING_ON}
    assert places.seen[first : first + task._TOGETHER] == list(range(task._TOGETHER))
    assert places.seen[first + task._TOGETHER] is None  # what is slow now is the drive


def test_a_group_without_a_sample_is_left_behind(source, tmp_path, monkeypatch):
    """Else what comes next, opening an archive maybe, would be at the place of its last one."""
    planned, places = Planned([source], tmp_path / "out", RECIPE), Places()
    monkeypatch.setattr(
        planned.task, "_together", lambda rows, careful: [range(3), range(3, 5), range(5, 20)]
    )
    planned.task((0,), places)
    assert places.seen[places.seen.index(4) + 1] == GOING_ON
    assert places.seen[places.seen.index(2) + 1] is None


class Connection:
    """Of a worker whose parent is not there."""

    def send(self, message: object) -> None: ...


def reporter(poisoned: dict[int, str], suspect: int | None) -> worker.Reporter:
    """A worker's own."""
    made = worker.Reporter(Connection(), memoryview(bytearray(8)).cast("Q"))
    made.begin(poisoned, suspect)
    return made


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """Bytes of the images that are read from now on."""
    sizes: list[int] = []
    original = tar.Reader.read

    def read(self, name, offset, size, into):
        sizes.append(size)
        return original(self, name, offset, size, into)

    monkeypatch.setattr(tar.Reader, "read", read)
    return sizes


@pytest.mark.parametrize("poisoned", [0, 7, 15, 16, SAMPLES - 1])
def test_a_poisoned_sample_is_dropped_without_a_look(source, alone, tmp_path, counted, poisoned):
    planned = Planned([source], tmp_path / "out", RECIPE)
    counted.clear()
    (record,) = planned.task((0,), reporter({poisoned: "it has ended processes"}, None))
    drops = {drop.position: drop.reason for drop in record.drops}
    assert drops == {**dict.fromkeys(DAMAGED, "undecodable"), poisoned: "decoder_crash"}
    assert list(drops) == sorted(drops)
    assert record.kept == [position for position in alone[1].kept if position != poisoned]
    assert len(counted) == 4 * (SAMPLES - 1)


@pytest.mark.parametrize("suspect", [0, 3, 4, 7, 15, 16, SAMPLES - 1])
def test_a_trial_is_of_the_suspect_alone(source, tmp_path, counted, monkeypatch, suspect):
    """Damaged or not, and wherever in a group it was; it ends behind it."""
    planned, rendered = Planned([source], tmp_path / "out", RECIPE), []
    render = planned.task._maker.render

    def rendering(given, buckets):
        rendered.append(given.name)
        return render(given, buckets)

    monkeypatch.setattr(planned.task._maker, "render", rendering)
    counted.clear()
    with pytest.raises(worker._Survived):
        planned.task((0,), reporter({}, suspect))
    assert len(rendered) == 1
    assert rendered[0].endswith(f"{suspect:03d}")
    assert len(counted) == 4


def groups(planned: Planned, rows: list[dict]) -> list[range]:
    found = list(planned.task._together([{**row, "archive": 0} for row in rows], careful=False))
    assert [position for group in found for position in group] == list(range(len(rows)))
    return found


def test_who_is_alone(source, tmp_path):
    planned = Planned([source], tmp_path / "out", RECIPE)
    row = {"image_size": 1000, "text_size": -1, "json_size": 20, "class_size": -1}
    rows = [dict(row) for _ in range(40)]
    assert [len(group) for group in groups(planned, rows)] == [16, 16, 8]
    rows[5]["json_size"] = 2 << 20
    assert [len(group) for group in groups(planned, rows)] == [5, 1, 16, 16, 2]
    rows[5]["json_size"] = -1
    rows[5]["image_size"] = 5 << 20
    assert [len(group) for group in groups(planned, rows)] == [5, 1, 16, 16, 2]
    large = [{**row, "image_size": 3 << 19} for _ in range(3)]
    assert [len(group) for group in groups(planned, large)] == [1, 1, 1]
    assert len(list(planned.task._together([{**row, "archive": 0}] * 4, careful=True))) == 4


def test_buffers_are_kept_within_bounds(source, tmp_path, monkeypatch):
    planned = Planned([source], tmp_path / "out", RECIPE)
    planned.make(0)
    before = [id(buffer) for buffer in planned.task._buffers]
    assert all(map(len, planned.task._buffers))
    planned.make(0)
    assert [id(buffer) for buffer in planned.task._buffers] == before
    monkeypatch.setattr(task, "_TOGETHER_BYTES", 1)  # every one alone
    planned.make(0)
    first, *others = planned.task._buffers
    assert id(first) == before[0]
    assert not any(map(len, others))


def test_what_is_dropped_holds_nothing(source, tmp_path):
    """An error kept with its traceback would hold the images of its group until a collection."""
    planned = Planned([source], tmp_path / "out", RECIPE)
    planned.make(0)
    gc.collect()
    gc.disable()
    try:
        planned.make(0)
        images = [
            found
            for found in gc.get_objects()
            if issubclass(type(found), (Given, Transcoded, SampleError))  # asks no lazy module
        ]
    finally:
        gc.enable()
    assert not images


def test_a_plan_of_an_earlier_build_is_carried_out(source, tmp_path, alone):
    """It has no column `progressive`: a later job of an array takes the plan that is there."""
    planned = Planned([source], tmp_path / "out", RECIPE)
    path = planned.out / STATE / "plan.arrow"
    with pa.OSFile(str(path)) as file:
        table = pa.ipc.open_file(file).read_all().drop_columns(["progressive"])
    path.unlink()  # it is mapped
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
        out.write_table(table)
    planned.task = task.ShardTask(planned.setup)
    assert planned.make(0).sha256 == alone[1].sha256
