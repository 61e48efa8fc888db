"""Parquet files with images in a column: scanned page by page, read at a row.

`parquetcolumns` says which column is what, `parquetpages` where a value lies. The image column may
be named behind the file: a source is `train.parquet` or `train.parquet#image`.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..catalogue import Archive, Catalogue, text
from ..errors import RunError
from ..progress import At, unwatched
from . import parquetpages, pread, tar
from .parquetcache import PageCache
from .parquetpages import Chunk, Damaged, Page, Unusual, Values

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SUFFIX = ".parquet"
MAGIC = b"PAR1"

IN_FILE, IMAGE, TEXT, JSON, CLASS = range(5)
"""What the upper bits of an offset say that it is of: a byte of the file, or the image, text, JSON
or class of a row."""
_SHIFT = 56


def named(source: str) -> tuple[str, str]:
    """Path and image column of a source: ("a.parquet", "image") of "a.parquet#image"."""
    path, found, column = source.rpartition(f"{SUFFIX}#")
    return (path + SUFFIX, column) if found and column else (source, "")


def located(path: str) -> Archive:
    """The archive of a Parquet file, of which the ends have been looked at. Raises RunError."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(len(MAGIC))
        file.seek(max(size - len(MAGIC), 0))
        end = file.read()
    if start != MAGIC:
        raise RunError(f"source {path}: not a Parquet file: it does not begin with PAR1")
    if end != MAGIC or size < 12:
        raise RunError(
            f"source {path}: a Parquet file without its end, where it says what is in it: it has "
            "been cut short, or is being written. Nothing of it can be read; fetch it again."
        )
    name = text(os.fsencode(os.path.basename(path))).removesuffix(SUFFIX)
    return Archive("parquet", path, name, "", size)


