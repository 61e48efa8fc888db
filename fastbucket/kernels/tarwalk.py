"""The walk over a tar: samples by webdataset's rule and the headers of their JPEGs, in one pass.

Source: webdataset's tariterators (base_plus_ext, group_by_keys, `__meta__`). Unlike there, a member
whose base name starts with a dot (macOS's `._photo.jpg`) belongs to no sample: base_plus_ext gives
it the folder as its key, and so would part the members around it.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

from . import jpegheader as jpeg
from . import tarheader as tar
from . import window as view
from .membername import key_size, same, suffix
from .signature import BRANDS_LIMIT, JPEG, signature
from .suffixes import CLASS, IMAGES, JSON, TEXT
from .tarblock import BLOCK, GOOD, ZERO, block_state
from .tarheader import next_member
from .window import need

SAMPLE_MEMBERS = 1024
"""Members of one key; suffixes are compared pairwise, so there has to be a bound."""

# Columns of a sample, int64; offsets and sizes in bytes, size -1: absent.
KEY_END = 0  # the key is keys[end of the sample before : this]
SUFFIX_END = 1
IMAGE_OFFSET = 2
IMAGE_SIZE = 3
IMAGE_KIND = 4  # signature.signature
RANK = 5  # RANK_ codes: why it is the image
TEXT_OFFSET = 6
TEXT_SIZE = 7
JSON_OFFSET = 8
JSON_SIZE = 9
CLASS_OFFSET = 10
CLASS_SIZE = 11
COLUMNS = 12

RANK_IMAGE = 0  # an image's suffix and an image's first bytes
RANK_BYTES = 1  # an image's first bytes under another suffix
RANK_SUFFIX = 2  # an image's suffix, and no first bytes that are known
RANK_NONE = 3

# How a call ended: FULL, FAILED, or the END_ codes and BREAKS of tarheader, or CROWD.
FULL = tar.FOUND
FAILED = tar.FAILED
CROWD = 11
BREAKS = {**tar.BREAKS, CROWD: f"a sample has more than {SAMPLE_MEMBERS} members"}

PADDING_BLOCKS = 40
"""How far behind the end an appended archive is looked for: twice tar's usual record of 10 KiB."""


def _packed(text: str) -> int:
    return int.from_bytes(text.encode(), "little")


_SUFFIXES = np.array([_packed(suffix) for suffix in IMAGES], dtype=np.int64)
_TXT, _JSON, _CLS = _packed(TEXT), _packed(JSON), _packed(CLASS)


@njit(nogil=True, forceinline=True)
def _head(
    file: np.ndarray,
    window: np.ndarray,
    body: int,
    size: int,
    head: np.ndarray,
    reading: np.ndarray,
) -> int:
    """The header of the JPEG, `size` bytes at `body`, into head[:FIELDS]; its code, or -1: failed.

    Window after window, for as long as the header goes on, and no pixel but those in the window.
    """
    jpeg.begin(head, reading)
    while True:
        at = reading[jpeg.AT]
        o = need(file, window, body + at, min(reading[jpeg.NEEDED], size - at))
        if o < 0:
            return -1
        start, have = o - at, file[view.END] - file[view.BASE]
        code = jpeg.read_on(window, start, have, start + size, head, reading)
        if code != jpeg.MORE:
            return int(code)


@njit(nogil=True, forceinline=True)
def _place(
    file: np.ndarray,
    window: np.ndarray,
    row: np.ndarray,
    head: np.ndarray,
    reading: np.ndarray,
    packed: int,
    offset: int,
    size: int,
) -> int:
    """Notes a member in its sample's row; 1: it is the sample's image so far, -1: failed."""
    if packed == _TXT:
        row[TEXT_OFFSET], row[TEXT_SIZE] = offset, size
    elif packed == _JSON:
        row[JSON_OFFSET], row[JSON_SIZE] = offset, size
    elif packed == _CLS:
        row[CLASS_OFFSET], row[CLASS_SIZE] = offset, size
    elif row[RANK] > RANK_IMAGE:
        by_suffix = False
        for known in _SUFFIXES:
            if packed == known:
                by_suffix = True
                break
        start = min(size, BRANDS_LIMIT)
        o = need(file, window, offset, start)
        if o < 0:
            return -1
        kind = signature(window, o, o + start)
        if kind:
            rank = RANK_IMAGE if by_suffix else RANK_BYTES
        else:
            rank = RANK_SUFFIX if by_suffix else RANK_NONE
        if rank < row[RANK]:
            row[RANK], row[IMAGE_KIND] = rank, kind
            row[IMAGE_OFFSET], row[IMAGE_SIZE] = offset, size
            code = jpeg.NOT_JPEG
            if kind == JPEG:
                code = _head(file, window, offset, size, head, reading)
            else:
                for i in range(jpeg.FIELDS):
                    head[i] = 0
            head[jpeg.FIELDS] = code
            return 1 if code >= 0 else -1
    return 0


