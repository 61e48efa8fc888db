"""The corpora and sources that benchmarks read: made once from the photos, seeded, kept.

| corpus   | what it is                                                                    |
|----------|-------------------------------------------------------------------------------|
| photos   | the photos that fit a 512 bucket, as they are                                 |
| imagenet | the same shrunk to ImageNet's mean of 0.56 MP, quality 92, 76 % of them 4:4:4 |

Contenders are compared on plain, upright JPEGs without a foreign profile, as all else is no part of
their job. Without photos both corpora are drawn; a page made of those says so.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import simplejpeg

from fastbucket.catalogue import KIND, PROFILES
from fastbucket.draw import draw
from fastbucket.errors import SampleError
from fastbucket.sources.probe import probe

from . import process
from .corpus import Corpus, Plan
from .options import ROOT, Options

VERSION = 2
"""Goes up when the corpora come out differently; older ones are left where they are."""

LONG_SIDES = (740, 1100)
"""Long side of an image of `imagenet` in pixels, from and to: with the photos' own aspect ratios
that is 0.56 megapixels on average, as in the 1,000 ImageNet photos that performance.md names."""

QUALITY = 92
SHARE_444 = 0.76
"""Of 1,000 real ImageNet photos (format.md, section 5)."""

QUICK = 8
DRAWN = 48
DRAWN_SIZES = ((900, 675), (800, 600), (675, 900), (1200, 800), (840, 640), (1000, 1000))
SHRINKS, LEAVES = (8, 4, 2), 2
"""Shrink-on-load as format.md allows it: what decoders have, and what is left to the resize."""


def photos(options: Options) -> Corpus:
    """The corpus `photos`."""
    return _corpus(options, "photos", lambda: _selected(options))


def imagenet(options: Options) -> Corpus:
    """The corpus `imagenet`."""

    def images() -> Iterator[tuple[str, bytes]]:
        for name, data in _selected(options):
            yield name, _as_in_imagenet(name, data)

    return _corpus(options, "imagenet", images)


CORPORA: dict[str, Callable[[Options], Corpus]] = {"imagenet": imagenet, "photos": photos}


def _selected(options: Options) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of the plain JPEGs among the photos; a few of them for a quick run."""
    if options.photos is None:
        for number in range(QUICK if options.quick else DRAWN):
            size = DRAWN_SIZES[number % len(DRAWN_SIZES)]
            pixels = draw(*size, number)
            yield f"drawn-{number:04d}.jpg", simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", "420")
        return
    paths = [path for path in options.photos.iterdir() if path.is_file()]
    paths.sort(key=lambda path: hashlib.sha256(path.name.encode()).digest())
    found = 0
    for path in paths:
        data = path.read_bytes()
        if _plain(data):
            yield path.name, data
            found += 1
        if options.quick and found == QUICK:
            return


def _plain(data: bytes) -> bool:
    try:
        source = probe(data)
    except SampleError:
        return False
    plain = source.kind == KIND["jpeg"] and source.chroma > 0
    return plain and PROFILES[source.profile] != "other" and source.orientation == 1


def _as_in_imagenet(name: str, data: bytes) -> bytes:
    """The photo as ImageNet might hold it; seeded by its name."""
    dice = random.Random(name)
    long, chroma = dice.randint(*LONG_SIDES), "444" if dice.random() < SHARE_444 else "420"
    image = pyvips.Image.thumbnail_buffer(data, long, size="down", output_profile="srgb")
    pixels = np.ascontiguousarray(image.colourspace("srgb").numpy()[..., :3])
    return bytes(simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", chroma))


def _corpus(
    options: Options, kind: str, images: Callable[[], Iterator[tuple[str, bytes]]]
) -> Corpus:
    """The corpus made of those of `images` that fit a bucket, unless it is there already."""
    stem = f"{kind}-{_listing(options)}{'-quick' if options.quick else ''}"
    corpus = Corpus(options.work / "corpora" / stem)
    if (corpus.folder / "plans.json").is_file():
        return corpus
    print(f"making {corpus.folder}", file=sys.stderr)
    shutil.rmtree(corpus.folder, ignore_errors=True)
    for part in ("images", "reference"):
        (corpus.folder / part).mkdir(parents=True)
    reference, plans = _reference(), []
    for number, (name, data) in enumerate(images()):
        decision = reference.decide(name, data, set(), "corner", reference.fit)
        if decision.reason:
            continue
        plan = Plan(
            name=f"{number:04d}.jpg",
            source=decision.source,
            target=decision.target,
            scale=decision.scale,
            resized=decision.resized,
            crop=decision.crop,
            shrink=next((s for s in SHRINKS if decision.scale * s * LEAVES <= 1), 1),
            quality=95,
            subsampling=decision.subsampling,
        )
        # The crop follows from the key, which follows from the name: it is ours from here on.
        plan = _renamed(reference, plan)
        (corpus.folder / "images" / plan.name).write_bytes(data)
        rendered = reference.decode(data).rgb
        box = (*plan.crop, *plan.target)
        np.save(corpus.reference(plan), reference.resample_uint8(rendered, *plan.resized, box))
        plans.append(plan)
    corpus.write_plans(plans)
    return corpus


def _renamed(reference: Any, plan: Plan) -> Plan:
    """The plan with the crop that the image_id `plan.name` leads to."""
    crop = reference.crop("corner", plan.resized, plan.target, reference.key(plan.name))
    return Plan(**{**vars(plan), "crop": crop})


def _reference() -> Any:
    """tests/reference.py, which is no package and shares no code with ours."""
    sys.path.insert(0, str(ROOT / "tests"))
    try:
        import reference  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    return reference


def _listing(options: Options) -> str:
    """Eight hex digits of what the photos are; "drawn" where there are none."""
    if options.photos is None:
        return f"drawn-v{VERSION}"
    found = hashlib.sha256()
    for path in sorted(options.photos.iterdir()):
        found.update(f"{path.name} {path.stat().st_size}\n".encode())
    return f"{found.hexdigest()[:8]}-v{VERSION}"


def source(options: Options, corpus: Corpus, copies: int, small_share: float) -> list[Path]:
    """Tars made of a corpus by tools/make_source.py, unless they are there already."""
    name = f"{corpus.folder.name}-copies{copies}-small{small_share:g}"
    folder = options.work / "sources" / name
    done = folder / "made.json"
    if not done.is_file():
        print(f"making {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        program = ROOT / "tools" / "make_source.py"
        arguments = ["--copies", str(copies), "--small-share", str(small_share)]
        made = process.run([program, corpus.folder / "images", folder, *arguments], pinned=False)
        done.write_text(json.dumps(json.loads(made.output)))
    return sorted(folder.glob("*.tar"))


def warm(paths: list[Path]) -> int:
    """Read the files, so that they are in the page cache. Returns their bytes."""
    return sum(len(path.read_bytes()) for path in paths)


def scratch(options: Options, name: str) -> Path:
    """An empty folder for output, gone when this program ends."""
    folder = options.work / "scratch" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run(["sync", "-f", str(folder)], check=False)  # let no older write slow us down
    return folder
