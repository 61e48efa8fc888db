"""Mutated files, as hypothesis finds them: tars, JPEG headers, profiles, images of every format.

The same examples every time; `pytest -m soak tests/test_fuzz.py` tries many more of them.
"""

from __future__ import annotations

import io
import tarfile
from typing import Any

import hostile as corpus
import numpy as np
import pytest
import tars
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fastbucket import Recipe
from fastbucket.decode import icc
from fastbucket.errors import SampleError
from fastbucket.format import DROP_REASONS
from fastbucket.kernels import jpegheader as jpeg
from fastbucket.kernels import tarwalk
from fastbucket.transcode import Transcoder


def fuzz(examples: int) -> Any:
    """A few examples here, a hundred times as many in a soak."""

    def decorate(test: Any) -> Any:
        quick = settings(
            max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck)
        )
        many = settings(
            max_examples=100 * examples, deadline=None, suppress_health_check=list(HealthCheck)
        )

        @pytest.mark.parametrize("much", [False, pytest.param(True, marks=pytest.mark.soak)])
        def run(much: bool) -> None:
            (many if much else quick)(test)()

        run.__doc__ = test.__doc__
        return run

    return decorate


@st.composite
def mutated(draw: Any, bases: list[bytes], head: int = 0) -> bytes:
    """One of the files, with bytes changed, runs repeated, taken out or put in, and the end cut.

    head: most changes fall into so many first bytes; 0: anywhere.
    """
    data = bytearray(draw(st.sampled_from(bases)))
    for _ in range(draw(st.integers(1, 6))):
        end = min(head or len(data), len(data))
        at = draw(st.integers(0, max(end - 1, 0)))
        kind = draw(st.sampled_from(("byte", "byte", "bit", "number", "cut", "repeat", "insert")))
        if not data:
            break
        if kind == "byte":
            data[at] = draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFE, 0xFF, *b"0789- /.")))
        elif kind == "bit":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "number":
            size = draw(st.sampled_from((2, 4, 8)))
            value = draw(st.integers(0, (1 << 8 * size) - 1))
            data[at : at + size] = value.to_bytes(size, draw(st.sampled_from(("big", "little"))))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 600))]
        elif kind == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 600))]
        else:
            data[at:at] = draw(st.binary(max_size=20))
    return bytes(data)


# Tars


def _tars() -> list[bytes]:
    members = [
        ("a/first.jpg", tars.JPEG),
        ("a/first.json", b"{}"),
        ("second." + "x" * 150 + ".png", tars.PNG),
        ("ü" * 60 + ".jpg", tars.JPEG * 9),
        ("last.txt", b""),
        ("last.cls", b"7"),
    ]
    formats = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)
    return [
        *(tars.tar(members, format) for format in formats),
        *dict(corpus.tars(tars.JPEG)).values(),
    ]


TARS = [data for data in _tars() if len(data) < 1 << 20]


def checksummed(data: bytes) -> bytes:
    """The tar with right checksums on whatever looks like a header: else hardly any is read."""
    blocks = bytearray(data)
    for at in range(0, len(blocks) - 511, 512):
        if blocks[at + 257 : at + 262] == b"ustar":
            blocks[at + 148 : at + 156] = b" " * 8
            blocks[at + 148 : at + 156] = b"%06o\0 " % sum(blocks[at : at + 512])
    return bytes(blocks)


@fuzz(150)
@given(mutated(TARS), st.booleans(), st.sampled_from((1, 3, 64)))
def test_tars(data, mend, capacity):
    """The walk ends, what it finds lies inside (tars.walk asserts it), and tarfile finds it too."""
    data = checksummed(data) if mend else data
    if not data:
        return
    walked = tars.walk(data, capacity)
    assert walked == tars.walk(data, 64) or capacity != 64
    assert 0 <= walked.at <= len(data)
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            theirs = {m.offset_data: m for m in archive if m.isreg() and not m.issparse()}
    except (tarfile.TarError, ValueError, OverflowError, EOFError, IndexError, RecursionError):
        return
    for sample in walked.samples:
        if sample["rank"] != tarwalk.RANK_NONE and sample["image_at"] in theirs:
            member = theirs[sample["image_at"]]
            assert member.size == len(sample["image"])


# JPEG headers


