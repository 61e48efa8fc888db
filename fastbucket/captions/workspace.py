"""`captions init`: the workspace of an export, made or brought up to date.

Samples come from meta/. Captions that stand in the shards are taken over: those that came with the
source, under caption_source, and where the workspace was lost, those that were applied before.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import clearing, manifest
from ..format import CAPTION_SOURCE, CAPTIONS, at_smaller_bases, bases
from ..progress import Progress, Silent
from ..repack import places
from ..state import State
from . import applied
from .store import Store
from .text import clean


@dataclass
class InitReport:
    """What the workspace holds. gone: samples that the export has no more. taken: captions taken
    over from the shards, by variant."""

    path: str
    samples: int
    gone: int
    taken: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def manifest_of(out: Path) -> dict[str, Any]:
    """The manifest of a complete export. Raises RunError where there is none."""
    return manifest.read(out, "captions are for")


def stamp(facts: dict[str, Any]) -> str:
    """What tells one export from the next in the same folder; applying captions leaves it."""
    return f"{facts['export_id']} {facts['created_at']}"


def init(out: Path, progress: Progress | None = None) -> InitReport:
    """Make captions.sqlite for the export in `out`, or bring it up to date with it.

    Captions stay, also those of samples that the export has no more, which are not counted. What
    stands in the shards is added where the workspace has none; after a new export the source's own
    captions replace the earlier ones.
    """
    facts = manifest_of(out)
    progress = progress or Silent()
    with State(out) as state:
        facts = manifest_of(out)
        with Store.create(out) as store:
            anew = store.fact("export") != stamp(facts)
            store.place(places.from_meta(out), stamp(facts))
            taken = _take(out, store, facts, anew, progress) if facts["caption_sources"] else {}
            counted = store.query("SELECT count(*), count(*) FILTER (WHERE shard < 0) FROM samples")
        state.remove()
    total, gone = counted[0]
    return InitReport(str(out / CAPTIONS), total - gone, gone, taken)


def _take(
    out: Path, store: Store, facts: dict[str, Any], anew: bool, progress: Progress
) -> dict[str, int]:
    """Note the captions that stand in the shards, where there are none or if the export is new."""
    known = {source.variant: source.id for source in store.sources()}
    ids = {source.id for source in store.sources()}
    for entry in facts["caption_sources"]:
        if entry["variant"] not in known:
            number = None if entry["id"] in ids else entry["id"]
            with store.transaction() as connection:
                connection.execute(
                    "INSERT INTO sources VALUES (?, ?, ?, ?)",
                    (number, entry["variant"], entry["model"], entry["prompt_sha256"]),
                )
            known = {source.variant: source.id for source in store.sources()}
            ids = set(known.values())
    progress.phase("captions", facts["counts"]["exported"], "samples")
    taken: dict[str, int] = {}
    with store.transaction() as connection:
        for bucket_id, _, path in clearing.shard_files(out):
            if at_smaller_bases(bucket_id, bases(facts)):
                continue  # of several bases the smallest has every sample
            n = 0
            for key, variant, text in _captions(path):
                n += 1
                if variant not in known:
                    continue  # of no source that the manifest names: verify tells
                verb = "REPLACE" if anew and variant == CAPTION_SOURCE else "INSERT OR IGNORE"
                cursor = connection.execute(
                    f"{verb} INTO captions SELECT ?, id, 'ok', ?, '' FROM samples WHERE key = ?",
                    (known[variant], text, key),
                )
                taken[variant] = taken.get(variant, 0) + cursor.rowcount
            progress.advance(n)
    return {variant: n for variant, n in taken.items() if n}


def _captions(path: Path) -> Iterator[tuple[str, str, str]]:
    """(key, variant, text) of the samples of a shard that have a caption."""
    from ..walked import walk  # and its kernels, which who only opens a workspace does without

    walked = walk(path)
    if not walked.keys:
        return
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with mapped:
        for key, member in zip(walked.keys, walked.members.tolist(), strict=True):
            _, _, text_at, text_size, json_at, json_size = member
            with suppress(ValueError):  # a damaged sample: verify tells
                variant = applied.read(mapped[json_at : json_at + json_size]).variant
                text = clean(mapped[text_at : text_at + text_size].decode())
                if variant and text:
                    yield key, variant, text