def holds_images(path: str) -> bool:
    """Whether a file is a Parquet file that could be a source."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from .parquetcolumns import Ambiguous, columns

    try:
        columns(pq.read_schema(path), path)
    except Ambiguous:
        return True
    except (RunError, pa.ArrowException, OSError, ValueError):
        return False
    return True


def scan(archive: Archive, at: At = unwatched) -> Catalogue:
    """Every row by the header of its image; see `parquetscan`."""
    from . import parquetscan

    return parquetscan.scan(archive, at)


def stamp(archive: Archive) -> str:
    """Size and time of the last change."""
    return tar.stamp(Archive("parquet", named(archive.path)[0], archive.name, "", archive.size))


def listing(archive: Archive) -> str:
    """Name, size, image column where the source names it, and split."""
    column = named(archive.path)[1]
    return f"{archive.name}{SUFFIX}\t{archive.size}\t{column}\t{archive.split}"


cache = PageCache()
"""One a process, whatever the number of files that it has open."""


class Reader:
    """Reads rows of one Parquet file, which stays open."""

    from_disk = True

    def __init__(self, archive: Archive) -> None:
        self.path, self._column = named(archive.path)
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be opened: {error.strerror}") from error
        status = os.fstat(self._descriptor)
        self._identity = (self.path, self._column, status.st_size, status.st_mtime_ns)
        self._header = bytearray()
        self._pages: dict[int, tuple[list[Page], str]] = {}

    def read(self, name: str | bytes, offset: int, size: int, into: bytearray) -> memoryview:
        """`size` bytes of an image, text, JSON or class; `offset` as the scan has made it."""
        space, row = offset >> _SHIFT, offset & ((1 << _SHIFT) - 1)
        if space == IN_FILE:
            member = name if isinstance(name, str) else text(name)
            return pread.read(self._descriptor, f"{self.path}: {member}", row, size, into)
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        at = row - int(self.starts[group])
        try:
            data = self._image(group, at) if space == IMAGE else self._beside(group, at, space)
        except (Damaged, IndexError, KeyError) as error:
            raise RunError(f"{self.path}: row {row} is not as the scan found it: {error}") from None
        data = data[:size]
        view = pread.room(into, len(data))
        view[:] = data  # the page may go: those of sixteen samples would be much memory
        return view

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            file = self.__dict__.pop("file", None)
            if file is not None:
                file.close(force=True)

    # -- what is in the file

    @cached_property
    def file(self) -> pq.ParquetFile:
        """The file as pyarrow has it: footer, schema, columns beside the image."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise RunError(f"{self.path}: cannot be read as Parquet: {error}") from None

    @cached_property
    def columns(self) -> Any:
        """What its columns are: parquetcolumns.Columns."""
        from .parquetcolumns import columns

        return columns(self.file.schema_arrow, self.path, self._column)

    @cached_property
    def starts(self) -> np.ndarray:
        """First row of every row group, and the number of rows at last. int64 (groups + 1,)."""
        metadata = self.file.metadata
        counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        return np.concatenate(([0], np.cumsum(counts, dtype=np.int64))).astype(np.int64)

    def beside(self, group: int) -> pa.Table:
        """All columns of a row group but the image. Raises RunError."""
        import pyarrow as pa

        from .parquetcolumns import in_words

        def make() -> tuple[pa.Table, int]:
            try:
                table = self.file.read_row_group(group, columns=self.columns.beside)
                for at, field in enumerate(table.schema):
                    if pa.types.is_temporal(field.type):
                        table = table.set_column(at, field.name, in_words(table.column(at)))
            except (pa.ArrowException, OSError, ValueError) as error:
                raise RunError(f"{self.path}: row group {group} cannot be read: {error}") from None
            return table, table.nbytes

        table: pa.Table = cache.get((self._identity, "beside", group), make)
        return table

    def keys(self) -> pa.Array:
        """The keys of all rows: of a column where it is unique and never empty, else their numbers.
        Binaries (rows,)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        for name in self.columns.keys:
            parts = [self.beside(group).column(name) for group in range(len(self.starts) - 1)]
            texts = [chunk.cast(pa.string()) for part in parts for chunk in part.chunks]
            keys = pa.chunked_array(texts, pa.string()).combine_chunks()
            empty = keys.null_count or pc.any(pc.equal(keys, "")).as_py()
            if not empty and pc.count_distinct(keys).as_py() == len(keys):
                return keys.cast(pa.binary())
        return pa.array([b"%08d" % row for row in range(int(self.starts[-1]))], pa.binary())

    def pages(self, group: int) -> tuple[list[Page], str]:
        """The pages of the image column in a row group, and why those behind cannot be read, or "".
        None at all, and "" where they are not usual: then pyarrow reads them."""
        if group not in self._pages:
            try:
                self._pages[group] = parquetpages.pages(self._chunk(group), self._read), ""
            except Damaged as error:
                self._pages[group] = error.args[1], error.args[0]
            except Unusual:
                self._pages[group] = [], ""
        return self._pages[group]

    def values(self, group: int, number: int = -1) -> Values:
        """Where the images of one page lie, or of a whole row group. Raises Damaged, Unusual."""
        if number < 0:
            return self._whole(group)
        found = self.pages(group)[0]
        chunk, page, first = self._chunk(group), found[number], found[0]

        def locate(page: Page, dictionary: Values | None) -> tuple[Values, int]:
            made = parquetpages.values(chunk, page, dictionary, self._read)
            if page.coded:  # or the page would keep its dictionary's memory from being given back
                made = made._replace(memory=None)
            return made, made.bytes

        dictionary: Values | None = None
        if first.type == parquetpages.DICTIONARY:
            key = (self._identity, "page", first.at)
            dictionary = cache.get(key, lambda: locate(first, None))
        key = (self._identity, "page", page.at)
        values: Values = cache.get(key, lambda: locate(page, dictionary))
        if page.coded and dictionary is not None:
            return values._replace(memory=dictionary.memory)
        return values

    def _whole(self, group: int) -> Values:
        """The images of a row group as pyarrow reads them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        def make() -> tuple[Values, int]:
            try:
                table = self.file.read_row_group(group, columns=[self.columns.leaf])
                column = table.column(0)
                if pa.types.is_struct(column.type):
                    column = pc.struct_field(column, "bytes")
                whole = pa.concat_arrays([c.cast(pa.large_binary()) for c in column.chunks])
            except (pa.ArrowException, OSError, ValueError) as error:
                raise Damaged(f"row group {group} cannot be read: {error}") from None
            ends = np.frombuffer(whole.buffers()[1], np.int64)[whole.offset :][: len(whole) + 1]
            sizes = np.where(np.asarray(whole.is_valid()), np.diff(ends), -1)
            memory = memoryview(whole.buffers()[2] or b"").cast("B")
            made = Values(ends[:-1].copy(), sizes, memory)
            return made, made.bytes

        values: Values = cache.get((self._identity, "whole", group), make)
        return values

    def _chunk(self, group: int) -> Chunk:
        """Where the image column of a row group lies. Raises Unusual."""
        found = self.file.metadata.row_group(group)
        chunk = found.column(self._leaf)
        schema = self.file.schema.column(self._leaf)
        codec = parquetpages.CODECS.get(chunk.compression)
        if codec is None or schema.max_repetition_level:
            raise Unusual
        start = chunk.data_page_offset
        if chunk.has_dictionary_page and chunk.dictionary_page_offset:
            start = min(start, chunk.dictionary_page_offset)
        stop = start + chunk.total_compressed_size
        return Chunk(start, stop, found.num_rows, codec, schema.max_definition_level)

    @cached_property
    def _leaf(self) -> int:
        """Number of the column of bytes among the leaves of the schema."""
        schema, leaf = self.file.schema, self.columns.leaf
        return next(i for i in range(len(schema)) if schema.column(i).path == leaf)

    def _read(self, offset: int, size: int) -> memoryview:
        # A page may have 100 MB: the buffer that is used again is for headers and lengths.
        into = self._header if size <= 1 << 16 else bytearray()
        return pread.read(self._descriptor, self.path, offset, size, into)

    def _image(self, group: int, at: int) -> memoryview:
        try:
            found, first = -1, 0  # no page at all: pyarrow reads the row group
            for number, page in self._data_pages(group):
                found = number
                if at < first + page.rows:
                    break
                first += page.rows
            values = self.values(group, found)
        except Unusual:
            values, first = self.values(group), 0
        start, size = int(values.starts[at - first]), int(values.sizes[at - first])
        if values.memory is None:
            raise Damaged("its page is not compressed any more")
        return values.memory[start : start + size]

    def _data_pages(self, group: int) -> list[tuple[int, Page]]:
        pages = enumerate(self.pages(group)[0])
        return [(i, page) for i, page in pages if page.type != parquetpages.DICTIONARY]

    def _beside(self, group: int, at: int, space: int) -> memoryview:
        from .parquetcolumns import rows, sidecars

        row = rows(self.beside(group).slice(at, 1))[0]
        part = {TEXT: "text", JSON: "json", CLASS: "class"}[space]
        return memoryview(sidecars(self.columns, row)[part])


def address(space: int, row: int) -> int:
    """The offset of something of a row, as Reader.read takes it."""
    return space << _SHIFT | row
