"""The tar of a shard with other captions: what Python's json and tarfile make of it."""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fastbucket import RunError, walked
from fastbucket.captions import applied, beside
from fastbucket.captions.applied import NONE, Applied
from fastbucket.captions.opened import OpenShard
from fastbucket.captions.pieces import Pieces
from fastbucket.format import TAR_END
from fastbucket.kernels import recaption
from fastbucket.tar import Headers

HEADERS = Headers(1234567890)
TAILS = [Applied("caption_one", 0, 3), Applied("caption_" + "x" * 700, 12, 1000), NONE]
ODD = (
    "spaces", "other order", "no size", "escaped", "empty object behind",
)  # fmt: skip


class Old:
    """A shard on disk, as `OpenShard` shows one."""

    def __init__(self, path: Path, samples: list[tuple[bytes, bytes, bytes]]) -> None:
        keys = [f"{path.stem:0>32}{n:032x}" for n in range(len(samples))]
        blocks = [b for key, s in zip(keys, samples, strict=True) for b in HEADERS.sample(key, s)]
        path.write_bytes(b"".join(blocks) + TAR_END)
        self.path = path
        self.walked = walked.walk(path)
        self.starts = walked.sample_starts(self.walked)
        self.members = self.walked.members.tolist()
        self.descriptor = os.open(path, os.O_RDONLY)

    def read_into(self, views: list[memoryview], at: int) -> None:
        if os.preadv(self.descriptor, views, at) != sum(map(len, views)):
            raise RunError(f"{self.path}: cut")


def document(dice: random.Random, odd: str = "") -> bytes:
    """A sample's JSON, as it is written or otherwise."""
    before = dice.choice((NONE, TAILS[0], Applied("caption_source", 1, -1)))
    words = dice.choice(("", "plain", 'a "quoted" one', ',"w":7,"h":8,"image_mode":', "ü" * 9))
    facts = {
        "image_id": words + str(dice.randrange(10**6)),
        "w": dice.randrange(1, 9000),
        "h": dice.randrange(1, 9000),
        "image_mode": "reencode_jpeg",
        "label": -1,
        "carried": {"caption_variant": words, "x": "y" * dice.randrange(2000)},
    }
    last = dict(zip(("caption_variant", "caption_selector_index", "caption_source_id"), before,
                    strict=True))  # fmt: skip
    if odd == "other order":
        facts = {**last, **facts}
    elif odd == "no size":
        facts = {"h": facts.pop("h"), **facts, **last}
    elif odd == "empty object behind":
        facts = {**facts, **last, "more": {}}
    else:
        facts |= last
    if odd == "escaped":
        facts["caption_variant"] = 'of "somebody"'
    separators = (", ", ": ") if odd == "spaces" else (",", ":")
    return json.dumps(facts, ensure_ascii=False, separators=separators).encode()


