"""Bad input gets a drop with a reason, or a clear error that names archive and member."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path

import exported
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import fastbucket
from fastbucket import Recipe, Resources, RunError

ONE = Resources(workers=1)


def jpeg(w: int = 640, h: int = 480, seed: int = 0, **options) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize((w, h), Image.Resampling.BICUBIC).save(file, "JPEG", **options)
    return file.getvalue()


SOUND, OTHER = jpeg(seed=1), jpeg(600, 800, seed=2)


def rows(out: Path) -> dict[str, dict]:
    return {row["image_id"]: row for row in pq.read_table(out / "meta").to_pylist()}


def run(sources, out, **options):
    report = fastbucket.export(sources, out, options.pop("recipe", Recipe()), ONE, **options)
    assert report.scanned == report.exported + sum(report.dropped.values())
    return report


# Errors before anything is written


def refused(sources, out: Path, *words: str, **options) -> str:
    with pytest.raises(RunError) as error:
        fastbucket.export(sources, out, Recipe(), ONE, **options)
    for word in words:
        assert word in str(error.value)
    assert not (out / "manifest.json").exists()
    assert not list(out.glob("buckets/*"))
    return str(error.value)


def test_missing_source(tmp_path):
    refused([tmp_path / "no.tar"], tmp_path / "out", str(tmp_path / "no.tar"), "does not exist")
    refused([str(tmp_path / "*.tar")], tmp_path / "out", "*.tar", "matches nothing")
    refused([], tmp_path / "out", "no sources")
    assert not (tmp_path / "out").exists()


def test_no_samples(tmp_path):
    empty = exported.write_tar(tmp_path / "empty.tar", [])
    refused([empty], tmp_path / "out", "no samples", str(empty))
    lonely = exported.write_tar(tmp_path / "texts.tar", [("a.txt", b"words"), ("b.json", b"{}")])
    report = run([lonely], tmp_path / "texts")
    assert (report.exported, report.dropped) == (0, {"no_image": 2})


def test_two_archives_of_one_name(tmp_path):
    paths = [
        exported.write_tar(tmp_path / folder / "photos.tar", [("a.jpg", SOUND)])
        for folder in ("here", "there")
    ]
    refused(paths, tmp_path / "out", "named photos", *map(str, paths))


@pytest.mark.parametrize(
    "members",
    [
        [("a.jpg", SOUND), ("b.jpg", OTHER), ("a.jpg", OTHER)],
        [
            ("a.jpg", SOUND),
            ("b.jpg", OTHER),
            ("a.json", b"{}"),
        ],  # its members do not stand together
    ],
)
def test_two_samples_of_one_image_id(tmp_path, members):
    path = exported.write_tar(tmp_path / "photos.tar", members)
    refused([path], tmp_path / "out", str(path), "'a'")


def test_two_folders_with_one_image_id(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").write_bytes(SOUND)
    refused(
        [tmp_path / "one", tmp_path / "two"],
        tmp_path / "out",
        "image_id 'a'",
        str(tmp_path / "one"),
        str(tmp_path / "two"),
    )


def test_an_output_folder_inside_the_source_and_the_other_way_round(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(SOUND)
    refused([tmp_path / "photos"], tmp_path / "photos" / "out", "lies in the source")
    path = exported.write_tar(tmp_path / "out" / "a.tar", [("a.jpg", SOUND)])
    refused([path], tmp_path / "out", "lies in the output folder")


def test_a_split_that_matches_nothing(tmp_path):
    path = exported.write_tar(tmp_path / "photos.tar", [("a.jpg", SOUND)])
    refused([path], tmp_path / "out", "split val=b*", splits=[("val", "b*")])


def test_settings_that_make_no_sense():
    for fields, word in (
        ({"quality": 101}, "quality: 101"),
        ({"choice": "nearest"}, "'nearest' is none of short_long"),
        ({"allowed_corners": (4,)}, "allowed_corners"),
        ({"carry": ("auto", "x")}, "auto and none stand alone"),
        ({"shard_size": 0}, "shard_size: 0"),
    ):
        with pytest.raises(RunError, match=word):
            Recipe(**fields)
    with pytest.raises(RunError, match="workers: -1"):
        Resources(workers=-1)
    with pytest.raises(RunError, match="unknown fields colour"):
        Recipe.from_json({"colour": 1})


# Samples that are dropped, all in one tar


@pytest.fixture(scope="module")
def sick(tmp_path_factory):
    """One sample of each kind of damage, and two sound ones around them."""
    folder = tmp_path_factory.mktemp("sick")
    bomb = io.BytesIO()
    Image.new("L", (14_000, 13_000)).save(bomb, "PNG", compress_level=9)  # 182 million pixels
    members = [
        ("a_sound.jpg", SOUND), ("a_sound.txt", "schön\r\n".encode()),
        ("b_zero.jpg", b""), ("b_zero.txt", b"a caption"),
        ("c_html.jpg", b"<!DOCTYPE html><title>404 Not Found</title>"),
        ("d_cut.jpg", OTHER[: len(OTHER) // 2]),
        ("e_huge.png", bomb.getvalue()),
        ("f_none.txt", b"a caption of nothing"),
        ("g_small.jpg", jpeg(200, 150)),
        ("h_again.jpg", SOUND),
        ("i_noise.jpg", bytes(range(256)) * 9),
        ("j_renamed.jpg", png()),
        ("k_json.jpg", jpeg(seed=9)), ("k_json.json", b"[1, 2"),
        ("l.seg.JPG", jpeg(seed=10)), ("l.cls", b"seven"),
    ]  # fmt: skip
    path = exported.write_tar(folder / "sick-val.tar", members)
    return run([path], folder / "out"), folder / "out", path


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (512, 512), (9, 99, 199)).save(file, "PNG")
    return file.getvalue()


def test_every_fate_is_named(sick):
    report, out, _ = sick
    fates = {name.split("/")[1]: row["reason"] for name, row in rows(out).items()}
    assert fates == {
        "a_sound": "", "b_zero": "unreadable", "c_html": "unreadable", "d_cut": "undecodable",
        "e_huge": "too_many_pixels", "f_none": "no_image", "g_small": "too_small",
        "h_again": "duplicate", "i_noise": "unreadable", "j_renamed": "", "k_json": "", "l": "",
    }  # fmt: skip
    assert (report.scanned, report.exported) == (12, 4)
    bad = {entry.image_id: entry for entry in report.bad_inputs}
    assert set(bad) == {f"sick-val/{key}" for key in ("b_zero", "c_html", "d_cut", "i_noise")}
    assert bad["sick-val/b_zero"].detail == "empty file"
    assert "markup" in bad["sick-val/c_html"].detail
    assert "no signature" in bad["sick-val/i_noise"].detail
    assert bad["sick-val/d_cut"].detail


def test_what_stands_beside_a_sound_image_may_be_broken(sick):
    _, out, _ = sick
    found = {sample.json["image_id"].split("/")[1]: sample for sample in exported.samples(out)}
    assert found["a_sound"].txt == "schön\n".encode()
    assert found["k_json"].json["label"] == -1
    assert found["l"].json["class_id"] == -1
    assert found["l"].json["source_member"] == "l.seg.JPG"
    assert found["j_renamed"].json["source_member"] == "j_renamed.jpg"
    assert {sample.json["source_split"] for sample in found.values()} == {"val"}
    pixels = np.asarray(Image.open(io.BytesIO(found["j_renamed"].jpg)))
    assert np.abs(pixels.astype(int) - (9, 99, 199)).max() <= 2


def test_max_pixels_is_inclusive(tmp_path):
    path = exported.write_tar(tmp_path / "photos.tar", [("a.jpg", SOUND), ("b.jpg", OTHER)])
    report = run([path], tmp_path / "out", recipe=Recipe(max_pixels=640 * 480))
    assert report.dropped == {"too_many_pixels": 1}
    assert rows(tmp_path / "out")["photos/b"]["reason"] == "too_many_pixels"


def test_a_tar_that_ends_early(tmp_path):
    """The samples before the break are kept, and the archive is named; others are untouched."""
    members = [(f"{n}.jpg", jpeg(seed=40 + n)) for n in range(6)]
    whole = exported.write_tar(tmp_path / "whole.tar", [("w.jpg", SOUND)])
    cut = exported.write_tar(tmp_path / "cut.tar", members)
    size = cut.stat().st_size * 2 // 3
    with tarfile.open(cut) as tar:
        ends = {member.name: member.offset_data + member.size for member in tar}
    before = [f"cut/{name.removesuffix('.jpg')}" for name, end in ends.items() if end <= size]
    os.truncate(cut, size)
    assert 0 < len(before) < 6
    report = run([whole, cut], tmp_path / "out")
    assert report.broken_archives == [(str(cut), report.broken_archives[0][1])]
    assert "the file ends within a member's data" in report.broken_archives[0][1]
    kept = {sample.json["image_id"] for sample in exported.samples(tmp_path / "out")}
    assert kept == {"whole/w", *before}
    broken = exported.manifest(tmp_path / "out")["source"]["broken"]
    assert [entry["archive"] for entry in broken] == ["cut"]
    again = run([whole, cut], tmp_path / "out")
    assert [why for _, why in again.broken_archives] == [entry["why"] for entry in broken]


def test_a_source_that_turned_into_zeros_after_its_scan(tmp_path):
    """Size and time are those that the scan saw; what is read is damage, and is counted."""
    path = exported.write_tar(tmp_path / "photos.tar", [("a.jpg", SOUND), ("b.jpg", OTHER)])
    fastbucket.plan([path], tmp_path / "out", Recipe(), ONE)
    status = path.stat()
    path.write_bytes(path.read_bytes()[:1024])
    os.truncate(path, status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert run([path], tmp_path / "out").dropped == {"undecodable": 2}


# Sources of other kinds


def test_a_folder_with_texts_and_json_beside(tmp_path):
    source = tmp_path / "photos"
    (source / "deep").mkdir(parents=True)
    (source / "a.jpg").write_bytes(SOUND)
    (source / "a.txt").write_text("the first")
    (source / "a.json").write_text(json.dumps({"label": 7, "place": "Rome"}))
    (source / "deep" / "b.v2.JPEG").write_bytes(OTHER)
    (source / "deep" / "b.v2.json").write_text(json.dumps({"place": 5}))
    (source / "readme.md").write_text("no image")
    report = run([source], tmp_path / "out", recipe=Recipe(caption_field="place"))
    assert (report.scanned, report.exported) == (2, 2)
    found = {sample.json["image_id"]: sample for sample in exported.samples(tmp_path / "out")}
    assert set(found) == {"a", "deep/b.v2"}
    first, second = found["a"], found["deep/b.v2"]
    assert first.key == hashlib.sha256(b"a").hexdigest()
    assert (first.txt, first.json["label"], first.json["place"]) == (b"the first\n", 7, "Rome")
    assert (second.txt, second.json["label"], second.json["place"]) == (b"5\n", -1, "5")
    assert second.json["source_member"] == "deep/b.v2.JPEG"
    assert {sample.json["source_archive"] for sample in found.values()} == {"photos"}


@pytest.fixture
def three(tmp_path) -> list[Path]:
    """Tars c, a and b; b repeats an image of c."""
    contents = {
        "c": [("x.jpg", SOUND), ("y.jpg", jpeg(seed=20))],
        "a": [("x.jpg", jpeg(seed=21))],
        "b": [("z.jpg", SOUND)],
    }
    return [exported.write_tar(tmp_path / f"{k}.tar", members) for k, members in contents.items()]


def test_the_order_of_arguments_decides_which_duplicate_stays_and_no_id(three, tmp_path):
    forward = run(three, tmp_path / "forward")
    back = run(three[::-1], tmp_path / "back")
    assert forward.exported == back.exported == 3
    ids, keys = {}, {}
    for name in ("forward", "back"):
        found = rows(tmp_path / name)
        ids[name] = set(found)
        (dropped,) = (i for i, row in found.items() if row["reason"] == "duplicate")
        keys[name] = dropped
    assert ids["forward"] == ids["back"] == {"c/x", "c/y", "a/x", "b/z"}
    assert keys == {"forward": "b/z", "back": "c/x"}  # the first in source order stays
    run([three[0].parent / "[abc].tar"], tmp_path / "glob")  # by name within one argument
    (dropped,) = (i for i, row in rows(tmp_path / "glob").items() if row["reason"] == "duplicate")
    assert dropped == "c/x"


def test_splits_and_a_list_on_stdin(three, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(map(str, three)) + "\n\n"))
    splits = [("mine", "[ab].tar"), ("all", "*")]
    report = run(["-"], tmp_path / "out", splits=splits)
    assert report.archives == 3
    found = rows(tmp_path / "out")
    assert {name: row["source_split"] for name, row in found.items()} == {
        "c/x": "all", "c/y": "all", "a/x": "mine", "b/z": "mine",
    }  # fmt: skip
    assert exported.manifest(tmp_path / "out")["source"]["splits"] == {"all": 2, "mine": 2}


def test_captions_in_any_state(tmp_path):
    """Line ends, a byte order mark, bytes that are no UTF-8, and inner newlines."""
    texts = {
        "bom": (b"\xef\xbb\xbfwords", b"words\n"),
        "crlf": (b"one\r\ntwo\r\n\r\n", b"one\r\ntwo\n"),
        "latin": (b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}\n".encode()),
        "blank": (b" \n\t ", b"\n"),
    }
    members = []
    for number, (key, (text, _)) in enumerate(texts.items()):
        members += [(f"{key}.jpg", jpeg(seed=30 + number)), (f"{key}.txt", text)]
    path = exported.write_tar(tmp_path / "photos.tar", members)
    report = run([path], tmp_path / "out")
    found = {s.json["image_id"].split("/")[1]: s for s in exported.samples(tmp_path / "out")}
    assert {key: sample.txt for key, sample in found.items()} == {
        k: v for k, (_, v) in texts.items()
    }
    assert report.captions == 3
    assert found["blank"].json["caption_variant"] == ""
