"""Pack a folder of images, or drawn ones, into tars named and filled like timm/imagenet-22k-wds."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from math import isqrt
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import click
import pyvips

from fastbucket.buckets import buckets, short_long
from fastbucket.draw import draw
from fastbucket.drawn_source import DRAWINGS, photo_jpeg
from fastbucket.geometry import Size, cover, oriented
from fastbucket.segments import takes_comment, with_comment
from fastbucket.timm_tars import PER_TAR, PREFIX, TimmSample, TimmTars

SUFFIXES = frozenset([
    ".avif", ".bmp", ".gif", ".heic", ".jp2", ".jpeg", ".jpg", ".jxl", ".png", ".ppm", ".tif",
    ".tiff", ".webp",
])  # fmt: skip
TARGETS = tuple(bucket.target for bucket in buckets("sdxl", 512, 32))
SMALL_AREA = min(target.width * target.height for target in TARGETS)
"""Pixels. An image of fewer covers no target at all, whatever the rule that chooses one."""

SMALL_SHORT = (200, 400)
"""Short side in pixels of a shrunken copy, from and to, unless SMALL_AREA allows only less."""

SMALL_SIZES = 4
"""Sizes in which one origin is shrunken. A bound, so that a share of 0.91 need not decode every
origin ten times; an export rejects small ones by their headers and does not see their pixels."""

SHRUNKEN_KEPT = 2048
"""Shrunken copies kept in memory for the next comment, about 20 KB each."""

REFERENCE_SMALL_SHARE = 0.91
"""Of timm/imagenet-22k-wds the reference run dropped 12,971,009 of 14,146,391 samples."""

DRAWN_CLASSES = 1000
WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class Origin:
    """An image to pack: a file of the folder, or a drawing."""

    name: str  # relative path with forward slashes
    read: Callable[[], bytes]
    stored: Size | None  # pixels before EXIF orientation; None where no header can be read
    orientation: int  # EXIF, 1 to 8
    markable: bool  # JPEG or PNG: takes a comment

    @property
    def wnid(self) -> str:
        """The class: a WordNet id in the file's or its folder's name, else one made of the name."""
        path = PurePosixPath(self.name)
        for name in (path.parent.name, path.name):
            if found := WNID.match(name):
                return found[0]
        family = path.parent.name or path.stem.rstrip("0123456789-_ ")
        return f"n{int(hashlib.sha256(family.encode()).hexdigest()[:12], 16) % 10**8:08d}"

    @property
    def small(self) -> bool:
        """Whether the default recipe drops it as too small."""
        return self.stored is not None and _too_small(oriented(self.stored, self.orientation))


class Part(NamedTuple):
    """One sample to write: an origin as it is, copied with a comment, or shrunken."""

    kind: str  # original, copy, duplicate, small
    origin: Origin
    number: int  # of its key, unique within its class


@click.command()
@click.argument(
    "folder", nargs=-1, metavar="[FOLDER]", type=click.Path(exists=True, path_type=Path)
)
@click.argument("out", nargs=1, type=click.Path(file_okay=False, path_type=Path))
@click.option("--draw", "drawings", type=click.IntRange(1), help="Draw so many; no FOLDER then.")
@click.option("--per-tar", type=click.IntRange(1), default=PER_TAR, show_default=True)
@click.option(
    "--copies",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Copies of each image, made distinct by a comment in the file. JPEG and PNG only.",
)
@click.option(
    "--small-share",
    type=click.FloatRange(0, 1, max_open=True),
    default=REFERENCE_SMALL_SHARE,
    show_default=True,
    help="Add shrunken copies until this share of all samples fits no bucket.",
)
@click.option(
    "--duplicates",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Exact copies under new keys.",
)
@click.option("--split", default="train", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--prefix", default=PREFIX, show_default=True)
def make_source(
    folder: tuple[Path, ...],
    out: Path,
    drawings: int | None,
    per_tar: int,
    copies: int,
    small_share: float,
    duplicates: int,
    split: str,
    seed: int,
    prefix: str,
) -> None:
    """Pack the images of FOLDER, or drawn ones, into tars named and filled like
    timm/imagenet-22k-wds, in OUT. Files are stored as they are; the order is a seeded shuffle.
    Prints one JSON line: samples, small, duplicates, tars, bytes.

    \b
    Example: 20 copies of each photo, and small ones as in the reference run
        python tools/make_source.py photos /tmp/source --copies 20
    Example: 1,000 drawn images, all of which fit a bucket
        python tools/make_source.py --draw 1000 --small-share 0 /tmp/source
    """
    if len(folder) != (0 if drawings else 1):
        raise click.UsageError("give one FOLDER and OUT, or --draw N and OUT")
    if any(out.glob(f"{prefix}-{split}-*.tar")):
        raise click.UsageError(f"{out} already holds {prefix}-{split}-*.tar: give another folder")
    pyvips.cache_set_max(0)  # it would keep files open and pixels in memory
    origins = list(drawn(drawings, seed) if drawings else found(folder[0]))
    if not origins:
        raise click.UsageError(f"no images under {folder[0]}")
    unmarkable = sum(not origin.markable for origin in origins)
    if copies and unmarkable:
        click.echo(f"not copied, neither JPEG nor PNG: {unmarkable} of {len(origins)}", err=True)
    parts = plan(origins, copies, small_share, duplicates, random.Random(seed))
    labels = {wnid: n for n, wnid in enumerate(sorted({origin.wnid for origin in origins}))}
    with TimmTars(out, prefix, split, per_tar) as tars:
        for part in parts:
            tars.add(sample(part, labels[part.origin.wnid]))
    summary = {
        "samples": len(parts),
        "small": sum(part.kind == "small" or part.origin.small for part in parts),
        "duplicates": duplicates,
        "tars": len(tars.paths),
        "bytes": sum(path.stat().st_size for path in tars.paths),
    }
    click.echo(json.dumps(summary))


def found(folder: Path) -> Iterator[Origin]:
    """The images under a folder, sorted by relative path; only their headers are read."""
    paths = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    }
    for name, path in sorted(paths.items()):
        with path.open("rb") as file:
            markable = takes_comment(file.read(8))
        try:
            header = pyvips.Image.new_from_file(str(path))
        except pyvips.Error:
            click.echo(f"packed without a size, header unreadable: {name}", err=True)
            yield Origin(name, path.read_bytes, None, 1, False)
            continue
        turned = header.get("orientation") if header.get_typeof("orientation") else 1
        yield Origin(name, path.read_bytes, Size(header.width, header.height), turned, markable)


def drawn(number: int, seed: int) -> Iterator[Origin]:
    """Drawings in the sizes of `drawn_source`'s photos; three in four 4:4:4, as in ImageNet."""
    sizes = [Size(*size) for kind, *size in DRAWINGS if kind.startswith("photo")]
    for n in range(number):
        size, chroma = sizes[n % len(sizes)], "444" if n % 4 else "420"
        name = f"n{10_000_000 + n % DRAWN_CLASSES}_{n}.jpg"
        read = partial(_draw, size, seed * 1_000_003 + n, chroma)
        yield Origin(name, read, size, 1, True)