def shard(path: Path, dice: random.Random, count: int, odd: str = "") -> Old:
    samples = []
    for n in range(count):
        image = dice.randbytes(dice.choice((1, 511, 512, 513, dice.randrange(1, 9000))))
        text = dice.choice((b"\n", b"words\n" * dice.randrange(1, 300)))
        samples.append(
            (b"\xff\xd8\xff" + image, text, document(dice, odd if n == count // 2 else ""))
        )
    return Old(path, samples)


def expected(samples: list[tuple[Old, int]], texts: list[bytes], chosen: list[int]) -> list:
    """(key, image, text, JSON) of each sample, by way of tarfile and json."""
    found = []
    for (old, index), text, which in zip(samples, texts, chosen, strict=True):
        key = old.walked.keys[index]
        with tarfile.open(old.path) as tar:
            image = tar.extractfile(f"{key}.jpg").read()
            facts = json.loads(tar.extractfile(f"{key}.json").read())
        fields = TAILS[which]._asdict().values()
        for name, value in zip(list(applied.CAPTION_FIELDS), fields, strict=True):
            del facts[name]
            facts[name] = value
        found.append((key, image, text, facts))
    return found


def check(samples: list[tuple[Old, int]], dice: random.Random) -> None:
    texts = [dice.choice((b"\n", "wörter\n".encode() * dice.randrange(200))) for _ in samples]
    chosen = [dice.randrange(len(TAILS)) for _ in samples]
    tails = [applied.tail(tail) for tail in TAILS]
    pieces = Pieces(samples, texts, chosen, tails, HEADERS)
    made = [bytes(piece) for piece in pieces]
    assert {len(piece) for piece in made[:-1]} <= {beside.PIECE}
    data = b"".join(made)
    wanted = expected(samples, texts, chosen)
    blocks = []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [m.name for m in tar] == [
            f"{key}.{suffix}" for key, *_ in wanted for suffix in ("jpg", "txt", "json")
        ]
        assert {m.mtime for m in tar} <= {1234567890}
        for (key, image, text, facts), entry in zip(wanted, pieces.entries, strict=True):
            assert tar.extractfile(f"{key}.jpg").read() == image
            assert tar.extractfile(f"{key}.txt").read() == text
            new = tar.extractfile(f"{key}.json").read()
            assert list(json.loads(new).items()) == list(facts.items())
            assert entry == (key, facts["w"], facts["h"], (len(image), len(text), len(new)))
            blocks += HEADERS.sample(key, (image, text, new))
    assert data == b"".join(blocks) + TAR_END


@pytest.mark.parametrize("piece", [512, 1024, 7 * 512, 1 << 16, 1 << 20])
def test_as_tarfile_and_json_see_it(tmp_path, monkeypatch, piece):
    dice = random.Random(piece)
    monkeypatch.setattr(beside, "PIECE", piece)
    for count in (1, 2, 30):
        old = shard(tmp_path / "a.tar", dice, count)
        check([(old, index) for index in range(count)], dice)


def test_samples_of_several_shards(tmp_path):
    """As in a bucket that is repacked."""
    dice = random.Random(1)
    olds = [shard(tmp_path / f"{n}.tar", dice, 9) for n in range(3)]
    places = [(old, index) for old in olds for index in range(9)]
    check([place for place in places if dice.random() < 0.7], dice)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("piece", [512, 1 << 16])
def test_a_document_that_is_not_as_it_is_written(tmp_path, monkeypatch, odd, piece):
    """In the middle of the others; it goes the long way round."""
    dice, ways = random.Random(2), []
    monkeypatch.setattr(beside, "PIECE", piece)
    kept = Pieces._made
    monkeypatch.setattr(Pieces, "_made", lambda self, at: ways.append(at) or kept(self, at))
    old = shard(tmp_path / "a.tar", dice, 9, odd)
    check([(old, index) for index in range(9)], dice)
    assert ways == [4]


@pytest.mark.parametrize("data", [b"{}", b"", b"[1]", b"\xff", b'{"w":1}', b"}"])
def test_no_document_of_ours(tmp_path, data):
    old = Old(tmp_path / "a.tar", [(b"\xff\xd8\xff", b"\n", data)])
    with pytest.raises(RunError, match=r"a\.tar: 0{31}a0{32}: its JSON is damaged"):
        list(Pieces([(old, 0)], [b"\n"], [0], [b"}"], HEADERS))


@pytest.mark.parametrize(("column", "behind"), [(0, 1), (2, 0), (4, 3)])
def test_a_shard_that_is_cut_short_meanwhile(tmp_path, column, behind):
    """Within an image, before a text, within a JSON."""
    path = tmp_path / "buckets/p512x512/shard-000000.tar"
    path.parent.mkdir(parents=True)
    shard(path, random.Random(3), 9)
    opened = OpenShard(tmp_path, None, [], [], ("p512x512", 0))
    samples = [(opened, index) for index in range(9)]
    os.truncate(path, opened.members[5][column] + behind)
    with pytest.raises(RunError, match=r"shard-000000\.tar.* become shorter"):
        list(Pieces(samples, [b"\n"] * 9, [0] * 9, [applied.tail(NONE)], HEADERS))


def test_reads_that_fail_for_a_moment(tmp_path, monkeypatch):
    """A signal may end the kernel's, which nobody begins again; ten in a row are no chance."""
    dice = random.Random(4)
    old = shard(tmp_path / "a.tar", dice, 5)
    fill, calls = recaption.fill, []

    def fails(*arguments):
        calls.append(0)
        return recaption.FAILED if len(calls) % often else fill(*arguments)

    monkeypatch.setattr(recaption, "fill", fails)
    monkeypatch.setattr(beside, "PIECE", 4096)
    often = 5
    check([(old, index) for index in range(5)], dice)
    assert len(calls) > 10
    often = 1 << 30
    with pytest.raises(RunError, match=r"a\.tar: cannot be read, 11 times in a row"):
        check([(old, 0)], dice)


@pytest.mark.parametrize("size", [1 << 40, 10**30])
def test_an_image_of_no_such_size(tmp_path, size):
    data = f'{{"image_id":"","w":{size},"h":3,"image_mode":""}}'.encode()[:-1] + applied.tail(NONE)
    old = Old(tmp_path / "a.tar", [(b"\xff\xd8\xff", b"\n", data)])
    with pytest.raises(RunError, match=r"a\.tar: .*JSON is damaged"):
        list(Pieces([(old, 0)], [b"\n"], [0], [applied.tail(NONE)], HEADERS))


def test_keys_that_are_none(tmp_path):
    """Of two bytes a letter, they would move the names of all that follow."""
    path = tmp_path / "a.tar"
    blocks = HEADERS.sample("0" * 64, [b"\xff\xd8\xff", b"\n", b"{}"])
    data = bytearray(b"".join(blocks) + TAR_END)
    for at in range(0, 6 * 512, 1024):
        data[at] = 0xE9
        total = sum(data[at : at + 148]) + 8 * 32 + sum(data[at + 156 : at + 512])
        data[at + 148 : at + 156] = b"%06o\0 " % total
    path.write_bytes(data)
    with pytest.raises(RunError, match="damaged or foreign"):
        walked.walk(path)


def test_a_header_is_that_of_the_others():
    """Sizes up to what a header can say; the kernel has its own octal digits and sum."""
    template, total = HEADERS.template
    for size in (0, 1, 7, 8, 511, 512, 4095, 10**6, (1 << 33) - 1):
        made = np.zeros(recaption.BLOCK, np.uint8)
        key = b"0123456789abcdef" * 4
        recaption._header(
            made, 0, np.frombuffer(key, np.uint8), recaption._JSON, size,
            np.frombuffer(template, np.uint8), total,
        )  # fmt: skip
        assert made.tobytes() == HEADERS.header(key + b".json", size)
