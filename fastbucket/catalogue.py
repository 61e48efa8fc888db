"""What a scan found in one archive: columns, one row a sample, one file on disk.

The file is Arrow IPC, written once and mapped by everybody who reads it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from . import commit
from .geometry import Size, oriented
from .public import WEB

VERSION = 4
"""Counts up when the columns or their meaning change; an older file is scanned anew."""

UNKNOWN = "unknown"
"""The state of a stream whose server says none: neither ETag nor time."""

# How the pixels are coded. What is no JPEG is known by its signature, never by its suffix.
KINDS = ("none", "jpeg", "jpeg_other", "png", "gif", "webp", "tiff", "heif")
"""Index = code of column `kind`. `jpeg` is plain: 8 bit, Huffman, grey or YCbCr with usual
sampling; `jpeg_other` is every other JPEG (CMYK, RGB, arithmetic, odd sampling)."""
KIND = {name: code for code, name in enumerate(KINDS)}

PROFILES = ("none", "srgb", "other")
"""Index = code of column `profile`: the embedded ICC profile."""

COLUMNS: dict[str, Any] = {
    "key": pa.binary(),  # member key: path up to the first dot of its base name
    "suffix": pa.binary(),  # suffix of the image member, without the first dot, as it stands
    "image_offset": pa.int64(),  # first byte of the image in the archive, or what Reader.read takes
    "image_size": pa.int64(),  # bytes; -1: there is no image
    "text_offset": pa.int64(),  # the .txt member; size -1: there is none
    "text_size": pa.int64(),
    "json_offset": pa.int64(),
    "json_size": pa.int64(),
    "class_offset": pa.int64(),  # the .cls member
    "class_size": pa.int64(),
    "width": pa.int32(),  # pixels as stored, before EXIF orientation; 0: unknown
    "height": pa.int32(),
    "orientation": pa.uint8(),  # EXIF, 1 to 8
    "kind": pa.uint8(),  # KINDS
    "chroma": pa.uint8(),  # (h << 4) | v: luma samples for one of chroma; 0: unknown or grey
    "components": pa.uint8(),
    "progressive": pa.uint8(),
    "profile": pa.uint8(),  # PROFILES
    "reason": pa.uint8(),  # format.DROP_REASONS: 0, no_image, unreadable or decoder_crash
    "detail": pa.string(),  # why it is unreadable, else ""
}


@dataclass(frozen=True)
class Archive:
    """One unit of a source: a tar file, a folder of images, a Parquet file (its image column may
    stand behind its path: `sources.parquet`), or a script (`sources.script`).

    `name` is the archive file name without .tar or .parquet, and the first part of an image_id;
    for a folder it is the folder's base name and no part of the image_id. `size` in bytes, 0 for a
    folder and where nobody says it. Of a stream (`sources.stream`) `path` is its address; `state`
    is what its server says of it (an ETag, ...), "" for local ones; `spool` is the local tar of
    what a bucket may want of it.
    """

    kind: str
    path: str
    name: str
    split: str
    size: int
    state: str = ""
    spool: str = ""

    @property
    def identity(self) -> str:
        """What files of the state are named after. An address that is signed has another query at
        the next run, and is the same archive; where the server gives no tag, a query may as well
        name another version."""
        if self.path.startswith(WEB) and self.state != UNKNOWN:
            return f"{self.kind} {self.path.partition('?')[0]}"
        return f"{self.kind} {self.path}"

    @property
    def id_prefix(self) -> str:
        """What stands before the member key in an image_id, "" for a folder."""
        return "" if self.kind == "folder" else self.name


class Source(NamedTuple):
    """What the header of an image said; the codes are those of the columns.

    stored: size in pixels before EXIF orientation. progressive: False only where it is known not
    to be.
    """

    kind: int
    profile: int
    chroma: int
    stored: Size
    orientation: int
    progressive: bool = True

    @property
    def size(self) -> Size:
        """Width and height after EXIF orientation."""
        return oriented(self.stored, self.orientation)

    @property
    def chroma_spacing(self) -> tuple[int, int]:
        """Luma samples for one chroma sample in x and y, upright. (0, 0): grey; (1, 1) where the
        format is not subsampled or does not say."""
        if not self.chroma:
            return (0, 0) if self.kind == KIND["jpeg"] else (1, 1)
        spacing = self.chroma >> 4, self.chroma & 15
        return spacing[::-1] if self.orientation >= 5 else spacing


@dataclass
class Catalogue:
    """The columns of one archive (see COLUMNS), and `broken`: why it ended early, or ""."""

    columns: dict[str, Any]
    broken: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["width"])

    def table(self) -> pa.Table:
        """The columns as a table."""
        return pa.table(
            [pa.array(self.columns[name], type=kind) for name, kind in COLUMNS.items()],
            names=list(COLUMNS),
        )

    def write(self, path: Path, stamp: str, once: bool = False) -> None:
        """Write the file whole or not at all. `stamp` says which state of the source it is of.
        once: a file that another machine has put there meanwhile stays."""
        table = self.table().replace_schema_metadata(
            {
                "stamp": stamp,
                "version": str(VERSION),
                "broken": self.broken,
                "extra": json.dumps(self.extra),
            }
        )
        with (
            commit.whole(path, once) as unfinished,
            pa.OSFile(str(unfinished), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)


def read(path: Path, stamp: str) -> pa.Table | None:
    """The mapped table of a catalogue file; None where it is absent or of another state."""
    if not path.is_file():
        return None
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except pa.ArrowInvalid:  # not ours, or of a run that died before its rename: scan again
        return None
    metadata = table.schema.metadata or {}
    if metadata.get(b"stamp") != stamp.encode() or metadata.get(b"version") != b"%d" % VERSION:
        return None
    return table


def text(name: bytes) -> str:
    """A name of a source as text: UTF-8, any other byte as \\xNN."""
    return name.decode("utf-8", "backslashreplace")


def broken(table: pa.Table) -> str:
    """Why the archive of a catalogue ended early, or may have, as far as the scan can tell; ""."""
    metadata = table.schema.metadata or {}
    note = json.loads(metadata.get(b"extra", b"{}")).get("note", "")
    return metadata.get(b"broken", b"").decode() or str(note)


def column(table: pa.Table, name: str) -> np.ndarray:
    """A numeric column as a NumPy array, without a copy where it is one chunk."""
    chunks = table.column(name).chunks
    if len(chunks) == 1:
        return np.asarray(chunks[0].to_numpy(zero_copy_only=True))
    return np.asarray(table.column(name).to_numpy())
