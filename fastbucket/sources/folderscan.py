"""The scan of a folder: first bytes and JPEG headers of its files, and the catalogue."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ..catalogue import Archive, Catalogue
from ..kernels import jpegheader, tarwalk
from ..kernels.signature import JPEG, signature
from ..kernels.suffixes import CLASS, IMAGES, JSON, TEXT
from ..progress import GOING_ON, At, unwatched
from . import probe
from .folder import Reader
from .tree import File, files

PREFIX = 64 * 1024
"""Bytes of a file that are read for its header; an embedded profile or preview may need more."""

_IMAGES = frozenset(suffix.encode() for suffix in IMAGES)
_BESIDE = {
    TEXT.encode(): tarwalk.TEXT_OFFSET,
    JSON.encode(): tarwalk.JSON_OFFSET,
    CLASS.encode(): tarwalk.CLASS_OFFSET,
}


def scan(archive: Archive, at: At = unwatched) -> Catalogue:
    """Every image of the folder by its header.

    Files that are neither an image (by suffix or first bytes) nor beside one are passed over and
    counted in extra["skipped"]. Raises RunError where a file cannot be read or where two images
    differ in their suffix only.
    """
    everything = files(archive.path)
    sizes = {(file.key, file.suffix): file.size for file in everything if file.suffix in _BESIDE}
    reader, into = Reader(archive), bytearray()
    images: list[File] = []
    rows: list[np.ndarray] = []
    heads: list[np.ndarray] = []
    used = 0
    for file in everything:
        if file.suffix in _BESIDE or file.name.endswith(b"."):
            continue
        row = np.full(tarwalk.COLUMNS, -1, np.int64)
        head = np.zeros(jpegheader.FIELDS + 1, np.int64)
        at(GOING_ON)
        if not _look(file, reader, into, row, head):
            continue
        for suffix, column in _BESIDE.items():
            size = sizes.get((file.key, suffix))
            if size is not None:
                row[column], row[column + 1] = 0, size
                used += 1
        images.append(file)
        rows.append(row)
        heads.append(head)
    keys = pa.array([file.key for file in images], pa.binary())
    suffixes = pa.array([file.suffix for file in images], pa.binary())
    probe.check_unique(archive.path, keys, suffixes)

    def fetch(i: int, size: int) -> memoryview:
        at(GOING_ON)  # a drive that stalls is not the image's fault
        data = reader.read(images[i].name, 0, size, into)
        at(i)
        return data

    columns = probe.columns(
        np.array(rows, np.int64).reshape(-1, tarwalk.COLUMNS),
        np.array(heads, np.int64).reshape(-1, jpegheader.FIELDS + 1),
        keys,
        suffixes,
        fetch,
        at,
    )
    return Catalogue(columns, extra={"skipped": len(everything) - len(images) - used})


def _look(file: File, reader: Reader, into: bytearray, row: np.ndarray, head: np.ndarray) -> bool:
    """Fills the row and the JPEG header of a file; False: it is no image."""
    start = np.frombuffer(reader.read(file.name, 0, min(file.size, PREFIX), into), np.uint8)
    kind = signature(start, 0, len(start))
    if not kind and file.suffix.lower() not in _IMAGES:
        return False
    row[tarwalk.IMAGE_OFFSET], row[tarwalk.IMAGE_SIZE] = 0, file.size
    row[tarwalk.IMAGE_KIND] = kind
    row[tarwalk.RANK] = tarwalk.RANK_IMAGE if kind else tarwalk.RANK_SUFFIX
    code = jpegheader.NOT_JPEG
    if kind == JPEG:
        code = jpegheader.jpeg_header(start, 0, len(start), head[:-1])
        if code == jpegheader.SHORT and file.size > PREFIX:
            whole = np.frombuffer(reader.read(file.name, 0, file.size, into), np.uint8)
            code = jpegheader.jpeg_header(whole, 0, len(whole), head[:-1])
    head[-1] = code
    return True
