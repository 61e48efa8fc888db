"""The walk over tars: against tarfile, against webdataset's own grouping, and against damage."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import tars
from hypothesis import given, settings
from hypothesis import strategies as st
from tars import END, JPEG, PNG, header, member, padded, pax, tar, walk

from fastbucket.kernels import jpegheader, tarheader, tarwalk, window

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from webdataset.tariterators import group_by_keys, tar_file_iterator

SHARED = Path(__file__).parents[2] / "shared"
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def by_webdataset(data: bytes) -> list[dict]:
    files = ({**f, "__url__": ""} for f in tar_file_iterator(io.BytesIO(data)))
    return list(group_by_keys(files))


def by_tarfile(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()


def found(data: bytes, capacity: int = 64) -> list[tuple[bytes, bytes, bytes | None]]:
    return [(s["key"], s["suffix"], s["image"]) for s in walk(data, capacity).samples]


@pytest.mark.parametrize("format", FORMATS)
def test_samples_are_webdatasets(format):
    members = [
        ("train/n01/a_1.jpg", JPEG),
        ("train/n01/a_1.cls", b"7"),
        ("train/n01/a_1.json", b"{}"),
        ("train/n02/b.x.jpg", b"no image"),
        ("train/n02/b.txt", b"words"),
        ("c.TXT", b"loud"),
        ("c.JPEG", JPEG + b"x"),
        ("no_suffix", b"?"),
        ("__meta__/d.jpg", JPEG),
        ("__x.y__", JPEG),
        ("e/__in__/f.png", PNG),
        ("g.", b""),
        ("./h.jpg", JPEG),
        ("i.j/k", b""),
        ("i.j/k.webp", b""),
    ]
    data = tar(members, format)
    ours, theirs = walk(data), by_webdataset(data)
    assert ours.ended == tarheader.END
    assert [s["key"].decode() for s in ours.samples] == [s["__key__"] for s in theirs]
    for mine, other in zip(ours.samples, theirs, strict=True):
        for part in ("txt", "json", "cls"):
            assert mine[part] == other.get(part)
        if mine["rank"] < tarwalk.RANK_NONE:
            assert mine["image"] == other[mine["suffix"].decode().lower()]
    assert ours.members == 15


NAMES = st.builds(
    lambda folders, base, suffixes: "".join(f + "/" for f in folders) + ".".join([base, *suffixes]),
    st.lists(st.sampled_from(["a", "b.c", "long" * 20, "__m__"]), max_size=4),
    st.sampled_from(["x", "y", "z" * 60, "ü"]),
    st.lists(st.sampled_from(["jpg", "TXT", "txt", "json", "cls", "png", "seg", ""]), max_size=2),
)


@settings(max_examples=150, deadline=None)
@given(
    members=st.lists(st.tuples(NAMES, st.sampled_from([JPEG, PNG, b"", b"words"])), max_size=20),
    format=st.sampled_from(FORMATS),
    capacity=st.integers(1, 4),
)
def test_any_names_group_as_in_webdataset(members, format, capacity):
    try:
        data = tar(members, format)
    except ValueError:  # too long for ustar
        return
    try:
        theirs = by_webdataset(data)
    except ValueError:  # a suffix twice under one key: two samples here, and an error later
        return
    ours = walk(data, capacity)
    assert ours.ended == tarheader.END
    assert [s["key"].decode() for s in ours.samples] == [s["__key__"] for s in theirs]
    for mine, other in zip(ours.samples, theirs, strict=True):
        for part in ("txt", "json", "cls"):
            assert mine[part] == other.get(part)
        if mine["rank"] < tarwalk.RANK_NONE:
            assert mine["image"] == other[mine["suffix"].decode().lower()]
    assert found(data, capacity) == found(data)


def test_hidden_members_part_no_sample():
    data = tar([("d/a.jpg", JPEG), ("d/._a.jpg", b"mac"), ("d/a.txt", b"words")])
    (sample,) = walk(data).samples
    assert (sample["key"], sample["image"], sample["txt"]) == (b"d/a", JPEG, b"words")


def test_a_suffix_twice_starts_another_sample():
    data = tar([("a.jpg", JPEG), ("a.txt", b"1"), ("a.JPG", PNG), ("a.json", b"{}")])
    assert [(s["key"], s["image"], s["txt"], s["json"]) for s in walk(data).samples] == [
        (b"a", JPEG, b"1", None),
        (b"a", PNG, None, b"{}"),
    ]


@pytest.mark.parametrize(
    ("members", "suffix", "rank"),
    [
        ({"a.png": PNG, "a.jpg": JPEG}, b"png", tarwalk.RANK_IMAGE),  # the first of equals
        ({"a.seg.png": PNG, "a.jpg": JPEG}, b"jpg", tarwalk.RANK_IMAGE),
        ({"a.seg.png": PNG, "a.txt": JPEG}, b"seg.png", tarwalk.RANK_BYTES),
        ({"a.jpg": b"<html>", "a.bin": JPEG}, b"bin", tarwalk.RANK_BYTES),
        ({"a.jpg": PNG}, b"jpg", tarwalk.RANK_IMAGE),  # a wrong suffix, but an image's
        ({"a.Jpg": b"", "a.npy": b"123"}, b"Jpg", tarwalk.RANK_SUFFIX),
        ({"a.bmp": b"BM", "a.jxl": b""}, b"bmp", tarwalk.RANK_SUFFIX),
        ({"a.json": JPEG, "a.cls": PNG, "a.npy": b""}, b"", tarwalk.RANK_NONE),
    ],
)
def test_which_member_is_the_image(members, suffix, rank):
    (sample,) = walk(tar(members)).samples
    assert (sample["suffix"], sample["rank"]) == (suffix, rank)
    if rank < tarwalk.RANK_NONE:
        assert sample["image"] == members["a." + suffix.decode()]


def test_jpeg_headers_are_read():
    samples = walk(tar({"a.jpg": JPEG, "b.png": PNG, "c.jpg": JPEG[:9]})).samples
    heads = [sample["head"] for sample in samples]
    assert [h[-1] for h in heads] == [jpegheader.OK, jpegheader.NOT_JPEG, jpegheader.SHORT]
    assert heads[0][jpegheader.WIDTH : jpegheader.HEIGHT + 1] == [40, 30]
    assert heads[0][jpegheader.PLAIN] == 1


# -- formats of headers


def test_long_names_of_every_kind():
    deep = b"d/" * 40 + b"x" * 90
    samples = {
        "prefix": member(b"x.jpg", JPEG, prefix=b"p" * 155),
        "gnu": member(b"L", deep + b".jpg\0", kind=b"L") + member(b"y", JPEG),
        "link": member(b"K", deep + b"\0", kind=b"K") + member(b"k.jpg", JPEG),
        "pax": pax((b"mtime", b"1.5"), (b"path", deep + b"2.jpg")) + member(b"y", JPEG),
        "solaris": pax((b"path", b"s.jpg"), kind=b"X") + member(b"y", JPEG),
    }
    keys = [s["key"] for s in walk(b"".join(samples.values()) + END).samples]
    assert keys == [b"p" * 155 + b"/x", deep, b"k", deep + b"2", b"s"]


@pytest.mark.parametrize(
    "magic", [b"ustar\x0000", b"ustar  \0", b""], ids=["ustar", "old GNU", "v7"]
)
def test_only_ustar_has_a_prefix(magic):
    (sample,) = walk(member(b"x.jpg", JPEG, prefix=b"12345", magic=magic) + END).samples
    assert sample["key"] == (b"12345/x" if magic == b"ustar\x0000" else b"x")


def test_a_name_fills_its_field():
    name = b"n" * 96 + b".jpg"
    assert walk(member(name, JPEG) + END).samples[0]["key"] == b"n" * 96


def test_global_pax_headers():
    data = (
        pax((b"comment", b"nothing"), kind=b"g")
        + member(b"a.jpg", JPEG)
        + pax((b"path", b"all.jpg"), kind=b"g")
        + member(b"b.jpg", JPEG)
        + pax((b"path", b"own.jpg"))
        + member(b"c.jpg", PNG)
        + END
    )
    theirs = [m.name for m in by_tarfile(data)]
    assert [s["key"].decode() + ".jpg" for s in walk(data).samples] == theirs
    assert found(data, 1) == found(data)


@pytest.mark.parametrize("digits", [1, 40, 1000])
def test_pax_size_wins(digits):
    data = pax((b"size", b"%0*d" % (digits, len(JPEG)))) + header(b"a.jpg", 0) + padded(JPEG)
    data += member(b"b.png", PNG) + END
    assert [s["image"] for s in walk(data).samples] == [JPEG, PNG]
    assert [m.size for m in by_tarfile(data)] == [len(JPEG), len(PNG)]


@pytest.mark.parametrize(
    "size",
    [
        b"\x80" + len(JPEG).to_bytes(11, "big"),
        b"%o " % len(JPEG),
        b"  %o\0" % len(JPEG),
        b"%012o" % len(JPEG),
    ],
)
def test_ways_to_write_a_size(size):
    data = header(b"a.jpg", size) + padded(JPEG) + END
    assert found(data) == [(b"a", b"jpg", JPEG)]
    assert [m.size for m in by_tarfile(data)] == [len(JPEG)]


def test_a_size_of_terabytes_is_cut_and_not_wrapped():
    for size in (1 << 40, (1 << 62) - 512, 1 << 61):
        data = member(b"a.jpg", JPEG) + header(b"b.jpg", b"\x80" + size.to_bytes(11, "big"))
        walked = walk(data + bytes(4096))
        assert (walked.ended, walked.at) == (tarheader.DATA_CUT, 1024)
        assert [s["key"] for s in walked.samples] == [b"a"]


@pytest.mark.parametrize("signed", [False, True])
def test_both_checksums(signed):
    data = member("ü".encode() * 20 + b".jpg", JPEG, signed=signed) + END
    assert found(data)[0][0].decode() == "ü" * 20
    assert [m.name for m in by_tarfile(data)] == ["ü" * 20 + ".jpg"]


def test_what_is_no_file_is_passed_over():
    file = io.BytesIO()
    kinds = (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
    with tarfile.open(fileobj=file, mode="w") as archive:
        for i, kind in enumerate(kinds):
            info = tarfile.TarInfo(f"{i}.jpg")
            info.type = kind
            info.linkname = "x" * 150
            archive.addfile(info)
            jpeg = tarfile.TarInfo(f"after{i}.jpg")
            jpeg.size = len(JPEG)
            archive.addfile(jpeg, io.BytesIO(JPEG))
    assert found(file.getvalue()) == [(b"after%d" % i, b"jpg", JPEG) for i in range(len(kinds))]


def test_odd_kinds():
    data = (
        member(b"old/", b"", kind=b"\0")  # a folder in a v7 tar
        + member(b"a.jpg", JPEG, kind=b"\0")
        + member(b"b.jpg", JPEG, kind=b"7")
        + member(b"volume.jpg", b"label", kind=b"V")  # unknown kinds have data
        + header(b"s.jpg", 512, kind=b"S", rest=b"\1" + bytes(29))
        + bytes(504)
        + b"\0"
        + bytes(7 + 512)
        + pax((b"GNU.sparse.major", b"1"))
        + member(b"t.jpg", JPEG)
        + member(b"c.jpg", JPEG)
        + END
    )
    walked = walk(data)
    assert [s["key"] for s in walked.samples] == [b"a", b"b", b"c"]
    assert (walked.ended, walked.sparse) == (tarheader.END, 2)


# -- ends and breaks

WHOLE = tar({"a.jpg": JPEG, "a.txt": b"words", "b.jpg": JPEG + b"x", "b.cls": b"1"})
TWO = [(b"a", b"jpg", JPEG), (b"b", b"jpg", JPEG + b"x")]
DATA_END = 8 * 512


def test_ends():
    assert walk(WHOLE).ended == tarheader.END
    assert walk(WHOLE[: DATA_END + 512]).ended == tarheader.END  # one zero block, as tarfile
    unmarked = walk(WHOLE[:DATA_END])
    assert unmarked.ended == tarheader.END_UNMARKED
    assert walk(WHOLE[: DATA_END - 500]).ended == tarheader.END_UNMARKED  # padding is cut
    assert found(WHOLE[:DATA_END]) == found(WHOLE[: DATA_END - 500]) == found(WHOLE) == TWO
    assert walk(END).samples == walk(bytes(10240)).samples == []


@pytest.mark.parametrize(
    ("data", "ended", "at", "keys"),
    [
        (WHOLE[: 512 * 5], tarheader.DATA_CUT, 512 * 4, [b"a"]),
        (WHOLE[: 512 * 4 + 7], tarheader.HEADER_CUT, 512 * 4, [b"a"]),
        (WHOLE[: 512 * 7], tarheader.DATA_CUT, 512 * 6, [b"a", b"b"]),  # b's image is whole
        (WHOLE[:1024] + b"x" * 2048, tarheader.CHECKSUM, 1024, [b"a"]),
        (WHOLE[:4] + b"x" + WHOLE[5:], tarheader.CHECKSUM, 0, []),
        (header(b"a.jpg", b"\xff" * 12) + bytes(512), tarheader.BAD_SIZE, 0, []),
        (header(b"a.jpg", b"12x") + bytes(512), tarheader.BAD_SIZE, 0, []),
        (header(b"a.jpg", b"\x80" + b"\xff" * 11), tarheader.BAD_SIZE, 0, []),
        (member(b"L", b"x.jpg\0", kind=b"L"), tarheader.ALONE, 1024, []),
        (member(b"L", b"x.jpg\0", kind=b"L") + END, tarheader.ALONE, 1024, []),
        (member(b"L", b"n" * 70000, kind=b"L") + END, tarheader.LONG_NAME, 0, []),
        (
            pax((b"path", b"n" * 70000)) + member(b"a", JPEG) + END,
            tarheader.LONG_NAME,
            len(pax((b"path", b"n" * 70000))),
            [],
        ),
        (member(b"x", b"99 path=a.jpg\n", kind=b"x"), tarheader.BAD_PAX, 0, []),
        (member(b"x", b"13 size=12x3\n", kind=b"x"), tarheader.BAD_PAX, 0, []),
        (WHOLE[:DATA_END] + END + WHOLE, tarheader.MORE, DATA_END + 1024, [b"a", b"b"]),
        (
            member(b"a.txt", b"words") + WHOLE[:520],
            tarheader.DATA_CUT,
            1024,
            [],
        ),  # the image of a was in what is cut
        (
            b"".join(member(b"a.%d" % i, b"") for i in range(1100)),
            tarwalk.CROWD,
            512 * 1024,
            [],
        ),
    ],
)
def test_breaks(data, ended, at, keys):
    walked = walk(data)
    assert (walked.ended, walked.at) == (ended, at)
    assert [s["key"] for s in walked.samples] == keys
    assert walked.ended in tarwalk.BREAKS


def test_zeros_behind_the_end_are_no_archive():
    assert walk(WHOLE + bytes(50000)).ended == tarheader.END
    assert walk(WHOLE[:DATA_END] + END + b"junk" * 300).ended == tarheader.END


@pytest.mark.parametrize("format", FORMATS)
def test_every_prefix_of_a_tar_gives_a_prefix_of_its_samples(format):
    names = {"n" * 60 + "/" + "m" * 60 + f"{i}.jpg": JPEG for i in range(3)}
    data = tar(names, format)
    whole = found(data)
    for size in range(1, len(data), 37):
        part = found(data[:size])
        assert part == whole[: len(part)]


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 1 << 31), st.integers(1, 3))
def test_damage_is_harmless(seed, capacity):
    data = tars.hostile(seed)
    if data:
        walked = walk(data, capacity)
        assert walked.at <= len(data)
        assert [s["key"] for s in walked.samples] == [k for k, _, _ in found(data)]


@pytest.mark.long  # compiles for minutes; test_bounds does the same with drawn tars
def test_the_kernels_stay_inside_their_arrays(tmp_path):
    """In a process of its own, with every index checked by numba."""
    environment = {
        **os.environ,
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path[:1]]),
    }
    folders = [str(SHARED / name) for name in ("hostile/tars", "hostile/images")]
    done = subprocess.run(
        [sys.executable, tars.__file__, *folders],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(" files\n")


def test_hostile_tars_as_tarfile_reads_them():
    folder = SHARED / "hostile" / "tars"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    compared = 0
    for path in sorted(folder.rglob("*.tar")):
        data = path.read_bytes()
        if not data:
            continue
        walked = walk(data, 5)
        try:
            with tarfile.open(path, "r:") as archive:
                members = [m for m in archive if m.isreg() and not m.issparse()]
        except (tarfile.TarError, OSError, ValueError, OverflowError, EOFError, IndexError):
            continue
        places = {m.offset_data: m for m in members}
        for sample in walked.samples:
            if sample["rank"] == tarwalk.RANK_NONE:
                continue
            theirs = places.get(sample["image_at"])
            if theirs is None:
                continue
            compared += 1
            name = sample["key"] + b"." + sample["suffix"]
            assert theirs.size == len(sample["image"]), path
            assert theirs.name.encode("utf-8", "surrogateescape").endswith(name), path
    assert compared > 5


# -- through the window


def jpeg_with(*sizes: int) -> bytes:
    """A JPEG with segments of so many bytes before its frame, full of false markers."""
    segments = b"".join(
        b"\xff\xed" + (size + 2).to_bytes(2, "big") + b"\xff\xc0" * (size // 2) for size in sizes
    )
    return JPEG[:2] + segments + JPEG[2:]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1 << 31),
    images=st.lists(st.lists(st.integers(0, 30000).map(lambda n: 2 * n), max_size=3), max_size=6),
    junk=st.integers(0, 9000),
)
def test_where_the_windows_begin_does_not_matter(seed, images, junk):
    """Headers across the ends of windows, next to what is in the array from before."""
    parts = [member(b"%d.jpg" % i, jpeg_with(*sizes)) for i, sizes in enumerate(images)]
    data = tar({"junk": bytes(junk)})[: 512 + -(-junk // 512) * 512] + b"".join(parts)
    data += tars.hostile(seed)
    walked = [walk(data, 2, wall) for wall in (0, 0xFF, 0x30)]
    assert walked[0] == walked[1] == walked[2]
    for i, sample in enumerate(walked[0].samples[: len(images)]):
        head = np.zeros(jpegheader.FIELDS, np.int64)
        image = np.frombuffer(sample["image"], np.uint8)
        code = jpegheader.jpeg_header(image, 0, len(image), head)
        assert sample["head"] == [*head.tolist(), code], i


def test_no_more_is_read_than_is_needed():
    """Work is counted, not timed: one read a sample, and what says nothing is skipped."""
    pixels = bytes(100_000)
    members = [
        (f"{i}.{suffix}", part)
        for i in range(100)
        for suffix, part in (("cls", b"7"), ("jpg", JPEG + pixels), ("json", b"{}"))
    ]
    walked = walk(tar(members), 1000)
    assert len(walked.samples) == 100
    assert walked.calls <= 105
    assert walked.read <= 105 * window.SMALL
    small = walk(tar([(f"{i}.jpg", JPEG) for i in range(1000)]), 1000)
    assert small.calls <= 1_024_000 // window.LARGE + 8
    long = walk(tar({"a.jpg": jpeg_with(60000, 60000, 60000) + pixels}))
    assert long.samples[0]["head"][-1] == jpegheader.OK
    assert long.read <= 7 * window.SMALL


def test_records_of_any_size():
    records = (b"comment", b"c" * 300_000), (b"path", b"p/" * 30_000 + b"a.jpg"), (b"k" * 5000, b"")
    data = pax(*records) + member(b"x", JPEG) + member(b"b.jpg", JPEG) + END
    assert [m.name for m in by_tarfile(data)] == ["p/" * 30_000 + "a.jpg", "b.jpg"]
    assert [k for k, *_ in found(data)] == [b"p/" * 30_000 + b"a", b"b"]
    cut = pax((b"comment", b"c" * 300_000)).replace(b"c\n", b"cc")
    assert walk(cut + member(b"a.jpg", JPEG)).ended == tarheader.BAD_PAX


def test_a_read_that_fails_leaves_whole_samples():
    file = window.opened(os.open("/", os.O_RDONLY), 4096)
    arrays = tars.arrays(4)
    try:
        ended, n = tarwalk.walk(file, *arrays)
    finally:
        os.close(int(file[window.DESCRIPTOR]))
    assert (ended, n, file[window.FAULT]) == (tarwalk.FAILED, 0, 0)
