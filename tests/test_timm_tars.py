"""Tars like timm's: member order, JSON, numbering, and nothing half-written under a tar's name."""

from __future__ import annotations

import json
import tarfile

import pytest

from fastbucket.timm_tars import TimmSample, TimmTars


def sample(number: int, **changes) -> TimmSample:
    facts = {
        "wnid": "n01440764", "number": number, "suffix": "jpg", "image": b"pixels", "label": 4,
        "width": 3, "height": 2, "filename": "a.JPEG",
    }  # fmt: skip
    return TimmSample(**(facts | changes))


def test_members_are_those_of_timm_in_the_order_of_webdataset():
    members = dict(sample(3778).members())
    assert list(members) == ["cls", "jpg", "json"]
    assert members["cls"] == b"4"
    assert list(json.loads(members["json"]).items()) == [
        ("label", 4), ("label_12k", 2), ("class_name", "n01440764"), ("width", 3), ("height", 2),
        ("filename", "a.JPEG"),
    ]  # fmt: skip


def test_optional_members():
    assert [name for name, _ in sample(1, image=None).members()] == ["cls", "json"]
    full = sample(1, suffix="png", caption="à la photo").members()
    assert [name for name, _ in full] == ["cls", "json", "png", "txt"]
    assert dict(full)["txt"].decode() == "à la photo"


@pytest.mark.parametrize(("label", "label_12k"), [(0, 0), (1, -1), (2, 1), (9, -1)])
def test_every_second_label_is_outside_the_12k(label, label_12k):
    assert sample(1, label=label).label_12k == label_12k


def test_numbering_and_headers(tmp_path):
    with TimmTars(tmp_path / "new", "imagenet22k", "validation", per_tar=2) as tars:
        stems = [tars.add(sample(number)) for number in range(5)]
    assert stems[::2] == [f"imagenet22k-validation-000{n}" for n in range(3)]
    assert [path.name for path in sorted((tmp_path / "new").iterdir())] == [
        f"imagenet22k-validation-000{n}.tar" for n in range(3)
    ]
    assert tars.samples == 5
    with tarfile.open(tars.paths[2]) as tar:
        assert tar.getnames() == [f"n01440764_4.{suffix}" for suffix in ("cls", "jpg", "json")]
        for member in tar:
            assert (member.mtime, member.uid, member.uname, member.mode) == (0, 0, "", 0o644)
    assert tars.paths[2].read_bytes()[257:263] == b"ustar\0"


def write(samples: list[TimmSample], tars: TimmTars) -> None:
    with tars:
        for one in samples:
            tars.add(one)


def test_an_exception_leaves_whole_tars_only(tmp_path):
    tars = TimmTars(tmp_path, "x", "train", per_tar=2)
    broken = sample(4, caption=b"bytes have no encode()")
    with pytest.raises(AttributeError):
        write([sample(1), sample(2), sample(3), broken], tars)
    assert [path.name for path in tmp_path.iterdir()] == ["x-train-0000.tar"]
    assert tars.paths == [tmp_path / "x-train-0000.tar"]


def test_refuses_empty_tars(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        TimmTars(tmp_path, "x", "train", per_tar=0)
