"""JPEG headers: against Pillow and libjpeg-turbo, and against bytes made to harm."""

from __future__ import annotations

import io
import struct
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fastbucket.kernels import jpegheader as jpeg
from fastbucket.kernels.jpegscans import scans
from fastbucket.kernels.signature import JPEG, NONE, signature

SHARED = Path(__file__).parents[2] / "shared"


def read(data: bytes) -> tuple[int, np.ndarray]:
    out = np.empty(jpeg.FIELDS, np.int64)
    return jpeg.jpeg_header(np.frombuffer(data, np.uint8), 0, len(data), out), out


def segment(marker: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def frame(
    factors: tuple[int, ...] = (0x22, 0x11, 0x11),
    ids: bytes = b"\1\2\3\4",
    marker: int = 0xC0,
    bits: int = 8,
    size: tuple[int, int] = (40, 30),
) -> bytes:
    parts = b"".join(bytes((i, f, 0)) for i, f in zip(ids, factors, strict=False))
    return segment(marker, struct.pack(">BHHB", bits, size[1], size[0], len(factors)) + parts)


def scan(ids: bytes = b"\1\2\3") -> bytes:
    parts = b"".join(bytes((i, 0)) for i in ids)
    return segment(0xDA, bytes((len(ids),)) + parts + b"\0\x3f\0")


SOI, SOS = b"\xff\xd8", scan()
JFIF = segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\0\0")


def adobe(transform: int) -> bytes:
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes((transform,)))


def exif(orientation: int, order: str = "<", tag: int = 0x0112, kind: int = 3) -> bytes:
    """An Exif segment with another entry before the one in question."""
    mark = b"II" if order == "<" else b"MM"
    value = struct.pack(order + "HHIHH", tag, kind, 1, orientation, 0)
    first = struct.pack(order + "HHII", 0x0100, 4, 1, 7)
    return segment(
        0xE1,
        b"Exif\0\0"
        + mark
        + struct.pack(order + "HIH", 42, 8, 2)
        + first
        + value
        + struct.pack(order + "I", 0),
    )


