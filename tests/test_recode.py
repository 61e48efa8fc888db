"""Progressive JPEGs as sequential ones: libjpeg-turbo's pixels, and its verdict on damage."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import progressive
import pytest
import simplejpeg
from conftest import shared_folder
from PIL import Image

from fastbucket.decode.recode import Recoder
from fastbucket.decode.turbo import Turbo
from fastbucket.draw import draw
from fastbucket.geometry import Size

SCALES = (1, 2, 4, 8)


def recoded(data: bytes, recoder: Recoder | None = None) -> bytes | None:
    made = (recoder or Recoder())(np.frombuffer(data, np.uint8))
    return None if made is None else made.tobytes()


def drawn(width: int, height: int, seed: int = 1, **settings: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(draw(width, height, seed)).save(file, "JPEG", progressive=True, **settings)
    return file.getvalue()


def same(data: bytes, made: bytes) -> None:
    """At every scale that there is, and by Pillow's libjpeg too."""
    header = simplejpeg.decode_jpeg_header(data)
    for scale in SCALES:
        least = {"min_height": -(-header[0] // scale), "min_width": -(-header[1] // scale)}
        least = {**least, "min_factor": scale} if scale > 1 else {}
        ours, theirs = (
            simplejpeg.decode_jpeg(d, "RGBX", strict=True, **least) for d in (made, data)
        )
        assert np.array_equal(ours, theirs)
    assert np.array_equal(*(np.asarray(Image.open(io.BytesIO(d))) for d in (made, data)))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(640, 480), (333, 217), (17, 9), (16, 16), (1, 1), (8, 700)])
def test_what_pillow_writes(size, subsampling):
    for quality in (30, 92, 100):
        data = drawn(*size, subsampling=subsampling, quality=quality)
        made = recoded(data)
        assert made is not None
        assert Image.open(io.BytesIO(data)).info["progressive"]
        assert "progressive" not in Image.open(io.BytesIO(made)).info
        same(data, made)


def test_grey_flat_and_noise():
    noise = np.random.default_rng(3).integers(0, 256, (300, 411, 3), np.uint8)
    for picture in (
        Image.fromarray(draw(211, 300, 4)).convert("L"),
        Image.new("RGB", (3000, 2100), (9, 90, 200)),  # one EOBRUN over all of it, and more
        Image.fromarray(noise),
    ):
        for quality in (75, 100):
            file = io.BytesIO()
            picture.save(file, "JPEG", progressive=True, quality=quality)
            made = recoded(file.getvalue())
            assert made is not None
            same(file.getvalue(), made)


def test_what_libjpeg_passes_over_and_a_recoder_that_serves_again():
    recoder = Recoder()
    icc = bytes(range(256)) * 300  # several segments, with FF DA and FF C2 among them
    first = drawn(300, 200, comment=b"\xff\xda\xff\xc2", icc_profile=icc, exif=Image.Exif())
    second = drawn(900, 700, quality=97)
    for data in (first, second, first):
        made = recoded(data, recoder)
        assert made is not None
        same(data, made)


FACTORS = {
    "4:4:4": ((1, 1),) * 3,
    "4:2:2": ((2, 1), (1, 1), (1, 1)),
    "4:2:0": ((2, 2), (1, 1), (1, 1)),
    "4:4:0": ((1, 2), (1, 1), (1, 1)),
    "4:1:1": ((4, 1), (1, 1), (1, 1)),
    "4:4:4, of two": ((2, 1),) * 3,
    "4:2:2, of two": ((2, 2), (1, 2), (1, 2)),
    "grey": ((1, 1),),
    "grey, of two": ((2, 2),),
}


@pytest.mark.parametrize("factors", FACTORS.values(), ids=FACTORS)
@pytest.mark.parametrize("seed", range(6))
def test_any_script_of_scans(factors, seed):
    """Coefficients at random, codes of up to 16 bits, short and long runs of blocks."""
    chance = random.Random(f"{factors} {seed}")
    single = len(factors) == 1
    for _ in range(4):
        size = chance.randint(1, 90), chance.randint(1, 70)
        # libjpeg takes the blocks of a single component as they come, whatever its factors.
        frame = progressive.Frame(*size, ((1, 1),) if single else factors)
        values = progressive.coefficients(frame, chance, chance.random(), 1023)
        script = progressive.script(len(factors), chance)
        code, runs = chance.randint(9, 16), chance.choice([1, 7, 0x7FFF])
        data = progressive.encode(frame, values, script, code, runs)
        if single:
            at = data.index(b"\xff\xc2") + 11
            data = data[:at] + bytes([factors[0][0] << 4 | factors[0][1]]) + data[at + 1 :]
        made = recoded(data)
        assert made is not None, script
        same(data, made)


