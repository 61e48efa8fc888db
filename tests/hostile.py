"""Hostile files made from the standards: cut ones, lying ones, small ones that unpack large.

ITU-T T.81 (JPEG), ISO 15948 (PNG), GIF89a, TIFF 6.0, RFC 9649 (WebP), ISO 14496-12 (boxes of HEIF),
POSIX.1-2008 pax and GNU tar's tar.h. Nothing here imports the package.
"""

from __future__ import annotations

import io
import random
import struct
import tarfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from PIL import Image, ImageDraw

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
SEED = 20240229


class Hostile(NamedTuple):
    """A file that means harm. suffix: of its format, whatever it is named."""

    name: str
    suffix: str
    data: bytes


def drawing(width: int = 96, height: int = 80, mode: str = "RGB") -> Image.Image:
    """Something with edges and slopes, so that every table of a coder is used."""
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    pen = ImageDraw.Draw(image)
    for i in range(0, width, 7):
        pen.line((i, 0, width - i, height), fill=(i * 5 % 256, 90, 255 - i), width=2)
    return image.convert(mode)


def encoded(format: str, image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or drawing()).save(file, format, **options)
    return file.getvalue()


# JPEG


def segment(marker: int, payload: bytes = b"", length: int | None = None) -> bytes:
    size = len(payload) + 2 if length is None else length
    return bytes([0xFF, marker]) + struct.pack(">H", size & 0xFFFF) + payload


def segments(data: bytes) -> list[tuple[int, int, int]]:
    """(marker, start, end) of every segment with a length, scans' headers included."""
    found, at = [], 2
    while at + 4 <= len(data):
        if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF, *range(0xD0, 0xD8)):
            at += 1
            continue
        if data[at + 1] == 0xD9:
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((data[at + 1], at, end))
        at = end
    return found


def behind_soi(data: bytes, added: bytes) -> bytes:
    return data[:2] + added + data[2:]


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def frame_at(data: bytes) -> int:
    """Where the frame header's marker stands."""
    return next(start for marker, start, _ in segments(data) if marker in (0xC0, 0xC1, 0xC2))


def with_size(data: bytes, width: int, height: int) -> bytes:
    """The JPEG, its frame header claiming another size."""
    return patched(data, frame_at(data) + 5, struct.pack(">HH", height, width))


def many_scans(data: bytes, count: int) -> bytes:
    """A JPEG whose last scan stands there `count` times."""
    marker, start, _ = segments(data)[-1]
    assert marker == 0xDA
    return data[:start] + data[start:-2] * count + EOI


