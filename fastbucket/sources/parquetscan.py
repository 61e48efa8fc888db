"""The scan of a Parquet file: the header of every row's image, page by page, and the catalogue.

Memory: one page of images (decompressed, where it is compressed) and the other columns of one row
group. Of images that are not compressed only the first KiB are read.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ..catalogue import KINDS, Archive, Catalogue
from ..format import DROP_REASONS
from ..kernels import jpegheader, tarwalk
from ..kernels.signature import JPEG, signature
from ..progress import GOING_ON, At, unwatched
from . import parquetpages, probe
from .parquet import CLASS, IMAGE, JSON, TEXT, Reader, address
from .parquetcolumns import rows as rows_of
from .parquetcolumns import sidecars
from .parquetpages import Damaged, Unusual, Values

STEPS = (4096, 1 << 16)
"""Bytes of an image that are read for its header, then more, then all."""

_ROWS = 1000
"""Rows whose fields are Python objects at a time."""

UNREADABLE = DROP_REASONS.index("unreadable")

_SIDES = {
    "text": (TEXT, tarwalk.TEXT_OFFSET),
    "json": (JSON, tarwalk.JSON_OFFSET),
    "class": (CLASS, tarwalk.CLASS_OFFSET),
}


def scan(archive: Archive, at: At = unwatched) -> Catalogue:
    """Every row by the header of its image.

    A row without image bytes is `no_image`, one in a damaged page `unreadable`; both say why.
    Raises RunError where the file, or its other columns, cannot be read, and where it is not clear
    which column holds the images.
    """
    reader = Reader(archive)
    try:
        return _scan(reader, at)
    finally:
        reader.close()


def suffix(kind: int) -> bytes:
    """The suffix of the member that an image would be: jpg, png, ... by its first bytes."""
    return {"none": b"", "jpeg": b"jpg", "tiff": b"tif"}.get(KINDS[kind], KINDS[kind].encode())


def _scan(reader: Reader, at: At) -> Catalogue:
    n = int(reader.starts[-1])
    rows = np.full((n, tarwalk.COLUMNS), -1, np.int64)
    rows[:, [tarwalk.RANK, tarwalk.IMAGE_KIND]] = tarwalk.RANK_NONE, 0
    heads = np.zeros((n, jpegheader.FIELDS + 1), np.int64)
    details: dict[int, str] = {}
    damaged = np.zeros(n, bool)
    for group in range(len(reader.starts) - 1):
        for span, found in _spans(reader, group):
            if isinstance(found, Values):
                _images(reader, span.start, found, rows, heads, at)
            else:
                damaged[span.start : span.stop] = True
                details.update(dict.fromkeys(span, found))
        _sides(reader, group, rows, details, at)
    suffixes = pa.array([suffix(kind) for kind in rows[:, tarwalk.IMAGE_KIND]], pa.binary())
    into = bytearray()

    def fetch(i: int, size: int) -> memoryview:
        at(GOING_ON)  # a drive that stalls is not the image's fault
        data = reader.read(f"row {i}", int(rows[i, tarwalk.IMAGE_OFFSET]), size, into)
        at(i)
        return data

    columns = probe.columns(rows, heads, reader.keys(), suffixes, fetch, at)
    columns["reason"][damaged] = UNREADABLE
    for row in np.flatnonzero(damaged | (rows[:, tarwalk.IMAGE_SIZE] < 0)).tolist():
        columns["detail"][row] = details.get(row, "the image is null")
    return Catalogue(columns)


def _sides(reader: Reader, group: int, rows: np.ndarray, details: dict[int, str], at: At) -> None:
    """Fills in where texts, JSON and classes of a row group are, and in details what is known of
    rows without an image."""
    named, first = reader.columns, int(reader.starts[group])
    count = int(reader.starts[group + 1]) - first
    if not named.beside:
        return
    table = reader.beside(group)
    for start in range(0, count, _ROWS):
        at(GOING_ON)
        for number, row in enumerate(rows_of(table.slice(start, _ROWS)), first + start):
            for part, data in sidecars(named, row).items():
                space, column = _SIDES[part]
                rows[number, column] = address(space, number)
                rows[number, column + 1] = len(data)
            if rows[number, tarwalk.IMAGE_SIZE] >= 0 or number in details:
                continue
            if named.path and (path := (row[named.image] or {}).get("path")):
                details[number] = f"the image is no more than a path: {path}"
            elif named.status and row[named.status] not in (None, "success"):
                details[number] = f"the image is null: {row[named.status]}"


def _spans(reader: Reader, group: int) -> Iterator[tuple[range, Values | str]]:
    """Rows of a row group, and where their images lie, or what is wrong with their page."""
    first, stop = int(reader.starts[group]), int(reader.starts[group + 1])
    start, pages, why = first, *reader.pages(group)
    try:
        if not pages and not why and stop > start:
            raise Unusual
        for number, page in enumerate(pages):
            if page.type == parquetpages.DICTIONARY:
                continue
            span = range(start, start + page.rows)
            start = span.stop
            try:
                yield span, reader.values(group, number)
            except Damaged as error:
                yield span, str(error)
        if why:
            yield range(start, stop), why
    except Unusual:
        try:
            yield range(first, stop), reader.values(group)
        except Damaged as error:
            yield range(first, stop), str(error)


def _images(
    reader: Reader, first: int, found: Values, rows: np.ndarray, heads: np.ndarray, at: At
) -> None:
    """Fills the rows from `first` on: where their images lie, their kind, their JPEG header."""
    into = bytearray()
    for number, (start, size) in enumerate(
        zip(found.starts.tolist(), found.sizes.tolist(), strict=True), first
    ):
        at(GOING_ON)
        if size < 0:
            continue
        row, head = rows[number], heads[number]
        offset = address(IMAGE, number) if found.memory is not None else start
        row[tarwalk.IMAGE_OFFSET], row[tarwalk.IMAGE_SIZE] = offset, size
        for step in (*STEPS, size):
            have = min(step, size)
            if found.memory is not None:
                have = size
                data = np.frombuffer(found.memory, np.uint8, size, start)
            else:
                data = np.frombuffer(reader.read(f"row {number}", start, have, into), np.uint8)
            row[tarwalk.IMAGE_KIND] = kind = signature(data, 0, have)
            row[tarwalk.RANK] = tarwalk.RANK_IMAGE if kind else tarwalk.RANK_SUFFIX
            head[-1] = jpegheader.NOT_JPEG
            if kind == JPEG:
                head[-1] = jpegheader.jpeg_header(data, 0, have, head[:-1])
            if head[-1] != jpegheader.SHORT or have == size:
                break