def test_photos():
    """Each of the shared photos that is progressive and plain."""
    folder = shared_folder("photos")
    recoder, found = Recoder(), 0
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        if b"\xff\xc2\0\x11" not in data[:100_000] and b"\xff\xc2\0\x0b" not in data[:100_000]:
            continue
        picture = Image.open(io.BytesIO(data))
        if "progressive" not in picture.info or picture.mode not in ("RGB", "L"):
            continue
        made = recoded(data, recoder)
        assert made is not None, path.name
        theirs = simplejpeg.decode_jpeg(data, "RGBX")
        assert np.array_equal(simplejpeg.decode_jpeg(made, "RGBX"), theirs), path.name
        found += 1
    assert found >= 40


def verdict(data: bytes) -> np.ndarray | str:
    """Pixels, or why there are none."""
    try:
        return simplejpeg.decode_jpeg(data, "RGBX", strict=True)
    except (ValueError, RuntimeError) as error:
        return str(error)


def test_damage_is_left_to_libjpeg():
    """Bytes changed, taken out, put in, cut off: what is recoded all the same has the same pixels,
    or a header that libjpeg refuses for the same reason."""
    chance = random.Random(5)
    bases = [drawn(150, 110, s, subsampling=s % 3, quality=60 + 13 * s) for s in range(4)]
    recoder, refused, taken = Recoder(), 0, 0
    for number in range(3000):
        data = bytearray(bases[number % 4])
        for _ in range(chance.choice([1, 1, 3])):
            at = chance.randrange(len(data))
            kind = chance.randrange(4)
            if kind == 0:
                data[at] = chance.randrange(256)
            elif kind == 1:
                data[at] ^= 1 << chance.randrange(8)
            elif kind == 2:
                del data[at : at + chance.randint(1, 4)]
            else:
                data[at:at] = chance.choice([b"\xff", b"\xff\xd9", b"\xff\xd0", b"\0", b"\xff\0"])
        if chance.random() < 0.1:
            del data[chance.randrange(len(data)) :]
        file = bytes(data)
        if file[:2] != b"\xff\xd8":
            continue
        made = recoded(file, recoder)
        theirs = verdict(file)
        refused += isinstance(theirs, str)
        if made is not None:
            assert np.array_equal(verdict(made), theirs), number
            taken += not isinstance(theirs, str)
    assert refused > 1000
    assert taken > 100


def _parts(data: bytes) -> list[bytes]:
    """SOI, segments (a scan with its data), EOI."""
    parts, at = [data[:2]], 2
    while data[at + 1] != 0xD9:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xDA:
            while data[end] != 0xFF or data[end + 1] == 0:
                end += 1
        parts.append(data[at:end])
        at = end
    return [*parts, data[at:]]


