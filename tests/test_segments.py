"""Segments: the additions are there for Pillow, and no pixel moved."""

from __future__ import annotations

import io

import pytest
import simplejpeg
from PIL import Image

from fastbucket.draw import draw
from fastbucket.segments import takes_comment, with_comment, with_orientation


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(draw(48, 32, 5)).save(file, kind)
    return file.getvalue()


def opened(image: bytes) -> Image.Image:
    return Image.open(io.BytesIO(image))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_by_pillow_and_no_pixel_moves(orientation):
    plain = encoded("JPEG")
    marked = with_orientation(plain, orientation)
    assert opened(marked).getexif()[0x0112] == orientation
    assert opened(marked).tobytes() == opened(plain).tobytes()
    assert (simplejpeg.decode_jpeg(marked) == simplejpeg.decode_jpeg(plain)).all()


@pytest.mark.parametrize("orientation", [0, 9])
def test_refuses_an_orientation_that_exif_does_not_know(orientation):
    with pytest.raises(ValueError, match=f"orientation {orientation}"):
        with_orientation(encoded("JPEG"), orientation)


def test_a_jpeg_comment_is_read_by_pillow():
    plain = encoded("JPEG")
    marked = with_comment(plain, "copy n00000001_2")
    assert opened(marked).info["comment"] == b"copy n00000001_2"
    assert opened(marked).tobytes() == opened(plain).tobytes()


def test_a_png_comment_is_read_by_pillow():
    plain = encoded("PNG")
    marked = with_comment(plain, "copy n00000001_2")
    image = opened(marked)
    image.verify()  # checksums of all chunks
    assert opened(marked).info["Comment"] == "copy n00000001_2"
    assert opened(marked).tobytes() == opened(plain).tobytes()


@pytest.mark.parametrize(
    ("kind", "takes"), [("JPEG", True), ("PNG", True), ("WEBP", False), ("GIF", False)]
)
def test_what_takes_a_comment(kind, takes):
    image = encoded(kind)
    assert takes_comment(image[:8]) is takes
    if not takes:
        with pytest.raises(ValueError, match="neither JPEG nor PNG"):
            with_comment(image, "x")
