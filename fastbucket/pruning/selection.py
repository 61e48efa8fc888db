"""Which samples of an export a list of names means."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ..format import sample_key
from ..repack import places

_COLUMNS = ["key", "image_id", "bucket_id", "shard", "position", "reason"]
_KEY_DIGITS = 64
_HEX = frozenset("0123456789abcdef")


@dataclass
class Selection:
    """What the names mean. keys: of the samples that the export holds; leaving: (shard, position,
    key) of these, by bucket; gone: names of samples that it has dropped, with the reason;
    unknown: names of no sample that was ever scanned, in the order given."""

    keys: list[str] = field(default_factory=list)
    leaving: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def select(out: Path, names: Collection[str]) -> Selection:
    """Look the names (keys or image_ids) up in meta/. Raises RunError where that cannot be read."""
    found = Selection()
    rest = dict.fromkeys(names)
    dropped: list[pa.Table] = []
    wanted = pa.array(list(names), pa.string())
    for path in places.files(out):
        table = places.table_of(path, _COLUMNS)
        named = pc.or_(
            pc.is_in(table["key"], value_set=wanted), pc.is_in(table["image_id"], value_set=wanted)
        )
        for row in table.filter(named).to_pylist():
            for name in (row["key"], row["image_id"]):
                if name not in rest:
                    continue
                del rest[name]
                if row["shard"] < 0:
                    found.gone[name] = row["reason"]
            if row["shard"] >= 0:
                found.keys.append(row["key"])
                place = row["shard"], row["position"], row["key"]
                found.leaving.setdefault(row["bucket_id"], []).append(place)
        if any(map(_is_key, rest)):
            dropped.append(table.filter(pc.less(table["shard"], 0)).select(["image_id", "reason"]))
    for table in dropped if any(map(_is_key, rest)) else ():
        # The key of a dropped sample stands nowhere: it is that of its image_id.
        ids, reasons = table["image_id"].to_pylist(), table["reason"].to_pylist()
        for image_id, reason in zip(ids, reasons, strict=True):
            if (key := sample_key(image_id)) in rest:
                del rest[key]
                found.gone[key] = reason
    found.unknown = list(rest)
    return found


def _is_key(name: str) -> bool:
    return len(name) == _KEY_DIGITS and _HEX.issuperset(name)