def icc_segments(profile: bytes, count: int, number: int | None = None) -> bytes:
    """A profile in `count` APP2 chunks; number: the same one in all of them."""
    size = -(-len(profile) // count)
    return b"".join(
        segment(
            0xE2,
            b"ICC_PROFILE\0"
            + bytes([(number if number is not None else i + 1) & 255, count & 255])
            + profile[i * size : (i + 1) * size],
        )
        for i in range(count)
    )


def exif(entries: bytes, count: int, offset: int = 8) -> bytes:
    return b"Exif\0\0" + b"II*\0" + struct.pack("<I", offset) + struct.pack("<H", count) + entries


def jpegs() -> Iterator[Hostile]:
    """Every marker cut, every length a lie, sizes that lie, and what costs time or memory."""
    wide = drawing(160, 120)
    with_exif = Image.Exif()
    with_exif[0x0112] = 6
    profile = bytes(100) + bytes(range(256)) * 8
    bases = {
        "baseline": encoded(
            "JPEG", wide, exif=with_exif, icc_profile=profile, restart_marker_rows=2
        ),
        "progressive": encoded("JPEG", wide, progressive=True, subsampling=0),
        "grey": encoded("JPEG", wide.convert("L")),
        "cmyk": encoded("JPEG", wide.convert("CMYK")),
    }

    def jpeg(name: str, data: bytes) -> Hostile:
        return Hostile(name, "jpg", data)

    for base, data in bases.items():
        parts = segments(data)
        for n, (marker, start, end) in enumerate(parts):
            which = f"{base}-{n}-{marker:02x}"
            for cut in (start, start + 1, start + 2, start + 3, start + 4, (start + end) // 2, end):
                yield jpeg(f"{which}-cut-{cut - start}", data[:cut])
            honest = end - start - 2
            for lie in (0, 1, 2, 3, honest - 1, honest + 1, 0x7FFF, 0xFFFF):
                lied = patched(data, start + 2, struct.pack(">H", lie & 0xFFFF))
                yield jpeg(f"{which}-length-{lie}", lied)
        for size in ((65500, 65500), (65535, 1), (1, 65535), (1, 1), (0, 0), (160, 0), (0, 120)):
            yield jpeg(f"{base}-size-{size[0]}x{size[1]}", with_size(data, *size))
        for size in ((161, 120), (160, 128), (13000, 13000), (320, 240), (80, 60)):
            yield jpeg(f"{base}-size-{size[0]}x{size[1]}", with_size(data, *size))
        frame = frame_at(data)
        for field, at in (("precision", 4), ("components", 9), ("factors", 11), ("table", 12)):
            for value in (0, 1, 2, 4, 12, 16, 0x44, 0x55, 0xFF):
                yield jpeg(f"{base}-{field}-{value}", patched(data, frame + at, bytes([value])))
        scan = next(start for marker, start, _ in parts if marker == 0xDA)
        for value in (0, 2, 4, 5, 255):
            yield jpeg(f"{base}-scan-of-{value}", patched(data, scan + 4, bytes([value])))
        for at in (-3, -2, -1):
            end = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
            for value in (0, 1, 63, 64, 255):
                yield jpeg(f"{base}-spectral{at}-{value}", patched(data, end + at, bytes([value])))
        table = next(start for marker, start, _ in parts if marker == 0xC4)
        yield jpeg(f"{base}-huffman-full", patched(data, table + 5, b"\xff" * 16))
        yield jpeg(f"{base}-huffman-empty", patched(data, table + 5, bytes(16)))
        yield jpeg(f"{base}-twice", data + data)
        yield jpeg(f"{base}-nested", behind_soi(data, segment(0xE1, b"Exif\0\0" + data[:60000])))
        yield jpeg(f"{base}-restart-1", behind_soi(data, segment(0xDD, b"\0\1")))
        yield jpeg(f"{base}-fill", behind_soi(data, b"\xff" * 300_000))
        yield jpeg(f"{base}-garbage", behind_soi(data, b"\0" * 300_000))
        yield jpeg(f"{base}-comments", behind_soi(data, segment(0xFE, b"!") * 20_000))
    baseline, progressive = bases["baseline"], bases["progressive"]
    for count in (3000, 20_000):
        yield jpeg(f"progressive-scans-{count}", many_scans(progressive, count))
    large = encoded("JPEG", Image.new("RGB", (4000, 4000), (9, 90, 200)), progressive=True)
    yield jpeg("progressive-large-scans-5000", many_scans(large, 5000))
    yield jpeg("baseline-scans-3000", many_scans(baseline, 3000))
    yield jpeg(
        "exif-of-30-mb", behind_soi(baseline, segment(0xE1, b"Exif\0\0" + b"\1" * 60_000) * 500)
    )
    yield jpeg(
        "exif-65535-tags", behind_soi(baseline, segment(0xE1, exif(bytes(12 * 5000), 65535)))
    )
    loop = struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8)
    yield jpeg("exif-loop", behind_soi(baseline, segment(0xE1, exif(loop, 1))))
    for offset in (0, 7, 0x7FFFFFFF, 0xFFFFFFFF):
        yield jpeg(f"exif-at-{offset}", behind_soi(baseline, segment(0xE1, exif(loop, 1, offset))))
    clean = encoded("JPEG", wide)
    big = profile[:36] + b"acsp" + bytes(200 * 65_000)
    for count in (200, 255):
        yield jpeg(f"icc-{count}", behind_soi(clean, icc_segments(big, count)))
    yield jpeg("icc-300", behind_soi(clean, icc_segments(bytes(300 * 1000), 300)))
    yield jpeg("icc-one-number", behind_soi(clean, icc_segments(big, 200, 7)))
    yield jpeg("icc-zero", behind_soi(clean, icc_segments(profile, 1, 0)))
    yield jpeg("only-soi", SOI)
    yield jpeg("soi-eoi", SOI + EOI)
    yield jpeg("soi-ff", SOI + b"\xff" * 1000)
    yield jpeg("nothing", b"")


# Others


def chunk(name: bytes, payload: bytes, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return struct.pack(">I", size) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


@lru_cache(maxsize=1)
def _megabyte() -> bytes:
    """A mebibyte of zeros as blocks of deflate that stand alone."""
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)


def zeros(size: int) -> bytes:
    """zlib's stream of so many zeros: a thousandth of the size, and made at once."""
    whole, rest = divmod(size, 1 << 20)
    packer = zlib.compressobj(9, wbits=-15)
    end = packer.compress(bytes(rest)) + packer.flush()
    adler = struct.pack(">HH", size % 65521, 1)
    return b"\x78\xda" + _megabyte() * whole + end + adler


def png(
    width: int,
    height: int,
    depth: int = 8,
    colour: int = 2,
    interlaced: int = 0,
    before: bytes = b"",
    content: bytes | None = None,
) -> bytes:
    """A PNG of zeros of any size, true or not."""
    bands = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
    row = 1 + -(-width * bands * depth // 8)
    body = zeros(row * height) if content is None else content
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + before
        + chunk(b"IDAT", body)
        + chunk(b"IEND", b"")
    )


def pngs() -> Iterator[Hostile]:
    def made(name: str, data: bytes) -> Hostile:
        return Hostile(f"png-{name}", "png", data)

    yield made("13000", png(13000, 13000))
    yield made("16-bit", png(9000, 9000, depth=16))
    yield made("interlaced", png(13000, 13000, interlaced=1, content=zeros(1000)))
    yield made("interlaced-16", png(12000, 12000, 16, 6, 1, content=zeros(1000)))
    yield made("wide", png(900_000, 150))
    yield made("high", png(150, 900_000))
    yield made("claims-2-31", png(0x7FFFFFFF, 0x7FFFFFFF, content=zeros(100)))
    yield made("claims-2-32", png(0xFFFFFFFF, 1, content=zeros(100)))
    yield made("of-nothing", png(0, 0, content=b""))
    for name in (b"zTXt", b"iTXt", b"iCCP"):
        start = b"bomb\0\0" if name != b"iTXt" else b"bomb\0\1\0\0\0"
        yield made(
            f"{name.decode()}-bomb", png(160, 120, before=chunk(name, start + zeros(200 << 20)))
        )
    yield made("text-flood", png(160, 120, before=chunk(b"tEXt", b"k\0" + b"v" * 100) * 20_000))
    yield made("longer", png(160, 120, content=zeros(50 << 20)))
    yield made("shorter", png(160, 120, content=zeros(1000)))
    yield made("length-2-31", png(160, 120, before=chunk(b"tEXt", b"k\0v", 0x7FFFFFFF)))
    yield made("colour-9", png(160, 120, colour=9))
    yield made("depth-255", png(160, 120, depth=255))


def tiff(
    width: int,
    height: int,
    strip: bytes,
    planar: int = 1,
    bits: int = 8,
    rows: int = 0,
    **lies: int,
) -> bytes:
    """A TIFF of RGB whose strips are all the same deflated bytes. lies: next, count, tags."""
    rows = rows or height
    count = -(-height // rows) * (3 if planar == 2 else 1)
    count = lies.get("count", count)
    body = bytearray(strip)

    def array(kind: str, values: list[int]) -> int:
        body.extend(b"\0" * (len(body) % 2))
        at = 8 + len(body)
        body.extend(struct.pack(f"<{len(values)}{kind}", *values))
        return at

    depth = array("H", [bits] * 3)
    shown = min(count, 100_000)
    at = 8 if count == 1 else array("I", [8] * shown)
    size = len(strip) if count == 1 else array("I", [len(strip)] * shown)
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, depth),
        (259, 3, 1, 8),
        (262, 3, 1, 2),
        (273, 4, count, at),
        (277, 3, 1, 3),
        (278, 4, 1, rows),
        (279, 4, count, size),
        (284, 3, 1, planar),
    ]
    body.extend(b"\0" * (len(body) % 2))
    start = 8 + len(body)
    body += struct.pack("<H", lies.get("tags", len(tags)))
    for tag in tags:
        body += struct.pack("<HHII", *tag)
    body += struct.pack("<I", start if lies.get("next") else 0)
    return b"II*\0" + struct.pack("<I", start) + bytes(body)


