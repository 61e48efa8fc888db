"""A source without photos: tars of drawn images with everything in them that an export must face.

For tests and for the demo: deterministic, seconds to make, and each sample's fate is known.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyvips
import simplejpeg
from numpy.typing import NDArray

from .draw import draw
from .format import image_id
from .segments import with_orientation
from .timm_tars import PREFIX, TimmSample, TimmTars

Image = NDArray[np.uint8]

SPLIT = "train"
PHOTO_QUALITY = 90  # JPEG quality of the drawn photos, near that of most photos found on the web
WNIDS = ("n01440764", "n01443537", "n02084071", "n02121808", "n03028079", "n04037443", "n12998815")

# Kind, width, height: as stored, before EXIF orientation. 20 buckets of the default recipe.
DRAWINGS = (
    ("tie", 640, 480), ("exact", 512, 512), ("large", 2400, 1800),
    ("photo_420", 270, 990), ("photo_420", 260, 1045), ("photo_420", 300, 860),
    ("photo_444", 333, 800), ("photo_420", 400, 800), ("photo_444", 450, 750),
    ("photo_422", 480, 840), ("photo_420", 600, 830), ("photo_444", 480, 720),
    ("photo_420", 500, 606), ("photo_444", 520, 560), ("photo_420", 700, 700),
    ("card", 720, 540), ("card", 800, 600), ("card", 680, 510),
    ("photo_444", 800, 480), ("photo_420", 840, 440), ("photo_420", 960, 400),
    ("photo_420", 900, 300), ("photo_444", 1000, 266), ("photo_420", 1200, 300),
    ("orientation_1", 720, 540), ("orientation_2", 540, 720), ("orientation_3", 700, 525),
    ("orientation_4", 800, 533), ("orientation_5", 720, 540), ("orientation_6", 800, 500),
    ("orientation_7", 540, 720), ("orientation_8", 1060, 265),
    ("grey", 640, 512), ("grey", 520, 780), ("cmyk", 600, 600), ("cmyk", 768, 576),
    ("progressive", 960, 720), ("progressive", 576, 768), ("progressive", 900, 600),
    ("png_alpha", 640, 500), ("png_alpha", 480, 640), ("webp", 800, 600), ("webp", 600, 900),
    ("small", 320, 240), ("small", 500, 375), ("small", 375, 500), ("small", 400, 400),
    ("small", 500, 333), ("small", 900, 250), ("small", 240, 2000),
    ("empty", 640, 480), ("html", 640, 480), ("cut", 800, 600), ("cut", 512, 640),
    ("no_image", 640, 480),
)  # fmt: skip

REPEATED = ("tie", "photo_444", "orientation_6", "png_alpha", "tie")
"""The first drawing of each of these kinds stands in the source once more, as equal bytes."""


class Drawing(NamedTuple):
    """One image to be: its kind, its stored size in pixels, and the number its seed comes from."""

    kind: str
    width: int
    height: int
    number: int


@dataclass(frozen=True)
class DrawnSource:
    """What was written, and what an export with the default recipe must make of it."""

    paths: tuple[Path, ...]
    kinds: Mapping[str, int]  # kind -> samples; repeated ones count under their own kind
    fates: Mapping[str, str]  # image_id -> drop reason, "" where kept; in source order

    @property
    def samples(self) -> int:
        return len(self.fates)

    @property
    def kept(self) -> int:
        return self._count("")

    @property
    def small(self) -> int:
        return self._count("too_small")

    @property
    def duplicates(self) -> int:
        return self._count("duplicate")

    @property
    def broken(self) -> int:
        """Samples without an image that can be decoded."""
        return self._count("unreadable", "undecodable", "no_image")

    def _count(self, *fates: str) -> int:
        return sum(fate in fates for fate in self.fates.values())


def drawn_source(
    directory: Path, samples: int = 60, seed: int = 0, per_tar: int = 20
) -> DrawnSource:
    """Write `samples` drawn samples into tars of `per_tar` under `directory`, made if absent.

    Up to 60 samples are a random choice of the table above and its repetitions; beyond, plain
    photos follow. Tars of the same names are replaced; others are left where they are.
    """
    fates: dict[str, str] = {}
    seen: set[Drawing] = set()
    drawings = _drawings(samples, seed)
    with TimmTars(directory, PREFIX, SPLIT, per_tar) as tars:
        for place, drawing in enumerate(drawings):
            sample = _sample(drawing, place, seed)
            fate = "duplicate" if drawing in seen else DROPPED.get(drawing.kind, "")
            fates[image_id(tars.add(sample), sample.key)] = fate
            seen.add(drawing)
    kinds = Counter(drawing.kind for drawing in drawings)
    return DrawnSource(tuple(tars.paths), dict(sorted(kinds.items())), fates)


def _drawings(samples: int, seed: int) -> list[Drawing]:
    """What to draw, in source order; the same drawing twice is an exact duplicate."""
    drawings = [Drawing(*row, number) for number, row in enumerate(DRAWINGS)]
    first = {drawing.kind: drawing for drawing in reversed(drawings)}
    drawings += [first[kind] for kind in REPEATED]
    photos = [row for row in DRAWINGS if row[0].startswith("photo")]
    for number in range(len(drawings), samples):
        drawings.append(Drawing(*photos[number % len(photos)], number))
    random.Random(seed).shuffle(drawings)
    return drawings[:samples]


def _sample(drawing: Drawing, place: int, seed: int) -> TimmSample:
    """The sample of a drawing; every third has a caption, some of them beyond ASCII."""
    label = drawing.number % len(WNIDS)
    suffix, encode = KINDS[drawing.kind]
    scale = 2 if drawing.kind == "large" else 1
    rgb = draw(drawing.width // scale, drawing.height // scale, seed * 1_000_003 + drawing.number)
    return TimmSample(
        wnid=WNIDS[label],
        number=100 + 7 * place,
        suffix=suffix,
        image=encode(rgb),
        label=label,
        width=drawing.width,
        height=drawing.height,
        filename=f"{WNIDS[label]}_{100 + 7 * place}.JPEG",
        caption=f"Drawn à la photo, number {drawing.number}." if place % 3 == 0 else "",
    )


def photo_jpeg(rgb: Image, chroma: str = "420") -> bytes:
    """A plain JPEG of (height, width, 3) uint8 RGB; `chroma` is 420, 422 or 444."""
    return bytes(simplejpeg.encode_jpeg(rgb, PHOTO_QUALITY, "RGB", chroma))


def _doubled(rgb: Image) -> bytes:
    """Every pixel four times: a photo of 4 megapixels in a quarter of the time to draw one."""
    return photo_jpeg(np.ascontiguousarray(rgb.repeat(2, axis=0).repeat(2, axis=1)))


def _oriented(rgb: Image, orientation: int) -> bytes:
    return with_orientation(photo_jpeg(rgb), orientation)


_LETTERS = {
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "B": "11110 10001 10001 11110 10001 10001 11110",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "G": "01110 10001 10000 10111 10001 10001 01110",
    "I": "01110 00100 00100 00100 00100 00100 01110",
    "L": "10000 10000 10000 10000 10000 10000 11111",
    "M": "10001 11011 10101 10101 10001 10001 10001",
    "N": "10001 11001 10101 10011 10001 10001 10001",
    "O": "01110 10001 10001 10001 10001 10001 01110",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "V": "10001 10001 10001 10001 10001 01010 00100",
}
"""Five by seven points a letter: a font that is everywhere the same."""


def _card(rgb: Image) -> bytes:
    """A placeholder as a web site has it, whatever was drawn: the same in every size."""
    height, width = rgb.shape[:2]
    points = np.zeros((45, 60), bool)
    for line, word in enumerate(("IMAGE", "NOT", "AVAILABLE")):
        size = 6 * len(word) - 1
        for at, letter in enumerate(word):
            glyph = np.array([list(row) for row in _LETTERS[letter].split()]) == "1"
            x = (60 - size) // 2 + 6 * at
            points[9 + 10 * line : 16 + 10 * line, x : x + 5] = glyph
    y, x = (np.arange(side) * n // side for side, n in ((height, 45), (width, 60)))
    shown = np.where(points[np.ix_(y, x)], 96, 236).astype(np.uint8)
    return photo_jpeg(np.ascontiguousarray(shown[..., None].repeat(3, axis=2)))


def _grey(rgb: Image) -> bytes:
    return bytes(simplejpeg.encode_jpeg(rgb[..., 1:2].copy(), PHOTO_QUALITY, "GRAY", "Gray"))


def _cmyk(rgb: Image) -> bytes:
    """Without a profile: black is the least of the inks, R = (255 - C)(255 - K) / 255 and so on."""
    light = np.maximum(rgb.max(axis=2, keepdims=True), 1).astype(np.uint16)
    inks = (255 * (light - np.minimum(rgb, light)) + light // 2) // light
    cmyk = np.concatenate([inks, 255 - light], axis=2).astype(np.uint8)
    return bytes(_vips(cmyk, "cmyk").jpegsave_buffer(Q=PHOTO_QUALITY, keep="none"))


def _progressive(rgb: Image) -> bytes:
    return bytes(_vips(rgb, "srgb").jpegsave_buffer(Q=PHOTO_QUALITY, interlace=True, keep="none"))


def _png_alpha(rgb: Image) -> bytes:
    """The alpha plane is the red one upside down: every degree of transparency occurs."""
    rgba = np.dstack([rgb, rgb[::-1, :, 0]])
    return bytes(_vips(rgba, "srgb").pngsave_buffer(compression=1, keep="none"))


def _webp(rgb: Image) -> bytes:
    return bytes(_vips(rgb, "srgb").webpsave_buffer(Q=PHOTO_QUALITY, effort=1, keep="none"))


def _vips(pixels: Image, interpretation: str) -> Any:
    """A pyvips image. Save it with keep="none": libvips adds an EXIF block of its own otherwise."""
    height, width, bands = pixels.shape
    image = pyvips.Image.new_from_memory(pixels.tobytes(), width, height, bands, "uchar")
    return image.copy(interpretation=interpretation)


def _cut(rgb: Image) -> bytes:
    jpeg = photo_jpeg(rgb)
    return jpeg[: len(jpeg) // 2]


def _html(rgb: Image) -> bytes:
    return b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n"


KINDS: dict[str, tuple[str, Callable[[Image], bytes | None]]] = {
    "tie": ("jpg", photo_jpeg),  # 640x480: as near to p1152x832 as to p1152x896
    "exact": ("jpg", photo_jpeg),  # the target's own size: scale 1 is kept
    "large": ("jpg", _doubled),  # large enough for shrink-on-load
    "photo_420": ("jpg", photo_jpeg),
    "photo_422": ("jpg", partial(photo_jpeg, chroma="422")),
    "photo_444": ("jpg", partial(photo_jpeg, chroma="444")),
    **{f"orientation_{n}": ("jpg", partial(_oriented, orientation=n)) for n in range(1, 9)},
    "card": ("jpg", _card),  # one placeholder in several sizes: what `suspects` is to find
    "grey": ("jpg", _grey),
    "cmyk": ("jpg", _cmyk),
    "progressive": ("jpg", _progressive),
    "png_alpha": ("png", _png_alpha),
    "webp": ("webp", _webp),
    "small": ("jpg", photo_jpeg),
    "empty": ("jpg", lambda rgb: b""),
    "html": ("jpg", _html),
    "cut": ("jpg", _cut),
    "no_image": ("", lambda rgb: None),
}
"""Kind -> suffix of the image's member, and the encoder of (height, width, 3) uint8 RGB."""

DROPPED = {
    "small": "too_small",
    "empty": "unreadable",
    "html": "unreadable",
    "cut": "undecodable",
    "no_image": "no_image",
}
"""Kind -> drop reason; every other kind is kept, once."""
