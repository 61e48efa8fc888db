"""Work that is counted instead of timed: a slower design fails here without a stopwatch.

| what                            | measured       | allowed              |
|---------------------------------|----------------|----------------------|
| decoder and encoder calls       | 1 and 1 each   | the same             |
| small headers read by an export | none anew      | the same             |
| bytes read                      | of kept ones   | the same             |
| bytes through SHA-256           | each once      | the same             |
| vectored writes of a shard      | one for 1 MiB  | one more             |
| new memory before the encoder   | 3 KiB          | 16 KiB               |
| the same with it: its room      | room + 3 KiB   | room + 16 KiB        |
| Python and C calls a sample     | 334            | 400                  |
| calls of a scan, a sample more  | 0.004          | 0.02                 |
| page faults of a scan, a member | 1.1            | 4                    |
| a message, shard of 64 samples  | 710 bytes      | 4 KiB                |
| modules of `import fastbucket`  | 6              | 40                   |
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tars
from exported import write_tar
from PIL import Image
from shardtasks import Planned, Unheard

import fastbucket
from fastbucket import Recipe, Resources, Transcoder, resize, shard, task, transcode
from fastbucket.catalogue import Archive
from fastbucket.decode import turbo
from fastbucket.decode.recode import Recoder
from fastbucket.draw import draw
from fastbucket.drawn_source import photo_jpeg
from fastbucket.encode import encode, encoder_settings
from fastbucket.engines import process
from fastbucket.geometry import Size
from fastbucket.kernels import jpegheader
from fastbucket.progress import GOING_ON
from fastbucket.sources import KINDS, pread
from fastbucket.subsampling import SUBSAMPLINGS
from fastbucket.tar import write_all

RECIPE = Recipe(base_resolution=256, shard_size=16, duplicates="keep", carry=("none",))
SIZES = ((400, 300), (300, 400), (420, 280), (1300, 975))  # the last one shrinks on load
SMALL = (120, 90)
BATCH = 1 << 20  # bytes that a shard collects before it writes


@pytest.fixture(scope="module")
def jpegs() -> dict[tuple[int, int], bytes]:
    return {size: photo_jpeg(draw(*size, 7)) for size in (*SIZES, SMALL)}


@pytest.fixture(scope="module")
def source(jpegs, tmp_path_factory) -> Path:
    """32 samples that are kept, with all sidecars, each followed by two that are too small."""
    members = []
    for number in range(32):
        for key, size in (("a", SIZES[number % len(SIZES)]), ("b", SMALL), ("c", SMALL)):
            name = f"{number:03d}{key}"
            members += [
                (f"{name}.cls", b"7"),
                (f"{name}.jpg", jpegs[size]),
                (f"{name}.json", b'{"label": 7, "score": 0.5}'),
                (f"{name}.txt", b"a caption"),
            ]
    return write_tar(tmp_path_factory.mktemp("work") / "train-0000.tar", members)


@pytest.fixture
def planned(source: Path, tmp_path: Path) -> Planned:
    """The source's plan, and a task that has made one shard: kernels and buffers are there."""
    made = Planned([source], tmp_path / "out", RECIPE)
    assert sum(shard.stop - shard.start for shard in made.plan.shards) == 32
    made.make(0)
    return made


@pytest.fixture
def counted(monkeypatch) -> Callable[[object, str], list[tuple[tuple, dict]]]:
    """counted(module, name): from now on a list of the arguments of each call."""

    def watch(owner: object, name: str) -> list[tuple[tuple, dict]]:
        calls: list[tuple[tuple, dict]] = []
        original = getattr(owner, name)

        def noted(*args, **kwargs):
            calls.append((args, kwargs))
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)
        return calls

    return watch


@contextmanager
def calls() -> Iterator[Counter]:
    """Counts calls of Python and C functions in this thread."""
    found: Counter = Counter()

    def note(frame, event, argument) -> None:
        if event in ("call", "c_call"):
            found["all"] += 1

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


