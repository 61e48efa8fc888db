"""Scanning and reading tars and folders."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageCms
from tars import END, JPEG, PNG, header, member, tar

from fastbucket import catalogue
from fastbucket.catalogue import COLUMNS, KIND, KINDS, PROFILES, Archive, Catalogue
from fastbucket.errors import RunError, SampleError
from fastbucket.format import DROP_REASONS
from fastbucket.sources import KINDS as SOURCES
from fastbucket.sources import member_name, tarscan
from fastbucket.sources.locate import archives
from fastbucket.sources.probe import probe

ROOT = Path(__file__).parents[1]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def drawn(format: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (33, 21), 7).save(file, format, **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


# name -> (bytes, expected kind, reason, profile)
IMAGES = {
    "plain.jpg": (drawn(), "jpeg", "", "none"),
    "grey.jpg": (drawn(mode="L"), "jpeg", "", "none"),
    "progressive.jpg": (drawn(progressive=True), "jpeg", "", "none"),
    "turned.jpg": (drawn(exif=exif(6)), "jpeg", "", "none"),
    "srgb.jpg": (drawn(icc_profile=SRGB), "jpeg", "", "srgb"),
    "odd_icc.jpg": (drawn(icc_profile=b"no profile"), "jpeg", "", "none"),
    "cmyk.jpg": (drawn(mode="CMYK"), "jpeg_other", "", "none"),
    "png.png": (drawn("PNG", "RGBA"), "png", "", "none"),
    "png_as.jpg": (drawn("PNG", icc_profile=SRGB), "png", "", "srgb"),
    "gif.gif": (drawn("GIF", "P"), "gif", "", "none"),
    "webp.webp": (drawn("WEBP"), "webp", "", "none"),
    "tiff.tif": (drawn("TIFF"), "tiff", "", "none"),
    "avif.avif": (drawn("AVIF"), "heif", "", "none"),
    "no_suffix_of.bin": (drawn(), "jpeg", "", "none"),
    "empty.jpg": (b"", "none", "unreadable", "none"),
    "html.jpg": (b"<html>", "none", "unreadable", "none"),
    "bmp.bmp": (drawn("BMP"), "none", "unreadable", "none"),
    "cut.jpg": (drawn()[:100], "none", "unreadable", "none"),
    "cut.png": (drawn("PNG")[:20], "none", "unreadable", "none"),
}


def keyed(name: str) -> str:
    """The suffix stays in the key, so that the table's stems may repeat."""
    return name.replace(".", "_") + "." + name.rpartition(".")[2]


@pytest.fixture(params=["tar", "folder"])
def scanned(request, tmp_path) -> tuple[Archive, Catalogue]:
    members = {}
    for name, (data, *_) in IMAGES.items():
        members[keyed(name)] = data
        members[keyed(name).rpartition(".")[0] + ".txt"] = name.encode()
    if request.param == "tar":
        path = tmp_path / "all.tar"
        path.write_bytes(tar(members))
    else:
        path = tmp_path / "all"
        path.mkdir()
        for name, data in members.items():
            (path / name).write_bytes(data)
    (archive,) = archives([path])
    return archive, SOURCES[archive.kind].scan(archive)


def by_name(found: Catalogue) -> dict[str, int]:
    pairs = zip(found.columns["key"].to_pylist(), found.columns["suffix"].to_pylist(), strict=True)
    return {(key + b"." + suffix).decode(): i for i, (key, suffix) in enumerate(pairs)}


def test_every_kind_of_image(scanned):
    _, found = scanned
    rows = by_name(found)
    assert set(rows) == {keyed(name) for name in IMAGES}
    for name, (data, kind, reason, profile) in IMAGES.items():
        row = {
            column: values[rows[keyed(name)]]
            for column, values in found.columns.items()
            if column not in ("key", "suffix")
        }
        assert KINDS[row["kind"]] == kind, name
        assert DROP_REASONS[row["reason"]] == reason, name
        assert PROFILES[row["profile"]] == profile, name
        assert bool(row["detail"]) == bool(reason), name
        assert row["image_size"] == len(data)
        assert (row["width"], row["height"]) == ((0, 0) if reason else (33, 21)), name
        assert row["orientation"] == (6 if name == "turned.jpg" else 1)
        assert row["progressive"] == (name == "progressive.jpg")
        assert row["chroma"] == (0x22 if kind == "jpeg" and name != "grey.jpg" else 0)
    details = {name: found.columns["detail"][rows[keyed(name)]] for name in IMAGES}
    assert details["empty.jpg"] == "empty file"
    assert details["bmp.bmp"].startswith("BMP ")
    assert details["html.jpg"].startswith("markup ")
    assert details["cut.jpg"] == "ends before the first scan"


