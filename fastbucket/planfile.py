"""A plan as files in the state folder.

`plan.arrow`, the kept samples in the order of the shards, which workers map; and `plan.json`, the
shards and the carried fields. Where several machines work on one export there is a third,
`decisions.arrow`: with it and the catalogues the plan is read back whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from . import commit, sidecar
from .buckets import Bucket
from .catalogue import Archive, column, text
from .errors import RunError
from .format import image_id
from .planning import Plan
from .recipe import Recipe
from .shardlist import Shard, Shards, order
from .sourcerows import starts

DECISIONS = "decisions.arrow"

_ROW_COLUMNS = (
    "key", "suffix", "image_offset", "image_size", "text_offset", "text_size", "json_offset",
    "json_size", "class_offset", "class_size", "width", "height", "orientation", "kind", "chroma",
    "profile", "progressive",
)  # fmt: skip
"""Columns of the catalogue that an export needs of a kept sample."""


def write(plan: Plan, tables: Sequence[pa.Table], state: Path, shared: bool = False) -> None:
    """Write plan.arrow and plan.json; the second is the sign that both are whole.

    shared: with others who write the same plan there now. The first to be done wins; what is there
    stays, for it may be mapped already; and decisions.arrow is the sign that all three are there.
    """
    parts = []
    kept = np.sort(plan.order)
    bounds = np.searchsorted(kept, plan.starts)
    for number, table in enumerate(tables):
        rows = kept[bounds[number] : bounds[number + 1]] - plan.starts[number]
        part = table.select(list(_ROW_COLUMNS)).take(pa.array(rows))
        archive = pa.array(np.full(rows.size, number, np.int32))
        parts.append(part.append_column("archive", archive))
    rows_table = pa.concat_tables(parts)
    rows_table = rows_table.take(pa.array(np.searchsorted(kept, plan.order))).combine_chunks()
    _write_table(rows_table, state / "plan.arrow", shared)
    facts: dict[str, Any] = {
        "archives": [asdict(archive) for archive in plan.archives],
        "shards": [list(shard) for shard in plan.shards],
        "carried": [list(field) for field in plan.carried],
    }
    commit.write_text(state / "plan.json", json.dumps(facts), once=shared)
    if shared:
        decisions = pa.table({"reason": plan.reason, "bucket": plan.bucket})
        _write_table(decisions, state / DECISIONS, shared)


def _write_table(table: pa.Table, path: Path, once: bool) -> None:
    with (
        commit.whole(path, once) as unfinished,
        pa.OSFile(str(unfinished), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as out,
    ):
        out.write_table(table)


@dataclass
class Written(Shards):
    """What plan.json says, and the buckets."""

    archives: list[Archive]
    buckets: tuple[Bucket, ...]
    shards: list[Shard]
    carried: list[sidecar.Carried]


def written(state: Path, recipe: Recipe) -> Written | None:
    """The plan that several machines share; None where none is whole yet."""
    if not (state / DECISIONS).is_file():
        return None
    facts = json.loads((state / "plan.json").read_text())
    return Written(
        [Archive(**archive) for archive in facts["archives"]],
        tuple(chain.from_iterable(recipe.ladder())),
        [Shard(*shard) for shard in facts["shards"]],
        [sidecar.Carried(*field) for field in facts["carried"]],
    )


def read(found: Written, tables: Sequence[pa.Table], state: Path) -> Plan:
    """The whole plan again, from what `write` left and the catalogues of its archives.

    Raises RunError where the two are not of one source.
    """
    decisions = pa.ipc.open_file(pa.memory_map(str(state / DECISIONS))).read_all()
    first = starts(tables)
    if decisions.num_rows != first[-1]:
        raise RunError(
            f"{state / DECISIONS} is of {decisions.num_rows} samples, the catalogues beside it of "
            f"{first[-1]}: remove the folder {state.parent} to start afresh"
        )
    reason, bucket = column(decisions, "reason"), column(decisions, "bucket")
    return Plan(
        archives=found.archives,
        starts=first,
        reason=reason,
        bucket=bucket,
        order=order(reason, bucket, len({bucket.proto for bucket in found.buckets})),
        buckets=found.buckets,
        shards=found.shards,
        carried=found.carried,
    )


def names(found: Written, state: Path) -> Callable[[int], str]:
    """at -> the image_id of a sample of plan.arrow, which is opened when first asked."""

    @cache
    def rows() -> pa.Table:
        return pa.ipc.open_file(pa.memory_map(str(state / "plan.arrow"))).read_all()

    def name(at: int) -> str:
        archive = found.archives[rows()["archive"][at].as_py()]
        return image_id(archive.id_prefix, text(rows()["key"][at].as_py()))

    return name
