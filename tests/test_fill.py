"""Gaps filled: which sample goes where, and the same bytes after a crash at any step."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbucket import RunError
from fastbucket.fill import fill, layout
from fastbucket.format import TAR_END, sample_key, shard_path
from fastbucket.records import Drop, Record, short_path
from fastbucket.shard import ShardFile
from fastbucket.tar import Headers

BUCKET = "p1024x1024"


def record(number: int, size: int, planned: int, damaged: set[int]) -> Record:
    """The record of a task: shard `number` of a bucket of `planned` samples, some damaged."""
    here = range(number * size, min(planned, (number + 1) * size))
    kept = [p - here.start for p in here if p not in damaged]
    drops = [Drop(p - here.start, "undecodable", "cut") for p in here if p in damaged]
    return Record(
        bucket_id=BUCKET,
        number=number,
        samples=len(kept),
        bytes=0,
        sha256="",
        captions=0,
        drops=drops,
        kept=kept,
        ends=[0] * len(kept),
        looks="",
        nanoseconds={},
    )


def records(size: int, planned: int, damaged: set[int]) -> list[Record]:
    return [record(n, size, planned, damaged) for n in range(-(-planned // size))]


CASES = st.tuples(st.integers(1, 7), st.integers(1, 40)).flatmap(
    lambda case: st.tuples(st.just(case[0]), st.just(case[1]), st.sets(st.integers(0, case[1] - 1)))
)


def positions(made: list[Record], size: int) -> list[list[int]]:
    """The layout as positions in the bucket's plan."""
    by_number = {one.number: one for one in made}
    return [
        [place.shard * size + by_number[place.shard].kept[place.at] for place in shard]
        for shard in layout(made, size)
    ]


@given(CASES)
def test_layout(case):
    """Survivors once each; full shards but the last; who can stays; the others come in order."""
    size, planned, damaged = case
    shards = positions(records(size, planned, damaged), size)
    flat = [position for shard in shards for position in shard]
    survivors = [p for p in range(planned) if p not in damaged]
    assert sorted(flat) == survivors
    assert all(len(shard) == size for shard in shards[:-1])
    assert all(shards)
    total = len(survivors)
    moved = [p for at, p in enumerate(flat) if p != at]
    assert all(p in damaged for at, p in enumerate(range(total)) if flat[at] != p)
    assert moved == [p for p in survivors if p >= total]


@given(CASES, st.randoms(use_true_random=False))
def test_the_order_in_which_tasks_ended_does_not_matter(case, dice):
    size, planned, damaged = case
    made = records(size, planned, damaged)
    expected = positions(made, size)
    dice.shuffle(made)
    assert positions(made, size) == expected


def test_layout_by_hand():
    """Ten samples in shards of three, 1 and 5 damaged: 8 and 9 move, the last two shards shrink."""
    assert positions(records(3, 10, {1, 5}), 3) == [[0, 8, 2], [3, 4, 9], [6, 7]]
    assert positions(records(3, 10, {9}), 3) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert positions(records(3, 4, {0, 1, 2, 3}), 3) == []
    assert positions(records(3, 4, set()), 3) == [[0, 1, 2], [3]]


# On disk


def blocks(position: int) -> list[bytes]:
    """The members of a sample, of a size and content of its own."""
    content = random.Random(position).randbytes(200 + 300 * position)
    members = [content, b"text %d\n" % position, b'{"position":%d}' % position]
    return Headers(0).sample(sample_key(str(position)), members)


class Bucket:
    """What the tasks of one bucket leave behind in an output folder."""

    def __init__(self, out: Path, size: int, planned: int, damaged: set[int]) -> None:
        self.out, self.size, self.state = out, size, out / ".fastbucket"
        for folder in ("short", "fill"):
            (self.state / folder).mkdir(parents=True)
        (out / "buckets").mkdir()  # as the state does: a shard makes no more than its own folder
        self.records = []
        for one in records(size, planned, damaged):
            path = out / shard_path(BUCKET, one.number)
            with ShardFile(path) as shard:
                ends = [shard.add(blocks(one.number * size + at)) for at in one.kept]
                digest = shard.commit(
                    short_path(self.state, BUCKET, one.number) if one.drops else None
                )
            self.records.append(one._replace(ends=ends, bytes=shard.bytes, sha256=digest))

    def fill(self):
        return fill(self.out, self.state, self.records, self.size)

    def shards(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.out.glob("buckets/*/*")}