def test_a_sample_is_decoded_once_and_encoded_once(planned, counted):
    decoded, encoded = counted(simplejpeg, "decode_jpeg"), counted(Image.core, "jpeg_encoder")
    others = [
        counted(simplejpeg, name)
        for name in ("decode_jpeg_header", "is_jpeg", "encode_jpeg", "encode_jpeg_yuv_planes")
        if hasattr(simplejpeg, name)
    ]
    long_way = counted(Image.Image, "save")
    for subsampling in SUBSAMPLINGS:  # a first use, once a process
        encoder_settings(RECIPE.quality, subsampling)
    del encoded[:], long_way[:]
    samples = sum(planned.make(number).samples for number in range(len(planned.plan.shards)))
    assert samples == 32
    assert not long_way
    assert (len(decoded), len(encoded)) == (32, 32)
    assert not any(others)


def test_no_header_is_read_anew(planned, counted, jpegs, tmp_path):
    """`transcode` reads it once, an export's samples not at all. Only of a progressive JPEG does
    the decoder look at it, which is recoded then: both from a file and from a source's plan."""
    progressive = io.BytesIO()
    Image.fromarray(draw(400, 300, 7)).save(progressive, "JPEG", quality=90, progressive=True)
    source = write_tar(tmp_path / "one-0000.tar", [("a.jpg", progressive.getvalue())])
    one = Planned([source], tmp_path / "one", RECIPE)
    read, recoded = counted(jpegheader, "jpeg_header"), counted(Recoder, "__call__")
    for number in range(len(planned.plan.shards)):
        planned.make(number)
    assert (len(read), len(recoded)) == (0, 0)
    assert one.make(0).samples == 1
    assert (len(read), len(recoded)) == (1, 1)
    del read[:], recoded[:]
    transcoder = Transcoder(RECIPE)
    transcoder.transcode(jpegs[400, 300], "a")
    assert (len(read), len(recoded)) == (1, 0)
    transcoder.transcode(progressive.getvalue(), "a")
    assert (len(read), len(recoded)) == (3, 1)


def test_no_more_pixels_are_decoded_than_the_resize_needs(planned, monkeypatch):
    """Shrink-on-load leaves a factor below 4, else it could have gone one step further."""
    decode, shapes = simplejpeg.decode_jpeg, []

    def decoding(*args, **kwargs):
        pixels = decode(*args, **kwargs)
        shapes.append(pixels.shape)
        return pixels

    monkeypatch.setattr(simplejpeg, "decode_jpeg", decoding)
    for number, planned_shard in enumerate(planned.plan.shards):
        target = planned.plan.buckets[planned_shard.bucket].target
        planned.make(number)
        for height, width, _ in shapes:
            assert min(height / target.height, width / target.width) < 4
        shapes.clear()


def test_bytes_read_are_those_of_the_kept_samples(planned, counted):
    """Image and sidecars once each, and nothing of the 64 samples that are dropped."""
    assert planned.plan.dropped() == {"too_small": 64}
    reads = counted(os, "preadv")
    for number in range(len(planned.plan.shards)):
        planned.make(number)
    wanted = Counter()
    for number in range(len(planned.plan.shards)):
        for row in planned.rows(number):
            for part in ("image", "text", "json", "class"):
                wanted[row[f"{part}_offset"], row[f"{part}_size"]] += 1
    found = Counter((args[2], sum(map(len, args[1]))) for args, _ in reads)
    assert found == wanted


def test_a_plan_reads_no_image(source, tmp_path, counted):
    """What is no candidate for a duplicate is not read; JSON only where fields are to be found."""
    reads = counted(os, "preadv")
    recipe = Recipe(base_resolution=256, carry=("none",), duplicates="keep")
    Planned([source], tmp_path / "a", recipe)
    assert not reads
    auto = Planned([source], tmp_path / "b", Recipe(base_resolution=256, duplicates="keep"))
    table = auto.tables[0]
    offsets = set(table["json_offset"].take(auto.plan.order).to_pylist())
    assert {args[2] for args, _ in reads} == offsets


