"""Finding suspects: looks, clusters, kinds; then suspects.jsonl and the page."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import commit, manifest
from ..format import SUSPECTS
from ..progress import Progress, Silent
from ..state import check_finished
from .clusters import DISTANCE, clusters
from .kinds import KINDS, kinds
from .looks import Samples, samples


class Suspect(NamedTuple):
    """A line of suspects.jsonl. cluster: -1 without one; cluster_size: its samples, 0; distance:
    bits of the hash from the cluster's first. score: 0 to 1."""

    key: str
    image_id: str
    bucket_id: str
    shard: int
    position: int
    kind: str
    score: float
    cluster: int
    cluster_size: int
    distance: int


@dataclass
class Found:
    """What was found. kinds: suspects by kind; clusters: near-identical ones."""

    samples: int
    suspects: int
    kinds: dict[str, int]
    clusters: int
    shown: int
    list: str
    page: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def suspects(
    out: str | os.PathLike[str], workers: int = 0, progress: Progress | None = None
) -> Found:
    """Write suspects.jsonl and suspects.html into a complete export; both replace earlier ones.

    workers: processes that decode images where meta/ has no hashes, 0 for one a CPU. Raises
    RunError where there is no complete export, or no room.
    """
    from .page import write

    root, progress = Path(out), progress or Silent()
    listed, page = (root / name for name in SUSPECTS)
    manifest.read(root, "suspects are of")
    check_finished(root)
    those = samples(root, workers, progress)
    found = judged(those)
    with commit.whole(listed) as unfinished, open(unfinished, "w", encoding="utf-8") as file:
        for suspect in found:
            file.write(json.dumps(suspect._asdict(), ensure_ascii=False) + "\n")
    shown = write(root, page, found, those.rows.num_rows)
    counts = Counter(suspect.kind for suspect in found)
    return Found(
        those.rows.num_rows,
        len(found),
        {kind: counts[kind] for kind in KINDS},
        len({suspect.cluster for suspect in found} - {-1}),
        shown,
        str(listed),
        str(page),
    )


def judged(those: Samples) -> list[Suspect]:
    """The suspects: clusters from the largest, each in its order, then the others by kind and
    score. Blank images have no hash to speak of, and are in no cluster."""
    kind, score = kinds(those.looks)
    hashed = np.flatnonzero((kind != KINDS.index("blank")) & (those.looks["modal_share"] >= 0))
    near = clusters(np.ascontiguousarray(those.looks["phash"][hashed]))
    n = those.rows.num_rows
    first, size, away = np.full(n, -1), np.zeros(n, np.int64), np.zeros(n, np.int64)
    in_one = near.first >= 0
    first[hashed[in_one]] = hashed[near.first[in_one]]
    size[hashed], away[hashed] = near.size, near.away
    copy = (kind < 0) & (first >= 0)
    kind[copy] = KINDS.index("copy")
    score[copy] = 1 - away[copy] / (2 * DISTANCE)
    rows = np.flatnonzero(kind >= 0)
    alone = first[rows] < 0  # in a cluster the first stays the first, whatever it is
    by_kind, by_score = np.where(alone, kind[rows], 0), np.where(alone, -score[rows], 0)
    order = np.lexsort((rows, by_score, by_kind, first[rows], -size[rows]))
    return list(_suspects(those, rows[order], kind, score, first, size, away))


def _suspects(
    those: Samples,
    rows: np.ndarray,
    kind: np.ndarray,
    score: np.ndarray,
    first: np.ndarray,
    size: np.ndarray,
    away: np.ndarray,
) -> Iterator[Suspect]:
    numbers: dict[int, int] = {-1: -1}
    for at, row in zip(rows.tolist(), those.rows.take(rows).to_pylist(), strict=True):
        cluster = numbers.setdefault(int(first[at]), len(numbers) - 1)
        yield Suspect(
            row["key"],
            row["image_id"],
            row["bucket_id"],
            row["shard"],
            row["position"],
            KINDS[kind[at]],
            round(float(score[at]), 3),
            cluster,
            int(size[at]),
            int(away[at]),
        )
