"""How well `suspects` finds what was planted among photos: the tables of docs/suspects.md.

    python tools/measure_suspects.py PHOTOS

Of every photo that fits: itself, and two copies made in ways chosen by the seed (JPEG quality 50,
85 % of the size, 2 % cut off all around, 5 % and 3 % cut off two sides, brighter, less contrast).
Among them cards that say that an image is not available, blanks, and photos in frames. All of it
goes through the transcoder with the default recipe, so each is cropped as its own name says.
"""

from __future__ import annotations

import argparse
import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from fastbucket import Recipe, SampleError, Transcoder
from fastbucket.look import DTYPE
from fastbucket.suspects.clusters import DISTANCE, clusters
from fastbucket.suspects.kinds import KINDS, Thresholds, kinds

SEED = 7
LONGEST = 1200  # pixels; nothing here looks at more than base 512

COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "quality 50": lambda image: image,
    "85 % size": lambda image: image.resize(_part(image, 0.85), Image.Resampling.LANCZOS),
    "2 % cut off": lambda image: _cut(image, 0.02, 0.02, 0.98, 0.98),
    "5 % cut off": lambda image: _cut(image, 0.05, 0.03, 1, 1),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.12),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.85),
}


class Planted(NamedTuple):
    """group: equal for copies of one thing. what: photo, a name of COPIES, or a kind."""

    group: str
    what: str
    jpeg: bytes


def _part(image: Image.Image, share: float) -> tuple[int, int]:
    return round(image.width * share), round(image.height * share)


def _cut(image: Image.Image, *shares: float) -> Image.Image:
    w, h = image.size
    left, top, right, bottom = shares
    return image.crop((round(left * w), round(top * h), round(right * w), round(bottom * h)))


def jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def planted(folder: Path, dice: random.Random) -> Iterator[Planted]:
    for path in sorted(folder.iterdir()):
        try:
            image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        except OSError:
            continue
        image.thumbnail((LONGEST, LONGEST))
        if min(image.size) < 420:  # its copies would be too small
            continue
        yield Planted(path.name, "photo", jpeg(image, 92))
        for what in dice.sample(sorted(COPIES), 2):
            yield Planted(path.name, what, jpeg(COPIES[what](image), 50 if "50" in what else 88))
        if dice.random() < 0.2:
            margin = dice.randint(14, 30) * min(image.size) // 100
            colour = dice.choice([(0, 0, 0), (255, 255, 255), (40, 30, 80)])
            framed = ImageOps.expand(image, margin, colour)
            yield Planted(f"framed {path.name}", "border", jpeg(framed, 88))
    for number in range(40):
        yield Planted(f"card {number % 4}", "text", jpeg(card(number % 4, dice), 75 + number % 20))
    for number in range(24):
        yield Planted(f"blank {number}", "blank", jpeg(blank(dice), 88))


WORDS = ("IMAGE NOT AVAILABLE", "No photo yet", "404\nnot found", "This picture has\nbeen removed")


def card(design: int, dice: random.Random) -> Image.Image:
    """A placeholder; of one design only size and encoding differ, as after a download."""
    paper, ink = ((245, 30), (255, 140), (20, 230), (220, 60))[design]
    image = Image.new("RGB", (800, 600), (paper,) * 3)
    draw = ImageDraw.Draw(image)
    draw.multiline_text((400, 300), WORDS[design], (ink,) * 3, anchor="mm", align="center",
                        font_size=60)  # fmt: skip
    if design % 2:
        draw.rectangle((300, 100, 500, 200), outline=(ink,) * 3, width=6)
    return image.resize(_part(image, dice.uniform(0.85, 1.2)), Image.Resampling.BICUBIC)


def blank(dice: random.Random) -> Image.Image:
    """One colour, with the noise of a sensor or without."""
    noise = np.random.default_rng(dice.randrange(1 << 30)).normal(
        0, dice.choice([0, 1, 3]), (520, 700, 3)
    )
    colour = [dice.randrange(256) for _ in range(3)]
    return Image.fromarray(np.clip(noise + colour, 0, 255).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    transcoder, made, looks = Transcoder(Recipe()), [], []
    for number, one in enumerate(planted(parser.parse_args().photos, random.Random(SEED))):
        try:
            looks.append(transcoder.transcode(one.jpeg, f"{one.what}/{number}").look)
        except SampleError:
            continue
        made.append(one)
    report(made, np.array([tuple(look) for look in looks], DTYPE))


def report(made: list[Planted], looks: np.ndarray) -> None:
    what = np.array([one.what for one in made])
    group = np.array([one.group for one in made])
    photos = (what == "photo") | np.isin(what, list(COPIES))
    print(f"{(what == 'photo').sum()} photos, {photos.sum() - (what == 'photo').sum()} copies, "
          f"{(what == 'text').sum()} cards, {(what == 'blank').sum()} blanks, "
          f"{(what == 'border').sum()} framed.\n")  # fmt: skip
    print("| bits | precision | recall | " + " | ".join(COPIES) + " | cards |")
    print("|---|" + "---:|" * (len(COPIES) + 3))
    usable = np.flatnonzero(kinds(looks)[0] != KINDS.index("blank"))
    for distance in range(7):
        near = clusters(np.ascontiguousarray(looks["phash"][usable]), distance)
        first = np.full(len(made), -1)
        first[usable] = np.where(near.first >= 0, usable[near.first], -1)
        follows = (first >= 0) & (first != np.arange(len(made)))
        right = follows & (group[first] == group)
        copies = np.isin(what, list(COPIES)) | ((what == "text") & (np.arange(len(made)) > 0))
        rates = [right[what == name].mean() for name in COPIES]
        cards = right[what == "text"].sum() / max((what == "text").sum() - 4, 1)
        print(
            f"| {distance}{' (default)' * (distance == DISTANCE)} | "
            f"{right.sum() / max(follows.sum(), 1):.3f} | "
            f"{right[copies & (what != 'text')].mean():.3f} | "
            + " | ".join(f"{rate:.2f}" for rate in rates)
            + f" | {cards:.2f} |"
        )
    for kind, field, values in (
        ("blank", "blank_range", (4, 8, 16, 24, 40)),
        ("text", "text_bimodal", (700, 800, 850, 900, 950)),
        ("text", "text_edges", (0, 4, 8, 16, 30)),
        ("border", "border", (100, 150, 250, 350, 450)),
    ):
        default = getattr(Thresholds(), field)
        print(f"\n| {field} | precision | recall | photos called {kind} |\n|---|---:|---:|---:|")
        for value in values:
            called = kinds(looks, Thresholds()._replace(**{field: value}))[0] == KINDS.index(kind)
            hit, wrong = (called & (what == kind)).sum(), called & (what == "photo")
            mark = " (default)" if value == default else ""
            alone = (called & ((what == kind) | (what == "photo"))).sum()
            print(f"| {value}{mark} | {hit / max(alone, 1):.3f} | "
                  f"{hit / (what == kind).sum():.3f} | {wrong.sum()} |")  # fmt: skip
    called = kinds(looks)[0]
    for index in np.flatnonzero((called >= 0) & (what == "photo")):
        print(f"<!-- {made[index].group}: {KINDS[called[index]]} {looks[index]} -->")


if __name__ == "__main__":
    main()
