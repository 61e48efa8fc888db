"""Sources that are read once: packed, over HTTP, out of pipes; and all that goes wrong on the way.

The measure is the export of the same tars from the local disk, byte for byte.
"""

from __future__ import annotations

import bz2
import email.message
import gzip
import hashlib
import json
import lzma
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tars
from file_server import Asked, FileServer, Way
from test_resume import start

import fastbucket
from fastbucket import Recipe, Resources, RunError, scan, spool
from fastbucket.catalogue import Archive, column
from fastbucket.errors import StreamError
from fastbucket.sources import address, command, packing, patience, stream, streamscan, tarscan, web
from fastbucket.sources.locate import archives
from fastbucket.state import State

RECIPE = Recipe(shard_size=2)  # that of drawn_export
TWO = Resources(workers=2)

PACKERS = {"gz": "gzip", "zst": "zstd", "xz": "xz", "bz2": "bzip2", "lz4": "lz4"}


def tree(out: Path) -> dict[str, str]:
    """Hashes of all files but the two that have times in them."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in ("manifest.json", "run.json")
    }


@pytest.fixture(scope="module")
def local(drawn_export) -> dict[str, str]:
    return tree(drawn_export.out)


@pytest.fixture
def quick(monkeypatch) -> None:
    """What is tried again in this process is so at once."""
    monkeypatch.setattr(patience, "WAITS", (0.0,) * 3)


def packed(path: Path, folder: Path, suffix: str) -> Path:
    """A file packed by the tool itself."""
    tool = PACKERS[suffix]
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    folder.mkdir(exist_ok=True)
    to = folder / f"{path.name}.{suffix}"
    with to.open("wb") as file:
        subprocess.run([tool, "-1", "-c", path], stdout=file, check=True)
    return to


def refuses(sources, out: Path, resources: Resources = TWO) -> str:
    with pytest.raises(RunError) as caught:
        fastbucket.export(sources, out, RECIPE, resources)
    return str(caught.value)


# The same bytes


@pytest.mark.parametrize("suffixes", [("gz", "zst", "xz"), ("bz2", "lz4", "gz")])
def test_packed_tars_give_the_bytes_of_plain_ones(drawn, local, tmp_path, suffixes):
    for path, suffix in zip(drawn.paths, suffixes, strict=True):
        packed(path, tmp_path / "in", suffix)
    report = fastbucket.export([tmp_path / "in"], tmp_path / "out", RECIPE, TWO)
    assert tree(tmp_path / "out") == local
    assert 0 < report.spooled < sum(path.stat().st_size for path in drawn.paths)
    assert not (tmp_path / "out" / ".fastbucket").exists()


def test_over_http_with_ranges_and_without(drawn, drawn_export, local, tmp_path):
    """Where the size is told, it is the same export as that of the local tars."""
    one = drawn.paths[0].name
    with FileServer(drawn.paths[0].parent, lambda asked: Way(ranges=asked.name == one)) as server:
        names = ",".join(path.name for path in drawn.paths)
        source = f"{server.url}/{{{names}}}?key=a.b"
        report = fastbucket.export(source, tmp_path / "out", RECIPE, TWO)
        assert server.gets() == [(path.name, None) for path in drawn.paths]
        assert fastbucket.verify(tmp_path / "out", sources=[source]).ok
    assert tree(tmp_path / "out") == local
    assert report.export_id == drawn_export.report.export_id
    again = fastbucket.export(drawn.paths, tmp_path / "out", RECIPE, TWO)
    assert again.status == "already complete"


def test_over_http_without_length_tag_or_head(drawn, local, tmp_path):
    """One chunked, one as long as its connection, one packed; HEAD is forbidden."""
    one, two, three = drawn.paths
    shutil.copy(one, tmp_path)
    shutil.copy(two, tmp_path)
    ways = {
        one.name: Way(ranges=False, length="chunked", tag=False),
        two.name: Way(ranges=False, length="none", tag=False),
        packed(three, tmp_path, "gz").name: Way(),
    }

    def way(asked: Asked) -> Way:
        return Way(status=403) if asked.method == "HEAD" else ways[asked.name]

    with FileServer(tmp_path, way) as server:
        sources = [f"{server.url}/{name}" for name in ways]
        fastbucket.export(sources, tmp_path / "out", RECIPE, TWO)
    assert tree(tmp_path / "out") == local


def test_from_pipes(drawn, local, tmp_path):
    one, two, three = drawn.paths
    zipped = packed(two, tmp_path / "in", "gz")
    sources = [f"pipe:cat '{one}'", f"pipe:cat '{zipped}'", f"pipe:cat < '{three}' | cat"]
    assert "--allow-pipe" in refuses(sources, tmp_path / "out")
    fastbucket.export(sources, tmp_path / "out", RECIPE, Resources(workers=1, allow_pipe=True))
    assert tree(tmp_path / "out") == local


# The scan


def rows(table) -> dict[str, list]:
    """The columns that do not say where in the file something lies."""
    return {name: table[name].to_pylist() for name in table.column_names if "offset" not in name}


class Slow:
    """A stream that comes in pieces of odd sizes."""

    whole = True

    def __init__(self, data: bytes, seed: int) -> None:
        self._data, self._at, self._rng = data, 0, np.random.default_rng(seed)

    def read(self, size: int) -> bytes:
        some = self._data[self._at : self._at + min(size, int(self._rng.integers(1, 5000)))]
        self._at += len(some)
        return some

    def close(self) -> None: ...


def scanned_both_ways(data: bytes, path: Path, segment: int, monkeypatch) -> None:
    """The scan of a stream in small segments against that of the file: rows, members, words."""
    path.write_bytes(data)
    monkeypatch.setattr(streamscan, "SEGMENT", segment)
    archive = Archive("tar", str(path), "a", "", len(data))
    whole = tarscan.scan(archive)
    with path.with_suffix(".scratch").open("w+b") as scratch:
        scan = streamscan.StreamScan(
            str(path), Slow(data, segment), scratch.fileno(), lambda at: None, lambda more: None
        )
        columns = []
        for batch in scan.batches():
            for part in ("image", "text", "json", "class"):
                for at, size in zip(
                    batch.columns[f"{part}_offset"].tolist(),
                    batch.columns[f"{part}_size"].tolist(),
                    strict=True,
                ):
                    if size > 0:
                        columns.append((part, tars.os.pread(batch.descriptor, size, at)))
            columns.append(("rows", rows(fastbucket.catalogue.Catalogue(batch.columns).table())))
    there = rows(whole.table())
    here: dict[str, list] = {name: [] for name in there}
    for kind, some in columns:
        if kind == "rows":
            for name, values in some.items():
                here[name] += values
    assert here == there
    assert (scan.broken, scan.extra) == (whole.broken, whole.extra)
    for part in ("image", "text", "json", "class"):
        table = whole.table()
        expected = [
            data[at : at + size]
            for at, size in zip(
                column(table, f"{part}_offset").tolist(),
                column(table, f"{part}_size").tolist(),
                strict=True,
            )
            if size > 0
        ]
        assert [some for kind, some in columns if kind == part] == expected


@pytest.mark.parametrize("segment", [512, 1536, 5120, 1 << 20])
def test_the_scan_in_segments_is_that_of_the_file(tmp_path, monkeypatch, segment):
    many = [
        (f"{'deep/' * (i % 40)}{i // 3:04d}.{('jpg', 'txt', 'json')[i % 3]}", tars.JPEG * (i % 7))
        for i in range(90)
    ]
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        scanned_both_ways(tars.tar(many, form), tmp_path / "a.tar", segment, monkeypatch)


@pytest.mark.parametrize("segment", [512, 2048])
def test_a_pax_header_for_all_members_reaches_over_segments(tmp_path, monkeypatch, segment):
    data = (
        tars.pax((b"path", b"all/of/them.jpg"), kind=b"g")
        + b"".join(
            tars.pax((b"path", b"own/%d.jpg" % i)) + tars.member(b"a", tars.JPEG * i)
            for i in range(40)
        )
        + tars.member(b"b", tars.PNG * 50)
        + tars.END
    )
    scanned_both_ways(data, tmp_path / "a.tar", segment, monkeypatch)


@pytest.mark.parametrize("segment", [512, 1024, 4096])
def test_damaged_tars_break_at_the_same_byte(tmp_path, monkeypatch, segment):
    damaged = [data for data in map(tars.hostile, range(60)) if packing.is_tar(data[:512])]
    assert len(damaged) > 40  # the others are no tars any more
    for data in damaged:
        scanned_both_ways(data, tmp_path / "a.tar", segment, monkeypatch)


def test_appended_tars_and_padding(tmp_path, monkeypatch):
    first, second = tars.tar({"a.jpg": tars.JPEG}), tars.tar({"b.jpg": tars.JPEG})
    for data in (first + second, first + bytes(100_000), first + second * 9, first[:-9000]):
        scanned_both_ways(data, tmp_path / "a.tar", 512, monkeypatch)


def test_what_does_not_fit_is_not_spooled(drawn, tmp_path):
    """The spool holds what is exported, and little else; readable by tarfile."""
    (archive,) = archives([packed(drawn.paths[0], tmp_path / "in", "gz")])
    (archive,) = spool.placed([archive], tmp_path)
    Path(archive.spool).parent.mkdir(parents=True)
    found = spool.take(archive, RECIPE, lambda at: None)
    table = found.table()
    kept = column(table, "image_offset") >= 0
    assert 0 < kept.sum() < len(kept)
    with tarfile.open(archive.spool) as inside, tarfile.open(drawn.paths[0]) as original:
        names = inside.getnames()
        for name in names:
            assert inside.extractfile(name).read() == original.extractfile(name).read()
    assert (
        sum(name.rpartition(".")[2] not in ("txt", "json", "cls") for name in names) == kept.sum()
    )
    reader = stream.Reader(archive)
    for row in np.flatnonzero(kept).tolist():
        at, size = (table[f"image_{what}"][row].as_py() for what in ("offset", "size"))
        assert len(reader.read(b"", at, size, bytearray())) == size
    reader.close()


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(shard_size=2, min_bucket=3),
        Recipe(shard_size=2, min_bucket=3, rare_bucket_policy="drop"),
        Recipe(shard_size=2, base_resolutions=(256, 512)),
        Recipe(image_mode="passthrough_jpeg", passthrough_other="drop"),
    ],
    ids=["merge", "drop", "bases", "copies"],
)
def test_rules_about_all_samples_are_not_asked_of_a_part(drawn, tmp_path, recipe):
    sources = [packed(path, tmp_path / "in", "gz") for path in drawn.paths]
    report = fastbucket.plan(sources, tmp_path / "out", recipe, TWO)
    plain = fastbucket.plan(drawn.paths, tmp_path / "plain", recipe, TWO)
    assert report.exported > 0
    for field in ("exported", "dropped", "buckets"):
        assert getattr(report, field) == getattr(plain, field)


def test_another_recipe_is_served_where_the_spool_has_what_it_wants(drawn, tmp_path):
    sources = [packed(path, tmp_path / "in", "gz") for path in drawn.paths]
    out = tmp_path / "out"
    fastbucket.plan(sources, out, RECIPE, TWO)
    first = {path: path.stat().st_mtime_ns for path in (out / ".fastbucket/spool").iterdir()}
    assert len(first) == 3
    stricter = Recipe(shard_size=2, base_resolution=768, quality=80)
    fastbucket.plan(sources, out, stricter, TWO)
    assert {path: path.stat().st_mtime_ns for path in first} == first
    looser = Recipe(shard_size=2, base_resolution=256)
    report = fastbucket.plan(sources, out, looser, TWO)
    plain = fastbucket.plan(drawn.paths, tmp_path / "plain", looser, TWO)
    assert report.exported == plain.exported
    assert {path: path.stat().st_mtime_ns for path in first} != first


# What goes wrong


def download(server: FileServer, name: str) -> bytes:
    archive = web.archive(f"{server.url}/{name}")
    opened = web.Download(archive)
    data = b""
    while some := opened.read(1000):
        data += some
    assert opened.whole
    opened.close()
    return data


DATA = np.random.default_rng(7).bytes(300_000)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_transfer_that_breaks_goes_on(tmp_path, quick, monkeypatch, ranges):
    """A 503, an answer cut short, one that stalls, one cut again: the bytes are all there, and
    what was there is asked for again only where there are no ranges."""
    (tmp_path / "a.tar").write_bytes(DATA)
    monkeypatch.setattr(web, "TIMEOUT", 0.3)
    ways = {
        1: Way(status=503),
        2: Way(cut=70_000, ranges=ranges),
        3: Way(cut=200_000, stall=5.0, ranges=ranges),
        4: Way(cut=10_000 if ranges else 205_000, ranges=ranges),
    }

    def way(asked: Asked) -> Way:
        return ways.get(asked.number, Way(ranges=ranges)) if asked.method == "GET" else Way()

    with FileServer(tmp_path, way) as server:
        assert download(server, "a.tar") == DATA
        starts = [start for _, start in server.gets()]
        assert len(starts) == 5
        if ranges:
            assert server.sent["a.tar"] < len(DATA) + 210_000  # those of the stall may be lost


@pytest.mark.parametrize("length", ["told", "chunked"])
def test_an_answer_that_is_always_cut_is_an_error(tmp_path, quick, length):
    (tmp_path / "a.tar").write_bytes(DATA)
    way = Way(cut=0, length=length)
    with (
        FileServer(tmp_path, lambda asked: way if asked.method == "GET" else Way()) as server,
        pytest.raises(StreamError, match=r"a\.tar: the answer ended early.* 4 times in a row"),
    ):
        download(server, "a.tar")


@pytest.mark.parametrize(
    ("way", "words"),
    [
        (Way(status=500), "answers 500"),
        (Way(status=404), "answers 404"),
        (Way(status=401), "sign the address"),
    ],
)
def test_an_address_that_fails_is_named(tmp_path, quick, way, words):
    (tmp_path / "a.tar").write_bytes(DATA)
    with FileServer(tmp_path, lambda asked: way) as server, pytest.raises(RunError) as caught:
        web.archive(f"{server.url}/a.tar")
    assert words.lower() in str(caught.value).lower()
    assert f"{server.url}/a.tar" in str(caught.value)


def test_a_chunked_answer_shorter_than_head_said_is_an_error(tmp_path, quick):
    """It ends cleanly, and without ranges each try brings the same."""
    (tmp_path / "a.tar").write_bytes(DATA)

    def way(asked: Asked) -> Way:
        if asked.method == "HEAD":
            return Way(tag=False)
        (tmp_path / "a.tar").write_bytes(DATA[:100_352])
        return Way(ranges=False, length="chunked", tag=False)

    with (
        FileServer(tmp_path, way) as server,
        pytest.raises(StreamError, match=r"a\.tar: the answer ended early.* 100352 of 300000"),
    ):
        download(server, "a.tar")


def test_a_server_that_asks_for_time_gets_it(tmp_path, quick):
    (tmp_path / "a.tar").write_bytes(DATA)
    with FileServer(
        tmp_path, lambda asked: Way(status=429, wait=1) if asked.number == 1 else Way()
    ) as server:
        begun = time.monotonic()
        web.archive(f"{server.url}/a.tar")
        assert time.monotonic() - begun >= 1


def test_nobody_there(quick):
    with pytest.raises(StreamError, match="the connection broke"):
        web.archive("http://127.0.0.1:9/a.tar")


def test_a_file_that_changes_between_two_tries_is_an_error(tmp_path, quick):
    (tmp_path / "a.tar").write_bytes(DATA)

    def way(asked: Asked) -> Way:
        if asked.method == "GET" and asked.number == 2:
            (tmp_path / "a.tar").write_bytes(DATA[::-1])
        return Way(cut=1000) if asked.number == 1 and asked.method == "GET" else Way()

    with (
        FileServer(tmp_path, way) as server,
        pytest.raises(StreamError, match="changed since it was listed"),
    ):
        download(server, "a.tar")


def test_one_archive_that_fails_leaves_the_others_done(drawn, local, tmp_path):
    """They are not fetched again; a web page in the place of a tar is an error that shows it."""
    folder = tmp_path / "in"
    folder.mkdir()
    for path in drawn.paths:
        shutil.copy(path, folder)
    bad = folder / drawn.paths[1].name
    bad.write_bytes(b"<!DOCTYPE html>" * 100)
    with FileServer(folder, lambda asked: Way(tag=False, length="none")) as server:
        sources = [f"{server.url}/{path.name}" for path in drawn.paths]
        message = refuses(sources, tmp_path / "out")
        assert f"{server.url}/{bad.name}: not a tar" in message
        assert "DOCTYPE" in message
        shutil.copy(drawn.paths[1], folder)
        fastbucket.export(sources, tmp_path / "out", RECIPE, TWO)
        assert sorted(name for name, _ in server.gets()) == sorted(
            [*(path.name for path in drawn.paths), bad.name]
        )
    assert tree(tmp_path / "out") == local


def taken(archive: Archive, folder: Path) -> Path:
    """Spools an archive as a worker does; where that fails, nothing may be left."""
    (archive,) = spool.placed([archive], folder)
    place = Path(archive.spool)
    place.parent.mkdir(parents=True)
    try:
        spool.take(archive, RECIPE, lambda at: None)
    finally:
        left = list(place.parent.iterdir())
        assert left in ([], [place])
    return place


@pytest.mark.parametrize("suffix", PACKERS)
def test_packed_data_that_is_cut_is_an_error(drawn, tmp_path, suffix):
    path = packed(drawn.paths[0], tmp_path / "in", suffix)
    path.write_bytes(path.read_bytes()[:-4])
    (archive,) = archives([path])
    with pytest.raises(StreamError) as caught:
        taken(archive, tmp_path)
    assert f"{path}: its {PACKERS[suffix]} data is damaged or ends early" in str(caught.value)


def unpacked(path: Path) -> bytes:
    opened = stream.opened(Archive("stream", str(path), "a", "", path.stat().st_size))
    try:
        return b"".join(iter(lambda: opened.read(70_001), b""))
    finally:
        opened.close()


@pytest.mark.parametrize("module", [bz2, lzma])
@pytest.mark.parametrize("padding", [0, 4, 6])
def test_a_damaged_second_stream_is_an_error(tmp_path, module, padding):
    """Whole, they are read as one; the modules' own files end without a word where it is not."""
    first, second = module.compress(DATA[:100_352]), module.compress(DATA[100_352:])
    path, zeros = tmp_path / "a.tar", bytes(padding)
    path.write_bytes(first + zeros + second + zeros)
    if not padding or (module is lzma and padding % 4 == 0):
        assert unpacked(path) == DATA
    else:
        with pytest.raises(StreamError, match="is damaged or ends early"):
            unpacked(path)
    for damaged in (b"x" + second[1:], b"more", second[:-3]):
        path.write_bytes(first + zeros + damaged)
        with pytest.raises(StreamError, match="is damaged or ends early"):
            unpacked(path)