def test_every_byte_is_hashed_once(planned, monkeypatch):
    hashed = Counter()
    sha256 = hashlib.sha256

    class Counting:
        def __init__(self, data=b"", **options):
            self._state = sha256(data, **options)
            hashed["bytes"] += len(data)

        def update(self, data):
            hashed["bytes"] += len(data)
            self._state.update(data)

        def __getattr__(self, name):
            return getattr(self._state, name)

    monkeypatch.setattr(hashlib, "sha256", Counting)
    record = planned.make(0)
    images = sum(row["image_size"] for row in planned.rows(0))
    names = 64 * record.samples  # the key of a sample is a hash of its name
    assert images + record.bytes <= hashed["bytes"] <= images + record.bytes + names


def test_a_shard_is_written_in_few_calls(jpegs, tmp_path, counted):
    members = [(f"{number:03d}.jpg", jpegs[SIZES[3]]) for number in range(48)]
    source = write_tar(tmp_path / "train-0000.tar", members)
    planned = Planned([source], tmp_path / "out", Recipe(duplicates="keep"))
    vectored, single = counted(os, "writev"), counted(os, "write")
    synced, renamed = counted(os, "fsync"), counted(os, "replace")
    record = planned.make(0)
    assert record.bytes > BATCH
    assert len(vectored) <= 1 + record.bytes // BATCH
    assert not single
    # The shard, its index and its record, their folders, and the names of four new ones: the
    # bucket's, index/ and two within it.
    assert len(synced) == 10
    assert len(renamed) == 3  # the shard, its index and its record


def test_writes_stay_few_where_the_batch_is_large(tmp_path, counted):
    blocks = [bytes(512), bytes(100_000), bytes(352)] * 1000
    vectored = counted(os, "writev")
    with open(tmp_path / "file", "wb") as file:
        total = write_all(file.fileno(), blocks)
    assert total == sum(map(len, blocks)) == (tmp_path / "file").stat().st_size
    assert len(vectored) <= 1 + len(blocks) // 512


@pytest.mark.parametrize("size", SIZES)
def test_a_sample_takes_no_new_memory_but_the_room_of_its_jpeg(jpegs, size, monkeypatch):
    """NumPy and bytes tell tracemalloc; decoder, resize and encoder work in memory of their own."""
    transcoder = Transcoder(RECIPE)
    data = memoryview(bytearray(jpegs[size]))  # as a task reads it
    transcoder.transcode(data, "warm")
    before = []

    def noted(*words):
        before.append(tracemalloc.get_traced_memory()[1])
        return encode(*words)

    monkeypatch.setattr(transcode, "encode", noted)
    tracemalloc.start()
    try:
        done = transcoder.transcode(data, "warm")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    target = done.size.width * done.size.height
    assert target > 2 * (16 << 10)  # a copy of one plane would show
    assert before[0] <= 16 << 10
    assert peak <= max(target, 1 << 16) + (16 << 10)  # the room that the encoder is given


def test_pixels_lie_where_the_last_ones_lay(jpegs, monkeypatch):
    decode, encode = simplejpeg.decode_jpeg, fastbucket.transcode.encode
    decoded, finished = set(), set()

    def decoding(*args, **kwargs):
        pixels = decode(*args, **kwargs)
        decoded.add(pixels.ctypes.data)
        return pixels

    def encoding(pixels, *args):
        finished.add(pixels.ctypes.data)
        return encode(pixels, *args)

    transcoder = Transcoder(RECIPE)
    transcoder.transcode(jpegs[SIZES[3]], "the largest")
    for size in SIZES:
        transcoder.transcode(jpegs[size], "warm")
    monkeypatch.setattr(simplejpeg, "decode_jpeg", decoding)
    monkeypatch.setattr(fastbucket.transcode, "encode", encoding)
    for _ in range(3):
        for size in SIZES:
            transcoder.transcode(jpegs[size], "again")
    assert len(decoded) == 1
    assert len(finished) == 1


