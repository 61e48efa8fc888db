"""Local tar files, uncompressed: walked in place, read at an offset."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..catalogue import Archive, Catalogue
from ..errors import RunError
from ..kernels import jpegheader, tarheader, tarwalk
from . import probe, text
from .buffer import Buffer, fill

BATCH = 4096
"""Samples a walk call: their header pages are still in the processor's cache when the JPEG headers
in them are read."""

BLOB = 16 * tarheader.NAME_LIMIT
"""Bytes for the keys of a batch; a batch whose names need more is cut short."""


def stamp(archive: Archive) -> str:
    """Size and time of the last change."""
    status = os.stat(archive.path)
    return f"{status.st_size}-{status.st_mtime_ns}"


def listing(archive: Archive) -> str:
    return f"{archive.name}\t{archive.size}\t{archive.split}"


def scan(archive: Archive) -> Catalogue:
    """Every sample of the tar by its headers.

    What comes behind a break in the archive (cut short, overwritten) is left out, and
    `Catalogue.broken` says why and at which byte. Raises RunError where the file cannot be read or
    where two samples have one key.
    """
    try:
        with open(archive.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise RunError(f"{archive.path}: empty file, not a tar")
            # Random: no read-ahead. A cold scan reads the pages of the headers and no others; the
            # kernel maps what is cached around them all the same.
            mapped = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
    except OSError as error:
        raise RunError(f"{archive.path}: cannot be read: {error.strerror}") from error
    if hasattr(mmap, "MADV_RANDOM"):
        mapped.madvise(mmap.MADV_RANDOM)
    data = np.frombuffer(mapped, np.uint8)
    walked = _Walked(data)
    keys, suffixes = walked.keys, walked.suffixes
    probe.check_unique(archive.path, keys, suffixes)
    offsets, sizes = walked.rows[:, tarwalk.IMAGE_OFFSET], walked.rows[:, tarwalk.IMAGE_SIZE]
    whole = memoryview(mapped)

    def fetch(i: int) -> memoryview:
        return whole[offsets[i] : offsets[i] + sizes[i]]

    columns = probe.columns(walked.rows, walked.heads, keys, suffixes, fetch)
    return Catalogue(columns, walked.broken, walked.extra)


class _Walked:
    """The samples of a mapped tar: rows, JPEG headers, keys, suffixes, and how it ended."""

    def __init__(self, data: np.ndarray) -> None:
        state = np.zeros(tarheader.STATE, np.int64)
        state[[tarheader.GLOBAL_PATH_SIZE, tarheader.GLOBAL_SIZE]] = -1
        rows = np.empty((BATCH, tarwalk.COLUMNS), np.int64)
        heads = np.empty((BATCH, jpegheader.FIELDS + 1), np.int64)
        keys, suffixes = np.empty(BLOB, np.uint8), np.empty(BLOB, np.uint8)
        # Two names of the limit fit: a prefix is put before a name that is not checked yet.
        name = np.empty(tarheader.NAME_LIMIT, np.uint8)
        seen = np.empty(tarwalk.SAMPLE_MEMBERS, np.uint64)
        batches: list[tuple[np.ndarray, np.ndarray, pa.Array, pa.Array]] = []
        ended = tarwalk.FULL
        while ended == tarwalk.FULL:
            ended, n = tarwalk.walk(data, state, rows, keys, suffixes, name, seen)
            jpegheader.jpeg_headers(
                data, rows[:n], tarwalk.IMAGE_OFFSET, tarwalk.IMAGE_KIND, heads[:n]
            )
            batches.append(
                (
                    rows[:n].copy(),
                    heads[:n].copy(),
                    _binaries(keys, rows[:n, tarwalk.KEY_END]),
                    _binaries(suffixes, rows[:n, tarwalk.SUFFIX_END]),
                )
            )
        self.rows = np.concatenate([batch[0] for batch in batches])
        self.heads = np.concatenate([batch[1] for batch in batches])
        self.keys = pa.concat_arrays([batch[2] for batch in batches])
        self.suffixes = pa.concat_arrays([batch[3] for batch in batches])
        at = int(state[tarheader.POSITION])
        self.broken = ""
        if ended in tarwalk.BREAKS:
            self.broken = f"{tarwalk.BREAKS[ended]}, at byte {at} of {len(data)}"
        self.extra: dict[str, Any] = {"members": int(state[tarheader.MEMBERS])}
        if ended == tarheader.END_UNMARKED:
            self.extra["note"] = "no end-of-archive marker: the file may have been cut short"
        if state[tarheader.SPARSE]:
            self.extra["sparse"] = int(state[tarheader.SPARSE])


def _binaries(blob: np.ndarray, ends: np.ndarray) -> pa.Array:
    """The byte strings that stand end to end in `blob`, copied."""
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends
    return pa.BinaryArray.from_buffers(
        pa.binary(),
        len(ends),
        [None, pa.py_buffer(offsets), pa.py_buffer(blob[: offsets[-1]].tobytes())],
    )


class Reader:
    """Reads members with pread.

    Deliberately no mapping: a source that is cut short or fails while we work must be an error
    with a name, and under a mapping it would be a SIGBUS.
    """

    def __init__(self, archive: Archive) -> None:
        self._path = archive.path
        try:
            self._descriptor = os.open(archive.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RunError(f"{archive.path}: cannot be opened: {error.strerror}") from error

    def read(self, name: str | bytes, offset: int, size: int, into: Buffer) -> memoryview:
        """`size` bytes at `offset`; the name is that of the member, for messages only."""
        view = into.take(size)
        try:
            got = fill(self._descriptor, offset, view)
        except OSError as error:
            raise RunError(f"{self._path}: {_text(name)}: {error.strerror}") from error
        if got < size:
            raise RunError(
                f"{self._path}: {_text(name)}: {got} of {size} bytes at byte {offset}: the file has "
                "become shorter since the scan. Restore it, or scan it anew."
            )
        return view

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else text(name)


def archive_name(path: str) -> str:
    """The file name without .tar: the first part of an image_id."""
    name = Path(path).name
    return name[: -len(".tar")] if name.endswith(".tar") else name