def test_zstd_behind_a_frame_that_is_skipped(tmp_path):
    path = tmp_path / "a.tar"
    packed = pa.compress(DATA, codec="zstd", asbytes=True)
    path.write_bytes(b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"abcd" + packed)
    assert unpacked(path) == DATA


def test_packed_data_that_is_cut_between_two_members_is_an_error(drawn, tmp_path):
    """gzip has nothing against it; the tar in it is not at its end, and a pipe tells no length."""
    data = drawn.paths[0].read_bytes()
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(data[:100_352]) + gzip.compress(data[100_352:]))
    (archive,) = archives([f"pipe:cat '{path}'"], allow_pipe=True)
    taken(archive, tmp_path / "whole")
    path.write_bytes(gzip.compress(data[:100_352]))
    with pytest.raises(StreamError, match="ends early, at byte 100352"):
        taken(archive, tmp_path / "cut")


PIPES = {
    "cat '{path}'; exit 3": "exit code 3",
    "cat '{path}'; kill -9 $$": "SIGKILL",
    "cat '{path}'; exec >&-; sleep 0.2; exit 4": "exit code 4",  # its end comes before its code
    "head -c 100000 '{path}'": "ends early, at byte 100000",
    "head -c 100352 '{path}'": "ends early",  # a whole number of blocks
    "true # {path}": "not a tar: it is empty",
}


