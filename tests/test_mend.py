"""Flawed JPEGs: which are kept, pixel for pixel as the sound file, and which stay damaged.

Pillow's verdict is the yardstick (format.md, section 5.4); where ours differs stands in the table.
"""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import reference
from PIL import Image, ImageCms

from fastbucket import Recipe, SampleError
from fastbucket.decode import SHRINKS, Decoder
from fastbucket.decode.mend import mended
from fastbucket.sources.probe import probe


def photo(w: int = 320, h: int = 240, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(40, 216, (9, 9, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((w, h), Image.Resampling.BICUBIC)).astype(float)
    return np.clip(smooth + rng.normal(0, 9, smooth.shape), 0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def segments(data: bytes) -> list[tuple[int, int]]:
    """(marker, offset) of a sound JPEG, EOI included."""
    found, at = [(0xD8, 0)], 2
    while data[at + 1] != 0xD9:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((marker, at))
        at += 2 + length
        while marker == 0xDA and (data[at] != 0xFF or data[at + 1] in (0, *range(0xD0, 0xD8))):
            at += 1
    return [*found, (0xD9, at)]


def offset(data: bytes, marker: int, nth: int = 0) -> int:
    return [at for code, at in segments(data) if code == marker][nth]


def insert(data: bytes, at: int, extra: bytes) -> bytes:
    return data[:at] + extra + data[at:]


def misnumbered(data: bytes, nth: int, step: int) -> bytes:
    at = [m.start() for m in re.finditer(rb"\xff[\xd0-\xd7]", data)][nth]
    return data[: at + 1] + bytes([0xD0 + (data[at + 1] - 0xD0 + step) % 8]) + data[at + 2 :]


def without_markers(data: bytes) -> bytes:
    """All restart markers gone, though the header promises them."""
    return re.sub(rb"\xff[\xd0-\xd7]", b"", data)


BASELINE = encoded(photo())
GREY = encoded(photo()[..., 0])
FULL = encoded(photo(), subsampling=0)
PROGRESSIVE = encoded(photo(), progressive=True)
RESTARTS = encoded(photo(), restart_marker_rows=1)
HALF = len(BASELINE) // 2
SCANS = PROGRESSIVE[: offset(PROGRESSIVE, 0xDA, 3)]

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# With red and green exchanged in its table of tags: decoded by libvips whatever the recipe says.
PROFILE = encoded(
    photo(),
    icc_profile=_SRGB.replace(b"rXYZ", b"?", 1)
    .replace(b"gXYZ", b"rXYZ", 1)
    .replace(b"?", b"gXYZ", 1),
)

# Flaw -> (the sound file, the flawed one, Pillow's verdict, ours).
FLAWS = {
    "none": (BASELINE, BASELINE, "ok", "ok"),
    "no end": (BASELINE, BASELINE[:-2], "undecodable", "ok"),
    "no end, grey": (GREY, GREY[:-2], "undecodable", "ok"),
    "no end, 4:4:4": (FULL, FULL[:-2], "undecodable", "ok"),
    "no end, restarts": (RESTARTS, RESTARTS[:-2], "undecodable", "ok"),
    "no end, foreign profile": (PROFILE, PROFILE[:-2], "undecodable", "ok"),
    "half, closed, foreign profile": (
        PROFILE, PROFILE[: len(PROFILE) // 2] + b"\xff\xd9", "ok", "undecodable",
    ),
    "all but 40 bytes, foreign profile": (PROFILE, PROFILE[:-40], "undecodable", "undecodable"),
    "half an end": (BASELINE, BASELINE[:-1], "undecodable", "ok"),
    "bytes behind the end": (BASELINE, BASELINE + bytes(range(256)) * 40, "ok", "ok"),
    "another JPEG behind the end": (BASELINE, BASELINE + GREY, "ok", "ok"),
    "zeros in the place of the end": (BASELINE, BASELINE[:-2] + bytes(8), "ok", "undecodable"),
    "bytes before DQT": (
        BASELINE, insert(BASELINE, offset(BASELINE, 0xDB), b"\1\2\3"), "ok", "ok",
    ),
    "bytes before SOF": (
        BASELINE, insert(BASELINE, offset(BASELINE, 0xC0), bytes(99)), "ok", "ok",
    ),
    "bytes before the scan": (
        BASELINE, insert(BASELINE, offset(BASELINE, 0xDA), b"\0\xff\0\1"), "ok", "ok",
    ),
    "fill bytes before DQT": (
        BASELINE, insert(BASELINE, offset(BASELINE, 0xDB), b"\xff\xff\xff"), "ok", "ok",
    ),
    "bytes before DQT, progressive": (
        PROGRESSIVE, insert(PROGRESSIVE, offset(PROGRESSIVE, 0xDB), b"\1\2\3"), "ok", "ok",
    ),
    "bytes before the end": (
        BASELINE, insert(BASELINE, len(BASELINE) - 2, b"\x12\x34\x56"), "ok", "ok",
    ),
    "restart +1": (RESTARTS, misnumbered(RESTARTS, 4, 1), "ok", "ok"),
    "restart -1": (RESTARTS, misnumbered(RESTARTS, 4, -1), "ok", "ok"),
    "restart +4": (RESTARTS, misnumbered(RESTARTS, 0, 4), "ok", "ok"),
    "two restarts out of step": (
        RESTARTS, misnumbered(misnumbered(RESTARTS, 2, 1), 9, 3), "ok", "ok",
    ),
    "restart markers gone": (RESTARTS, without_markers(RESTARTS), "ok", "undecodable"),
    "one restart marker gone": (
        RESTARTS,
        RESTARTS[: (at := RESTARTS.index(b"\xff\xd3"))] + RESTARTS[at + 2 :],
        "ok",
        "undecodable",
    ),
    "half": (BASELINE, BASELINE[:HALF], "undecodable", "undecodable"),
    "half, grey": (GREY, GREY[: len(GREY) // 2], "undecodable", "undecodable"),
    "half, restarts": (RESTARTS, RESTARTS[: len(RESTARTS) // 2], "undecodable", "undecodable"),
    "half, closed": (BASELINE, BASELINE[:HALF] + b"\xff\xd9", "ok", "undecodable"),
    "all but 40 bytes": (BASELINE, BASELINE[:-40], "undecodable", "undecodable"),
    "half, progressive": (
        PROGRESSIVE, PROGRESSIVE[: len(PROGRESSIVE) // 2], "undecodable", "undecodable",
    ),
    "no end, progressive": (PROGRESSIVE, PROGRESSIVE[:-2], "undecodable", "undecodable"),
    "between scans": (PROGRESSIVE, SCANS, "undecodable", "undecodable"),
    "only a header": (
        BASELINE, BASELINE[: offset(BASELINE, 0xDA)], "undecodable", "unreadable",
    ),
    "a hole": (BASELINE, BASELINE[:HALF] + BASELINE[HALF + 900 :], "ok", "undecodable"),
    "zeros in the middle": (
        BASELINE, BASELINE[:HALF] + bytes(2000) + BASELINE[HALF + 2000 :], "ok", "undecodable",
    ),
}  # fmt: skip


def verdict(data: bytes, decoder: str = "auto", shrink: int = 1) -> tuple[str, np.ndarray | None]:
    try:
        source = probe(data)
        pixels = Decoder(Recipe(decoder=decoder)).decode(
            data, source.kind, source.profile, source.stored, shrink
        )
    except SampleError as error:
        return error.reason, None
    return "ok", pixels.rgbx[..., :3].copy()


@pytest.mark.parametrize("flaw", FLAWS)
def test_verdicts(flaw):
    """What is kept has the very pixels of the sound file, by either decoder, shrunken or not."""
    sound, flawed, pillow, ours = FLAWS[flaw]
    assert reference.verdict(flawed) == pillow
    for decoder in ("turbo", "vips"):
        for shrink in (1, *SHRINKS):
            found, pixels = verdict(flawed, decoder, shrink)
            assert found == ours, (decoder, shrink)
            if ours == "ok":
                _, expected = verdict(sound, decoder, shrink)
                assert np.array_equal(pixels, expected)


def test_a_progressive_jpeg_without_its_last_scans_looks_whole():
    """Closed between two scans nothing tells that refinements are missing, to nobody."""
    closed = SCANS + b"\xff\xd9"
    assert reference.verdict(closed) == "ok"
    found, pixels = verdict(closed)
    assert found == "ok"
    assert np.array_equal(pixels, reference.decode(closed).rgb)


def test_corrupt_codes_are_mostly_noticed_and_never_mended_away():
    """A flipped bit that Huffman decoding survives changes pixels for Pillow too; one that it does
    not survive is undecodable here. Nothing that mending lets through differs from Pillow."""
    rng = np.random.default_rng(8)
    start = offset(BASELINE, 0xDA) + 14
    refused = 0
    for _ in range(120):
        at = int(rng.integers(start, len(BASELINE) - 4))
        flipped = bytearray(BASELINE)
        flipped[at] ^= 1 << int(rng.integers(8))
        found, pixels = verdict(bytes(flipped))
        if found == "ok":
            assert np.array_equal(pixels, reference.decode(bytes(flipped)).rgb)
        refused += found != "ok"
    assert refused > 20


def test_any_length_is_sound_only_near_the_end():
    """Cut anywhere before the last bytes of the scan, a file is never kept."""
    sound = reference.decode(BASELINE).rgb
    for at in (*range(len(BASELINE) - 60, len(BASELINE)), *range(700, len(BASELINE), 1501)):
        found, pixels = verdict(BASELINE[:at])
        if found == "ok":
            assert at >= len(BASELINE) - 10
            assert np.array_equal(pixels, sound)
        elif at >= len(BASELINE) - 2:
            pytest.fail(f"whole but for its end marker, and dropped at {at - len(BASELINE)}")


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"GIF89a", b"\xff\xd8\xff\xd9", BASELINE, bytes(99)]
)
def test_what_has_no_flaw_is_not_copied(data):
    assert mended(data) is None


def test_whatever_bytes_come():
    """Mending never raises and never loops."""
    rng = np.random.default_rng(9)
    for _ in range(300):
        noise = bytearray(BASELINE[: int(rng.integers(2, 900))])
        for at in rng.integers(2, len(noise) + 1, 6):
            noise[min(int(at), len(noise) - 1)] = int(rng.choice((0, 0xFF, 0xD8, 0xDA, 0xC0, 3)))
        mended(b"\xff\xd8" + bytes(noise[2:]))


def damaged_profile(number: int, count: int) -> bytes:
    """A JPEG with an ICC chunk whose numbers make no sense."""
    chunk = b"ICC_PROFILE\0" + bytes([number, count]) + bytes(200)
    segment = b"\xff\xe2" + (len(chunk) + 2).to_bytes(2, "big") + chunk
    return insert(BASELINE, 2, segment)


@pytest.mark.parametrize(("number", "count"), [(0, 1), (2, 1), (1, 0)])
def test_a_damaged_profile_is_no_damage_to_pixels(number, count):
    """libjpeg-turbo warns of a bad ICC marker; Pillow keeps such a photo, and so do we."""
    data = damaged_profile(number, count)
    assert reference.verdict(data) == "ok"
    for decoder in ("turbo", "vips"):
        found, pixels = verdict(data, decoder)
        assert found == "ok"
        assert np.array_equal(pixels, reference.decode(BASELINE).rgb)
