"""Catalogue + recipe -> which sample goes where: array work over all columns at once.

Every decision that a header allows is made here, so that what is dropped is never read. The result
is two files in the state folder: `plan.arrow`, the kept samples in the order of the shards, which
workers map; and `plan.json`, the shards and the carried fields. Where several machines work on one
export there is a third, `decisions.arrow`: with it and the catalogues the plan is read back whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from . import commit, dedup, sidecar
from .buckets import Bucket
from .catalogue import KIND, Archive, broken, column, text
from .errors import RunError
from .format import DROP_REASONS, image_id, sample_key
from .progress import Progress, Silent
from .recipe import Recipe
from .sources import KINDS
from .sources.names import member_names

REASON = {name: code for code, name in enumerate(DROP_REASONS)}

DECISIONS = "decisions.arrow"

_ROW_COLUMNS = (
    "key", "suffix", "image_offset", "image_size", "text_offset", "text_size", "json_offset",
    "json_size", "class_offset", "class_size", "width", "height", "orientation", "kind", "chroma",
    "profile",
)  # fmt: skip
"""Columns of the catalogue that an export needs of a kept sample."""


class Shard(NamedTuple):
    """One shard of the export: rows [start, stop) of the plan, all of one bucket.

    With several bases a bucket's rows stand once in the plan, those that fit the most bases first;
    the shards of one number begin at the same row at every base that reaches so far.
    """

    bucket: int
    number: int
    start: int
    stop: int


class Shards:
    """The shards of an export and their buckets, at every base."""

    buckets: tuple[Bucket, ...]  # of all bases, the smallest base first
    shards: list[Shard]

    def tasks(self) -> list[tuple[int, ...]]:
        """Indices of the shards that are made of the same samples, decoded once: those of one
        number of a bucket at every base. The first is of the smallest base, and has all of them."""
        together: dict[int, list[int]] = {}
        for index, shard in enumerate(self.shards):
            together.setdefault(shard.start, []).append(index)
        return [tuple(indices) for indices in together.values()]

    def at_larger_bases(self, bucket: int) -> list[int]:
        """The same bucket at the larger bases, the largest first."""
        own = self.buckets[bucket]
        return [
            index
            for index in range(len(self.buckets) - 1, bucket, -1)
            if self.buckets[index].proto == own.proto
        ]

    def is_whole(self, bucket: int) -> bool:
        """Whether a bucket is of the smallest base, which every kept sample goes to."""
        return self.buckets[bucket].base == self.buckets[0].base


@dataclass
class Plan(Shards):
    """What is to be done. Rows are all scanned samples, archives one after the other."""

    archives: list[Archive]
    starts: np.ndarray  # int64 (archives + 1,), first row of each archive
    reason: np.ndarray  # uint8 (rows,), index into DROP_REASONS; 0 is kept
    bucket: np.ndarray  # int16 (rows,), at the largest base that fits; -1 without one
    order: np.ndarray  # int64 (kept,), rows in the order of the shards
    buckets: tuple[Bucket, ...]  # of all bases, the smallest base first
    shards: list[Shard]
    carried: list[sidecar.Carried]

    def dropped(self) -> dict[str, int]:
        """Samples by reason, without the kept ones."""
        counts = np.bincount(self.reason, minlength=len(DROP_REASONS))
        return {DROP_REASONS[i]: int(n) for i, n in enumerate(counts) if i and n}


class _Rows:
    """Access to source bytes by global row, one archive open at a time."""

    def __init__(
        self,
        archives: Sequence[Archive],
        tables: Sequence[pa.Table],
        starts: np.ndarray,
        progress: Progress,
    ) -> None:
        self._archives, self._tables, self._starts = archives, tables, starts
        self._progress = progress

    def read(
        self, phase: str, rows: np.ndarray, part: str, limit: int | None
    ) -> Iterator[memoryview]:
        """The first `limit` bytes of a member of each row: part is image, text or json."""
        if rows.size:
            self._progress.phase(phase, rows.size, "samples")
        reader, current = None, -1
        into = bytearray()
        try:
            for row in rows:
                archive = int(np.searchsorted(self._starts, row, side="right")) - 1
                if archive != current:
                    if reader is not None:
                        reader.close()
                    current = archive
                    reader = KINDS[self._archives[archive].kind].Reader(self._archives[archive])
                    table = self._tables[archive]
                    offsets = column(table, f"{part}_offset")
                    sizes = column(table, f"{part}_size")
                assert reader is not None
                at = int(row - self._starts[archive])
                self._progress.advance(1)
                size = int(sizes[at])
                beyond = part != "image" and size > sidecar.SIDECAR_LIMIT
                if size <= 0 or beyond:  # absent or empty: a folder has no file to open for it
                    yield memoryview(b"")
                    continue
                size = size if limit is None else min(size, limit)
                key, suffix = table["key"][at].as_py(), table["suffix"][at].as_py()
                name = member_names(key, suffix)[part]
                yield reader.read(name, int(offsets[at]), size, into)
        finally:
            if reader is not None:
                reader.close()


def make(
    archives: Sequence[Archive],
    tables: Sequence[pa.Table],
    recipe: Recipe,
    excluded: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> Plan:
    """Decide about every sample of the catalogue. excluded: keys or image_ids.

    Raises RunError for two samples of one image_id, and where nothing was found at all.
    """
    starts = _starts(tables)
    if not starts[-1]:
        why = next(filter(None, map(broken, tables)), "")
        raise RunError(
            f"no samples in {', '.join(a.path for a in archives[:3])}{why and f' ({why})'}"
        )
    _check_folder_ids(archives, tables)

    def whole(name: str) -> np.ndarray:
        return np.concatenate([column(table, name) for table in tables])

    reason = whole("reason").copy()
    width, height = whole("width"), whole("height")
    turned = whole("orientation") >= 5
    width, height = np.where(turned, height, width), np.where(turned, width, height)
    readable = reason == 0
    pixels = width.astype(np.int64) * height
    reason[readable & (pixels > recipe.max_pixels)] = REASON["too_many_pixels"]
    del pixels
    if recipe.image_mode == "passthrough_jpeg" and recipe.passthrough_other == "drop":
        reason[(reason == 0) & (whole("kind") != KIND["jpeg"])] = REASON["no_plain_jpeg"]

    from .kernels.fit import fit_bases  # numba: not for workers, who only read what is planned

    bases = recipe.ladder()
    bucket, level = fit_bases(
        np.where(reason == 0, width, 0),
        np.where(reason == 0, height, 0),
        bases,
        recipe.choice,
        recipe.too_small_policy == "next_bucket",
        recipe.next_bucket_max_crop,
    )
    reason[(reason == 0) & (bucket < 0)] = REASON["no_bucket"]
    reason[(reason == 0) & (level == 0)] = REASON["too_small"]
    listed = np.zeros(reason.size, np.bool_)
    if excluded:
        for archive, table, start in zip(archives, tables, starts, strict=False):
            for at, key in enumerate(table.column("key").to_pylist()):
                name = image_id(archive.id_prefix, text(key))
                if name in excluded or sample_key(name) in excluded:
                    listed[start + at] = True
    # What an excluded sample would have driven out as its copy is not to come in its stead: so a
    # pruned export and one made anew without the same samples hold the same.
    would_stay = listed & (reason == 0)
    reason[listed] = REASON["excluded"]

    source = _Rows(archives, tables, starts, progress or Silent())
    if recipe.missing_caption_policy == "drop":
        rows = np.flatnonzero((reason == 0) | would_stay)
        without = rows[~_captioned(source, rows, recipe.caption_field)]
        reason[without[~listed[without]]] = REASON["no_caption"]
        would_stay[without] = False
    if recipe.duplicates == "drop":
        rows = np.flatnonzero((reason == 0) | would_stay)
        repeated = dedup.duplicates(
            whole("image_size")[rows],
            width[rows],
            height[rows],
            lambda which, limit: source.read(
                "dedup" if limit else "dedup, whole", rows[which], "image", limit
            ),
        )
        repeats = rows[repeated]
        reason[repeats[~listed[repeats]]] = REASON["duplicate"]
    if recipe.min_bucket:
        _clear_rare(reason, bucket, width, height, bases[0], recipe, progress or Silent())

    kept = np.flatnonzero(reason == 0)
    family = len(bases[0])
    bucket[bucket >= 0] += family * (np.maximum(level, 1) - 1)[bucket >= 0].astype(np.int16)
    order = _order(reason, bucket, family)
    shards = _shards(bucket[order] % family, level[order], len(bases), family, recipe.shard_size)
    return Plan(
        archives=list(archives),
        starts=starts,
        reason=reason,
        bucket=bucket,
        order=order,
        buckets=tuple(chain.from_iterable(bases)),
        shards=shards,
        carried=sidecar.decide(
            recipe.carry,
            (
                sidecar.json_object(raw)
                for raw in source.read(
                    "fields", kept[: sidecar.AUTO_SAMPLES], "json", sidecar.SIDECAR_LIMIT
                )
            ),
        ),
    )


def _clear_rare(
    reason: np.ndarray,
    bucket: np.ndarray,
    width: np.ndarray,
    height: np.ndarray,
    family: Sequence[Bucket],
    recipe: Recipe,
    progress: Progress,
) -> None:
    """Move the samples of rare buckets, or drop them: changes reason and bucket.

    Which are rare is decided once, by what is planned for them now: a bucket that takes others in
    was large enough before, and none becomes so by merging.
    """
    from .kernels.fit import ONLY_NEXT, fit

    planned = reason == 0
    counts = np.bincount(bucket[planned], minlength=len(family))
    is_rare = (counts > 0) & (counts < recipe.min_bucket)
    large = np.flatnonzero(counts >= recipe.min_bucket)
    rows = np.flatnonzero(planned & is_rare[bucket])
    moved = np.zeros(rows.size, np.bool_)
    if recipe.rare_bucket_policy == "merge" and rows.size and large.size:
        to, moved = fit(
            width[rows],
            height[rows],
            tuple(family[at] for at in large.tolist()),
            recipe.choice,
            ONLY_NEXT,
            recipe.next_bucket_max_crop,
        )
        bucket[rows[moved]] = large[to[moved]]
    reason[rows[~moved]] = REASON["rare_bucket"]
    if rows.size:
        progress.say(
            f"{int(is_rare.sum())} of {int((counts > 0).sum())} buckets are rare, with fewer than "
            f"{recipe.min_bucket} samples: {int(moved.sum())} of those moved to other buckets, "
            f"{int((~moved).sum())} dropped"
        )


def _starts(tables: Sequence[pa.Table]) -> np.ndarray:
    """First row of each archive, and the number of all. int64 (archives + 1,)."""
    return np.cumsum([0, *(table.num_rows for table in tables)]).astype(np.int64)


def _order(reason: np.ndarray, bucket: np.ndarray, family: int) -> np.ndarray:
    """The kept rows by bucket, those first that fit most bases, in the order of the source within
    each. bucket: as in `Plan`, of so many at each base. int64 (kept,)."""
    kept = np.flatnonzero(reason == 0)
    level, proto = np.divmod(bucket[kept], np.int16(family))
    return np.asarray(kept[np.lexsort((-level, proto))])  # which is stable


def _captioned(source: _Rows, rows: np.ndarray, field: str) -> np.ndarray:
    """Which rows have a caption, in their .txt or in a field of their JSON. bool (n,)."""
    limit = sidecar.SIDECAR_LIMIT
    found = np.array(
        [bool(sidecar.text(t).strip()) for t in source.read("captions", rows, "text", limit)], bool
    )
    if field:
        rest = np.flatnonzero(~found)
        found[rest] = [
            bool(sidecar.as_str(sidecar.json_object(raw).get(field)).strip())
            for raw in source.read("captions", rows[rest], "json", limit)
        ]
    return found


def _check_folder_ids(archives: Sequence[Archive], tables: Sequence[pa.Table]) -> None:
    """Ids are unique within an archive (the scan saw to it) and between tars (their names differ);
    only those of a folder, which have no prefix, can meet others."""
    if len(archives) < 2 or all(a.kind != "folder" for a in archives):
        return
    seen: dict[str, str] = {}
    for archive, table in zip(archives, tables, strict=True):
        for key in table.column("key").to_pylist():
            name = image_id(archive.id_prefix, text(key))
            if name in seen:
                raise RunError(
                    f"two samples of one image_id {name!r}, in {seen[name]} and in {archive.path}"
                )
            seen[name] = archive.path


def _shards(
    bucket: np.ndarray, level: np.ndarray, bases: int, family: int, shard_size: int
) -> list[Shard]:
    """The shards of samples in their order: ascending by bucket, int16 (n,), below `family`, and
    descending by the number of `bases` that they fit, uint8 (n,)."""
    shards: list[Shard] = []
    found, first, count = np.unique(bucket, return_index=True, return_counts=True)
    ends = first + count
    for base in range(bases):
        for own, start, end in zip(found.tolist(), first.tolist(), ends.tolist(), strict=True):
            stop = start + int((level[start:end] > base).sum())
            for number, at in enumerate(range(start, stop, shard_size)):
                here = Shard(base * family + own, number, at, min(at + shard_size, stop))
                shards.append(here)
    return shards


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
    starts = _starts(tables)
    if decisions.num_rows != starts[-1]:
        raise RunError(
            f"{state / DECISIONS} is of {decisions.num_rows} samples, the catalogues beside it of "
            f"{starts[-1]}: remove the folder {state.parent} to start afresh"
        )
    reason, bucket = column(decisions, "reason"), column(decisions, "bucket")
    return Plan(
        archives=found.archives,
        starts=starts,
        reason=reason,
        bucket=bucket,
        order=_order(reason, bucket, len({bucket.proto for bucket in found.buckets})),
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