@pytest.mark.parametrize("line", PIPES)
def test_pipes_that_fail_or_end_early(drawn, tmp_path, line):
    source = f"pipe:{line.format(path=drawn.paths[0])}"
    (archive,) = archives([source], allow_pipe=True)
    with pytest.raises(StreamError) as caught:
        taken(archive, tmp_path)
    assert source in str(caught.value)
    assert PIPES[line] in str(caught.value)


def test_an_answer_of_untold_length_that_is_cut_is_an_error(drawn, tmp_path):
    """Nothing in HTTP says so; the tar in it does."""
    way = Way(ranges=False, length="none", cut=100_352)
    with FileServer(drawn.paths[0].parent, lambda asked: way) as server:
        (archive,) = archives([f"{server.url}/{drawn.paths[0].name}"])
        with pytest.raises(StreamError, match="ends early, at byte 100352"):
            taken(archive, tmp_path)


def test_a_pipe_without_a_name():
    with pytest.raises(RunError, match=r"# NAME\.tar"):
        archives(["pipe:cat x"], allow_pipe=True)
    assert command.archive("pipe:cat x # some-val-3.tar.gz").name == "some-val-3"
    assert command.archive("pipe:curl -s 'http://h/a.tar?k=1' | cat > b.tar; cat b.tar").name == "b"
    found = archives(["pipe:zcat {a,b}.tgz"], allow_pipe=True)
    assert [archive.name for archive in found] == ["a", "b"]


