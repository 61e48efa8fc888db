"""`captions status`: what there is, and what apply would choose of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..format import APPLYING
from .schema import STATUSES
from .selection import chosen
from .store import Store
from .workspace import manifest_of, stamp

EXAMPLES = 10
"""Samples shown."""


class Coverage(NamedTuple):
    """One variant. by status: samples of the export; lengths in characters, 0 without captions."""

    id: int
    variant: str
    model: str
    prompt_sha256: str
    ok: int
    empty: int
    refused: int
    error: int
    shortest: int
    median: int
    longest: int


class Example(NamedTuple):
    """What a sample would get. variant: "" where it has no caption."""

    key: str
    image_id: str
    bucket_id: str
    variant: str
    text: str


@dataclass
class Status:
    """The workspace of an export. gone: samples that the export has no more. buckets: bucket_id ->
    samples, and captions by variant. choice: what apply would choose, by variant in the order of
    the priority; without: samples that would have no caption."""

    path: str
    samples: int
    gone: int
    stale: bool  # of an earlier export: captions init is due
    applying: bool  # an interrupted captions apply is to be run again
    variants: list[Coverage]
    buckets: dict[str, dict[str, int]]
    priority: list[str]
    choice: dict[str, int]
    without: int
    examples: list[Example] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "variants": [entry._asdict() for entry in self.variants],
            "examples": [entry._asdict() for entry in self.examples],
        }


def status(out: Path, priority: Sequence[str] = (), seed: int = 0) -> Status:
    """Look at the workspace of `out`. priority: as for apply, by default the manifest's. seed: of
    the choice of examples."""
    facts = manifest_of(out)
    usual = [entry["variant"] for entry in facts["caption_priority"]]
    with Store.open(out) as store:
        sources = chosen(store, priority or usual, bool(priority))
        samples = store.count()
        ((everything,),) = store.query("SELECT count(*) FROM samples")
        rank = " ".join(f"WHEN {s.source_id} THEN {s.rank}" for s in sources) or "WHEN -1 THEN -1"
        # The first of the priority that a sample has, by sample.
        best = (
            f"SELECT c.sample_id AS id, min(CASE c.source_id {rank} END) AS at FROM captions c "
            f"WHERE c.status = 'ok' AND c.source_id IN ({_ids(sources)}) GROUP BY c.sample_id"
        )
        counts: dict[int, int] = dict(
            store.query(
                f"SELECT b.at, count(*) FROM ({best}) b JOIN samples s USING (id) "
                "WHERE s.shard >= 0 GROUP BY 1"
            )
        )
        choice = {source.variant: counts.get(source.rank, 0) for source in sources}
        return Status(
            path=str(store.path),
            samples=samples,
            gone=everything - samples,
            stale=store.fact("export") != stamp(facts),
            applying=(out / APPLYING).is_file(),
            variants=_variants(store),
            buckets=_buckets(store),
            priority=list(priority or usual),
            choice=choice,
            without=samples - sum(choice.values()),
            examples=_examples(store, sources, random.Random(seed)),
        )


def variants(out: Path) -> list[Coverage]:
    """The captions there are of each variant."""
    with Store.open(out) as store:
        return _variants(store)


def _ids(sources: Sequence[Any]) -> str:
    return ", ".join(str(source.source_id) for source in sources) or "-1"


def _variants(store: Store) -> list[Coverage]:
    found = []
    for source in store.sources():
        by_status: dict[str, int] = dict(
            store.query(
                "SELECT c.status, count(*) FROM captions c JOIN samples s ON s.id = c.sample_id "
                "WHERE c.source_id = ? AND s.shard >= 0 GROUP BY 1",
                (source.id,),
            )
        )
        lengths = [
            length
            for (length,) in store.query(
                "SELECT length(c.text) FROM captions c JOIN samples s ON s.id = c.sample_id "
                "WHERE c.source_id = ? AND c.status = 'ok' AND s.shard >= 0 ORDER BY 1",
                (source.id,),
            )
        ]
        spread = (lengths[0], lengths[len(lengths) // 2], lengths[-1]) if lengths else (0, 0, 0)
        counts = [by_status.get(name, 0) for name in STATUSES]
        found.append(Coverage(*source, *counts, *spread))
    return found


def _buckets(store: Store) -> dict[str, dict[str, int]]:
    buckets: dict[str, dict[str, int]] = {}
    for bucket_id, n in store.query(
        "SELECT bucket_id, count(*) FROM samples WHERE shard >= 0 GROUP BY 1 ORDER BY 1"
    ):
        buckets[bucket_id] = {"samples": n}
    for source in store.sources():
        for bucket_id, n in store.query(
            "SELECT s.bucket_id, count(*) FROM captions c JOIN samples s ON s.id = c.sample_id "
            "WHERE c.source_id = ? AND c.status = 'ok' AND s.shard >= 0 GROUP BY 1",
            (source.id,),
        ):
            buckets[bucket_id][source.variant] = n
    return buckets


def _examples(store: Store, sources: Sequence[Any], dice: random.Random) -> list[Example]:
    """Samples that chance picks, in their order, with the caption that each would get."""
    ids = [row[0] for row in store.query("SELECT id FROM samples WHERE shard >= 0 ORDER BY key")]
    found = []
    for number in dice.sample(ids, min(EXAMPLES, len(ids))):
        ((key, image_id, bucket_id),) = store.query(
            "SELECT key, image_id, bucket_id FROM samples WHERE id = ?", (number,)
        )
        variant = text = ""
        for source in sources:
            rows = store.query(
                "SELECT text FROM captions WHERE source_id = ? AND sample_id = ? AND status = 'ok'",
                (source.source_id, number),
            )
            if rows:
                variant, text = source.variant, rows[0][0]
                break
        found.append(Example(key, image_id, bucket_id, variant, text))
    return found
