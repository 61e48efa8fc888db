"""The plan: which reason comes first, what is carried, which sample goes to which shard."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path

import exported
import numpy as np
import pyarrow as pa
import pytest
import reference

from fastbucket import Recipe, RunError, catalogue, planfile, planning, sourcerows
from fastbucket.catalogue import COLUMNS, KIND, Archive, Catalogue
from fastbucket.format import DROP_REASONS, image_id, sample_key
from fastbucket.planning import REASON, Plan


class Source:
    """Archives made of rows: every row a dict of what differs from a sound 640x480 JPEG.

    image, text and json are bytes; they lie in a real tar, at the offsets that the rows tell.
    """

    def __init__(self, folder: Path, **archives: list[dict]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.archives: list[Archive] = []
        self.tables: list[pa.Table] = []
        for name, rows in archives.items():
            path = folder / f"{name}.tar"
            members, columns = [], {column: [] for column in COLUMNS}
            offset = 0
            for number, row in enumerate(rows):
                key = row.get("key", f"{number}")
                facts = {
                    "key": key.encode(), "suffix": b"jpg", "width": 640, "height": 480,
                    "orientation": 1, "kind": KIND["jpeg"], "chroma": 0x22, "components": 3,
                    "progressive": 0, "profile": 0, "reason": 0, "detail": "",
                }  # fmt: skip
                default = {"image": f"{name} {number}".encode()}
                for part, suffix in (("image", "jpg"), ("text", "txt"), ("json", "json"),
                                     ("class", "cls")):  # fmt: skip
                    content = row.get(part, default.get(part))
                    facts[f"{part}_offset"], facts[f"{part}_size"] = -1, -1
                    if content is not None:
                        members.append((f"{key}.{suffix}", content))
                        facts[f"{part}_offset"] = offset + 512
                        facts[f"{part}_size"] = len(content)
                        offset += 512 + -(-len(content) // 512) * 512
                facts |= {k: v for k, v in row.items() if k in COLUMNS and k != "key"}
                for column, values in columns.items():
                    values.append(facts[column])
            exported.write_tar(path, members)
            self.archives.append(Archive("tar", str(path), name, "train", path.stat().st_size))
            arrow = folder / f"{name}.arrow"
            Catalogue({c: pa.array(v, COLUMNS[c]) for c, v in columns.items()}).write(arrow, "s")
            table = catalogue.read(arrow, "s")
            assert table is not None
            self.tables.append(table)

    def plan(self, excluded=(), **fields) -> Plan:
        return planning.make(self.archives, self.tables, Recipe(**fields), frozenset(excluded))

    def fates(self, excluded=(), **fields) -> list[str]:
        return [DROP_REASONS[code] for code in self.plan(excluded, **fields).reason.tolist()]


# Reasons


def test_each_reason(tmp_path):
    source = Source(
        tmp_path,
        a=[
            {},
            {"reason": REASON["no_image"], "width": 0, "height": 0, "image": None},
            {"reason": REASON["unreadable"], "width": 0, "height": 0},
            {"width": 20_000, "height": 10_000},
            {"width": 575, "height": 416},
            {"image": b"a 0"},  # as the first
            {"width": 416, "height": 577, "orientation": 6},  # upright 577x416
        ],
    )
    assert source.fates() == [
        "", "no_image", "unreadable", "too_many_pixels", "too_small", "duplicate", "",
    ]  # fmt: skip
    assert source.plan().dropped() == {
        "no_image": 1, "unreadable": 1, "too_many_pixels": 1, "too_small": 1, "duplicate": 1,
    }  # fmt: skip


def test_which_reason_comes_first(tmp_path):
    """The order of DROP_REASONS: excluded before all, then the header, the size, the caption, and
    only among the rest duplicates: what is dropped makes nobody else one, unless it is excluded and
    would have stayed."""
    everything = [
        ({"reason": REASON["no_image"], "width": 0, "height": 0, "image": None}, "no_image"),
        ({"reason": REASON["unreadable"], "width": 0, "height": 0}, "unreadable"),
        ({"width": 3, "height": 480_000, "text": b""}, "too_many_pixels"),
        ({"width": 300, "height": 200, "text": b"", "image": b"same"}, "too_small"),
        ({"text": b" \n", "image": b"same"}, "no_caption"),
        ({"text": b"words", "image": b"same"}, ""),  # not a duplicate of one that is dropped
        ({"text": b"other words", "image": b"same"}, "duplicate"),
        ({"text": b"", "image": b"same"}, "no_caption"),  # though it would be a duplicate too
    ]
    source = Source(tmp_path, a=[row for row, _ in everything])
    fields = {"max_pixels": 1_000_000, "missing_caption_policy": "drop"}
    assert source.fates(**fields) == [reason for _, reason in everything]
    excluded = [image_id("a", str(n)) for n in range(len(everything))]
    assert source.fates(excluded, **fields) == ["excluded"] * len(everything)


def test_exclusion_by_id_and_by_key(tmp_path):
    source = Source(tmp_path, a=[{}, {}, {"image": b"a 0"}], b=[{}])
    listed = ["a/0", sample_key("b/0"), "a", "0", "b/1", ""]
    assert source.fates(listed) == ["excluded", "", "duplicate", "excluded"]
    assert source.fates(["a/2"]) == ["", "", "excluded", ""]
    assert source.fates(listed, duplicates="keep") == ["excluded", "", "", "excluded"]


def test_copies_of_an_excluded_sample(tmp_path):
    small, bare = {"width": 300, "height": 200, "image": b"s"}, {"text": b"", "image": b"b"}
    captioned = {"text": b"words", "image": b"b"}
    source = Source(tmp_path, a=[small, {**small, "width": 640, "height": 480}, bare, captioned])
    fields = {"missing_caption_policy": "drop"}
    source_fates = source.fates(["a/0", "a/2"], **fields)
    assert source_fates == ["excluded", "no_caption", "excluded", ""]
    assert source.fates(["a/3"], **fields)[2:] == ["no_caption", "excluded"]


def test_max_pixels_is_inclusive_and_does_not_overflow(tmp_path):
    big = 2**31 - 1
    source = Source(tmp_path, a=[{"width": 640, "height": 480}, {"width": big, "height": big}])
    assert source.fates(max_pixels=640 * 480) == ["", "too_many_pixels"]
    assert source.fates(max_pixels=640 * 480 - 1) == ["too_many_pixels", "too_many_pixels"]


def test_captions_come_from_text_or_a_field(tmp_path):
    rows = [
        {"text": b"words"},
        {"json": b'{"caption": "words"}'},
        {"text": b"\n", "json": b'{"caption": "words"}'},
        {"text": b"words", "json": b'{"caption": ""}'},
        {"json": b'{"caption": null}'},
        {"json": b'{"caption": ["words"]}'},
        {"json": b'{"caption": 7}'},
        {"json": b"{"},
        {},
        {"text": b"\xef\xbb\xbf \r\n"},
    ]
    source = Source(tmp_path, a=rows)
    drop = {"missing_caption_policy": "drop"}
    assert [fate == "" for fate in source.fates(**drop)] == [n in (0, 3) for n in range(10)]
    kept = source.fates(**drop, caption_field="caption")
    assert [fate == "" for fate in kept] == [n in (0, 1, 2, 3, 6) for n in range(10)]
    assert set(source.fates()) == {""}


def test_next_bucket_keeps_more(tmp_path):
    sizes = [(560, 430), (700, 300), (500, 500), (480, 545), (575, 448), (512, 480)]
    source = Source(tmp_path, a=[{"width": w, "height": h} for w, h in sizes])
    assert source.fates().count("too_small") > 0
    fields = {"too_small_policy": "next_bucket", "next_bucket_max_crop": 0.3}
    plan = source.plan(**fields)
    assert plan.reason.tolist().count(0) > source.fates().count("")
    for row in np.flatnonzero(plan.reason == 0).tolist():
        target = plan.buckets[plan.bucket[row]].target
        assert target.width <= sizes[row][0]
        assert target.height <= sizes[row][1]


# Duplicates and order


def test_the_first_in_source_order_stays(tmp_path):
    source = Source(
        tmp_path, b=[{"image": b"x"}, {"image": b"y"}], a=[{"image": b"x"}, {"image": b"y!"}]
    )
    assert source.fates() == ["", "", "duplicate", ""]
    assert source.fates(duplicates="keep") == [""] * 4


def test_a_reader_is_not_asked_for_what_is_dropped(tmp_path, monkeypatch):
    """Nine of ten samples are dropped by their header; their bytes are never read."""
    rows = [{"width": 300, "height": 200, "json": b"{}"}] * 30 + [{"json": b'{"a": 1}'}] * 3
    source = Source(tmp_path, a=[{**row, "key": str(n)} for n, row in enumerate(rows)])
    asked = []
    kind = sourcerows.KINDS["tar"]

    class Reader(kind.Reader):
        def read(self, name, offset, size, into):
            asked.append(name)
            return super().read(name, offset, size, into)

    monkeypatch.setattr(kind, "Reader", Reader)
    source.plan()
    assert asked
    assert {int(name.split(b".")[0]) for name in asked} <= {30, 31, 32}


@pytest.mark.parametrize("shard_size", [1, 2, 5, 1000])
def test_shards(tmp_path, shard_size):
    """Bucket by bucket in list order; source order within; all full but the last of a bucket."""
    dice = random.Random(6)
    sizes = [(dice.randint(300, 1500), dice.randint(300, 1500)) for _ in range(150)]
    rows = [{"width": w, "height": h} for w, h in sizes]
    source = Source(tmp_path, a=rows[:70], b=rows[70:])
    plan = source.plan(shard_size=shard_size)
    kept = []
    for row, (w, h) in enumerate(sizes):
        found = reference.fit(w, h)
        assert (plan.reason[row] == 0) == (found != "too_small")
        if found != "too_small":
            assert plan.buckets[plan.bucket[row]].id == found.bucket.bucket_id
            kept.append(row)
    assert sorted(plan.order.tolist()) == kept
    at, last = 0, (-1, -1)
    for shard in plan.shards:
        assert shard.start == at < shard.stop
        at = shard.stop
        rows_of = plan.order[shard.start : shard.stop].tolist()
        assert {int(plan.bucket[row]) for row in rows_of} == {shard.bucket}
        assert (shard.bucket, shard.number) > last
        assert shard.number == (last[1] + 1 if shard.bucket == last[0] else 0)
        final = at == len(kept) or plan.bucket[plan.order[at]] != shard.bucket
        assert len(rows_of) == shard_size or (final and len(rows_of) < shard_size)
        last = (shard.bucket, shard.number)
    assert at == len(kept)
    for bucket in range(len(plan.buckets)):
        those = [row for row in plan.order.tolist() if plan.bucket[row] == bucket]
        assert those == sorted(those)


def test_what_is_written_for_the_workers(tmp_path):
    """plan.arrow holds the kept samples in the order of the shards, and where each comes from."""
    dice = random.Random(8)
    rows = [{"width": dice.randint(400, 900), "height": dice.randint(400, 900)} for _ in range(60)]
    source = Source(tmp_path, a=rows[:25], b=[], c=rows[25:])
    plan = source.plan(shard_size=4)
    planfile.write(plan, source.tables, tmp_path)
    table = pa.ipc.open_file(pa.memory_map(str(tmp_path / "plan.arrow"))).read_all()
    assert table.num_rows == plan.order.size
    for row, facts in zip(plan.order.tolist(), table.to_pylist(), strict=True):
        archive = 0 if row < 25 else 2
        assert facts["archive"] == archive
        assert facts["key"] == str(row - (25 if archive else 0)).encode()
        assert (facts["width"], facts["height"]) == (rows[row]["width"], rows[row]["height"])
    facts = json.loads((tmp_path / "plan.json").read_text())
    assert facts["archives"] == [asdict(archive) for archive in source.archives]
    assert [tuple(shard) for shard in facts["shards"]] == plan.shards
    assert not list(tmp_path.glob("*.tmp"))


# Identities


def test_nothing_at_all(tmp_path):
    source = Source(tmp_path, empty=[])
    with pytest.raises(RunError, match=r"no samples in .*empty\.tar"):
        source.plan()


def test_everything_is_dropped(tmp_path):
    plan = Source(tmp_path, a=[{"width": 9, "height": 9}]).plan()
    assert (plan.order.size, plan.shards, plan.carried) == (0, [], [])
    planfile.write(plan, Source(tmp_path, a=[{"width": 9, "height": 9}]).tables, tmp_path)


def test_one_key_in_two_archives_is_two_samples(tmp_path):
    assert Source(tmp_path, a=[{"key": "x"}], b=[{"key": "x"}]).fates() == ["", ""]


def test_one_image_id_of_two_sources_is_refused(tmp_path):
    """Only a folder has ids without a prefix; one can equal that of a tar's sample."""
    source = Source(tmp_path, a=[{"key": "x"}], photos=[{"key": "a/x"}], more=[{"key": "y"}])
    tar, photos, _more = source.archives
    folder = Archive("folder", photos.path, "photos", "", 0)
    with pytest.raises(RunError, match="image_id 'a/x'") as refused:
        planning.make([tar, folder], source.tables[:2], Recipe())
    assert tar.path in str(refused.value)
    assert folder.path in str(refused.value)


# Carried fields


def test_carried_fields_are_those_of_kept_samples(tmp_path):
    """`auto` looks at what will be exported, not at what is dropped."""
    source = Source(
        tmp_path,
        a=[
            {"json": b'{"small": 1}', "width": 300, "height": 200},
            {"json": b'{"place": "Rome", "w": 3}'},
            {"json": b'{"score": 1}'},
            {"json": b'{"score": 0.5, "nested": {"a": 1}}'},
            {"json": b"no json"},
            {},
        ],
    )
    assert [tuple(field) for field in source.plan().carried] == [
        ("place", "place", "str"),
        ("score", "score", "float"),
        ("w", "source_source_w", "int"),
    ]
    assert source.plan(carry=("none",)).carried == []
    (field,) = source.plan(carry=("score",)).carried
    assert (field.name, field.type) == ("score", "float")