def test_the_catalogue_goes_to_disk_and_back(scanned, tmp_path):
    archive, found = scanned
    stamp = SOURCES[archive.kind].stamp(archive)
    found.write(tmp_path / "c.arrow", stamp)
    table = catalogue.read(tmp_path / "c.arrow", stamp)
    assert table is not None
    assert table.schema.names == list(COLUMNS)
    assert catalogue.read(tmp_path / "c.arrow", stamp + "x") is None


def test_members_are_read_back(scanned):
    archive, found = scanned
    reader, into = SOURCES[archive.kind].Reader(archive), bytearray()
    views = []
    for name, i in by_name(found).items():
        key, suffix = (found.columns[c][i].as_py() for c in ("key", "suffix"))
        assert member_name(key, suffix, "image").decode() == name
        image, text = (
            bytes(
                reader.read(
                    member_name(key, suffix, part),
                    int(found.columns[f"{part}_offset"][i]),
                    int(found.columns[f"{part}_size"][i]),
                    into,
                )
            )
            for part in ("image", "text")
        )
        assert image == IMAGES[text.decode()][0]
        # A view that is still held must not keep the next read from growing the buffer.
        views.append(reader.read(name, 0, 1 if image else 0, into))
    reader.close()
    reader.close()


def test_probe_is_the_same_for_bytes_in_memory():
    for name, (data, kind, reason, profile) in IMAGES.items():
        for form in (data, memoryview(data)):
            if reason:
                with pytest.raises(SampleError) as caught:
                    probe(form)
                assert caught.value.reason == "unreadable"
            else:
                source = probe(form)
                assert (KINDS[source.kind], PROFILES[source.profile]) == (kind, profile), name
                assert source.stored == (33, 21)
                assert source.orientation == (6 if name == "turned.jpg" else 1)


# -- tars


def written(path: Path, data: bytes) -> Archive:
    path.write_bytes(data)
    return Archive("tar", str(path), path.stem, "", len(data))


def test_a_sample_without_an_image(tmp_path):
    found = tarscan.scan(written(tmp_path / "a.tar", tar({"a.txt": b"x", "b.npy": b"y"})))
    assert [DROP_REASONS[r] for r in found.columns["reason"]] == ["no_image"] * 2
    assert found.columns["image_size"].tolist() == [-1, -1]
    assert found.columns["suffix"].to_pylist() == [b"", b""]
    assert found.columns["text_size"].tolist() == [1, -1]


def test_an_empty_tar(tmp_path):
    found = tarscan.scan(written(tmp_path / "a.tar", END))
    assert (len(found), found.broken) == (0, "")
    found.write(tmp_path / "c.arrow", "s")


def test_a_tar_that_breaks_off_says_where(tmp_path):
    whole = tar({"a.jpg": JPEG, "b.jpg": JPEG, "c.jpg": JPEG})
    data = whole[:1024] + b"?" + whole[1025:]
    found = tarscan.scan(written(tmp_path / "a.tar", data))
    assert len(found) == 1
    assert found.broken == f"a header has a wrong checksum, at byte 1024 of {len(data)}"
    uncut = tarscan.scan(written(tmp_path / "b.tar", whole[: 3 * 1024]))
    assert (len(uncut), uncut.broken) == (3, "")
    assert "no end-of-archive marker" in uncut.extra["note"]


def test_batches_make_no_difference(tmp_path, monkeypatch):
    archive = written(tmp_path / "a.tar", tar({f"{i}.jpg": JPEG[: 20 + i] for i in range(50)}))
    whole = tarscan.scan(archive)
    monkeypatch.setattr(tarscan, "BATCH", 7)
    parts = tarscan.scan(archive)
    for name, values in whole.columns.items():
        assert np.array_equal(np.asarray(values), np.asarray(parts.columns[name])), name


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ([("a.jpg", JPEG), ("b.jpg", JPEG), ("a.txt", b"x")], ("a.jpg", "sample 2 (a)")),
        ([("x/a.jpg", JPEG), ("x/a.JPG", JPEG)], ("x/a.jpg", "x/a.JPG")),
    ],
)
def test_two_samples_of_one_key(tmp_path, members, named):
    archive = written(tmp_path / "a.tar", tar(members))
    with pytest.raises(RunError) as caught:
        tarscan.scan(archive)
    assert archive.path in str(caught.value)
    for name in named:
        assert name in str(caught.value)