@njit(nogil=True)
def _appended(file: np.ndarray, window: np.ndarray, state: np.ndarray) -> int:
    """MORE if a header stands behind the zero blocks at state[POSITION], else END (or FAILED).

    `cat` of two tars makes such files, and every reader loses the second in silence. (Ant's tars
    have remains of older blocks there, which is harmless; nothing tells the two apart.)
    """
    at = state[tar.POSITION]
    for _ in range(PADDING_BLOCKS):
        if at + BLOCK > file[view.SIZE]:
            break
        o = need(file, window, at, BLOCK)
        if o < 0:
            return FAILED
        block = block_state(window, o)
        if block == GOOD:
            state[tar.POSITION] = at
            return tar.MORE
        if block != ZERO:
            break
        at += BLOCK
    return tar.END


@njit(
    types.UniTuple(types.int64, 2)(
        types.int64[::1],
        types.uint8[::1],
        types.int64[::1],
        types.int64[:, ::1],
        types.int64[:, ::1],
        types.uint8[::1],
        types.uint8[::1],
        types.uint8[::1],
        types.uint64[::1],
    ),
    nogil=True,
    cache=True,
)
def walk(
    file: np.ndarray,
    window: np.ndarray,
    state: np.ndarray,
    rows: np.ndarray,
    heads: np.ndarray,
    keys: np.ndarray,
    suffixes: np.ndarray,
    name: np.ndarray,
    seen: np.ndarray,
) -> tuple[int, int]:
    """Walks on from state[POSITION] to the end, to a break, or until there is no room.

    file: int64 (FILE of window,) and window: uint8 (ROOM of window,), kept between calls, as is
    state: int64 (STATE of tarheader,). rows: int64 (m, COLUMNS). heads: int64 (m, FIELDS of
    jpegheader + 1), the last column the error code, NOT_JPEG where the image is none. keys,
    suffixes: uint8, the samples' keys and the suffixes of their images, end to end, each with room
    for NAME_LIMIT bytes or more. name: uint8 (NAME_LIMIT,) and seen: uint64 (SAMPLE_MEMBERS,) are
    scratch. Returns (how it ended, number of rows filled). The last sample is left out when the
    walk broke off before its image was met. FAILED: a read failed, at FAULT of the file; what is
    in the rows is whole, and the next call starts with the sample behind.
    """
    member = np.empty(tar.MEMBER, np.int64)
    found = np.empty(4, np.int64)
    reading = np.empty(jpeg.PROGRESS, np.int64)
    resume = np.empty(tar.STATE, np.int64)  # the state before the open sample
    count = members = 0  # whole samples; members of the open one, 0: none is open
    key_start = key_end = suffix_start = suffix_end = 0
    while True:
        ended = next_member(file, window, state, found, member, name)
        if ended != tar.FOUND:
            break
        length = member[tar.NAME_SIZE]
        key = key_size(name, length)
        if key == 0:
            continue
        packed, digest = suffix(name, key + 1, length)
        if not same(name, key, keys, key_start, key_end, seen, members, digest):
            if members:
                rows[count, KEY_END], rows[count, SUFFIX_END] = key_end, suffix_end
                key_start, suffix_start = key_end, suffix_end
                count += 1
                members = 0
            for i in range(tar.STATE):
                resume[i] = state[i]
            resume[tar.POSITION] = member[tar.BEGIN]
            resume[tar.MEMBERS] -= 1
            free = min(len(keys) - key_start, len(suffixes) - suffix_start)
            if count == len(rows) or free < tar.NAME_LIMIT:
                state[:] = resume
                return FULL, count
            for i in range(COLUMNS):
                rows[count, i] = -1
            rows[count, IMAGE_KIND] = 0
            rows[count, RANK] = RANK_NONE
            for i in range(jpeg.FIELDS):
                heads[count, i] = 0
            heads[count, jpeg.FIELDS] = jpeg.NOT_JPEG
            for i in range(key):
                keys[key_start + i] = name[i]
            key_end, suffix_end = key_start + key, suffix_start
        if members == SAMPLE_MEMBERS:
            state[tar.POSITION] = member[tar.BEGIN]
            ended = CROWD
            break
        seen[members] = digest
        members += 1
        placed = _place(
            file,
            window,
            rows[count],
            heads[count],
            reading,
            packed,
            member[tar.BODY],
            member[tar.SIZE],
        )
        if placed < 0:
            ended = FAILED
            break
        if placed:
            suffix_end = suffix_start + length - key - 1
            for i in range(suffix_end - suffix_start):
                suffixes[suffix_start + i] = name[key + 1 + i]
    if ended == FAILED:
        if members:
            state[:] = resume
        return FAILED, count
    whole = ended == tar.END or ended == tar.END_UNMARKED
    if members and (whole or rows[count, RANK] <= RANK_BYTES):
        rows[count, KEY_END], rows[count, SUFFIX_END] = key_end, suffix_end
        count += 1
    if ended == tar.END:
        ended = _appended(file, window, state)
    return ended, count