def tiffs() -> Iterator[Hostile]:
    def made(name: str, data: bytes) -> Hostile:
        return Hostile(f"tiff-{name}", "tif", data)

    yield made("one-strip", tiff(13000, 13000, zeros(13000 * 13000 * 3)))
    yield made("planes", tiff(9000, 9000, zeros(9000 * 9000), planar=2))
    yield made("16-bit", tiff(9000, 9000, zeros(9000 * 9000 * 6), bits=16))
    yield made("same-strip", tiff(13000, 13000, zeros(13000 * 3), rows=1))
    yield made("loop", tiff(160, 120, zeros(160 * 120 * 3), next=1))
    yield made("2-31", tiff(0x7FFFFFFF, 0x7FFFFFFF, zeros(100)))
    yield made("of-nothing", tiff(0, 0, zeros(100), rows=1))
    yield made("count", tiff(160, 120, zeros(100), count=0x7FFFFFFF))
    yield made("tags", tiff(160, 120, zeros(160 * 120 * 3), tags=65535))
    yield made("short", tiff(160, 120, zeros(100)))


def gif(width: int, height: int, frames: int = 1, size: tuple[int, int] = (1, 1)) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, *size, 0) + b"\2\2\x4c\1\0"
    return head + frame * frames + b"\x3b"


