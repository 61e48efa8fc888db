"""Headers through libvips, against Pillow."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from fastbucket.catalogue import KIND, KINDS
from fastbucket.decode.header import DETAIL_LIMIT, Header, header
from fastbucket.decode.library import LOADERS, vips
from fastbucket.errors import SampleError
from fastbucket.kernels.signature import signature

SHARED = Path(__file__).parents[2] / "shared"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def drawn(format: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (33, 21)).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("format", "mode", "kind", "components"),
    [
        ("JPEG", "CMYK", "jpeg_other", 4),
        ("JPEG", "RGB", "jpeg", 3),
        ("PNG", "RGBA", "png", 4),
        ("PNG", "L", "png", 1),
        ("PNG", "P", "png", 3),
        ("GIF", "P", "gif", 3),
        ("WEBP", "RGB", "webp", 3),
        ("TIFF", "RGB", "tiff", 3),
        ("TIFF", "CMYK", "tiff", 4),
        ("AVIF", "RGB", "heif", 3),
    ],
)
def test_sizes(format, mode, kind, components):
    data = drawn(format, mode)
    code = signature(np.frombuffer(data, np.uint8), 0, len(data))
    assert KINDS[code] == kind.removesuffix("_other")
    expected = Header(33, 21, 1, components, "none", 1)
    assert header(data, KIND[kind]) == header(memoryview(data), KIND[kind]) == expected


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = drawn(format, exif=exif)
    kind = signature(np.frombuffer(data, np.uint8), 0, len(data))
    found = header(data, kind)
    if format == "AVIF":  # upright already
        size = (21, 33) if orientation >= 5 else (33, 21)
        assert (found.width, found.height, found.orientation) == (*size, 1)
    else:
        assert (found.width, found.height, found.orientation) == (33, 21, orientation)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_profile(format):
    data = drawn(format, icc_profile=SRGB)
    kind = signature(np.frombuffer(data, np.uint8), 0, len(data))
    assert header(data, kind).profile == "srgb"


def test_a_profile_for_other_channels_counts_as_none():
    assert header(drawn("PNG", "L", icc_profile=SRGB), KIND["png"]).profile == "none"
    assert header(drawn("PNG", "RGBA", icc_profile=SRGB), KIND["png"]).profile == "srgb"


def test_pages():
    frames = [Image.new("L", (33, 21), i * 40) for i in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    found = header(file.getvalue(), KIND["gif"])
    assert (found.width, found.height, found.pages) == (33, 21, 3)


@pytest.mark.parametrize("kind", sorted(LOADERS))
@pytest.mark.parametrize("data", [b"", b"nothing", b"\xff\xd8\xff\xe0\0\x10JFIF", bytes(5000)])
def test_what_cannot_be_read_says_why_on_one_line(kind, data):
    with pytest.raises(SampleError) as caught:
        header(data, kind)
    assert caught.value.reason == "unreadable"
    assert 0 < len(caught.value.detail) <= DETAIL_LIMIT
    assert "\n" not in caught.value.detail


def test_words_are_of_this_image_and_no_other():
    bad = drawn("PNG")[:40]
    with pytest.raises(SampleError) as alone:
        header(bad, KIND["png"])
    vips().Image.new_from_buffer(drawn("PNG"), "")
    with pytest.raises(SampleError):
        header(b"\xff\xd8\xff", KIND["jpeg"])
    with pytest.raises(SampleError) as after:
        header(bad, KIND["png"])
    assert after.value.detail == alone.value.detail


def test_only_the_loader_of_the_kind_is_tried():
    with pytest.raises(SampleError):
        header(drawn("PNG"), KIND["gif"])
    with pytest.raises(SampleError):
        header(b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", KIND["png"])


def test_libvips_is_set_up_and_silent():
    program = (
        "from fastbucket.decode.library import vips\n"
        "from fastbucket.decode.header import header\n"
        "from fastbucket.errors import SampleError\n"
        "v = vips()\n"
        "assert v.concurrency_get() == 1 and v.cache_get_max() == 0\n"
        "try:\n"
        "    v.Image.new_from_buffer(b'<svg/>', '')\n"
        "    raise SystemExit('svg was read')\n"
        "except v.Error: pass\n"
        "for kind in range(1, 8):\n"
        "    for data in (b'', bytes(999), bytes.fromhex('ffd8ffe0ffff') * 99):\n"
        "        try: header(data, kind)\n"
        "        except SampleError: pass\n"
    )
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_unusual_files_as_pillow_reads_them():
    folder = SHARED / "hard"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    seen = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        kind = signature(np.frombuffer(data, np.uint8), 0, len(data))
        if not kind:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, of odd structures
                image = Image.open(io.BytesIO(data))
                size, orientation = image.size, image.getexif().get(0x0112, 1)
            found = header(data, kind)
        except (OSError, SyntaxError, ValueError, SampleError):  # one of them does not read it
            continue
        seen += 1
        if KINDS[kind] == "heif" and orientation >= 5:
            size = size[::-1]
        assert (found.width, found.height) == size, path
        if KINDS[kind] != "heif" and 1 <= orientation <= 8:
            assert found.orientation == orientation, path
    assert seen > 100