def drawn(mode: str = "RGB", size: tuple[int, int] = (57, 31), **options: object) -> bytes:
    rng = np.random.default_rng(3)
    bands = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    pixels = rng.integers(0, 255, (size[1], size[0], bands), dtype=np.uint8)
    file = io.BytesIO()
    Image.frombytes(mode, size, pixels.tobytes()).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_pillow_writes_and_we_read(mode, progressive, subsampling):
    data = drawn(mode, progressive=progressive, subsampling=subsampling)
    code, head = read(data)
    assert code == jpeg.OK
    assert (head[jpeg.WIDTH], head[jpeg.HEIGHT]) == (57, 31)
    assert head[jpeg.SOF] == (0xC2 if progressive else 0xC0)
    assert head[jpeg.COMPONENTS] == {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    assert head[jpeg.PLAIN] == (mode != "CMYK")
    if mode == "RGB":
        assert head[jpeg.CHROMA] == (0x11, 0x21, 0x22)[subsampling]
        assert head[jpeg.COLOUR] == jpeg.COLOUR_YCC


@pytest.mark.parametrize(
    ("before", "ids", "expected"),
    [
        (b"", b"\1\2\3", jpeg.COLOUR_YCC),
        (b"", b"RGB", jpeg.COLOUR_RGB),
        (b"", b"\0\1\2", jpeg.COLOUR_YCC),
        (JFIF, b"RGB", jpeg.COLOUR_YCC),
        (adobe(0), b"\1\2\3", jpeg.COLOUR_RGB),
        (adobe(1), b"RGB", jpeg.COLOUR_YCC),
        (adobe(9), b"RGB", jpeg.COLOUR_YCC),
        (JFIF + adobe(0), b"\1\2\3", jpeg.COLOUR_YCC),
        (segment(0xE0, b"JFIF\0\1\2\0\0"), b"RGB", jpeg.COLOUR_RGB),  # too short to count
        (segment(0xEE, b"Adobe\0\x64"), b"RGB", jpeg.COLOUR_RGB),
    ],
)
def test_colour_space_is_libjpegs(before, ids, expected):
    data = SOI + before + frame((0x11,) * 3, ids) + scan(ids)
    code, head = read(data)
    assert code == jpeg.OK
    assert head[jpeg.COLOUR] == expected
    assert head[jpeg.PLAIN] == (expected == jpeg.COLOUR_YCC)
    theirs = simplejpeg.decode_jpeg_header(data + bytes(64), strict=False)[2]
    assert theirs == ("YCbCr" if expected == jpeg.COLOUR_YCC else "RGB")


def test_a_marker_between_frame_and_scan_still_decides_the_colour():
    assert read(SOI + frame((0x11,) * 3, b"RGB") + JFIF + SOS)[1][jpeg.COLOUR] == jpeg.COLOUR_YCC
    assert read(SOI + frame((0x11,) * 3) + adobe(0) + SOS)[1][jpeg.COLOUR] == jpeg.COLOUR_RGB


@pytest.mark.parametrize("transform", [-1, 0, 1, 2])
def test_four_components(transform):
    before = b"" if transform < 0 else adobe(transform)
    code, head = read(SOI + before + frame((0x11,) * 4) + SOS)
    assert (code, head[jpeg.PLAIN]) == (jpeg.OK, 0)
    assert head[jpeg.COLOUR] == (jpeg.COLOUR_YCCK if transform > 0 else jpeg.COLOUR_CMYK)


RATIOS = {0x11: "444", 0x21: "422", 0x22: "420", 0x12: "440", 0x41: "411"}


def test_plain_sampling_is_what_turbojpeg_has_a_name_for():
    factors = [h << 4 | v for h, v in product((1, 2, 3, 4), repeat=2)]
    plain = 0
    for luma, blue, red in product(factors, factors, (0x11, 0x21, 0x22)):
        data = SOI + JFIF + frame((luma, blue, red)) + SOS
        code, head = read(data)
        assert code == jpeg.OK
        try:
            theirs = simplejpeg.decode_jpeg_header(data + bytes(64), strict=False)[3]
        except (ValueError, KeyError):  # 6 is 4:4:1, which simplejpeg has no name for
            theirs = ""
        if head[jpeg.PLAIN]:
            plain += 1
            assert theirs == RATIOS[head[jpeg.CHROMA]], hex(luma << 16 | blue << 8 | red)
        else:
            assert theirs not in RATIOS.values(), hex(luma << 16 | blue << 8 | red)
    assert plain >= 7


def test_grey_is_plain_whatever_its_sampling():
    for factors in (0x11, 0x22, 0x41):
        head = read(SOI + frame((factors,)) + SOS)[1]
        assert (head[jpeg.PLAIN], head[jpeg.CHROMA]) == (1, 0)


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB])
@pytest.mark.parametrize("bits", [8, 12])
def test_what_is_not_8_bit_huffman_is_not_plain(marker, bits):
    code, head = read(SOI + JFIF + frame(marker=marker, bits=bits) + SOS)
    assert (code, head[jpeg.SOF], head[jpeg.PRECISION]) == (jpeg.OK, marker, bits)
    assert head[jpeg.PLAIN] == (bits == 8 and marker <= 0xC2)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(10))
def test_orientation(order, orientation):
    data = SOI + exif(orientation, order) + JFIF + frame() + SOS
    assert read(data)[1][jpeg.ORIENTATION] == (orientation if 1 <= orientation <= 8 else 1)
    pillow = Image.open(io.BytesIO(data + bytes(16)))
    assert pillow.getexif().get(0x0112, 1) == orientation


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("change", [{"tag": 0x0113}, {"kind": 4}, {"kind": 2}])
def test_orientation_of_another_tag_or_type_does_not_count(order, change):
    assert read(SOI + exif(6, order, **change) + frame() + SOS)[1][jpeg.ORIENTATION] == 1


