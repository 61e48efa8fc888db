"""ICC profiles: classified by numbers, put together from chunks, and harmless when damaged."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from fastbucket.catalogue import PROFILES
from fastbucket.decode.icc import COLORANTS, assemble, classify
from fastbucket.kernels import jpegheader

SHARED = Path(__file__).parents[2] / "shared"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = {
    b"rXYZ": (0.5151, 0.2412, -0.0011),
    b"gXYZ": (0.2920, 0.6922, 0.0419),
    b"bXYZ": (0.1571, 0.0666, 0.7841),
}


def s15(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))


def para(function: int, *values: float) -> bytes:
    return b"para" + bytes(4) + struct.pack(">HH", function, 0) + s15(*values)


def curv(*points: int) -> bytes:
    return b"curv" + bytes(4) + struct.pack(f">I{len(points)}H", len(points), *points)


def to_linear(x: np.ndarray) -> np.ndarray:
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def table(size: int) -> bytes:
    return curv(*np.round(to_linear(np.linspace(0, 1, size)) * 65535).astype(int).tolist())


EXACT = para(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile(
    curve: bytes = EXACT,
    colorants: dict[bytes, tuple[float, ...]] = COLORANTS,
    space: bytes = b"RGB ",
    connection: bytes = b"XYZ ",
    more: dict[bytes, bytes] | None = None,
    without: bytes = b"",
) -> bytes:
    tags = {tag: b"XYZ " + bytes(4) + s15(*xyz) for tag, xyz in colorants.items()}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    if space == b"GRAY":
        tags = {b"kTRC": curve}
    tags |= more or {}
    tags.pop(without, None)
    at = 132 + 12 * len(tags)
    index, body = struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        index += tag + struct.pack(">II", at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = 128 + len(index) + len(body)
    head = struct.pack(">I", size) + b"test\2\x10\0\0mntr" + space + connection + bytes(12)
    return (head + b"acsp").ljust(128, b"\0") + index + body


def lcms_reads(data: bytes) -> bool:
    try:
        ImageCms.ImageCmsProfile(io.BytesIO(data))
    except OSError:
        return False
    return True


def test_srgb_as_lcms_writes_it():
    assert classify(SRGB) == "srgb"
    assert classify(SRGB, 3) == "srgb"


@pytest.mark.parametrize(
    "curve",
    [
        EXACT,
        para(4, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0, 0),
        table(1024),
        table(4096),
        table(64),
    ],
)
def test_ways_to_write_the_curve_of_srgb(curve):
    made = profile(curve)
    assert lcms_reads(made)
    assert classify(made) == "srgb"
    assert classify(profile(curve, space=b"GRAY"), 1) == "srgb"


@pytest.mark.parametrize(
    "curve",
    [
        curv(),
        curv(round(2.2 * 256)),
        curv(round(1.8 * 256)),
        para(0, 2.2),
        para(0, 2.4),
        para(1, 2.4, 1, 0),
        para(2, 2.4, 1, 0, 0),
        curv(0, 65535),
    ],
)
def test_other_curves(curve):
    made = profile(curve)
    assert lcms_reads(made)
    assert classify(made) == "other"
    assert classify(profile(curve, space=b"GRAY"), 1) == "other"


def test_colorants_decide_within_the_tolerance():
    def moved(by: float) -> str:
        near = {tag: (x + by, y - by, z) for tag, (x, y, z) in COLORANTS.items()}
        return classify(profile(colorants=near))

    assert moved(0.0016) == moved(-0.0016) == "srgb"
    assert moved(0.004) == moved(-0.004) == "other"
    assert classify(profile(colorants=P3)) == "other"


def test_tables_other_spaces_and_other_channels():
    assert classify(profile(more={b"A2B0": b"mft2" + bytes(60)})) == "other"
    assert classify(profile(space=b"CMYK", more={b"A2B0": b"mft2" + bytes(60)}), 4) == "other"
    assert classify(profile(), 1) == "none"
    assert classify(profile(), 4) == "none"
    assert classify(profile(space=b"GRAY"), 3) == "none"


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"no profile",
        SRGB[:127],
        SRGB[:200],
        SRGB.replace(b"acsp", b"nope"),
        profile(without=b"gXYZ"),
        profile(without=b"bTRC"),
        profile(space=b"CMYK"),
        profile(connection=b"Lab "),
        profile(curve=b"what" + bytes(20)),
        profile(curve=b"curv" + bytes(4) + b"\0\1\0\0"),
        profile(curve=para(3, 2.4)),
        profile(curve=b"para" + bytes(4) + b"\0\x09\0\0" + bytes(28)),
        profile(space=b"GRAY", without=b"kTRC"),
    ],
)
def test_a_profile_that_nobody_can_use_counts_as_none(damaged):
    assert classify(damaged) == "none"


@settings(max_examples=300, deadline=None)
@given(
    seed=st.sampled_from([SRGB, profile(), profile(table(16)), profile(para(1, 2, 1, 0))]),
    flips=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, 700),
)
def test_damage_is_harmless(seed, flips, cut):
    data = bytearray(seed)
    for at, value in flips:
        if at < len(data):
            data[at] = value
    assert classify(bytes(data)) in PROFILES
    assert classify(bytes(data[:cut])) in PROFILES


def jpeg(icc: bytes = b"") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", icc_profile=icc)
    return file.getvalue()


def first_chunk(data: bytes) -> int:
    out = np.empty(jpegheader.FIELDS, np.int64)
    assert jpegheader.jpeg_header(np.frombuffer(data, np.uint8), 0, len(data), out) == 0
    return int(out[jpegheader.ICC_START])


@pytest.mark.parametrize("size", [200, 65519, 65520, 200_000])
def test_chunks_are_put_together(size):
    icc = np.random.default_rng(size).bytes(size)
    data = jpeg(icc)
    assert assemble(data, first_chunk(data)) == icc
    assert assemble(memoryview(data), first_chunk(data)) == icc
    assert Image.open(io.BytesIO(data)).info["icc_profile"] == icc


def chunk(number: int, count: int, data: bytes) -> bytes:
    payload = b"ICC_PROFILE\0" + bytes((number, count)) + data
    return struct.pack(">BBH", 0xFF, 0xE2, len(payload) + 2) + payload


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([(1, 2, b"a"), (2, 2, b"b")], b"ab"),
        ([(2, 2, b"b"), (1, 2, b"a")], b"ab"),
        ([(1, 2, b"a")], b""),
        ([(1, 2, b"a"), (1, 2, b"b")], b""),
        ([(1, 2, b"a"), (2, 3, b"b")], b""),
        ([(0, 1, b"a")], b""),
        ([(1, 1, b"a"), (2, 1, b"b")], b""),
    ],
)
def test_chunks_that_do_not_fit(chunks, expected):
    plain = jpeg()
    made = plain[:2] + b"".join(chunk(*c) + b"\xff\xe5\0\3x" for c in chunks) + plain[2:]
    assert assemble(made, first_chunk(made)) == expected


def test_profiles_of_real_photos():
    folders = [SHARED / "photos", SHARED / "hard" / "icc_profile"]
    if not all(folder.is_dir() for folder in folders):
        pytest.skip(f"no {folders}")
    by_name: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in folder.iterdir()):
        if path.suffix.lower() not in (".jpg", ".jpeg"):
            continue
        data = path.read_bytes()
        out = np.empty(jpegheader.FIELDS, np.int64)
        jpegheader.jpeg_header(np.frombuffer(data, np.uint8), 0, len(data), out)
        if out[jpegheader.ICC_START] < 0:
            continue
        icc = assemble(data, int(out[jpegheader.ICC_START]))
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc)))
        by_name.setdefault(name.strip(), set()).add(classify(icc, int(out[jpegheader.COMPONENTS])))
    assert by_name["sRGB IEC61966-2.1"] == {"srgb"}
    for name, kinds in by_name.items():
        if "Adobe RGB" in name or "Display" in name or "2020" in name:
            assert kinds == {"other"}, name
        elif "sRGB" in name:
            assert kinds == {"srgb"}, name
