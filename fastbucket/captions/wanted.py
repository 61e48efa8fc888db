"""Which samples a source is still to be asked for."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import RunError
from .store import Sample, Store

_PAGE = 500
"""Samples fetched at a time, so that captions can be written between them. SQLite before 3.32 takes
999 values."""

_SAMPLE = "key, image_id, bucket_id, shard, position"
_PLACE = "bucket_id, shard, position"


@dataclass(frozen=True)
class Wanted:
    """The samples of the export that `source_id` has no answer for.

    retry: statuses of earlier answers that do not count as one. without: ids of sources; a sample
    that has a caption of any of them is not wanted.
    """

    store: Store
    source_id: int
    retry: Sequence[str] = ("error",)
    without: Sequence[int] = ()

    def count(self) -> int:
        ((new,),) = self.store.query(f"SELECT count(*) FROM samples WHERE {self._new}", self._ids)
        return int(new) + len(self._again())

    def __iter__(self) -> Iterator[Sample]:
        """Those never asked about as they stand in the shards, then those to be asked about again:
        what failed before does not stand in the way of the others. Each once, whatever is put into
        the store meanwhile."""
        again = self._again()
        after: Sequence[object] = ("", -1, -1)
        sql = (
            f"SELECT {_SAMPLE} FROM samples WHERE {self._new} AND (bucket_id, shard, position) > "
            f"(?, ?, ?) ORDER BY {_PLACE} LIMIT ?"
        )
        while rows := self.store.query(sql, (*self._ids, *after, _PAGE)):
            for row in rows:
                yield Sample(*row)
            after = rows[-1][2:]
        for first in range(0, len(again), _PAGE):
            page = again[first : first + _PAGE]
            sql = f"SELECT {_SAMPLE} FROM samples WHERE id IN ({_marks(page)}) ORDER BY {_PLACE}"
            for row in self.store.query(sql, page):
                yield Sample(*row)

    def _again(self) -> array[int]:
        """Ids of the samples whose earlier answer does not count, as they stand in the shards."""
        sql = (
            "SELECT samples.id FROM captions a JOIN samples ON samples.id = a.sample_id "
            f"WHERE a.source_id = ? AND a.status IN ({_marks(self.retry)}) AND {self._free} "
            f"ORDER BY {_PLACE}"
        )
        values = (self.source_id, *self.retry, *self.without)
        return array("q", [id for (id,) in self.store.query(sql, values)])

    @property
    def _new(self) -> str:
        return (
            "NOT EXISTS (SELECT 1 FROM captions c WHERE c.source_id = ? AND "
            f"c.sample_id = samples.id) AND {self._free}"
        )

    @property
    def _ids(self) -> tuple[int, ...]:
        """The values of `_new`."""
        return self.source_id, *self.without

    @property
    def _free(self) -> str:
        """In the export, and without a caption of those in `without`, which are the values."""
        return (
            "shard >= 0 AND NOT EXISTS (SELECT 1 FROM captions c WHERE c.source_id IN "
            f"({_marks(self.without)}) AND c.sample_id = samples.id AND c.status = 'ok')"
        )


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def others(store: Store, source_id: int, priority: Sequence[str]) -> list[int]:
    """Ids of the sources that --only-missing looks at: those of `priority`, or all others."""
    known = {source.variant: source.id for source in store.sources()}
    for variant in priority:
        if variant not in known:
            raise RunError(
                f"--priority {variant}: no such variant in {store.path}; there are "
                f"{', '.join(sorted(known))}"
            )
    return [known[v] for v in (priority or known) if known[v] != source_id]