def test_names_that_are_not_utf8(tmp_path):
    data = member(b"\xff\xfe.jpg", JPEG) + member("ü.jpg".encode(), JPEG) + END
    found = tarscan.scan(written(tmp_path / "a.tar", data))
    assert [catalogue.text(key) for key in found.columns["key"].to_pylist()] == ["\\xff\\xfe", "ü"]
    same = member(b"\xff.jpg", JPEG) + member(rb"\xff.jpg", JPEG) + END
    with pytest.raises(RunError, match="two samples"):
        tarscan.scan(written(tmp_path / "b.tar", same))


def test_a_tar_that_shrinks_or_goes(tmp_path):
    archive = written(tmp_path / "a.tar", tar({"a.jpg": JPEG}))
    found = tarscan.scan(archive)
    reader, into = SOURCES["tar"].Reader(archive), bytearray()
    offset, size = (int(found.columns[c][0]) for c in ("image_offset", "image_size"))
    os.truncate(archive.path, offset + 5)
    with pytest.raises(RunError) as caught:
        reader.read(b"a.jpg", offset, size, into)
    assert f"{archive.path}: a.jpg: 5 of {size} bytes" in str(caught.value)
    reader.close()
    with pytest.raises(RunError, match="cannot be read"):
        reader.read(b"a.jpg", offset, size, into)
    os.unlink(archive.path)
    for act in (SOURCES["tar"].Reader, SOURCES["tar"].scan, SOURCES["tar"].stamp):
        with pytest.raises(RunError, match=r"a\.tar"):
            act(archive)


def test_a_tar_that_shrinks_during_the_scan(tmp_path, monkeypatch):
    data = tar({f"{i}.jpg": JPEG + bytes(50_000) for i in range(9)})
    archive = written(tmp_path / "a.tar", data)
    whole = tarscan.scan(archive)
    status = os.stat(archive.path)
    os.truncate(archive.path, 100_000)
    monkeypatch.setattr(tarscan.os, "fstat", lambda _: status)
    with pytest.raises(RunError, match=r"a\.tar: byte 1\d{5}: .*the file has become shorter"):
        tarscan.scan(archive)

    def restored(path, file, failed):
        Path(path).write_bytes(data)

    monkeypatch.setattr(tarscan, "_read_again", restored)
    again = tarscan.scan(archive)
    assert again.extra == whole.extra
    for name, values in whole.columns.items():
        assert np.array_equal(np.asarray(values), np.asarray(again.columns[name])), name


def test_a_failing_disk_is_named_with_byte_and_reason(tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(RunError, match=r"a\.tar: byte 0: cannot be read: Is a directory"):
            tarscan._Walked("a.tar", folder, 10240)
    finally:
        os.close(folder)


def test_reads_that_work_only_here_end(tmp_path, monkeypatch):
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(512))
    monkeypatch.setattr(tarscan.pread, "read", lambda *_: None)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(RunError, match="9 reads failed"):
            tarscan._Walked("a.tar", descriptor, 1 << 20)
    finally:
        os.close(descriptor)


def test_an_empty_file_is_no_tar(tmp_path):
    with pytest.raises(RunError, match="empty"):
        tarscan.scan(written(tmp_path / "a.tar", b""))


def test_a_damaged_size_is_no_mapping_of_gigabytes(tmp_path):
    data = header(b"a.jpg", 1 << 32) + JPEG
    found = tarscan.scan(written(tmp_path / "a.tar", data))
    assert (len(found), "ends within a member's data" in found.broken) == (0, True)


def test_stamps_and_listings_of_tars(tmp_path):
    archive = written(tmp_path / "a.tar", tar({"a.jpg": JPEG}))
    stamp, listing = SOURCES["tar"].stamp(archive), SOURCES["tar"].listing(archive)
    os.utime(archive.path, ns=(5, 5))
    assert SOURCES["tar"].stamp(archive) != stamp
    (tmp_path / "moved").mkdir()
    shutil.move(archive.path, tmp_path / "moved")
    (moved,) = archives([tmp_path / "moved"])
    assert SOURCES["tar"].listing(moved) == listing == f"a\t{archive.size}\t"


# -- folders


def folder_scan(root: Path) -> tuple[Archive, Catalogue]:
    (archive,) = archives([root])
    return archive, SOURCES["folder"].scan(archive)