def test_the_first_exif_segment_counts():
    data = SOI + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0") + exif(3) + exif(6)
    assert read(data + frame() + SOS)[1][jpeg.ORIENTATION] == 3


def test_exif_cut_anywhere_is_harmless():
    whole = exif(6)[4:]
    for size in range(len(whole)):
        code, head = read(SOI + segment(0xE1, whole[:size]) + frame() + SOS)
        assert code == jpeg.OK
        assert head[jpeg.ORIENTATION] in (1, 6)


def test_icc_chunks_are_found():
    chunk = segment(0xE2, b"ICC_PROFILE\0\1\2abc")
    code, head = read(SOI + JFIF + chunk + chunk + frame() + SOS)
    assert (code, head[jpeg.ICC_CHUNKS]) == (jpeg.OK, 2)
    assert head[jpeg.ICC_START] == len(SOI + JFIF)
    assert read(SOI + JFIF + segment(0xE2, b"MPF\0") + frame() + SOS)[1][jpeg.ICC_START] == -1


def test_fill_bytes_and_garbage_are_skipped():
    plain = read(SOI + JFIF + frame() + SOS)
    odd = SOI + b"\xff\xff" + JFIF + b"\0\1junk\xff\0\xff\1" + b"\xff\xff" + frame() + SOS
    assert plain[0] == read(odd)[0] == jpeg.OK
    *same, size = plain[1].tolist()
    assert [*same, size + len(odd) - len(SOI + JFIF + frame() + SOS)] == read(odd)[1].tolist()


BROKEN = {
    jpeg.NOT_JPEG: b"\x89PNG\r\n\x1a\n",
    jpeg.SHORT: SOI + JFIF + frame(),
    jpeg.BAD_LENGTH: SOI + frame()[:3] + b"\x12" + frame()[4:] + SOS,
    jpeg.BAD_MARKER: SOI + b"\xff\x02",
    jpeg.NO_SOF: SOI + JFIF + SOS,
    jpeg.TWO_SOF: SOI + frame() + frame() + SOS,
    jpeg.EMPTY: SOI + frame(size=(0, 5)) + SOS,
    jpeg.BAD_SAMPLING: SOI + frame((0x52, 0x11, 0x11)) + SOS,
    jpeg.NO_SCAN: SOI + frame() + b"\xff\xd9",
    jpeg.UNSUPPORTED_SOF: SOI + frame(marker=0xC5) + SOS,
}


@pytest.mark.parametrize("code", sorted(jpeg.ERRORS))
def test_every_error_has_a_file(code):
    assert read(BROKEN[code])[0] == code


@pytest.mark.parametrize("length", [0, 1])
def test_impossible_lengths(length):
    bad = struct.pack(">H", length)
    assert read(SOI + b"\xff\xdb" + bad + frame() + SOS)[0] == jpeg.BAD_LENGTH
    assert read(SOI + b"\xff\xe5" + bad + frame() + SOS)[0] == jpeg.OK  # as libjpeg


def test_nothing_behind_the_first_scan_header_is_looked_at():
    data = drawn()
    code, head = read(data)
    end = data.index(b"\xff\xda")
    end += 2 + struct.unpack(">H", data[end + 2 : end + 4])[0]
    assert read(data[:end])[0] == code == jpeg.OK
    assert read(data[:end])[1].tolist() == head.tolist()
    assert read(data[: end - 1])[0] == jpeg.SHORT


SEEDS = [
    drawn(exif=Image.Exif()),
    drawn("L", progressive=True),
    SOI + exif(6, ">") + JFIF + segment(0xE2, b"ICC_PROFILE\0\1\1abc") + adobe(1) + frame() + SOS,
]


