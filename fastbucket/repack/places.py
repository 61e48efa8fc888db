"""Which samples an export has, and where: read from meta/, and written there when some are gone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .. import clearing, commit
from ..errors import RunError
from ..format import META, proto

Sample = tuple[str, str, str, int, int]
"""key, image_id, bucket_id, shard, position."""

_COLUMNS = ["key", "image_id", "bucket_id", "shard", "position"]
_KEY_BYTES = 32
_BATCH = 1 << 16


def from_meta(out: Path) -> Iterator[Sample]:
    """Every exported sample, by bucket, shard and position, from meta/."""
    tables = []
    for path in files(out):
        try:
            kept = pc.field("shard") >= 0
            tables.append(table_of(path, _COLUMNS).filter(kept))
        except pa.ArrowException as error:
            raise RunError(f"{path}: cannot be read: {error}") from None
    keys = [(name, "ascending") for name in _COLUMNS[2:]]
    for batch in pa.concat_tables(tables).sort_by(keys).to_batches(_BATCH):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def table_of(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A file of meta/, every page checked by its checksum: a bit that has turned would move a
    sample, or name another. Raises RunError."""
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from None


def files(out: Path) -> list[Path]:
    """The files of meta/, in their order. Raises RunError where there is none."""
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


def from_shards(out: Path, buckets_read: Collection[str] | None = None) -> Places:
    """Where every sample stands, from the shards themselves; only of these buckets, where given.

    One that stands at several bases is where it stands at the largest, as meta/ has it.
    """
    from ..walked import walk  # and its kernels, which who only reads meta/ does without

    keys: list[str] = []
    buckets: list[str] = []
    columns: list[NDArray[np.int32]] = [np.empty((3, 0), np.int32)]
    several = False
    for bucket_id, number, path in sorted(clearing.shard_files(out), key=_largest_base_first):
        if buckets_read is not None and bucket_id not in buckets_read:
            continue
        several |= bucket_id != proto(bucket_id)
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
    if several:
        again = (whole[sort][1:] == whole[sort][:-1]).all(axis=1)
        sort = np.concatenate((sort[:1], sort[1:][~again]))
    return Places(
        _head(whole)[sort], whole[sort], buckets, bucket[sort], shard[sort], position[sort]
    )


def _largest_base_first(shard: tuple[str, int, Path]) -> int:
    base, several, _ = shard[0].partition("-")
    return -int(base) if several and base.isdecimal() else 0


def into_meta(
    out: Path,
    places: Places,
    reason: str,
    details: Mapping[str, str] | None = None,
    buckets_read: Collection[str] | None = None,
) -> None:
    """Bring meta/ up to date: a kept sample that is in no shard any more is dropped for `reason`,
    the others are where they are. Each file is replaced whole, and only if it changes.

    details: key -> `detail` of a sample that is dropped; None leaves it as it is. buckets_read:
    the buckets that `places` speaks of, each at all its bases, None for all. Raises RunError where
    a sample is in another bucket, in none of the rows, or gone without being in details.
    """
    kept = 0
    only = None if buckets_read is None else pa.array(sorted(buckets_read), pa.string())
    for path in files(out):
        table = table_of(path)
        concerned = table["shard"].to_numpy() >= 0
        if only is not None:
            concerned &= pc.is_in(table["bucket_id"], value_set=only).to_numpy()
        rows = np.flatnonzero(concerned)
        keys = table["key"].take(rows).to_pylist()
        found = places.find(keys)
        there = found >= 0
        kept += int(there.sum())
        changed = table
        for name, new in (("shard", places.shard), ("position", places.position)):
            column = table[name].to_numpy().copy()
            column[rows] = np.where(there, new[found], -1) if len(new) else -1
            if (column != table[name].to_numpy()).any():
                changed = _with(changed, name, pa.array(column))
        names = np.array([*places.buckets, ""], object)
        before = table["bucket_id"].take(rows[there]).to_pylist()
        if before != names[places.bucket[found[there]]].tolist():
            raise RunError(f"{path}: a sample is in another bucket; fastbucket verify tells more")
        if not there.all():
            gone = np.zeros(len(table), np.bool_)
            gone[rows[~there]] = True
            words: dict[str, list[str]] = {
                name: [text] * int(gone.sum()) for name, text in (("key", ""), ("reason", reason))
            }
            if details is not None:
                left = [key for key, here in zip(keys, there.tolist(), strict=True) if not here]
                if lost := [key for key in left if key not in details]:
                    raise RunError(
                        f"{path}: {lost[0]} is in no shard, and nobody removed it; fastbucket "
                        "verify tells more"
                    )
                words["detail"] = [details[key] for key in left]
            for name, texts in words.items():
                new_texts = pa.array(texts, changed.schema.field(name).type)
                column = changed[name].combine_chunks()
                changed = _with(changed, name, pc.replace_with_mask(column, gone, new_texts))
        if changed is table:
            continue
        with (
            commit.whole(path) as unfinished,
            pq.ParquetWriter(
                unfinished, table.schema, compression="zstd", write_page_checksum=True
            ) as writer,
        ):
            writer.write_table(changed)
    if kept != len(places.keys):
        raise RunError(
            f"{out}: {len(places.keys)} samples in the shards, {kept} of them in meta/; fastbucket "
            "verify tells more"
        )


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    at = table.schema.get_field_index(name)
    field = table.schema.field(at)
    return table.set_column(at, field, values.cast(field.type))