def test_a_folder(tmp_path):
    files = {
        "b.x.jpg": JPEG,
        "b.x.txt": b"words",
        "b.x.json": b"{}",
        "a/z.PNG": PNG + b"IEND",
        "a/z.cls": b"3",
        "a b.jpg": JPEG,
        "bare": JPEG,
        ".hidden.jpg": JPEG,
        ".dir/x.jpg": JPEG,
        "orphan.txt": b"no image beside it",
        "notes.md": b"hello",
        "dot.": JPEG,
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    archive, found = folder_scan(tmp_path)
    keys = found.columns["key"].to_pylist()
    assert keys == [b"a b", b"a/z", b"b.x", b"bare"]  # by the bytes of the paths
    assert found.columns["suffix"].to_pylist() == [b"jpg", b"PNG", b"jpg", b""]
    assert found.columns["text_size"].tolist() == [-1, -1, 5, -1]
    assert found.columns["json_size"].tolist() == [-1, -1, 2, -1]
    assert found.columns["class_size"].tolist() == [-1, 1, -1, -1]
    assert found.extra["skipped"] == 3
    reader = SOURCES["folder"].Reader(archive)
    for key, suffix in ((b"b.x", b"jpg"), (b"bare", b"")):
        name = member_name(key, suffix, "image")
        assert bytes(reader.read(name, 0, len(JPEG), bytearray())) == JPEG
    assert bytes(reader.read("b.x.txt", 1, 3, bytearray())) == b"ord"


def test_two_images_of_one_stem(tmp_path):
    (tmp_path / "a.jpg").write_bytes(JPEG)
    (tmp_path / "a.png").write_bytes(PNG)
    with pytest.raises(RunError) as caught:
        folder_scan(tmp_path)
    assert "a.jpg" in str(caught.value)
    assert "a.png" in str(caught.value)


def test_links_are_followed_but_not_in_circles(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "x.jpg").write_bytes(JPEG)
    os.symlink(outside, inside / "linked")
    os.symlink(inside, inside / "circle")
    os.symlink(outside / "x.jpg", inside / "y.jpg")
    os.symlink(outside / "nowhere.jpg", inside / "z.jpg")
    _, found = folder_scan(inside)
    assert found.columns["key"].to_pylist() == [b"linked/x", b"x", b"y"]


def test_a_header_longer_than_the_first_read(tmp_path):
    icc = np.random.default_rng(1).bytes(150_000)
    (tmp_path / "a.jpg").write_bytes(drawn(icc_profile=icc))
    (tmp_path / "b.jpg").write_bytes(drawn())
    _, found = folder_scan(tmp_path)
    assert found.columns["width"].tolist() == [33, 33]
    assert found.columns["kind"].tolist() == [KIND["jpeg"]] * 2


def test_stamps_and_listings_of_folders(tmp_path):
    first, second = tmp_path / "1" / "photos", tmp_path / "2" / "photos"
    for root in (first, second):
        root.mkdir(parents=True)
        (root / "a.jpg").write_bytes(JPEG)
        os.utime(root / "a.jpg", ns=(len(str(root)), root == first))
    (one,), (two,) = archives([first]), archives([second])
    kind = SOURCES["folder"]
    assert kind.listing(one) == kind.listing(two)
    assert kind.stamp(one) == kind.stamp(one) != kind.stamp(two)
    (second / "b.txt").write_bytes(b"words")
    assert kind.listing(one) != kind.listing(two)


def test_a_file_that_shrinks_or_goes(tmp_path):
    (tmp_path / "a.jpg").write_bytes(JPEG)
    archive, _ = folder_scan(tmp_path)
    reader = SOURCES["folder"].Reader(archive)
    (tmp_path / "a.jpg").write_bytes(JPEG[:5])
    with pytest.raises(RunError, match=r"a\.jpg: 5 of \d+ bytes"):
        reader.read(b"a.jpg", 0, len(JPEG), bytearray())
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(RunError, match=r"a\.jpg: cannot be opened"):
        reader.read(b"a.jpg", 0, len(JPEG), bytearray())
    shutil.rmtree(tmp_path)
    with pytest.raises(RunError, match="cannot be read"):
        SOURCES["folder"].stamp(archive)


# -- the table


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_every_kind_has_the_same_functions(kind):
    for name in ("scan", "stamp", "listing", "Reader"):
        assert callable(getattr(SOURCES[kind], name))


def test_locating_and_reading_load_nothing_heavy():
    program = (
        "import sys\n"
        "import fastbucket.sources, fastbucket.sources.locate\n"
        "assert not {'numba', 'pyvips', 'simplejpeg', 'webdataset'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=240)


def test_keys_and_columns_of_the_catalogue(tmp_path):
    found = tarscan.scan(written(tmp_path / "a.tar", tar({"a.jpg": JPEG}, tarfile.GNU_FORMAT)))
    assert set(found.columns) == set(COLUMNS)
    for name, kind in COLUMNS.items():
        pa.array(found.columns[name], kind)
