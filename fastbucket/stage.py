"""A stage for other people's webdataset pipelines: samples in, samples of the format out.

    dataset = wds.WebDataset(urls).compose(fastbucket.webdataset_stage(recipe))

What comes out of a sample is what an export makes of it, by the export's own code: the same JPEG,
text and JSON under the same key. What only an export can know, it does not do: there are no
duplicates to find in a stream, and `carry: auto` looks at one sample, not at the first thousand.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .catalogue import Archive
from .errors import SampleError
from .format import MEMBERS
from .kernels.signature import BRANDS_LIMIT, signature
from .kernels.suffixes import CLASS, IMAGES, JSON, TEXT
from .recipe import Recipe
from .sample import SampleMaker
from .sidecar import decide, json_object
from .sources.address import PIPE
from .sources.packing import archive_in, archive_name
from .sources.probe import probe
from .sources.splits import WORD
from .stopwatch import Stopwatch
from .threads import ordered

_log = logging.getLogger("fastbucket")

_PARTS = {"text": TEXT, "json": JSON, "class": CLASS}
"""Part of a sample -> suffix of its member."""

Sample = Mapping[str, Any]
"""As webdataset has it before `decode`: `__key__`, `__url__`, and suffix -> bytes."""

Handler = Callable[[SampleError], Any]
"""Called with the error of every sample that is dropped, which has its `reason`, its `detail` and,
as `sample`, its `<url>/<key>`; it may raise, as webdataset's `reraise_exception` does."""


def webdataset_stage(
    recipe: Recipe | None = None, threads: int = 1, handler: Handler | None = None
) -> Stage:
    """A stage that turns raw samples into those of a recipe; see `Stage`."""
    return Stage(recipe or Recipe(), threads, handler)


class Stage:
    """Called with an iterator of raw samples it yields those that fit, in their order:

        __key__   the format's key: SHA-256 of the image_id
        __url__   of the source
        __bucket__  id of the bucket, to shard or batch by; of several bases at the largest it fits
        jpg, txt, json  bytes, as in an exported shard

    dropped: reason -> samples, counted in the process in which the stage runs, and logged at the
    end of every pass (`logging`, logger "fastbucket", INFO). threads: on which it transcodes.
    """

    def __init__(self, recipe: Recipe, threads: int = 1, handler: Handler | None = None) -> None:
        self.recipe, self.threads, self.handler = recipe, threads, handler
        self.dropped: Counter[str] = Counter()

    def __call__(self, samples: Iterable[Sample]) -> Iterator[dict[str, Any]]:
        taken, dropped = 0, Counter[str]()
        for made in ordered(lambda: _InMemory(self.recipe), samples, self.threads):
            taken += 1
            if isinstance(made, dict):
                yield made
                continue
            self.dropped[made.reason] += 1
            dropped[made.reason] += 1
            if self.handler is not None:
                self.handler(made)
        reasons = ", ".join(f"{reason} {n}" for reason, n in dropped.most_common()) or "none"
        _log.info("%d samples, dropped: %s", taken, reasons)


class _InMemory:
    """Makes samples as the export's task does, out of members in memory."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._maker = SampleMaker(recipe, Stopwatch(), _member)

    def __call__(self, sample: Sample) -> dict[str, Any] | SampleError:
        try:
            return self._made(sample)
        except SampleError as error:
            error.sample = f"{sample.get('__url__', '')}/{sample['__key__']}"  # type: ignore[attr-defined]
            return error

    def _made(self, sample: Sample) -> dict[str, Any]:
        url = str(sample.get("__url__", ""))
        suffix = image_suffix(sample)
        data = sample[suffix]
        source = probe(data)
        bucket = self._maker.transcoder.choose(source)[-1]
        row: dict[str, Any] = {
            "key": os.fsencode(sample["__key__"]),
            "suffix": suffix.encode(),
            "image_size": len(data),
            "width": source.stored.width,
            "height": source.stored.height,
            **{
                name: getattr(source, name) for name in ("kind", "profile", "chroma", "orientation")
            },
            "members": {"image": data},
        }
        for part, member in _PARTS.items():
            content = sample.get(member)
            row["members"][part] = content if isinstance(content, bytes) else b""
            row[f"{part}_size"] = len(row["members"][part])
        # A command that names no tar has the name that it ends with, as a path has.
        name = (url.startswith(PIPE) and archive_in(url[len(PIPE) :])) or archive_name(url)
        word = WORD.search(name)
        archive = Archive("tar", url, name, word[0].lower() if word else "", 0)
        carried = decide(self._recipe.carry, [json_object(row["members"]["json"])])
        given = self._maker.given(row, archive, carried, bytearray())
        every = self._maker.render(given, [bucket])
        sha256 = hashlib.sha256(given.data).hexdigest()
        made = self._maker.samples(given, every, row, archive, sha256)[0]
        if not made.captioned and self._recipe.missing_caption_policy == "drop":
            raise SampleError("no_caption", "it has no caption")
        members = dict(zip(MEMBERS, made.members, strict=True))
        return {"__key__": made.key, "__url__": url, "__bucket__": bucket.id, **members}


def _member(row: dict[str, Any], part: str, into: bytearray) -> memoryview:
    return memoryview(row["members"][part])


def image_suffix(sample: Sample) -> str:
    """Which member is the image, by the rule of the scan: the first that is one by suffix and first
    bytes; else by its bytes; else by its suffix. Raises SampleError("no_image")."""
    found, best = "", 3
    for suffix, data in sample.items():
        if suffix.startswith("__") or suffix in _PARTS.values() or not isinstance(data, bytes):
            continue
        start = np.frombuffer(data[:BRANDS_LIMIT], np.uint8)
        by_suffix, by_bytes = suffix in IMAGES, signature(start, 0, len(start)) != 0
        rank = (0 if by_suffix else 1) if by_bytes else 2 if by_suffix else 3
        if rank < best:
            found, best = suffix, rank
    if not found:
        raise SampleError("no_image", "no member is an image")
    return found
