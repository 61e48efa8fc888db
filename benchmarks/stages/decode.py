"""Decode: libjpeg-turbo against libvips on the same photos, by size, with their shrink-on-load."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from .. import corpora, process
from ..corpus import Corpus
from ..figures import Bench, versions
from ..options import parse

CLASSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Upper bounds of the size classes, in megapixels; the last class is open."""

DECODERS = ("turbo", "vips")
ROUNDS = 3


def main() -> None:
    options = parse(__doc__)
    corpus = str(corpora.photos(options).folder)
    distributions = ["fastbucket", "simplejpeg", "pyvips", "pyvips-binary"]
    bench = Bench("stage/decode", options.quick, versions(distributions))
    count = min(options.rounds, ROUNDS)
    rounds = [process.call(measure, folder=corpus) for _ in range(count)]
    for number, (name, found) in enumerate(rounds[0].items()):
        for metric in DECODERS:
            values = [r[name]["ms"][metric] for r in rounds]
            bench.show(name, metric, values, "ms/image", f"class {number}")
        for metric in ("images", "megapixels", "shrunk"):
            bench.show(name, metric, found[metric], "")


def measure(folder: str) -> dict[str, Any]:
    """By class: milliseconds an image of both decoders, one after the other on each image."""
    from fastbucket import Recipe
    from fastbucket.decode import Decoder
    from fastbucket.sources.probe import probe

    decoders = {name: Decoder(Recipe(decoder=name)) for name in DECODERS}
    seconds: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(DECODERS, 0.0))
    found: dict[str, dict[str, Any]] = defaultdict(
        lambda: {"images": 0, "megapixels": 0.0, "shrunk": 0}
    )
    images = list(Corpus(Path(folder)).images())
    for repeat in range(2):  # the first pass warms up
        for data, plan in images:
            source, size = probe(data), plan.source[0] * plan.source[1] / 1e6
            name = _class(size)
            for decoder in DECODERS:
                start = time.perf_counter()
                decoders[decoder].decode(
                    data, source.kind, source.profile, source.stored, plan.shrink
                )
                if repeat:
                    seconds[name][decoder] += time.perf_counter() - start
            if repeat:
                found[name]["images"] += 1
                found[name]["megapixels"] += size
                found[name]["shrunk"] += plan.shrink > 1
    for name, facts in found.items():
        count = facts["images"]
        facts["ms"] = {d: 1e3 * spent / count for d, spent in seconds[name].items()}
        facts["megapixels"] /= count
        facts["shrunk"] /= count
    return {name: found[name] for name in map(_class, (0, *CLASSES)) if name in found}


def _class(megapixels: float) -> str:
    lower = [bound for bound in (0.0, *CLASSES) if bound <= megapixels]
    upper = [bound for bound in CLASSES if bound > megapixels]
    return f"{lower[-1]:g} to {upper[0]:g} MP" if upper else f"{lower[-1]:g} MP and more"


if __name__ == "__main__":
    main()