def test_pixels_of_small_images_stay_in_the_caches():
    """On x86 libjpeg-turbo writes rows at multiples of 16 or 32 past the caches. A buffer that was
    large does not change it, and the pixels are the same at any address."""
    decoder = turbo.Turbo()
    for width, height in ((512, 384), (1032, 1040), (500, 375)):
        jpeg = photo_jpeg(draw(width, height, 3))
        pixels = decoder.decode(jpeg, Size(width, height), 1)
        rows = {row.ctypes.data % 16 for row in pixels}
        assert (rows == {0}) if pixels.nbytes > turbo.NEAR else all(row % 2 for row in rows)
        expected = simplejpeg.decode_jpeg(jpeg, "RGBX")
        assert np.array_equal(pixels[..., :3], expected[..., :3])


def test_pixels_that_just_fit_their_buffer(monkeypatch):
    """Buffers without a byte to spare: the one in front of an odd address is asked for too."""
    made = []

    def scarce(size):
        made.append(size)
        return np.empty(size, np.uint8)

    monkeypatch.setattr(turbo, "aligned", scarce)
    monkeypatch.setattr(turbo, "KEPT", 64 * 48 * 4)
    small, whole, large = (photo_jpeg(draw(w, 48, 3)) for w in (56, 64, 72))
    decoder = turbo.Turbo()
    for _ in range(2):
        decoder.decode(small, Size(56, 48), 1)
        decoder.decode(whole, Size(64, 48), 1)  # kept for what follows
    assert made == [56 * 48 * 4 + 1, 64 * 48 * 4 + 1]
    decoder = turbo.Turbo()
    decoder._buffer = scarce(64 * 48 * 4)
    decoder.decode(whole, Size(64, 48), 1)
    assert made[3:] == [64 * 48 * 4 + 1]
    for _ in range(2):
        decoder.decode(large, Size(72, 48), 1)  # not kept
    assert made[4:] == [72 * 48 * 4 + 1] * 2


def test_memory_of_a_shard_does_not_grow_with_its_samples(source, tmp_path, monkeypatch):
    """Only the JPEGs that are made together, or wait for a write: here two, and a few KiB."""
    monkeypatch.setattr(task, "_TOGETHER", 2)
    monkeypatch.setattr(shard, "_BATCH", 4 << 10)
    peaks = {}
    for shard_size in (2, 8):
        recipe = Recipe(base_resolution=256, shard_size=shard_size, duplicates="keep")
        planned = Planned([source], tmp_path / str(shard_size), recipe)
        planned.make(0)
        tracemalloc.start()
        try:
            record = planned.make(0)
            peaks[shard_size] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert record.samples == shard_size
    assert record.bytes > 8 * (12 << 10)
    assert peaks[8] - peaks[2] < 6 * (8 << 10)  # the rows of the plan, and small change


def test_weights_are_computed_once_for_a_size_and_a_crop(jpegs):
    transcoder = Transcoder(Recipe(base_resolution=256, crop_strategy="center"))
    resize.weights.cache_clear()
    for round_ in range(5):
        for size in SIZES:
            transcoder.transcode(jpegs[size], f"number {round_}")
    known = resize.weights.cache_info()
    assert known.misses == len(SIZES)
    assert known.hits == 4 * len(SIZES)
    assert known.maxsize is not None  # sizes are endless, and a worker's memory is flat
    assert known.maxsize >= 256


def test_python_does_little_for_a_sample(planned):
    """Every call counts, of Python or C: some 50 ns each, and objects that come and go."""
    full = next(n for n, s in enumerate(planned.plan.shards) if s.stop - s.start >= 8)
    few = next(n for n, s in enumerate(planned.plan.shards) if s.stop - s.start != 8)
    found = {}
    for number in (full, few):
        planned.make(number)
        with calls() as counted:
            record = planned.make(number)
        found[record.samples] = counted["all"]
    (less, more) = sorted(found)
    assert (found[more] - found[less]) / (more - less) < 400


def archive(path: Path) -> Archive:
    return Archive("tar", str(path), "x", "train", path.stat().st_size)