def others() -> Iterator[Hostile]:
    for width, height in ((65535, 65535), (13000, 13000), (7000, 7000), (0, 0), (1, 1)):
        yield Hostile(f"gif-{width}x{height}", "gif", gif(width, height))
    yield Hostile("gif-frames", "gif", gif(160, 120, 50_000))
    yield Hostile("gif-frame-outside", "gif", gif(160, 120, 3, (65535, 65535)))
    for side in (9000, 16383):
        made = encoded(
            "WEBP", Image.new("L", (side, side // 4)), lossless=True, quality=0, method=0
        )
        yield Hostile(f"webp-{side}", "webp", made)
    # VP8L says its size in 14 bits each; the rest is what a small one has.
    small = encoded("WEBP", lossless=True)
    at = small.index(b"VP8L") + 9
    for bits, name in ((0x0FFFFFFF, "claims-16384"), (0, "claims-1")):
        yield Hostile(f"webp-{name}", "webp", patched(small, at, struct.pack("<I", bits)))
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff" * 6
    riff = b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(small) - 12) + b"WEBP"
    yield Hostile("webp-canvas", "webp", riff + canvas + small[12:])
    for length in (0, 1, 0xFFFFFFFF):
        yield Hostile(f"webp-riff-{length}", "webp", patched(small, 4, struct.pack("<I", length)))
    ftyp = struct.pack(">I", 24) + b"ftypavif" + bytes(4) + b"avifmif1"
    for length in (0, 1, 7, 0x7FFFFFFF, 0xFFFFFFFF):
        box = struct.pack(">I", length) + b"meta" + bytes(64)
        yield Hostile(f"avif-box-{length}", "avif", ftyp + box)
    yield Hostile(
        "avif-64-bit", "avif", ftyp + struct.pack(">I4sQ", 1, b"meta", 1 << 62) + bytes(64)
    )
    nested = b"".join(struct.pack(">I", 8 * (5000 - i)) + b"meta" for i in range(5000))
    yield Hostile("avif-nested", "avif", ftyp + nested)
    for name, data in (
        ("svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="9000" height="9000"/>'),
        ("svg-entities", b'<!DOCTYPE x [<!ENTITY a "aaaaaaaa">]><svg>&a;</svg>'),
        ("pdf", b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj"),
        ("postscript", b"%!PS\n{} loop"),
        ("mvg", b"push graphic-context\nimage over 0,0 1,1 'https://example.com/x\"|ls \"'"),
        ("ppm", b"P6 30000 30000 255\n"),
        ("matlab", b"MATLAB 5.0 MAT-file" + bytes(200)),
        ("fits", b"SIMPLE  =                    T"),
        ("vips", b"\xb6\xa6\xf2\x08" + bytes(60)),
        ("gzip", zlib.compress(b"x")),
    ):
        yield Hostile(f"stranger-{name}", "png", data)


def damaged(count: int = 60) -> Iterator[Hostile]:
    """Sound files of each format, cut and with bytes changed at random (seeded)."""
    chance = random.Random(SEED)
    bases = {
        "png": encoded("PNG"),
        "gif": encoded("GIF", drawing().convert("P")),
        "webp": encoded("WEBP"),
        "tif": encoded("TIFF", compression="tiff_lzw"),
        "avif": encoded("AVIF"),
        "jpg": encoded("JPEG", progressive=True),
    }
    for suffix, data in bases.items():
        for i in range(count):
            changed = bytearray(data)
            for _ in range(chance.choice((1, 2, 8))):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            if i % 4 == 0:
                del changed[chance.randrange(len(changed)) :]
            yield Hostile(f"damaged-{suffix}-{i}", suffix, bytes(changed))


def images() -> list[Hostile]:
    """All of them; of one name (a cut or a lie that comes out alike) once."""
    made = (*jpegs(), *pngs(), *tiffs(), *others(), *damaged())
    return list({file.name: file for file in made}.values())


# tars


def tar_header(
    name: bytes = b"a.jpg",
    size: int | bytes = 0,
    kind: bytes = b"0",
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """A header block of whatever it is told. size: bytes stand as they are."""
    if isinstance(size, int):
        size = b"%011o\0" % size
    block = bytearray(512)
    block[:100] = name[:100].ljust(100, b"\0")
    block[100:124] = b"0000644\0" + b"0000000\0" * 2
    block[124:136] = size.ljust(12, b"\0")
    block[136:148] = b"00000000000\0"
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[345:500] = prefix.ljust(155, b"\0")
    block[148:156] = checksum or b"%06o\0 " % sum(block)
    return bytes(block)


def member(name: bytes, data: bytes, **fields: bytes) -> bytes:
    return tar_header(name, len(data), **fields) + data + bytes(-len(data) % 512)


def extended(kind: bytes, payload: bytes) -> bytes:
    return member(b"././@LongLink" if kind in b"LK" else b"PaxHeader/x", payload, kind=kind)


def pax(**records: bytes) -> bytes:
    made = b""
    for key, value in records.items():
        body = b" %b=%b\n" % (key.encode(), value)
        size = len(body)
        while size != len(body) + len(str(size)):
            size = len(body) + len(str(size))
        made += b"%d%b" % (size, body)
    return made


def base256(value: int) -> bytes:
    return bytes([0x80 | value >> 88 & 0x7F]) + (value & (1 << 88) - 1).to_bytes(11, "big")


def tars(image: bytes) -> Iterator[tuple[str, bytes]]:
    """Tars with a sound sample in front, harm, and a sound sample behind."""
    first = member(b"first.jpg", image) + member(b"first.txt", b"the first")
    last = member(b"last.jpg", image + b"\0") + bytes(1024)
    harms = {
        "negative": tar_header(size=b"-0000000017\0"),
        "negative-256": tar_header(size=b"\xff" * 12),
        "broken-octal": tar_header(size=b"00000o99998\0"),
        "no-size": tar_header(size=b"\0" * 12),
        "huge-256": tar_header(size=base256(1 << 87)),
        "huge-63": tar_header(size=base256((1 << 63) - 1)),
        "huge-63-wrapped": tar_header(size=base256((1 << 63) - 512)),
        "huge-62": tar_header(size=base256(1 << 62)),
        "terabytes": tar_header(size=base256(1 << 40)),
        "checksum": tar_header(checksum=b"000000\0 "),
        "up": member(b"../../../../tmp/up.jpg", image + b"1"),
        "up-inside": member(b"a/../../up.jpg", image + b"2"),
        "absolute": member(b"/etc/passwd.jpg", image + b"3"),
        "dots": member(b"...jpg", image + b"4")
        + member(b"..", b"")
        + member(b".jpg", image + b"5"),
        "shell": member(b"$(touch pwned);`id`|x.jpg", image + b"6"),
        "newlines": member(b"a\nb\rc\x1b[31m.jpg", image + b"7"),
        "not-utf8": member(b"\xff\xfe\x80caf\xe9.jpg", image + b"8"),
        "surrogate": member("\ud800.jpg".encode("utf-8", "surrogatepass"), image + b"9"),
        "pax-path-up": extended(b"x", pax(path=b"../../pax.jpg")) + member(b"x.jpg", image + b"10"),
        "pax-not-utf8": extended(b"x", pax(path=b"\xff\xff.jpg")) + member(b"x.jpg", image + b"11"),
        "pax-size-negative": extended(b"x", pax(size=b"-5")) + member(b"x.jpg", image),
        "pax-size-huge": extended(b"x", pax(size=b"9" * 18)) + member(b"x.jpg", image),
        "pax-size-digits": extended(b"x", pax(size=b"9" * 60_000)) + member(b"x.jpg", image),
        "pax-length": extended(b"x", b"99999999999999999999 path=x\n") + member(b"x.jpg", image),
        "pax-length-0": extended(b"x", b"0 path=x\n") + member(b"x.jpg", image),
        "pax-8-mb": extended(b"x", pax(comment=b"x" * (8 << 20))) + member(b"p.jpg", image + b"12"),
        "pax-many-records": extended(b"x", pax(comment=b"x") * 200_000)
        + member(b"q.jpg", image + b"13"),
        "pax-repeated": extended(b"x", pax(path=b"r.jpg")) * 20_000
        + member(b"x.jpg", image + b"14"),
        "pax-global": extended(b"g", pax(path=b"g.jpg", size=b"1")) * 1000,
        "pax-nested": extended(b"x", extended(b"x", pax(path=b"n.jpg"))) + member(b"x.jpg", image),
        "long-name-4-mb": extended(b"L", b"n" * (4 << 20)) + member(b"x.jpg", image),
        "long-name-of-gb": tar_header(b"././@LongLink", 3 << 30, b"L"),
        "long-name-only": extended(b"L", b"alone.jpg\0"),
        "long-name-repeated": extended(b"L", b"l.jpg\0") * 20_000 + member(b"x.jpg", image + b"15"),
        "sparse-map": tar_header(size=512, kind=b"S") + b"\xff" * 512,
        "links": b"".join(tar_header(b"l%d.jpg" % i, kind=b"%d" % (i % 6 + 1)) for i in range(600)),
        "link-out": tar_header(b"link.jpg", kind=b"2"),
        "unknown-kinds": b"".join(
            tar_header(b"u%d.jpg" % i, kind=bytes([i])) for i in range(58, 75)
        ),
        "empty-members": b"".join(tar_header(b"e%d.jpg" % i) for i in range(500)),
        "no-name": tar_header(b"") + tar_header(b"/") + tar_header(b"."),
        "duplicate-names": member(b"d.jpg", image + b"16") + member(b"d.jpg", image + b"17"),
        "member-twice": member(b"first.jpg", image + b"18"),
        "crowd": b"".join(tar_header(b"c.%d" % i) for i in range(2000)),
    }
    for name, harm in harms.items():
        yield name, first + harm + last
    sound = first + last
    for cut in (1, 511, 513, 600, len(first) - 1, len(first) + 511, len(sound) - 1025):
        yield f"cut-{cut}", sound[:cut]


# What stands beside an image


def sidecars() -> dict[str, bytes]:
    """JSON that means harm; every one of them is to be read as nothing, or as what can be kept."""
    return {
        "deep-lists": b"[" * 1_000_000,
        "deep-objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        "deep-inside": b'{"label": 7, "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "100-mb": b'{"label": 7, "text": "' + b"x" * (100 << 20) + b'"}',
        "15-mb": b'{"label": 7, "text": "' + b"x" * (15 << 20) + b'"}',
        "lone-surrogate": b'{"label": 7, "class_name": "\\ud800 x", "\\udfff": 1, "t": "\\udc00"}',
        "nan": b'{"label": NaN, "label_12k": Infinity, "a": -Infinity, "f": 1e999}',
        "huge-int": b'{"label": ' + b"9" * 4000 + b', "n": -' + b"9" * 300 + b"}",
        "int-of-5000-digits": b'{"label": 7, "n": ' + b"9" * 5000 + b"}",
        "not-utf8": b'{"label": 7, "class_name": "\xff\xfe"}',
        "bom": b'\xef\xbb\xbf{"label": 7}',
        "utf16": '{"label": 7}'.encode("utf-16"),
        "twice": b'{"label": 1, "label": 7}',
        "our-names": b'{"image_id": "../../x", "source_member": "/etc/passwd", "w": -1}',
        "null": b"null",
        "empty": b"",
        "zeros": bytes(5000),
        "many-keys": b"{" + b",".join(b'"k%d": %d' % (i, i) for i in range(20_000)) + b"}",
        "control": b'{"label": 7, "class_name": "a\\u0000b\\u001b[31m"}',
    }


def tar_of(members: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()
