"""meta/samples-*.parquet: one row for every scanned sample, kept or dropped, with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from . import commit
from .catalogue import KINDS, column, text
from .format import DROP_REASONS, LOOK_FIELDS, META, META_FIELDS, image_id, sample_key
from .look import DTYPE, MISSING
from .planning import REASON, Plan
from .records import Drop
from .sources.names import member_name

ROWS_PER_FILE = 1_000_000

SCHEMA = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in META_FIELDS.items()])


class Fates(NamedTuple):
    """Where each scanned sample ended. Arrays over all rows of the plan."""

    reason: np.ndarray  # uint8, index into DROP_REASONS
    shard: np.ndarray  # int32, -1
    position: np.ndarray  # int32, -1
    details: Mapping[int, str]  # row -> the decoder's words
    looks: np.ndarray  # look.DTYPE


def fates(
    plan: Plan,
    drops: Mapping[int, Drop],
    places: Iterator[tuple[int, int, int]],
    looks: Iterator[tuple[np.ndarray, np.ndarray]],
) -> Fates:
    """drops: row -> what its pixels gave away. places: (row, shard, position) of the exported.
    looks: rows of exported samples, and how those look."""
    reason = plan.reason.copy()
    shard = np.full(reason.size, -1, np.int32)
    position = np.full(reason.size, -1, np.int32)
    for row, drop in drops.items():
        reason[row] = REASON[drop.reason]
    for row, number, at in places:
        shard[row], position[row] = number, at
    seen = np.full(reason.size, np.array(MISSING, DTYPE))
    for rows, those in looks:
        seen[rows] = those
    return Fates(reason, shard, position, {row: drop.detail for row, drop in drops.items()}, seen)


def write(out: Path, plan: Plan, tables: Sequence[pa.Table], fates: Fates) -> None:
    """Write the parquet files, each whole or not at all."""
    folder = out / META
    commit.make_folder(folder)
    for stale in folder.glob("*.parquet*"):
        stale.unlink()
    names = np.array([bucket.id for bucket in plan.buckets] + [""])
    for number, together in enumerate(_files([table.num_rows for table in tables])):
        with (
            commit.whole(folder / f"samples-{number:05d}.parquet") as unfinished,
            pq.ParquetWriter(
                unfinished, SCHEMA, compression="zstd", write_page_checksum=True
            ) as writer,
        ):
            for index in together:
                writer.write_table(_table(plan, index, tables[index], fates, names))


def _files(rows: Sequence[int]) -> Iterator[range]:
    """The archives that share a file, from the rows of each: whole archives, until it is full."""
    first, total = 0, 0
    for index, more in enumerate(rows):
        total += more
        if total >= ROWS_PER_FILE or index == len(rows) - 1:
            yield range(first, index + 1)
            first, total = index + 1, 0


def _table(plan: Plan, index: int, table: pa.Table, fates: Fates, names: np.ndarray) -> pa.Table:
    archive, n = plan.archives[index], table.num_rows
    rows = slice(int(plan.starts[index]), int(plan.starts[index + 1]))
    keys, suffixes = table.column("key").to_pylist(), table.column("suffix").to_pylist()
    ids = [image_id(archive.id_prefix, text(key)) for key in keys]
    reason = fates.reason[rows]
    size = column(table, "image_size")
    width, height = column(table, "width"), column(table, "height")
    turned = column(table, "orientation") >= 5
    details = table.column("detail").to_pylist()
    for row in range(rows.start, rows.stop) if fates.details else ():
        if row in fates.details:
            details[row - rows.start] = fates.details[row]
    kept = reason == 0
    columns = [
        ids,
        [sample_key(name) if k else "" for name, k in zip(ids, kept.tolist(), strict=True)],
        [archive.name] * n,
        [
            text(member_name(key, suffix, "image")) if s >= 0 else ""
            for key, suffix, s in zip(keys, suffixes, size.tolist(), strict=True)
        ],
        [archive.split] * n,
        size,
        np.where(turned, height, width),
        np.where(turned, width, height),
        column(table, "orientation"),
        np.array(KINDS)[column(table, "kind")],
        np.array(DROP_REASONS)[reason],
        details,
        names[plan.bucket[rows]],
        fates.shard[rows],
        fates.position[rows],
        *(fates.looks[name][rows] for name in LOOK_FIELDS),
    ]
    arrays = [pa.array(c, type=f.type) for c, f in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)