def test_a_scan_calls_nothing_for_a_sample(tmp_path):
    """Kernels and whole columns: a sample more is no call more, but for each new batch of 4,096."""
    found = {}
    for samples in (1000, 9000):
        path = tmp_path / f"{samples}.tar"
        parts = (("cls", b"7"), ("jpg", tars.JPEG), ("json", b"{}"))
        path.write_bytes(
            b"".join(
                tars.member(b"%06d.%b" % (number, suffix.encode()), data)
                for number in range(samples)
                for suffix, data in parts
            )
            + tars.END
        )
        KINDS["tar"].scan(archive(path))
        with calls() as counted:
            assert len(KINDS["tar"].scan(archive(path))) == samples
        found[samples] = counted["all"]
    assert (found[9000] - found[1000]) / 8000 < 0.02


def test_a_scan_touches_headers_and_no_pixels(tmp_path):
    """A gigabyte of images that are holes behind their headers. The kernel maps up to 16 pages a
    fault, so reading one image of 4 MiB would be 64 of them."""
    members, size = 256, 4 << 20
    path = tmp_path / "sparse.tar"
    with open(path, "wb") as file:
        for number in range(members):
            file.seek(number * (512 + size))
            file.write(tars.header(b"%06d.jpg" % number, size) + tars.JPEG)
        file.truncate(members * (512 + size) + len(tars.END))
    if path.stat().st_blocks * 512 > 64 << 20:
        pytest.skip("this file system keeps no holes")
    KINDS["tar"].scan(archive(path))
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = KINDS["tar"].scan(archive(path))
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert len(found) == members
    assert not found.broken
    assert (np.asarray(found.columns["width"]) == 40).all()
    faults = after.ru_minflt - before.ru_minflt + after.ru_majflt - before.ru_majflt
    assert faults < 4 * members


def test_no_pixel_crosses_a_process_border(jpegs, tmp_path, monkeypatch):
    """Tasks and results of 64 samples, as they go through the sockets."""
    source = write_tar(
        tmp_path / "train-0000.tar",
        [(f"{number:03d}.jpg", jpegs[SIZES[number % 2]]) for number in range(128)],
    )
    sent, received = [], []

    class Watched(process.Connection):
        def _send_bytes(self, buffer):
            sent.append(len(buffer))
            super()._send_bytes(buffer)

        def _recv_bytes(self, maxsize=None):
            buffer = super()._recv_bytes(maxsize)
            received.append(len(buffer.getvalue()))
            return buffer

    monkeypatch.setattr(process, "Connection", Watched)
    recipe = Recipe(base_resolution=256, shard_size=64, duplicates="keep")
    report = fastbucket.export([source], tmp_path / "out", recipe, Resources(workers=2))
    assert report.exported == 128
    assert [bucket.samples for bucket in report.buckets] == [64, 64]
    assert len(sent) >= 5  # two setups, a scan, two shards
    assert len(received) >= 3
    assert max(sent) < 4 << 10
    assert max(received) < 4 << 10
    assert sum(received) < report.bytes_out / 10


def test_importing_the_package_is_nearly_nothing():
    code = (
        "import sys, json; before = set(sys.modules); import fastbucket; fastbucket.__version__;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    loaded = json.loads(done.stdout)
    assert [name for name in loaded if name.startswith("fastbucket")] == ["fastbucket"]
    assert len(loaded) < 40


def test_a_drive_that_stalls_is_not_the_samples_fault(planned, monkeypatch):
    """While a source is read the worker is at no position; while it is decoded, at the sample's."""
    places: list[int | None] = [None]
    seen = {"read": set(), "decode": set()}

    class Report(Unheard):
        def at(self, position: int | None) -> None:
            places.append(position)

    read, decode = pread.read, simplejpeg.decode_jpeg

    def reading(*args):
        seen["read"].add(places[-1])
        return read(*args)

    def decoding(*args, **kwargs):
        seen["decode"].add(places[-1])
        return decode(*args, **kwargs)

    monkeypatch.setattr(pread, "read", reading)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", decoding)
    (record,) = planned.task([0], Report())
    assert seen == {"read": {GOING_ON}, "decode": set(range(record.samples))}
    assert places[-1] is None
