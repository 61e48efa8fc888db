"""`captions export`: the captions of a workspace as a file, for people who edit elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import commit
from ..errors import RunError
from .store import Store

COLUMNS = ("key", "image_id", "bucket_id", "variant", "model", "text")
"""What a row has; `captions import` takes it back, one variant at a time."""

_BATCH = 10_000
_SQL = """
SELECT s.key, s.image_id, s.bucket_id, r.variant, r.model, c.text
FROM samples s JOIN captions c ON c.sample_id = s.id AND c.source_id = ?
JOIN sources r ON r.id = c.source_id
WHERE s.shard >= 0 AND c.status = 'ok' ORDER BY s.bucket_id, s.shard, s.position
"""


def write(out: Path, file: Path, variants: Sequence[str] = ()) -> int:
    """Write the captions of the export in `out` into `file` (.jsonl or .parquet), whole or not at
    all; returns how many. variants: which, by default all, one after the other in the order of
    their ids, each as its samples stand in the shards."""
    writer = WRITERS.get(file.suffix.lower())
    if writer is None:
        raise RunError(f"{file}: the name ends in none of {', '.join(WRITERS)}")
    with Store.open(out) as store:
        known = {source.variant: source.id for source in store.sources()}
        for variant in variants:
            if variant not in known:
                raise RunError(
                    f"--variant {variant}: no such variant in {store.path}; there are "
                    f"{', '.join(sorted(known))}"
                )
        ids = [known[variant] for variant in variants or known]
        with commit.whole(file) as unfinished:
            return writer(unfinished, _rows(store, ids))


def _rows(store: Store, ids: Sequence[int]) -> Iterator[list[tuple[Any, ...]]]:
    for number in ids:
        cursor = store.connection.execute(_SQL, (number,))
        while rows := cursor.fetchmany(_BATCH):
            yield rows


def _jsonl(path: Path, batches: Iterator[list[tuple[Any, ...]]]) -> int:
    written = 0
    with open(path, "w", encoding="utf-8") as file:
        for rows in batches:
            for row in rows:
                fields = dict(zip(COLUMNS, row, strict=True))
                file.write(json.dumps(fields, ensure_ascii=False) + "\n")
            written += len(rows)
    return written


def _parquet(path: Path, batches: Iterator[list[tuple[Any, ...]]]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    written = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for rows in batches:
            columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
            file.write_table(pa.Table.from_arrays(columns, schema=schema))
            written += len(rows)
    return written


WRITERS = {".jsonl": _jsonl, ".parquet": _parquet}
"""Writers by suffix."""