def test_names_of_archives():
    for name in ("x/a.b.tar", "http://h/x/a.b.tar.gz?a=/b", "s3://k/a.b.tzst", "hf://d/a%2Eb.tbz2"):
        assert packing.archive_name(name) == "a.b"
    assert packing.archive_name("http://h/some.bin") == "some.bin"


@pytest.mark.parametrize("status", [404, 500])
def test_no_message_holds_what_signs_an_address(tmp_path, quick, status):
    (tmp_path / "a.tar").write_bytes(DATA)
    with FileServer(tmp_path, lambda asked: Way(status=status)) as server:
        words = refuses([f"{server.url}/a.tar?sig=word"], tmp_path / "out")
    assert "/a.tar: the server answers" in words
    assert "word" not in words


def test_an_address_with_a_password_is_refused_without_it(tmp_path):
    words = refuses(["http://me:word@127.0.0.1/a.tar"], tmp_path / "out")
    assert "http://127.0.0.1/a.tar" in words
    assert "pipe:curl" in words
    assert "word" not in words.replace("password", "")


def test_no_message_of_a_run_holds_what_signs_an_address(tmp_path, drawn, monkeypatch):
    """Nor does the report of one that went well."""
    plain = drawn.paths[0].read_bytes()
    for name, data in {"a": plain, "cut": plain[: len(plain) * 2 // 3]}.items():
        (tmp_path / f"{name}.tar").write_bytes(data)
    (tmp_path / "empty.tar").write_bytes(bytes(10240))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.tar").write_bytes(plain)
    out = tmp_path / "out"
    with FileServer(tmp_path, lambda asked: Way()) as server:
        host = server.url
        said = [
            refuses([f"{host}/empty.tar?sig=word"], tmp_path / "none"),
            refuses([f"{host}/a.tar?sig=word", f"{host}/other/a.tar?sig=word"], tmp_path / "two"),
            refuses([f"{host}/*.tar?sig=word"], tmp_path / "wild"),
            refuses([f"{host}/{{a.tar?sig=word"], tmp_path / "brace"),
            refuses([f"{host}/my a.tar?sig=word"], tmp_path / "space"),
            refuses(["HTTPS://127.0.0.1:9/*.tar?sig=word"], tmp_path / "capitals"),
        ]
        report = fastbucket.export([f"{host}/cut.tar?sig=word"], out, RECIPE, TWO)
        assert report.broken_archives
        said.append(str(report.to_json()))
        said += [(out / name).read_text() for name in ("manifest.json", "run.json", "README.md")]
        found = scan._describe((web.archive(f"{host}/a.tar?sig=word"), out, ""), 7)
        said.append(found)
    for words in said:
        assert "word" not in words.replace("password", "").replace("words", ""), words


def test_a_source_that_changed_is_named_without_its_query(tmp_path):
    recipe = Recipe()
    with State(tmp_path) as state:
        state.claim("0" * 16, recipe, {"http://h/a.tar?sig=word": "1-old"})
        (tmp_path / ".fastbucket/shards/p1.json").write_text("{}")
        with pytest.raises(RunError, match=r"http://h/a\.tar changed") as caught:
            state.claim("1" * 16, recipe, {"http://h/a.tar?sig=word": "1-new"})
    assert "word" not in str(caught.value)


def test_an_answer_longer_than_head_said_is_an_error(tmp_path, quick):
    (tmp_path / "a.tar").write_bytes(DATA)
    with FileServer(tmp_path, lambda asked: Way(length="chunked", tag=False)) as server:
        archive = replace(web.archive(f"{server.url}/a.tar"), size=len(DATA) - 5)
        opened = web.Download(archive)
        with pytest.raises(StreamError, match=f"a.tar: .* had said {len(DATA) - 5}"):
            list(iter(lambda: opened.read(1 << 20), b""))
        opened.close()
        assert len(server.gets()) == 1


def test_an_answer_may_keep_the_size_to_itself():
    """Content-Range: bytes 5-9/*; and of an empty file it says the size alone."""
    headers = email.message.Message()
    headers["Content-Length"] = "5"
    headers["Content-Range"] = "bytes 5-9/*"
    assert web._facts(headers).size == -1
    assert web._begin(headers) == 5
    headers.replace_header("Content-Range", "bytes */0")
    assert web._facts(headers).size == 0


def test_a_web_server_has_no_list():
    with pytest.raises(RunError, match="braces"):
        address.archives("http://127.0.0.1:9/*.tar", False)


def test_an_unknown_scheme():
    pytest.importorskip("fsspec", reason="the extra `remote` is absent")
    with pytest.raises(RunError, match="nosuch"):
        archives(["nosuch://bucket/a.tar"])


# The spool


def test_the_spool_elsewhere(drawn, local, tmp_path):
    sources = [packed(path, tmp_path / "in", "gz") for path in drawn.paths]
    out, disk = tmp_path / "out", tmp_path / "disk"
    there = Resources(workers=2, spool=str(disk))
    fastbucket.plan(sources, out, RECIPE, there)
    (folder,) = disk.iterdir()
    assert len(list(folder.glob("*.tar"))) == 3
    assert (out / ".fastbucket/spool").resolve() == folder
    fastbucket.export(sources, out, RECIPE, TWO)  # it is found without being named again
    assert tree(out) == local
    assert not list(disk.iterdir())
    assert not (out / ".fastbucket").exists()


def test_overwrite_takes_the_spool_along(drawn, tmp_path):
    sources = [packed(path, tmp_path / "in", "gz") for path in drawn.paths]
    there = Resources(workers=2, spool=str(tmp_path / "disk"))
    fastbucket.plan(sources[:1], tmp_path / "out", RECIPE, there)
    (tmp_path / "out/.fastbucket/run.json").write_text("{}")  # as if an export had begun, too
    with State(tmp_path / "out", overwrite=True):
        assert not list((tmp_path / "disk").iterdir())


def test_a_full_disk_is_named_before_it_is_full(drawn, tmp_path, monkeypatch):
    (archive,) = archives([packed(drawn.paths[0], tmp_path / "in", "gz")])
    (archive,) = spool.placed([archive], tmp_path)
    Path(archive.spool).parent.mkdir(parents=True)
    monkeypatch.setattr(spool, "MARGIN", 1 << 60)
    with pytest.raises(RunError, match=r"no room.*--spool DIR"):
        spool.take(archive, RECIPE, lambda at: None)
    assert not list(Path(archive.spool).parent.iterdir())


def test_the_scratch_file_of_a_sample_asks_for_room(drawn, tmp_path, monkeypatch):
    """It grows with the sample, before any of it is spooled."""
    (archive,) = archives([packed(drawn.paths[0], tmp_path / "in", "gz")])
    (archive,) = spool.placed([archive], tmp_path)
    Path(archive.spool).parent.mkdir(parents=True)
    monkeypatch.setattr(streamscan, "SEGMENT", 512)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=spool.MARGIN + 511))
    monkeypatch.setattr(spool, "_spool", None)  # is not come to
    with pytest.raises(RunError, match=r"no room.*--spool DIR"):
        spool.take(archive, RECIPE, lambda at: None)
    assert not list(Path(archive.spool).parent.iterdir())