def _draw(size: Size, seed: int, chroma: str) -> bytes:
    return photo_jpeg(draw(*size, seed), chroma)


def plan(
    origins: list[Origin], copies: int, small_share: float, duplicates: int, dice: random.Random
) -> list[Part]:
    """The samples in the order in which they are written.

    With n samples, s of them small by nature, x shrunken ones make the share S:
    (s + x) / (n + x) = S.
    """
    kinds = [("original", origin) for origin in origins]
    kinds += [("copy", origin) for origin in origins if origin.markable for _ in range(copies)]
    fitting = [origin for origin in origins if origin.stored and not origin.small] or origins
    kinds += [("duplicate", origin) for origin in _dealt(fitting, duplicates, dice)]
    by_nature = sum(origin.small for _, origin in kinds)
    shrunken = round((small_share * len(kinds) - by_nature) / (1 - small_share))
    if shrunken < 0 < small_share:
        click.echo(f"{by_nature} of {len(kinds)} are small by nature, more than asked", err=True)
    shrinkable = [origin for origin in origins if origin.markable and origin.stored]
    if shrunken > 0 and not shrinkable:
        raise click.UsageError("nothing to shrink: no JPEG or PNG with a readable header")
    kinds += [("small", origin) for origin in _dealt(shrinkable, shrunken, dice)]
    numbers: Counter[str] = Counter()
    parts = []
    for kind, origin in kinds:
        numbers[origin.wnid] += 1
        parts.append(Part(kind, origin, numbers[origin.wnid]))
    dice.shuffle(parts)
    return parts


def _dealt(origins: list[Origin], number: int, dice: random.Random) -> Iterator[Origin]:
    """So many of the origins, in a shuffled order, round and round: none much more than others."""
    order = dice.sample(origins, len(origins))
    return (order[n % len(order)] for n in range(number))


def sample(part: Part, label: int) -> TimmSample:
    """Read or draw, and for a small one shrink, the image of a part."""
    kind, origin, number = part
    path = PurePosixPath(origin.name)
    if kind == "small":
        image, size = _shrink(origin, number % SMALL_SIZES)
        suffix = "jpg"
    else:
        image, size = origin.read(), origin.stored or Size(-1, -1)
        suffix = path.suffix.lower()[1:]
    if kind in ("copy", "small"):
        image = with_comment(image, f"{kind} {origin.wnid}_{number}")
    return TimmSample(
        wnid=origin.wnid,
        number=number,
        suffix=suffix,
        image=image,
        label=label,
        width=size.width,
        height=size.height,
        filename=path.name,
    )


def shrunken(size: Size, dice: random.Random) -> Size:
    """A size that covers no target, never larger than `size` and of its aspect ratio."""
    short, long = sorted(size)
    bound = isqrt((SMALL_AREA - 1) * short // long)
    new_short = max(1, min(dice.randint(*SMALL_SHORT), short, bound))
    new_long = min(max(new_short, round(new_short * long / short)), (SMALL_AREA - 1) // new_short)
    return Size(new_short, new_long) if size.width <= size.height else Size(new_long, new_short)


@lru_cache(SHRUNKEN_KEPT)
def _shrink(origin: Origin, variant: int) -> tuple[bytes, Size]:
    """The origin as a small JPEG, upright, in one of its SMALL_SIZES sizes."""
    assert origin.stored is not None
    dice = random.Random(f"{origin.name} {variant}")
    size = shrunken(oriented(origin.stored, origin.orientation), dice)
    try:
        image = pyvips.Image.thumbnail_buffer(
            origin.read(), size.width, height=size.height, size="force", output_profile="srgb"
        )
        return bytes(image.jpegsave_buffer(Q=90, keep="none")), size
    except pyvips.Error as error:
        raise click.ClickException(f"cannot shrink {origin.name}: {error}") from error


def _too_small(size: Size) -> bool:
    """Whether the bucket that `short_long` chooses would need upsampling."""
    wide = size.width >= size.height
    targets = [t for t in TARGETS if (t.width >= t.height if wide else t.width <= t.height)]
    nearest = min(targets, key=lambda target: Fraction(*short_long(*size, *target)))
    return cover(size, nearest).scale > 1


if __name__ == "__main__":
    make_source()