def _with(change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    return b"".join(change(_parts(drawn(120, 90, quality=90))))


def _scans(parts: list[bytes]) -> list[int]:
    return [i for i, part in enumerate(parts) if part[1] == 0xDA]


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


_CODES_300 = _segment(0xC4, bytes([3]) + bytes(14) + bytes([200, 100]) + bytes(300))
_JFIF_2 = _segment(0xE0, b"JFIF\0\2\1\0\0\1\0\1\0\0")

UNUSUAL: dict[str, bytes] = {
    "a table of 300 codes, unused": _with(lambda p: [*p[:-1], _CODES_300, p[-1]]),
    "JFIF 2 between scans": _with(lambda p: [*p[:-2], _JFIF_2, *p[-2:]]),
    "a thousand comments": _with(lambda p: [p[0], *(1000 * [_segment(0xFE, b"")]), *p[1:]]),
    "more data than blocks": _with(lambda p: [*p, bytes(300_000)]),
    "the last scan left out": _with(lambda p: p[:-2] + p[-1:]),
    "the first scan left out": _with(lambda p: p[: _scans(p)[0]] + p[_scans(p)[0] + 1 :]),
    "a scan twice": _with(lambda p: p[:-1] + p[-2:]),
    "two scans swapped": _with(
        lambda p: [*p[: _scans(p)[-2]], p[_scans(p)[-1]], p[_scans(p)[-2]], p[-1]]
    ),
    "no end": _with(lambda p: p[:-1]),
    "a byte before the end": _with(lambda p: [*p[:-1], b"\0", p[-1]]),
    "a byte before a scan": _with(lambda p: [*p[:-2], b"\0", *p[-2:]]),
    "restart interval": _with(lambda p: [p[0], b"\xff\xdd\0\4\0\1", *p[1:]]),
    "a restart marker": _with(lambda p: [*p[:-1], b"\xff\xd0", p[-1]]),
    "quantisation between scans": _with(lambda p: [*p[:-2], p[2], *p[-2:]]),
    "two frame headers": _with(lambda p: [p[0], *(2 * [q for q in p if q[1] == 0xC2]), *p[1:]]),
    "no Huffman tables": _with(lambda p: [q for q in p if q[1] != 0xC4]),
    "no scan": _with(lambda p: [q for q in p if q[1] != 0xDA]),
    "fill bytes": _with(lambda p: [*p[:-1], b"\xff", p[-1]]),
    "a byte of data too many": _with(lambda p: [*p[:-2], p[-2] + b"\x55", p[-1]]),
    "a byte of data too few": _with(lambda p: [*p[:-2], p[-2][:-1], p[-1]]),
}


@pytest.mark.parametrize("data", UNUSUAL.values(), ids=UNUSUAL)
def test_what_is_unusual_stays_as_it_is(data):
    assert recoded(drawn(120, 90, quality=90)) is not None
    assert recoded(data) is None


def test_coefficients_that_a_sequential_jpeg_cannot_have():
    """Of more than 10 bits, and differences of more than 11: libjpeg takes them as they are."""
    frame = progressive.Frame(40, 40, ((1, 1),) * 3)
    chance = random.Random(1)
    script = [progressive.Scan((0, 1, 2), 0, 0, 0, 0)]
    script += [progressive.Scan((c,), 1, 63, 0, 0) for c in range(3)]
    values = progressive.coefficients(frame, chance, 0.5, 1023)
    assert recoded(progressive.encode(frame, values, script)) is not None
    values[1][2, 2, 7] = 1024
    assert recoded(progressive.encode(frame, values, script)) is None
    values[1][2, 2, 7] = 0
    values[0][1, 1, 0], values[0][1, 2, 0] = -1500, 1500
    assert recoded(progressive.encode(frame, values, script)) is None
    values[0][1, 1, 0], values[0][1, 2, 0] = 0, 0
    assert recoded(progressive.encode(frame, values, script)) is not None
    values[0][..., 0] = np.arange(values[0][..., 0].size).reshape(values[0].shape[:2]) * 1500
    assert recoded(progressive.encode(frame, values, script)) is None


def test_an_output_without_end_is_given_up():
    """Blocks without coefficients take nothing in one, and 6 bits in the other: 8 are reserved."""
    frame = progressive.Frame(2000, 2000, ((1, 1),))
    values = [np.zeros((250, 250, 64), np.int64)]
    script = [progressive.Scan((0,), 0, 0, 0, 0), progressive.Scan((0,), 1, 63, 0, 0)]
    data = progressive.encode(frame, values, script)
    made = recoded(data)
    assert made is not None
    assert len(made) < 250 * 250
    same(data, made)


def _digest(folder: Path, settings: dict[str, str]) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), **settings}
    code = "import test_recode; test_recode.main()"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def main() -> None:
    """Prints what kind of deposit there is, and a digest of what is made of many scripts."""
    import hashlib

    from fastbucket.kernels import bits

    digest, chance = hashlib.sha256(), random.Random(7)
    for _ in range(12):
        frame = progressive.Frame(70, 50, FACTORS["4:2:0"])
        values = progressive.coefficients(frame, chance, chance.random(), 1023)
        data = progressive.encode(frame, values, progressive.script(3, chance))
        made = recoded(data)
        assert made is not None
        digest.update(made)
    sys.stdout.write(f"{bits.deposit is bits.deposit_by_bit} {digest.hexdigest()}\n")


def test_the_same_on_every_cpu(tmp_path):
    """Natively, and without pdep."""
    native = _digest(tmp_path / "1", {}).split()
    generic = _digest(tmp_path / "2", {"NUMBA_CPU_NAME": "generic"}).split()
    assert generic[0] == "True"
    assert native[1] == generic[1]


@pytest.mark.parametrize("scans", [False, True])
def test_the_pixels_are_the_same_whatever_is_said_of_the_scans(scans):
    """A file may have changed since its header was read."""
    file = io.BytesIO()
    Image.fromarray(draw(333, 217, 7)).save(file, "JPEG", quality=90, progressive=scans)
    for shrink in SCALES:
        told, untold = (
            Turbo().decode(file.getvalue(), Size(333, 217), shrink, said) for said in (False, True)
        )
        assert np.array_equal(told, untold)
