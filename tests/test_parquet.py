"""Parquet sources: pyarrow and datasets are the oracles, and a tar of the same images."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import random
import struct
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import exported
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import fastbucket
from fastbucket import Recipe, Resources, RunError, verify
from fastbucket.catalogue import Catalogue
from fastbucket.format import DROP_REASONS
from fastbucket.sources import parquet, parquetcache, parquetcolumns, parquetpages
from fastbucket.sources.locate import archives
from fastbucket.sources.parquetcolumns import columns

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def jpeg(number: int, side: int = 24) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


JPEGS = [jpeg(i, 16 + i) for i in range(40)]


def write(path: Path, images: list[Any], kind: pa.DataType = STRUCT, **options: Any) -> Path:
    """A file of one column `image`; images: bytes, None, or what `kind` takes."""
    if pa.types.is_struct(kind):
        images = [{"bytes": i, "path": None} if isinstance(i, bytes) else i for i in images]
    pq.write_table(pa.table({"image": pa.array(images, kind)}), path, **options)
    return path


def scan(path: Path | str) -> Catalogue:
    (archive,) = archives([path])
    return parquet.scan(archive)


def read(path: Path | str, found: Catalogue, part: str = "image") -> list[bytes | None]:
    """A part of every row, as an export reads it; None where there is none."""
    (archive,) = archives([path])
    reader, into = parquet.Reader(archive), bytearray()
    offsets, sizes = (
        found.columns[f"{part}_offset"].tolist(),
        found.columns[f"{part}_size"].tolist(),
    )
    parts = [
        None if size < 0 else bytes(reader.read(b"x", offset, size, into))
        for offset, size in zip(offsets, sizes, strict=True)
    ]
    reader.close()
    reader.close()
    return parts


def reasons(found: Catalogue) -> list[str]:
    return [DROP_REASONS[reason] for reason in found.columns["reason"]]


# -- every way to write a column

KINDS = {
    "struct": STRUCT,
    "binary": pa.binary(),
    "large": pa.large_binary(),
    "view": pa.binary_view(),
}
COMPRESSIONS = ("none", "snappy", "gzip", "brotli", "zstd", "lz4")


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_pyarrow_reads(tmp_path, compression, dictionary, version):
    images = [*JPEGS[:7], None, *JPEGS[7:20], JPEGS[3], None, None, *JPEGS[20:]]
    for number, (kind, rows, page) in enumerate(product(KINDS.values(), (9, 1000), (1, 1 << 20))):
        path = write(
            tmp_path / f"{number}.parquet",
            images,
            kind,
            compression=compression,
            use_dictionary=dictionary,
            data_page_version=version,
            row_group_size=rows,
            data_page_size=page,
            write_batch_size=4,
        )
        found = scan(path)
        assert read(path, found) == images
        assert [bool(reason) for reason in reasons(found)] == [i is None for i in images]
        offsets = found.columns["image_offset"][found.columns["image_size"] >= 0]
        assert (offsets < path.stat().st_size).all() == (compression == "none")
        for at, image in zip(offsets.tolist(), filter(None, images), strict=True):
            if compression == "none":  # where it says, it stands, for anybody
                assert path.read_bytes()[at : at + len(image)] == image


def test_a_column_that_may_not_be_null(tmp_path):
    table = pa.table({"image": pa.array(JPEGS, pa.binary())})
    schema = pa.schema([pa.field("image", pa.binary(), nullable=False)])
    pq.write_table(table.cast(schema), tmp_path / "a.parquet", data_page_version="2.0")
    assert read(tmp_path / "a.parquet", scan(tmp_path / "a.parquet")) == JPEGS


@pytest.mark.parametrize("encoding", ["DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"])
def test_encodings_that_are_left_to_pyarrow(tmp_path, encoding):
    for kind, leaf in ((STRUCT, "image.bytes"), (pa.binary(), "image")):
        path = tmp_path / f"{leaf}.parquet"
        images = [*JPEGS, None, JPEGS[0]]
        write(
            path, images, kind, use_dictionary=False, column_encoding={leaf: encoding},
            row_group_size=10,
        )  # fmt: skip
        reader = parquet.Reader(archives([path])[0])
        with pytest.raises(parquetpages.Unusual):
            reader.values(0, 0)
        reader.close()
        assert read(path, scan(path)) == images


def test_a_dictionary_of_one_value(tmp_path):
    path = write(tmp_path / "a.parquet", [JPEGS[0]] * 50)
    assert read(path, scan(path)) == [JPEGS[0]] * 50


def test_an_empty_file_and_empty_row_groups(tmp_path):
    path = tmp_path / "a.parquet"
    assert len(scan(write(path, []))) == 0
    table = pa.table({"image": pa.array(JPEGS[:3], pa.binary())})
    with pq.ParquetWriter(path, table.schema) as writer:
        for part in (table[:0], table, table[:0], table):
            writer.write_table(part)
    assert read(path, scan(path)) == JPEGS[:3] * 2


def test_headers_beyond_the_first_bytes(tmp_path):
    """A preview of 60 KB stands before the frame header: more than is read at first."""
    images = []
    for size in (10_000, 60_000, 150_000):
        comments = b"".join(
            b"\xff\xfe"
            + (min(size - at, 60_000) + 2).to_bytes(2, "big")
            + bytes(min(size - at, 60_000))
            for at in range(0, size, 60_000)
        )
        images.append(JPEGS[0][:2] + comments + JPEGS[0][2:])
    for compression in ("none", "snappy"):
        path = write(tmp_path / f"{compression}.parquet", images, compression=compression)
        assert scan(path).columns["width"].tolist() == [16] * 3


def test_other_images_and_what_is_none(tmp_path):
    png = io.BytesIO()
    Image.new("RGB", (33, 21)).save(png, "PNG")
    rows = [
        png.getvalue(),
        b"",
        b"<html>",
        JPEGS[0][:100],
        None,
        {"bytes": None, "path": "a/b.jpg"},
    ]
    for compression in ("none", "snappy"):
        found = scan(write(tmp_path / f"{compression}.parquet", rows, compression=compression))
        assert reasons(found) == ["", *["unreadable"] * 3, *["no_image"] * 2]
        assert found.columns["suffix"].to_pylist() == [b"png", b"", b"", b"jpg", b"", b""]
        details = list(found.columns["detail"])
        assert details[:2] == ["", "empty file"]
        assert details[4:] == ["the image is null", "the image is no more than a path: a/b.jpg"]


# -- damage


def test_a_damaged_page_costs_its_own_rows(tmp_path):
    path = write(
        tmp_path / "a.parquet", JPEGS, use_dictionary=False, compression="snappy",
        data_page_size=1, write_batch_size=4, row_group_size=20,
    )  # fmt: skip
    reader = parquet.Reader(archives([path])[0])
    pages, why = reader.pages(1)
    reader.close()
    assert (len(pages), why) == (5, "")
    data = bytearray(path.read_bytes())
    data[pages[2].at : pages[2].at + 40] = bytes(40)  # its data
    (tmp_path / "data.parquet").write_bytes(data)
    found = scan(tmp_path / "data.parquet")
    assert [i for i, r in enumerate(reasons(found)) if r] == [28, 29, 30, 31]
    assert f"page at byte {pages[2].at}" in found.columns["detail"][29]
    kept = [i for i in range(40) if not 28 <= i < 32]
    assert [read(tmp_path / "data.parquet", found)[i] for i in kept] == [JPEGS[i] for i in kept]
    before = pages[1].at + pages[1].stored
    data[before : before + 8] = b"\xff" * 8  # its header: nothing behind it can be found
    (tmp_path / "header.parquet").write_bytes(data)
    found = scan(tmp_path / "header.parquet")
    assert [i for i, r in enumerate(reasons(found)) if r] == list(range(28, 40))
    assert set(reasons(found)) == {"", "unreadable"}


@pytest.mark.parametrize("compression", ["none", "snappy"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_any_bytes_give_a_catalogue_or_an_error_of_ours(tmp_path, compression, version):
    path = write(
        tmp_path / "a.parquet", JPEGS[:12], compression=compression, data_page_version=version,
        row_group_size=5, data_page_size=1, write_batch_size=2,
    )  # fmt: skip
    whole, dice = path.read_bytes(), random.Random(f"{compression} {version}")
    starts = [page.at for page in _pages_of(path)]
    outcomes = set()
    for _ in range(80):
        data = bytearray(whole)
        for _ in range(dice.choice((1, 1, 4))):
            near = dice.choice(starts) + dice.randrange(-30, 12)
            at = dice.choice((near, near, dice.randrange(4, len(data) - 4)))
            data[at] = dice.randrange(256)
        path.write_bytes(data)
        try:
            found = scan(path)
            assert len(found) == 12
            parts = read(path, found)
            assert [p is None for p in parts] == (found.columns["image_size"] < 0).tolist()
            outcomes.add("damaged" if any(reasons(found)) else "sound")
        except RunError as error:
            assert str(path) in str(error)
            outcomes.add("error")
    assert outcomes >= {"damaged", "sound"}


def _pages_of(path: Path) -> list[parquetpages.Page]:
    reader = parquet.Reader(archives([path])[0])
    found = [page for group in range(len(reader.starts) - 1) for page in reader.pages(group)[0]]
    reader.close()
    return found


def test_a_file_that_is_none_or_has_no_end(tmp_path):
    path = write(tmp_path / "a.parquet", JPEGS)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match=r"a\.parquet: a Parquet file without its end"):
        archives([path])
    path.write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(RunError, match="not a Parquet file"):
        archives([path])


# -- which column is what


def schema(features: dict[str, Any] | None = None, **fields: pa.DataType) -> pa.Schema:
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if features else None
    return pa.schema(list(fields.items()), metadata)


def test_the_image_column_is_found():
    assert columns(schema(a=pa.int64(), b=STRUCT), "x").leaf == "b.bytes"
    assert columns(schema(a=pa.string(), b=pa.binary()), "x").leaf == "b"
    assert columns(schema(a=pa.binary(), b=STRUCT), "x").image == "b"
    sound = {"sound": {"_type": "Audio"}, "photo": {"_type": "Image"}}
    assert columns(schema(sound, sound=STRUCT, photo=STRUCT), "x").image == "photo"
    assert columns(schema(a=STRUCT, b=STRUCT), "x", "b").image == "b"
    with pytest.raises(RunError, match=r"several .* images: a, b\. .*x\.parquet#a"):
        columns(schema(a=STRUCT, b=STRUCT), "x.parquet")
    with pytest.raises(RunError, match=r"no column of image bytes .* a \(list<"):
        columns(schema(a=pa.list_(STRUCT)), "x")
    with pytest.raises(RunError, match="'c' is not there; its columns: a "):
        columns(schema(a=STRUCT), "x", "c")
    with pytest.raises(RunError, match="'b' holds no binary"):
        columns(schema(a=STRUCT, b=pa.string()), "x", "b")


def test_the_source_names_the_column(tmp_path):
    table = pa.table({"small": pa.array(JPEGS[:9]), "large": pa.array(JPEGS[9:18])})
    for name in ("a-0", "a-1"):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    with pytest.raises(RunError, match=r"small, large\. .*a-0\.parquet#small"):
        scan(tmp_path / "a-0.parquet")
    for column, images in (("small", JPEGS[:9]), ("large", JPEGS[9:18])):
        found = archives([f"{tmp_path}/a-*.parquet#{column}"])
        assert [archive.name for archive in found] == ["a-0", "a-1"]
        source = f"{tmp_path}/a-1.parquet#{column}"
        assert read(source, scan(source)) == images
        assert parquet.stamp(found[0]) == parquet.stamp(archives([tmp_path / "a-0.parquet"])[0])
    first, second = (archives([f"{tmp_path}/a-0.parquet#{c}"])[0] for c in ("small", "large"))
    assert parquet.listing(first) != parquet.listing(second)


def test_values_that_are_none(tmp_path):
    """No UTF-8, beyond Python's years, to the nanosecond: in words of Arrow's, or not there."""
    memory = (pa.py_buffer(data) for data in (struct.pack("<3i", 0, 2, 4), b"\xff\xfeok"))
    text = pa.Array.from_buffers(pa.string(), 2, [None, *memory])
    days = pa.array([2**30, 0], pa.int32()).cast(pa.date32())
    spans = pa.array([5000, 1], pa.duration("ns"))
    images = pa.array([{"bytes": image, "path": None} for image in JPEGS[:2]], STRUCT)
    table = pa.table({"image": images, "text": text, "day": days, "span": spans})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    (_, first, _), (_, second, _) = sides(path)
    assert (first["span"], second["span"]) == ("5000", "1")
    assert "text" not in first
    assert (second["text"], second["day"]) == ("ok", "1970-01-01")


TIMES = {
    "ns": (pa.timestamp("ns"), 1_700_000_000_123_456_789, "2023-11-14 22:13:20.123456789"),
    "us": (pa.timestamp("us"), 0, "1970-01-01 00:00:00.000000"),
    "clock": (pa.time64("ns"), 3600 * 10**9 + 1, "01:00:00.000000001"),
    "day": (pa.date32(), 3, "1970-01-04"),
    "span": (pa.duration("ns"), 86_400 * 10**9, "86400000000000"),
    "list": (pa.list_(pa.timestamp("ns")), [1, None], ["1970-01-01 00:00:00.000000001", None]),
    "pairs": (pa.map_(pa.string(), pa.date32()), [("k", 3)], [["k", "1970-01-04"]]),
    "inner": (pa.struct([("at", pa.timestamp("s"))]), {"at": 7}, {"at": "1970-01-01 00:00:07.000"}),
}
"""name -> type, value, and the words of it in JSON."""


def timed(path: Path) -> None:
    fields = {name: pa.array([value, None], kind) for name, (kind, value, _) in TIMES.items()}
    fields["lost"] = pa.array([1, 2], pa.timestamp("us", "Nowhere/Land"))
    fields["caption"] = pa.array(["a", "b"])
    images = pa.array([{"bytes": image, "path": None} for image in JPEGS[:2]], STRUCT)
    document = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
    pq.write_table(pa.table({"image": images, "json": document}), path)


def test_times_within_a_document_are_words_like_others(tmp_path):
    """And one that has no words takes nothing else of the document with it."""
    timed(tmp_path / "a.parquet")
    (_, first, _), (_, second, _) = sides(tmp_path / "a.parquet")
    words = {name: text for name, (_, _, text) in TIMES.items()}
    assert first == {**words, "caption": "a"}
    assert second == {"caption": "b"}


def test_nothing_of_it_depends_on_pandas(tmp_path):
    """Workers leave it out, and who calls the library from Python may have it."""
    timed(tmp_path / "a.parquet")
    code = (
        "import sys; from pathlib import Path; from fastbucket.software import leave_out_pandas\n"
        "leave_out_pandas()\n"
        "import test_parquet\n"
        "print(repr(test_parquet.sides(Path(sys.argv[1]))))\n"
        "assert 'pandas' not in sys.modules\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.parquet")],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{sides(tmp_path / 'a.parquet')!r}\n"


def test_two_fields_of_one_name_are_no_document(tmp_path):
    twice = pa.StructArray.from_arrays([pa.array([1], pa.date32())] * 2, names=["a", "a"])
    assert parquetcolumns.rows(pa.table({"json": twice})) == [{"json": None}]


def sides(path: Path) -> list[tuple[Any, Any, Any]]:
    """(text, JSON, class) of every row."""
    found = scan(path)
    texts, documents, classes = (read(path, found, part) for part in ("text", "json", "class"))
    return [
        (t, None if d is None else json.loads(d), c)
        for t, d, c in zip(texts, documents, classes, strict=True)
    ]


def test_columns_become_what_stands_beside_an_image(tmp_path):
    table = pa.table(
        {
            "image": pa.array([{"bytes": JPEGS[0], "path": "a.jpg"}, None, None], STRUCT),
            "label": pa.array([1, -1, None]),
            "other": pa.array([0, 1, 0]),
            "text": ["ein Wört", "", None],
            "score": [0.5, float("nan"), None],
            "good": [True, False, None],
            "day": pa.array([0, 1, None], pa.date32()),
            "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
            "embedding": [[1.0], [2.0], []],
            "mask": pa.array([b"x", b"y", None]),
        }
    )
    labels = {"_type": "ClassLabel", "names": ["cat", "dog"]}
    features = {"image": {"_type": "Image"}, "other": labels, "label": labels}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    first, second, third = sides(tmp_path / "a.parquet")
    assert first == (
        None,
        {
            "label": 1, "other": 0, "text": "ein Wört", "score": 0.5, "good": True,
            "day": "1970-01-01", "kind": "a", "path": "a.jpg", "class_name": "dog",
        },
        b"1",
    )  # fmt: skip
    assert second[2] == b"-1"
    assert "class_name" not in second[1]
    assert third == (None, {"other": 0, "kind": "a"}, None)


def test_names_as_the_hub_gives_them_to_a_webdataset(tmp_path):
    table = pa.table(
        {
            "jpg": JPEGS[:2],
            "txt": ["words", ""],
            "cls": [7, None],
            "json": pa.array([{"width": 3, "tags": ["x"]}, None]),
            "__key__": ["b/x", "b/y"],
            "__url__": ["u", "u"],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert sides(tmp_path / "a.parquet") == [
        (b"words", {"width": 3, "tags": ["x"], "__url__": "u"}, b"7"),
        (None, {"__url__": "u"}, None),
    ]
    assert scan(tmp_path / "a.parquet").columns["key"].to_pylist() == [b"b/x", b"b/y"]


@pytest.mark.parametrize(
    ("name", "keys", "used"),
    [
        ("__key__", ["a", "b"], True),
        ("key", ["a", "b"], True),
        ("key", ["a", "a"], False),
        ("key", ["a", ""], False),
        ("key", ["a", None], False),
        ("id", ["a", "b"], False),
    ],
)
def test_keys(tmp_path, name, keys, used):
    table = pa.table({"image": JPEGS[:2], name: keys})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    expected = [k.encode() for k in keys] if used else [b"00000000", b"00000001"]
    assert scan(tmp_path / "a.parquet").columns["key"].to_pylist() == expected


# -- folders


def test_what_a_folder_holds(tmp_path):
    (tmp_path / "p").mkdir()
    for name in ("a", "b"):
        write(tmp_path / "p" / f"{name}.parquet", JPEGS[:2])
    assert [(a.kind, a.name) for a in archives([tmp_path / "p"])] == [
        ("parquet", "a"),
        ("parquet", "b"),
    ]
    exported.write_tar(tmp_path / "p" / "a.tar", [("x.jpg", JPEGS[0])])
    with pytest.raises(RunError, match=r"holds 1 tars, and images in .*b\.parquet"):
        archives([tmp_path / "p"])
    (tmp_path / "p" / "b.parquet").unlink()
    assert [a.kind for a in archives([tmp_path / "p"])] == ["tar"]  # a.parquet describes a.tar


# -- whole exports


@pytest.fixture(scope="module")
def tables(drawn, tmp_path_factory) -> list[Path]:
    """The drawn tars as Parquet files of `datasets`: the same names, keys and members."""
    return written_by_datasets(drawn.paths, tmp_path_factory.mktemp("parquet"))


def written_by_datasets(tars: tuple[Path, ...], folder: Path) -> list[Path]:
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features(
        {
            "__key__": datasets.Value("string"),
            "image": datasets.Image(),
            "txt": datasets.Value("string"),
            "cls": datasets.Value("int64"),
            "json": datasets.Value("string"),
        }
    )
    paths = []
    for tar in tars:
        rows = []
        for image_id, members in exported.source_members([tar]).items():
            image = exported.image_of(members)
            rows.append(
                {
                    "__key__": image_id.partition("/")[2],
                    "image": None if image is None else {"bytes": image, "path": None},
                    "txt": members["txt"].decode() if "txt" in members else None,
                    "cls": int(members["cls"]) if "cls" in members else None,
                    "json": members["json"].decode() if "json" in members else None,
                }
            )
        paths.append(folder / f"{tar.stem}.parquet")
        datasets.Dataset.from_list(rows, features=features).to_parquet(paths[-1])
    gc.collect()
    return paths


def by_id(out: Path) -> dict[str, exported.Sample]:
    return {sample.json["image_id"]: sample for sample in exported.samples(out)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("compression", ["as datasets writes it", "snappy"])
def test_an_export_is_that_of_a_tar_of_the_same_images(drawn_export, tables, tmp_path, compression):
    import datasets

    if compression == "snappy":
        again = [tmp_path / path.name for path in tables]
        for path, other in zip(tables, again, strict=True):
            pq.write_table(pq.read_table(path), other, row_group_size=7)
        tables = again
    out = tmp_path / "out"
    report = fastbucket.export(tables, out, Recipe(shard_size=2), Resources(workers=2))
    assert report.exported == drawn_export.report.exported
    assert report.dropped == drawn_export.report.dropped
    found, wanted = by_id(out), by_id(drawn_export.out)
    assert list(found) == list(wanted)
    for image_id, sample in found.items():
        assert sample.jpg == wanted[image_id].jpg
        assert sample.txt == wanted[image_id].txt
        # By its first bytes a Parquet image has a suffix; a member of a tar has what it is given.
        differ = {k for k, v in sample.json.items() if v != wanted[image_id].json[k]}
        assert differ <= {"source_member"}
    rows = datasets.load_dataset(
        "parquet", data_files=list(map(str, tables)), split="train", streaming=True
    ).cast_column("image", datasets.Image(decode=False))
    digests = {row["__key__"]: hashlib.sha256((row["image"] or {}).get("bytes") or b"").hexdigest()
               for row in rows}  # fmt: skip
    for image_id, sample in found.items():
        assert sample.json["source_sha256"] == digests[image_id.partition("/")[2]]
    checked = verify(out, fast=True, workers=1, sources=tables)
    assert checked.ok, checked.problems
    assert checked.sources == report.exported


def test_verification_finds_a_changed_source(tables, tmp_path):
    out, copy = tmp_path / "out", tmp_path / tables[0].name
    fastbucket.export(tables[:1], out, Recipe(), Resources(workers=1))
    sample = next(exported.samples(out))
    table = pq.read_table(tables[0])
    rows = table.to_pylist()
    row = next(r for r in rows if sample.json["image_id"].endswith("/" + r["__key__"]))
    changed = bytearray(row["image"]["bytes"])
    changed[-3] ^= 1
    row["image"]["bytes"] = bytes(changed)
    pq.write_table(pa.Table.from_pylist(rows, table.schema), copy)
    found = verify(out, fast=True, workers=1, sources=[copy])
    assert [p.member for p in found.problems] == [f"{sample.key}.json"]
    assert "source_sha256 is not that of" in found.problems[0].text


def test_a_caption_column(tmp_path):
    images = [jpeg(i, 600) for i in range(2)]
    table = pa.table({"image": images, "text": ["a caption", None], "title": ["t", "u"]})
    pq.write_table(table, tmp_path / "a.parquet")
    out = tmp_path / "out"
    report = fastbucket.export(
        tmp_path / "a.parquet", out, Recipe(caption_field="text"), Resources(workers=1)
    )
    assert report.exported == 2
    assert [s.txt for s in exported.samples(out)] == [b"a caption\n", b"\n"]
    assert [s.json["title"] for s in exported.samples(out)] == ["t", "u"]
    assert [s.json["source_member"] for s in exported.samples(out)] == [
        "00000000.jpg",
        "00000001.jpg",
    ]


def test_a_row_that_is_not_as_the_scan_found_it(tmp_path):
    path = write(tmp_path / "a.parquet", JPEGS, compression="snappy")
    found = scan(path)
    write(path, JPEGS[:3], compression="snappy", row_group_size=3)
    with pytest.raises(RunError, match=r"a\.parquet: row 3 is not as the scan found it"):
        read(path, found)


def test_a_large_dictionary_is_unpacked_once(tmp_path, monkeypatch):
    """Beside the page that speaks of it and the columns beside the image, whatever the bound is."""
    table = pa.table({"image": JPEGS, "text": ["x"] * len(JPEGS)})
    pq.write_table(table, tmp_path / "a.parquet", compression="snappy", row_group_size=20)
    found = scan(tmp_path / "a.parquet")
    monkeypatch.setattr(parquet, "cache", parquetcache.PageCache())
    monkeypatch.setattr(parquetcache, "LIMIT", 30_000)
    calls, unpack = [], parquetpages._memory
    monkeypatch.setattr(
        parquetpages, "_memory", lambda page, read: calls.append(page.at) or unpack(page, read)
    )
    (archive,) = archives([tmp_path / "a.parquet"])
    reader, into = parquet.Reader(archive), bytearray()
    for row in range(len(JPEGS)):
        for part in ("image", "json"):
            offset, size = (
                int(found.columns[f"{part}_{what}"][row]) for what in ("offset", "size")
            )
            view = reader.read(b"x", offset, size, into)
            assert len(view) == size
            assert view.obj is into  # what is held of a page holds the whole page
            view.release()
    reader.close()
    assert len(calls) == len(set(calls)) == 4  # a dictionary and a page in each of two row groups


@pytest.mark.parametrize("dictionary", [False, True])
def test_what_is_kept_in_memory_is_bounded(tmp_path, monkeypatch, dictionary):
    path = write(
        tmp_path / "a.parquet", JPEGS * 3, compression="snappy", row_group_size=10,
        use_dictionary=dictionary, data_page_size=1, write_batch_size=2,
    )  # fmt: skip
    cache = parquetcache.PageCache()
    monkeypatch.setattr(parquet, "cache", cache)
    monkeypatch.setattr(parquetcache, "LIMIT", 60_000)
    largest, made = [0], cache.get

    def get(key, make):
        value = made(key, make)
        kept = [v for v, _ in cache._kept.values() if isinstance(v, parquetpages.Values)]
        memories = {id(v.memory): len(v.memory) for v in kept if v.memory is not None}
        largest[0] = max(largest[0], sum(memories.values()))
        return value

    monkeypatch.setattr(cache, "get", get)
    assert read(path, scan(path)) == JPEGS * 3
    assert 20_000 < largest[0] <= 60_000
