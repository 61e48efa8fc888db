"""meta/*.parquet: a row for every scanned sample, held against the manifest and the shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..format import DROP_REASONS, LOOK_FIELDS, META, META_FIELDS, sample_key, shard_path
from ..look import MISSING
from .findings import Tally
from .inventory import Inventory
from .sample import fingerprint
from .shard import digest

_SOURCE = (
    "source_archive",
    "source_member",
    "source_split",
    "source_bytes",
    "source_w",
    "source_h",
)
_OLDER_FIELDS = {name: kind for name, kind in META_FIELDS.items() if name not in LOOK_FIELDS}
"""Columns of an export that was made before samples were looked at: sound all the same."""

_HIGHEST = dict(zip(LOOK_FIELDS[1:], (255, 1000, 1000, 1000, 1000), strict=True))
_shard_path = lru_cache(maxsize=1 << 16)(shard_path)
_BATCH = 1 << 16
"""Rows in memory at a time."""


class _Base:
    """The shards of one base, 0 where the export has but one, and which samples rows have named."""

    def __init__(self, base: int, inventory: Inventory) -> None:
        self.inventory = inventory
        self.numbers = {path: number for number, path in enumerate(inventory.paths)}
        self.seen = np.zeros(len(inventory), np.bool_)
        self.here = lru_cache(maxsize=1 << 10)(self._here)
        self._base = base

    def _here(self, bucket_id: str) -> str | None:
        """The id at this base of the bucket that a row names, which is that of the largest base the
        sample went to; None where this one is larger."""
        own, _, proto = bucket_id.partition("-")
        if not self._base or not own.isdecimal():
            return bucket_id
        return f"{self._base}-{proto}" if self._base <= int(own) else None


class MetaCheck:
    """Reads the rows once, in batches, and remembers which samples of the shards they name.

    inventories: by base, ascending; one, of base 0, where the export has no several.
    """

    def __init__(self, inventories: Mapping[int, Inventory], tally: Tally) -> None:
        self._bases = [_Base(base, inventory) for base, inventory in inventories.items()]
        self._tally = tally
        self._rows = 0
        self._reasons: Counter[str] = Counter()
        self._splits: Counter[str] = Counter()

    def read(self, out: Path, note: Callable[[str, str], None]) -> None:
        """Read all files. note: gets a path and what is wrong with the file as such."""
        folder = out / META
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        if not paths:
            note(META, "no file in it, where a row for every scanned sample belongs")
        for path in paths:
            name = f"{META}/{path.name}"
            if not (path.name.startswith("samples-") and path.suffix == ".parquet"):
                note(name, "does not belong here")
                continue
            try:
                self._read(path, name, note)
            except (pa.ArrowException, OSError, ValueError) as error:
                note(name, f"cannot be read: {error}")

    def _read(self, path: Path, name: str, note: Callable[[str, str], None]) -> None:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            found = {field.name: str(field.type) for field in file.schema_arrow}
            if found not in (META_FIELDS, _OLDER_FIELDS):
                wrong = sorted(set(found.items()) ^ set(META_FIELDS.items()))
                note(name, f"columns are off: {wrong}")
                return
            for batch in file.iter_batches(_BATCH):
                self._rows += batch.num_rows
                for column, kind in zip(batch.columns, batch.schema, strict=True):
                    if column.null_count:
                        note(name, f"column {kind.name} has {column.null_count} nulls")
                        return
                self._reasons.update(_counts(batch["reason"]))
                self._splits.update(_counts(batch["source_split"]))
                kept = pc.equal(batch["reason"], "")
                if len(found) == len(META_FIELDS):
                    self._looks(batch, kept, name)
                self._dropped(batch.filter(pc.invert(kept)), name)
                self._kept(batch.filter(kept), name)

    def _dropped(self, batch: pa.RecordBatch, name: str) -> None:
        placed = pc.or_(
            pc.not_equal(batch["key"], ""),
            pc.or_(pc.not_equal(batch["shard"], -1), pc.not_equal(batch["position"], -1)),
        )
        for image_id in batch["image_id"].filter(placed).to_pylist():
            self._tally.add(name, image_id, "is dropped, and has a key or a place in a shard")

    def _looks(self, batch: pa.RecordBatch, kept: pa.Array, name: str) -> None:
        """A kept sample has a look within its bounds; a dropped one that, or none at all."""
        phash = np.asarray(batch["phash"])
        columns = [np.asarray(batch[column]) for column in _HIGHEST]
        high = np.array(list(_HIGHEST.values()))
        values = np.stack(columns, axis=1)
        seen = ((values >= 0) & (values <= high)).all(axis=1) & (values[:, 1] <= values[:, 2])
        none = (phash == MISSING.phash) & (values == MISSING[1:]).all(axis=1)
        wrong = ~seen & (np.asarray(kept) | ~none)
        for image_id in batch["image_id"].filter(pa.array(wrong)).to_pylist():
            self._tally.add(name, image_id, "its hash and statistics are none that an image has")

    def _kept(self, batch: pa.RecordBatch, name: str) -> None:
        """Every kept row against the samples of its key."""
        rows = batch.to_pydict()
        for image_id, key in zip(rows["image_id"], rows["key"], strict=True):
            if sample_key(image_id) != key:
                self._tally.add(name, image_id, "its key is not that of its image_id", f": {key!r}")
        for base in self._bases:
            self._at_base(base, rows, name)

    def _at_base(self, base: _Base, rows: dict[str, list[Any]], name: str) -> None:
        here = [base.here(bucket_id) for bucket_id in rows["bucket_id"]]
        there = [at for at, bucket_id in enumerate(here) if bucket_id is not None]
        inventory = base.inventory
        keys: list[str] = rows["key"]
        indices = inventory.find(b"".join(digest(keys[at]) for at in there)).tolist()
        places = inventory.places(indices)
        for at, index, (number, position) in zip(there, indices, places, strict=True):
            image_id, key = rows["image_id"][at], keys[at]
            claimed = _shard_path(here[at] or "", rows["shard"][at])
            if index < 0:
                text = f"{META} places it here, and it is in no shard that could be read"
                self._tally.add(claimed, key, text)
                continue
            if base.seen[index]:
                self._tally.add(name, image_id, "has more than one row")
            base.seen[index] = True
            if (base.numbers.get(claimed), rows["position"][at]) != (number, position):
                text = f"is elsewhere than {META} says"
                detail = f": at {position}, not at {rows['position'][at]} of {claimed}"
                self._tally.add(inventory.paths[number], key, text, detail)
            known = int(inventory.prints[index])
            if known and known != fingerprint(*(rows[column][at] for column in _SOURCE)):
                text = f"its JSON names another source, size or split than its row in {META}"
                self._tally.add(inventory.paths[number], key, text)

    def sums(self, source: dict[str, Any] | None, counts: dict[str, Any] | None) -> Sequence[str]:
        """After reading: what does not agree with the manifest's counts."""
        wrong = []
        if source is not None:
            if self._rows != source["samples"]:
                wrong.append(f"{self._rows} rows, the manifest has {source['samples']} samples")
            if dict(self._splits) != source["splits"]:
                wrong.append(f"splits {dict(self._splits)}, the manifest says {source['splits']}")
        if counts is not None:
            kept = self._reasons.get("", 0)
            if kept != counts["exported"]:
                wrong.append(f"{kept} kept, the manifest says {counts['exported']} exported")
            for reason in sorted({*self._reasons, *counts["dropped"]} - {""}):
                here, there = self._reasons.get(reason, 0), counts["dropped"].get(reason, 0)
                if here != there:
                    wrong.append(f"{here} dropped as {reason!r}, the manifest says {there}")
        unknown = sorted(set(self._reasons) - set(DROP_REASONS))
        return [*wrong, *(f"{reason!r} is no reason" for reason in unknown)]

    def unseen(self) -> None:
        """After reading: samples of the shards that no row named."""
        for base in self._bases:
            for index in np.flatnonzero(~base.seen).tolist():
                path, key = base.inventory.path(index), base.inventory.key(index)
                self._tally.add(path, key, f"has no row in {META}")


def _counts(column: pa.Array) -> dict[str, int]:
    return {str(c["values"]): int(c["counts"]) for c in pc.value_counts(column).to_pylist()}
