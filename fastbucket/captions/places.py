"""Which samples an export has, and where: read from meta/, and written there after a repack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .. import commit
from ..errors import RunError
from ..format import META
from ..walked import shard_files, walk
from .store import Sample

_COLUMNS = ["key", "image_id", "bucket_id", "shard", "position"]
_KEY_BYTES = 32
_BATCH = 1 << 16


def from_meta(out: Path) -> Iterator[Sample]:
    """Every exported sample, by bucket, shard and position, from meta/."""
    tables = []
    for path in _files(out):
        try:
            tables.append(pq.read_table(path, columns=_COLUMNS, filters=pc.field("shard") >= 0))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise RunError(f"{path}: cannot be read: {error}") from None
    keys = [(name, "ascending") for name in _COLUMNS[2:]]
    for batch in pa.concat_tables(tables).sort_by(keys).to_batches(_BATCH):
        yield from map(Sample, *(column.to_pylist() for column in batch.columns))


def _files(out: Path) -> list[Path]:
    paths = sorted((out / META).glob("samples-*.parquet"))
    if not paths:
        raise RunError(f"{out / META}: no samples-*.parquet, which tells what the export holds")
    return paths


class Places(NamedTuple):
    """All samples of all shards, by key. keys: uint64 (n,), the first 64 bits of each, ascending;
    whole: uint8 (n, 32); bucket: an index into buckets; shard, position: int32 (n,)."""

    keys: NDArray[np.uint64]
    whole: NDArray[np.uint8]
    buckets: list[str]
    bucket: NDArray[np.int32]
    shard: NDArray[np.int32]
    position: NDArray[np.int32]

    def find(self, keys: list[str]) -> NDArray[np.int64]:
        """Index of each key (64 hex digits), -1 for one that is in no shard."""
        wanted = np.frombuffer(bytes.fromhex("".join(keys)), np.uint8).reshape(-1, _KEY_BYTES)
        if not len(self.keys) or not len(wanted):
            return np.full(len(wanted), -1, np.int64)
        at = np.searchsorted(self.keys, _head(wanted)).clip(max=len(self.keys) - 1)
        # Two keys that share 64 bits come once in 10 million exports of a million samples.
        return np.where((self.whole[at] == wanted).all(axis=1), at, -1)


def _head(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(keys[:, :8]).view(">u8").ravel().astype(np.uint64)


def from_shards(out: Path) -> Places:
    """Where every sample stands, from the shards themselves."""
    keys: list[str] = []
    buckets: list[str] = []
    columns: list[NDArray[np.int32]] = [np.empty((3, 0), np.int32)]
    for bucket_id, number, path in shard_files(out):
        if not buckets or buckets[-1] != bucket_id:
            buckets.append(bucket_id)
        walked = walk(path)
        n = len(walked.keys)
        keys += walked.keys
        bucket, shard = np.full(n, len(buckets) - 1), np.full(n, number)
        columns.append(np.stack((bucket, shard, np.arange(n))).astype(np.int32))
    whole = np.frombuffer(bytes.fromhex("".join(keys)), np.uint8).reshape(-1, _KEY_BYTES)
    bucket, shard, position = np.concatenate(columns, axis=1)
    sort = np.argsort(_head(whole), kind="stable")
    return Places(
        _head(whole)[sort], whole[sort], buckets, bucket[sort], shard[sort], position[sort]
    )


def into_meta(out: Path, places: Places) -> int:
    """Bring meta/ up to date: a kept sample that is in no shard any more is dropped for want of a
    caption, the others are where they are. Each file is replaced whole, and only if it changes.
    Returns the number of samples that are kept."""
    kept = 0
    for path in _files(out):
        table = pq.read_table(path)
        rows = np.flatnonzero(np.asarray(table["shard"]) >= 0)
        found = places.find(table["key"].take(rows).to_pylist())
        there = found >= 0
        kept += int(there.sum())
        names = np.array([*places.buckets, ""], object)
        values = {
            "shard": np.where(there, places.shard[found], -1) if len(places.keys) else -1,
            "position": np.where(there, places.position[found], -1) if len(places.keys) else -1,
        }
        before = table["bucket_id"].take(rows[there]).to_pylist()
        if before != names[places.bucket[found[there]]].tolist():
            raise RunError(f"{path}: a sample is in another bucket; fastbucket verify tells more")
        gone = rows[~there]
        changed = table
        for name, new in values.items():
            column = table[name].to_numpy().copy()
            column[rows] = new
            changed = _with(changed, name, column)
        for name, text in (("key", ""), ("reason", "no_caption")):
            words = np.array(table[name].to_pylist(), object)
            words[gone] = text
            changed = _with(changed, name, words)
        if changed.equals(table):
            continue
        with (
            commit.whole(path) as unfinished,
            pq.ParquetWriter(
                unfinished, table.schema, compression="zstd", write_page_checksum=True
            ) as writer,
        ):
            writer.write_table(changed)
    return kept


def _with(table: pa.Table, name: str, values: NDArray[np.generic]) -> pa.Table:
    at = table.schema.get_field_index(name)
    field = table.schema.field(at)
    return table.set_column(at, field, pa.array(values, type=field.type))