def expected(size: int, planned: int, damaged: set[int]) -> dict[str, bytes]:
    """The shards as they would be if the layout had been known from the start."""
    return {
        f"shard-{number:06d}.tar": b"".join(
            [*(block for p in shard for block in blocks(p)), TAR_END]
        )
        for number, shard in enumerate(positions(records(size, planned, damaged), size))
    }


DAMAGE = [
    (3, 10, {1, 5}),
    (3, 10, {9}),  # the last shard vanishes
    (3, 10, {0, 1, 2}),  # a whole shard is damaged
    (3, 10, set(range(10))),  # nothing is left
    (3, 9, {8}),
    (1, 5, {0, 3}),
    (4, 4, {2}),
    (2, 9, {0, 2, 4, 6, 8}),
]


@pytest.mark.parametrize(("size", "planned", "damaged"), DAMAGE)
def test_shards_are_as_if_the_damage_had_been_known(tmp_path, size, planned, damaged):
    bucket = Bucket(tmp_path / "out", size, planned, damaged)
    finals = bucket.fill()
    found = bucket.shards()
    assert found == expected(size, planned, damaged)
    assert [(f"shard-{f.number:06d}.tar", f.bytes, f.sha256) for f in finals] == [
        (name, len(data), hashlib.sha256(data).hexdigest()) for name, data in sorted(found.items())
    ]
    assert sum(final.samples for final in finals) == planned - len(damaged)
    assert not list(bucket.state.glob("short/*"))
    assert not list(bucket.state.glob("fill/*.tar"))
    folder = tmp_path / "out" / "buckets" / BUCKET
    assert folder.exists() == bool(found)
    for path in folder.glob("*"):
        with tarfile.open(path, "r:") as tar:
            assert len(tar.getnames()) % 3 == 0


def test_nothing_is_touched_without_gaps(tmp_path):
    bucket = Bucket(tmp_path / "out", 3, 8, set())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")}
    finals = bucket.fill()
    assert [final.samples for final in finals] == [3, 3, 2]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")} == before


def test_shards_without_a_gap_are_not_written_again(tmp_path):
    bucket = Bucket(tmp_path / "out", 3, 12, {4})
    untouched = tmp_path / "out" / shard_path(BUCKET, 0)
    before = untouched.stat().st_ino
    bucket.fill()
    assert untouched.stat().st_ino == before


class Crash(BaseException):
    """The power fails."""


@pytest.mark.parametrize(("size", "planned", "damaged"), DAMAGE)
def test_a_crash_at_any_step_and_once_more(tmp_path, monkeypatch, size, planned, damaged):
    """The power fails before the n-th rename, removal or fsync of a folder, for every n, and the
    fill is done again from what lies on the disk."""
    calls = {"os.replace": os.replace, "os.fsync": os.fsync, "os.unlink": os.unlink}
    steps = 0
    for fail_at in range(1000):
        out = tmp_path / str(fail_at)
        bucket = Bucket(out, size, planned, damaged)
        left = fail_at

        def counted(call):
            def step(*arguments, **options):
                nonlocal left
                if left == 0:
                    raise Crash
                left -= 1
                return call(*arguments, **options)

            return step

        with monkeypatch.context() as patched:
            for name, call in calls.items():
                patched.setattr(name, counted(call))
            try:
                bucket.fill()
                whole = True
            except Crash:
                whole = False
        if whole:
            break
        steps += 1
        for path in bucket.state.rglob("*.tmp"):  # as the next run does first
            path.unlink()
        finals = bucket.fill()
        assert bucket.shards() == expected(size, planned, damaged), fail_at
        assert sum(final.samples for final in finals) == planned - len(damaged)
        shutil.rmtree(out)
    assert steps >= 4


def test_a_shard_that_is_gone_or_cut_says_so(tmp_path):
    bucket = Bucket(tmp_path / "one", 3, 10, {1})
    (tmp_path / "one" / shard_path(BUCKET, 3)).unlink()
    with pytest.raises(RunError, match=r"cannot read .*shard-000003.tar back"):
        bucket.fill()
    bucket = Bucket(tmp_path / "two", 3, 10, {1})
    os.truncate(tmp_path / "two" / shard_path(BUCKET, 3), 700)
    with pytest.raises(RunError, match=r"shard-000003.tar is shorter than it was written"):
        bucket.fill()
