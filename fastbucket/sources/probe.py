"""From the samples of an archive to its catalogue: what kind of image, how large, or why not.

| first bytes | header                                     | becomes                             |
|-------------|--------------------------------------------|-------------------------------------|
| JPEG        | plain: 8 bit, Huffman, grey or YCbCr, and  | jpeg                                |
|             | 4:4:4, 4:2:2, 4:2:0, 4:4:0 or 4:1:1        |                                     |
| JPEG        | another, or one that the kernel rejects    | jpeg_other if libvips reads it,     |
|             |                                            | else unreadable                     |
| other image | read by libvips                            | png, gif, webp, tiff, heif, or else |
|             |                                            | unreadable                          |
| no image    | not read                                   | unreadable, with what it looks like |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from ..catalogue import KIND, PROFILES, Source, text
from ..decode import header as vips_header
from ..decode.icc import assemble, classify
from ..errors import RunError, SampleError
from ..format import DROP_REASONS
from ..geometry import Size
from ..kernels import jpegheader as jpeg
from ..kernels import tarwalk as walk
from ..kernels.distinct import distinct
from ..kernels.signature import signature
from ..progress import At, unwatched
from .names import member_name

NO_IMAGE = DROP_REASONS.index("no_image")
JPEG, NO_PROFILE = KIND["jpeg"], PROFILES.index("none")

# Formats that are known by name only, so that the report can say what is missing.
STRANGERS = (
    (b"BM", "BMP"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\1\0", "ICO"),
    *((b"P%d" % i, "PNM") for i in range(1, 8)),
    (b"<", "markup"),
    (b"\x1f\x8b", "gzip"),
)

NUMBERS = {
    "image_offset": walk.IMAGE_OFFSET,
    "image_size": walk.IMAGE_SIZE,
    "text_offset": walk.TEXT_OFFSET,
    "text_size": walk.TEXT_SIZE,
    "json_offset": walk.JSON_OFFSET,
    "json_size": walk.JSON_SIZE,
    "class_offset": walk.CLASS_OFFSET,
    "class_size": walk.CLASS_SIZE,
}
"""Columns of the catalogue that are taken over from the walk."""

Fetch = Callable[[int, int], "bytes | memoryview"]


def columns(
    rows: np.ndarray,
    heads: np.ndarray,
    keys: pa.Array,
    suffixes: pa.Array,
    fetch: Fetch,
    at: At = unwatched,
) -> dict[str, Any]:
    """The columns of a catalogue.

    rows: int64 (n, tarwalk.COLUMNS); heads: int64 (n, jpegheader.FIELDS + 1), its last column the
    error code; keys, suffixes: n binaries; fetch(i, size): the first `size` bytes of image i, good
    up to the next call, asked for only where the kernel did not settle it; at(i) is called first.
    """
    n = len(rows)
    is_jpeg = rows[:, walk.IMAGE_KIND] == KIND["jpeg"]
    read = is_jpeg & (heads[:, jpeg.FIELDS] == jpeg.OK)
    plain = read & (heads[:, jpeg.PLAIN] == 1)
    reason = np.zeros(n, np.uint8)
    reason[rows[:, walk.RANK] == walk.RANK_NONE] = NO_IMAGE
    kind = np.where(plain, KIND["jpeg"], rows[:, walk.IMAGE_KIND])
    kind[is_jpeg & ~plain] = KIND["jpeg_other"]
    found: dict[str, Any] = {
        **{name: np.where(plain, heads[:, field], 0) for name, field in _HEADS.items()},
        "orientation": np.where(plain, heads[:, jpeg.ORIENTATION], 1),
        "progressive": read & np.isin(heads[:, jpeg.SOF], (0xC2, 0xCA)),
        "profile": np.zeros(n, np.uint8),
        "kind": kind,
        "reason": reason,
    }
    detail = [""] * n
    for i in np.flatnonzero(plain & (heads[:, jpeg.ICC_START] >= 0)).tolist():
        try:
            at(i)
            start = fetch(i, int(heads[i, jpeg.HEADER_SIZE]))
            profile = assemble(start, int(heads[i, jpeg.ICC_START]))
            name = classify(profile, int(heads[i, jpeg.COMPONENTS]))
            found["profile"][i] = PROFILES.index(name)
        except SampleError as error:
            _drop(found, i, error)
            detail[i] = error.detail
    for i in np.flatnonzero(~plain & (reason == 0)).tolist():
        try:
            at(i)
            _by_libvips(found, i, rows[i], heads[i], fetch)
        except SampleError as error:
            _drop(found, i, error)
            detail[i] = error.detail
    at(None)
    return {
        "key": keys,
        "suffix": suffixes,
        **{name: rows[:, column] for name, column in NUMBERS.items()},
        **{
            name: values.astype(np.int32 if name in ("width", "height") else np.uint8)
            for name, values in found.items()
        },
        "detail": detail,
    }


_HEADS = {
    "width": jpeg.WIDTH,
    "height": jpeg.HEIGHT,
    "chroma": jpeg.CHROMA,
    "components": jpeg.COMPONENTS,
}


def _drop(found: dict[str, Any], i: int, error: SampleError) -> None:
    """Row i has no header that could be read: nothing is known of it."""
    for name in ("width", "height", "kind", "profile", "chroma", "components", "progressive"):
        found[name][i] = 0
    found["orientation"][i] = 1
    found["reason"][i] = DROP_REASONS.index(error.reason)


def _by_libvips(
    found: dict[str, Any], i: int, row: np.ndarray, head: np.ndarray, fetch: Fetch
) -> None:
    """Fills row i of `found` for an image that is no plain JPEG; raises SampleError."""
    if row[walk.IMAGE_SIZE] == 0:
        raise SampleError("unreadable", "empty file")
    data = fetch(i, int(row[walk.IMAGE_SIZE]))
    kind = int(found["kind"][i])
    if kind == KIND["none"]:
        raise SampleError("unreadable", stranger(bytes(data[:16])))
    code = int(head[jpeg.FIELDS]) if kind == KIND["jpeg_other"] else jpeg.OK
    try:
        known = vips_header.header(data, kind)
    except SampleError as error:
        raise SampleError("unreadable", jpeg.ERRORS.get(code, error.detail)) from None
    if kind == KIND["jpeg_other"]:
        found["chroma"][i] = head[jpeg.CHROMA]
    for name in ("width", "height", "orientation"):
        found[name][i] = getattr(known, name)
    found["components"][i] = min(known.components, 255)
    found["profile"][i] = PROFILES.index(known.profile)


def probe(data: bytes | memoryview) -> Source:
    """The header of one image in memory, by the same rules; raises SampleError("unreadable")."""
    view = np.frombuffer(data, np.uint8)
    head = np.zeros(jpeg.FIELDS + 1, np.int64)
    code = jpeg.jpeg_header(view, 0, len(view), head)
    known = head.tolist()
    if code == jpeg.OK and known[jpeg.PLAIN]:
        # The common case, as `columns` has it, without the 0.2 ms that a table of one row takes.
        profile = NO_PROFILE
        if known[jpeg.ICC_START] >= 0:
            icc = assemble(data[: known[jpeg.HEADER_SIZE]], known[jpeg.ICC_START])
            profile = PROFILES.index(classify(icc, known[jpeg.COMPONENTS]))
        return Source(
            JPEG,
            profile,
            known[jpeg.CHROMA],
            Size(known[jpeg.WIDTH], known[jpeg.HEIGHT]),
            known[jpeg.ORIENTATION],
            known[jpeg.SOF] == jpeg.SOF2,
        )
    head[jpeg.FIELDS] = code
    row = np.full(walk.COLUMNS, -1, np.int64)
    row[walk.IMAGE_OFFSET], row[walk.IMAGE_SIZE], row[walk.RANK] = 0, len(view), walk.RANK_IMAGE
    row[walk.IMAGE_KIND] = signature(view, 0, len(view))
    one = pa.array([b""], pa.binary())
    found = columns(row[None], head[None], one, one, lambda _, size: data[:size])
    if found["reason"][0]:
        raise SampleError("unreadable", found["detail"][0])
    kind, profile, chroma, width, height, orientation = (
        int(found[name][0])
        for name in ("kind", "profile", "chroma", "width", "height", "orientation")
    )
    progressive = bool(found["progressive"][0])
    return Source(kind, profile, chroma, Size(width, height), orientation, progressive)


def stranger(start: bytes) -> str:
    """What to say of a file that claims to be an image, by its first bytes."""
    for first, name in STRANGERS:
        if start.startswith(first):
            return f"{name} is no image format that is read here"
    return "no signature of an image"


def check_unique(archive: str, keys: pa.Array, suffixes: pa.Array) -> None:
    """Raises RunError, naming two members, where two samples have one key (as text)."""
    names = _texts(keys)
    _, offsets, data = names.buffers()
    if not len(names) or distinct(
        np.frombuffer(data or b"", np.uint8),
        np.frombuffer(offsets, np.int32)[names.offset : names.offset + len(names) + 1],
    ):
        return
    first: dict[str, int] = {}
    for i, name in enumerate(names.to_pylist()):
        j = first.setdefault(name, i)
        if j != i:
            members = (
                text(member_name(keys[k].as_py(), suffixes[k].as_py(), "image")) for k in (j, i)
            )
            raise RunError(
                f"{archive}: two samples of one key {name!r}: sample {j} ({next(members)}) and "
                f"sample {i} ({next(members)}). Members of a sample must stand side by side, and "
                "keys (the name up to the first dot) must differ; repack or rename them."
            )


def _texts(keys: pa.Array) -> pa.Array:
    """Binaries as strings. (Their cast would load pyarrow.compute.)"""
    names = pa.Array.from_buffers(pa.string(), len(keys), keys.buffers(), offset=keys.offset)
    try:
        names.validate(full=True)
    except pa.ArrowInvalid:  # not UTF-8: the text decides, as it does in the image_id
        names = pa.array([text(key) for key in keys.to_pylist()], pa.string())
    return names