def _jpegs() -> list[bytes]:
    image = corpus.drawing(90, 70)
    exif = Image.Exif()
    exif[0x0112] = 5
    made = [
        corpus.encoded("JPEG", image, exif=exif, icc_profile=bytes(300)),
        corpus.encoded("JPEG", image, progressive=True, subsampling=0),
        corpus.encoded("JPEG", image.convert("L"), restart_marker_rows=1),
        corpus.encoded("JPEG", image.convert("CMYK")),
    ]
    return [*made, corpus.behind_soi(made[0], corpus.icc_segments(bytes(500), 5))]


JPEGS = _jpegs()


@fuzz(300)
@given(mutated(JPEGS, head=800), st.integers(0, 40), st.integers(0, 40))
def test_jpeg_headers(data, before, behind):
    """What stands around the file does not matter; where Pillow opens it too, the sizes agree."""
    around = np.frombuffer(b"\xff" * before + data + b"\xff" * behind, np.uint8)
    outs = np.zeros((2, jpeg.FIELDS), np.int64)
    code = jpeg.jpeg_header(np.frombuffer(data, np.uint8), 0, len(data), outs[0])
    same = jpeg.jpeg_header(around, before, before + len(data), outs[1])
    assert code == same
    assert (outs[0] == outs[1]).all()
    assert code in (jpeg.OK, *jpeg.ERRORS)
    if code != jpeg.OK:
        return
    assert 0 < outs[0][jpeg.HEADER_SIZE] <= len(data) - 2
    assert data[outs[0][jpeg.HEADER_SIZE] + 1 :].lstrip(b"\xff")[:1] == b"\xda"
    try:
        with Image.open(io.BytesIO(data)) as image:
            size, layers = image.size, getattr(image, "layers", 0)
    except Exception:  # noqa: BLE001 - whatever Pillow makes of it
        return
    if image.format == "JPEG" and layers == outs[0][jpeg.COMPONENTS]:
        assert size == (outs[0][jpeg.WIDTH], outs[0][jpeg.HEIGHT])


@fuzz(200)
@given(st.data())
def test_profiles(data):
    """Any profile, and any chunks of one, are one of three things."""
    with Image.open(io.BytesIO(corpus.encoded("JPEG", icc_profile=SRGB))) as image:
        known = image.info["icc_profile"]
    profile = data.draw(mutated([known, known[:400]]))
    assert icc.classify(profile, data.draw(st.integers(0, 4))) in ("none", "srgb", "other")
    segments = corpus.icc_segments(profile, data.draw(st.integers(1, 5)))
    made = data.draw(mutated([corpus.behind_soi(JPEGS[0], segments)], head=900))
    assert isinstance(icc.assemble(made, data.draw(st.integers(0, len(made)))), bytes)


def _srgb() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


SRGB = _srgb()


# Images


IMAGES = [
    *JPEGS,
    corpus.encoded("PNG"),
    corpus.encoded("PNG", corpus.drawing(mode="RGBA"), icc_profile=SRGB),
    corpus.png(90, 70, 16, 6),
    corpus.encoded("GIF", corpus.drawing(mode="P")),
    corpus.encoded("WEBP"),
    corpus.encoded("WEBP", lossless=True),
    corpus.encoded("TIFF", compression="tiff_lzw"),
    corpus.encoded("TIFF", compression="jpeg"),
    corpus.tiff(90, 70, corpus.zeros(90 * 70), planar=2),
    corpus.encoded("AVIF"),
]

TRANSCODERS = [
    Transcoder(Recipe(base_resolution=32, divisible=8, **options))
    for options in (
        {},
        {"decoder": "vips"},
        {"fidelity": "exact", "icc": "ignore", "subsampling_policy": "adaptive_content"},
        {"image_mode": "passthrough_jpeg"},
    )
]


@fuzz(150)
@given(mutated(IMAGES, head=700) | mutated(IMAGES), st.sampled_from(TRANSCODERS))
def test_images(data, transcoder):
    """A drop with its reason, or a JPEG that is whole and of its bucket's size."""
    try:
        done = transcoder.transcode(data, "x")
    except SampleError as error:
        assert error.reason in DROP_REASONS
        assert error.detail
        return
    with Image.open(io.BytesIO(done.jpeg)) as image:
        if done.image_mode == "reencode_jpeg":
            image.load()
            assert image.size == done.size == done.bucket.target
        assert image.format == "JPEG"
