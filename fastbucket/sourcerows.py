"""Bytes of the source by the row of the catalogue: what planning looks at beside the headers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from . import sidecar
from .catalogue import Archive, column
from .progress import Progress
from .sources import KINDS
from .sources.names import member_name


def starts(tables: Sequence[pa.Table]) -> np.ndarray:
    """First row of each archive, and the number of all. int64 (archives + 1,)."""
    return np.cumsum([0, *(table.num_rows for table in tables)]).astype(np.int64)


class SourceRows:
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
                name = member_name(key, suffix, part)
                yield reader.read(name, int(offsets[at]), size, into)
        finally:
            if reader is not None:
                reader.close()