@settings(max_examples=300, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    flips=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=12),
    cut=st.integers(0, 900),
)
def test_damage_gives_a_code_and_never_leaves_the_file(seed, flips, cut):
    data = bytearray(seed[:cut])
    for at, value in flips:
        if at < len(data):
            data[at] = value
    results = []
    # The same bytes between walls of different kinds: what lies outside must not matter.
    for wall in (b"\0", b"\xff", b"\xe1"):
        around = np.frombuffer(wall * 99 + bytes(data) + wall * 99, np.uint8)
        out = np.empty(jpeg.FIELDS, np.int64)
        code = jpeg.jpeg_header(around, 99, 99 + len(data), out)
        assert code == jpeg.OK or code in jpeg.ERRORS
        results.append((code, out.tolist(), signature(around, 99, 99 + len(data))))
    assert results[0] == results[1] == results[2]


@settings(max_examples=200, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    flips=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=6),
    more=st.lists(st.integers(0, 40), min_size=1, max_size=5),
)
def test_in_pieces_as_in_one(seed, flips, more):
    """Only the bytes that were asked for, and `more`, at each step, between walls."""
    data = bytearray(seed)
    for at, value in flips:
        if at < len(data):
            data[at] = value
    code, whole = read(bytes(data))
    out, progress = np.empty(jpeg.FIELDS, np.int64), np.empty(jpeg.PROGRESS, np.int64)
    jpeg.begin(out, progress)
    step = 0
    while True:
        at = int(progress[jpeg.AT])
        end = min(at + int(progress[jpeg.NEEDED]) + more[step % len(more)], len(data))
        piece = np.frombuffer(bytes(data[at:end]) + b"\xff" * 40, np.uint8)
        found = jpeg.read_on(piece, -at, end - at, len(data) - at, out, progress)
        if found != jpeg.MORE:
            break
        step += 1
        assert step <= 2 * len(data)
    assert (found, out.tolist()) == (code, whole.tolist())


def test_the_kernel_is_its_python():
    for data in [*SEEDS, *BROKEN.values()]:
        compiled, out = read(data)[0], np.empty(jpeg.FIELDS, np.int64)
        view = np.frombuffer(data, np.uint8)
        assert jpeg.jpeg_header.py_func(view, 0, len(data), out) == compiled
        assert out.tolist() == read(data)[1].tolist()
        assert signature.py_func(view, 0, len(data)) == signature(view, 0, len(data))


@pytest.mark.parametrize("size", range(12))
def test_signatures_of_short_files(size):
    for whole in (
        b"\xff\xd8\xff\xe0" + bytes(8),
        b"RIFF\1\1\1\1WEBP",
        b"\x89PNG\r\n\x1a\n\0\0\0\0",
    ):
        kind = signature(np.frombuffer(whole[:size], np.uint8), 0, size)
        assert kind in (JPEG, NONE)


@pytest.mark.parametrize("folder", ["photos", "hard"])
def test_real_files_as_pillow_reads_them(folder):
    if not (SHARED / folder).is_dir():
        pytest.skip(f"no {SHARED / folder}")
    seen = 0
    for path in sorted((SHARED / folder).rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        if signature(np.frombuffer(data, np.uint8), 0, len(data)) != JPEG:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, of odd MPO and Exif structures
                image = Image.open(io.BytesIO(data))
                orientation = image.getexif().get(0x0112, 1)
        except (OSError, SyntaxError):  # 12 bit and lossless ones it does not read
            continue
        code, head = read(data)
        assert code == jpeg.OK, path
        assert (head[jpeg.WIDTH], head[jpeg.HEIGHT]) == image.size, path
        if orientation in range(1, 9):
            assert head[jpeg.ORIENTATION] == orientation, path
        assert head[jpeg.COMPONENTS] == len(image.getbands()), path
        seen += 1
    assert seen > 50


@given(st.lists(st.sampled_from((b"\xff", b"\xda", b"\0", b"\xff\xda")), max_size=80).map(b"".join))
@settings(deadline=None)
def test_scans_are_the_markers_of_scans(data):
    expected = data.count(b"\xff\xda")
    for kind in (bytes, bytearray, memoryview):
        assert scans(np.frombuffer(kind(data), np.uint8)) == expected