@pytest.mark.parametrize("again", [True, False])
def test_a_spool_that_is_gone_is_begun_elsewhere(tmp_path, again):
    """The disk of the first --spool is not there any more."""
    out, archive = tmp_path / "out", Archive("stream", "http://h/a.tar", "a", "", 1, "tag")
    (out / ".fastbucket").mkdir(parents=True)
    placed = spool.placed([archive], out)
    spool.prepare(out, placed, str(tmp_path / "first"), print)
    shutil.rmtree(tmp_path / "first")
    there = tmp_path / ("first" if again else "second")
    spool.prepare(out, placed, str(there), print)
    assert (out / ".fastbucket/spool").resolve().parent == there
    assert (out / ".fastbucket/spool").is_dir()


@pytest.mark.parametrize("tag", [True, False])
def test_a_query_names_another_archive_where_there_is_no_tag(tmp_path, tag):
    (tmp_path / "a.tar").write_bytes(DATA)
    with FileServer(tmp_path, lambda asked: Way(tag=tag)) as server:
        first, second = (web.archive(f"{server.url}/a.tar?version={n}") for n in (1, 2))
    places = [archive.spool for archive in spool.placed([first, second], tmp_path)]
    assert (places[0] == places[1]) == tag


def test_a_command_that_is_left_ends_with_what_it_began(tmp_path):
    """Also what ignores SIGTERM."""
    note = tmp_path / "pid"
    line = f"pipe:trap '' TERM; sleep 60 & echo $! > '{note}'; cat; wait; true # a.tar"
    output = command.Output(command.archive(line))
    deadline = time.monotonic() + 20
    while not (note.is_file() and note.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    output.close()
    wait_for_the_end(int(note.read_text()))


PRINTS = """
import os, signal, sys, time
from fastbucket.sources import command
output = command.Output(command.archive("pipe:printf %08d $$; exec sleep 60 # a.tar"))
print(output.read(8).decode(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_command_has_the_signals_of_a_shell():
    """Else a producer that nobody reads from any more goes on for ever."""
    line = "pipe:while :; do echo x 2> /dev/null; done | head -c 4 # a.tar"
    output = command.Output(command.archive(line))
    assert output.read(100) == b"x\nx\n"
    output.close()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl")
def test_a_command_ends_with_a_worker_that_is_killed():
    done = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_for_the_end(int(done.stdout))


def test_what_a_command_left_behind_ends_too(tmp_path):
    note = tmp_path / "pid"
    line = f"pipe:(trap '' TERM; exec sleep 60 > /dev/null) & echo $! > '{note}'; cat # a.tar"
    output = command.Output(command.archive(line))
    assert output.read(1) == b""
    output.close()
    wait_for_the_end(int(note.read_text()))


def wait_for_the_end(pid: int) -> None:
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_parquet_file_at_an_address_has_a_remedy(tmp_path):
    with (tmp_path / "scratch").open("w+b") as scratch:
        scan = streamscan.StreamScan(
            "http://h/a.parquet", Slow(b"PAR1" + DATA, 1), scratch.fileno(), print, print
        )
        with pytest.raises(StreamError, match=r"a\.parquet: .*local disk: download it first"):
            list(scan.batches())


# Ended in the middle


def test_killed_in_the_scan_and_resumed(drawn, local, tmp_path):
    """Archives that were finished are not fetched again; the one that was half there is."""
    last = drawn.paths[-1].name
    stalls = True

    def way(asked: Asked) -> Way:
        wait = stalls and asked.method == "GET" and asked.name == last
        return Way(cut=100_000, stall=60.0) if wait else Way()

    with FileServer(drawn.paths[0].parent, way) as server:
        sources, out = [f"{server.url}/{path.name}" for path in drawn.paths], tmp_path / "out"
        process = start(sources, out, RECIPE)
        deadline = time.monotonic() + 60
        while len(list(out.glob(".fastbucket/catalogue/*.arrow"))) < 2 or len(server.gets()) < 3:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
        stalls = False
        signed = [f"{source}?signature={number}" for number, source in enumerate(sources)]
        fastbucket.export(signed, out, RECIPE, TWO)
        names = sorted(path.name for path in drawn.paths)
        assert [name for name, _ in server.gets()] == sorted([*names, last])
    assert tree(out) == local
    assert json.loads((out / "run.json").read_text())["sources"] == sources  # without signatures


def test_a_source_that_changed_refuses_a_resume(drawn, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for path in drawn.paths:
        shutil.copy(path, folder)
    out = tmp_path / "out"
    with FileServer(folder) as server:
        sources = [f"{server.url}/{path.name}" for path in drawn.paths]
        process = start(sources, out, RECIPE)
        deadline = time.monotonic() + 60
        while len(list(out.glob(".fastbucket/shards/*.json"))) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
        changed = folder / drawn.paths[1].name
        data = bytearray(changed.read_bytes())
        data[-1] ^= 1
        changed.write_bytes(data)
        message = refuses(sources, out)
    assert f"{server.url}/{changed.name} changed since the export" in message


def test_the_command_line(drawn, local, tmp_path):
    with FileServer(drawn.paths[0].parent) as server:
        names = ",".join(path.name for path in drawn.paths[1:])
        done = subprocess.run(
            [
                sys.executable, "-m", "fastbucket", "export",
                f"pipe:cat {drawn.paths[0]}", f"{server.url}/{{{names}}}", str(tmp_path / "out"),
                "--allow-pipe", "--spool", str(tmp_path / "disk"), "--shard-size", "2",
                "--workers", "2",
            ],
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "spool: " in done.stderr
    assert " MB of 3 streams in " in done.stderr
    assert tree(tmp_path / "out") == local
