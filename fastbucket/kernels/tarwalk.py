"""The walk over a tar in place: its members grouped into samples by webdataset's rule, in one pass.

Source: webdataset's tariterators (base_plus_ext, group_by_keys, `__meta__`). Unlike there, a member
whose base name starts with a dot (macOS's `._photo.jpg`) belongs to no sample: base_plus_ext gives
it the folder as its key, and so would part the members around it.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

from . import tarheader as tar
from .signature import BYTES, signature
from .suffixes import CLASS, IMAGES, JSON, TEXT
from .tarheader import block_state, next_member

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

# How a call ended: FULL, or the END_ codes and BREAKS of tarheader, or CROWD.
FULL = tar.FOUND
CROWD = 11
BREAKS = {**tar.BREAKS, CROWD: f"a sample has more than {SAMPLE_MEMBERS} members"}

PADDING_BLOCKS = 40
"""How far behind the end an appended archive is looked for: twice tar's usual record of 10 KiB."""


def _packed(text: str) -> int:
    return int.from_bytes(text.encode(), "little")


_SUFFIXES = np.array([_packed(suffix) for suffix in IMAGES], dtype=np.int64)
_TXT, _JSON, _CLS = _packed(TEXT), _packed(JSON), _packed(CLASS)


@njit(nogil=True, cache=True)
def _key_size(name: np.ndarray, size: int) -> int:
    """Length of the key in name[:size], up to the first dot of its base name; 0: of no sample."""
    if size > 4 and name[0] == 95 and name[1] == 95:  # webdataset skips `__meta__` and below it
        end = 0
        while end < size and name[end] != 47:
            end += 1
        if end >= 4 and name[end - 1] == 95 and name[end - 2] == 95:
            return 0
    base = size
    while base > 0 and name[base - 1] != 47:
        base -= 1
    for i in range(base, size):
        if name[i] == 46:
            return 0 if i == base else i
    return 0


@njit(nogil=True, cache=True)
def _suffix(name: np.ndarray, start: int, end: int) -> tuple[int, np.uint64]:
    """The suffix name[start:end] in lower case: (packed, -1 above 7 bytes; its FNV-1a hash)."""
    packed = np.int64(0)
    digest = np.uint64(0xCBF29CE484222325)
    for i in range(start, end):
        c = np.int64(name[i])
        if 65 <= c <= 90:
            c += 32
        if i - start < 7:
            packed |= c << (8 * (i - start))
        digest = (digest ^ np.uint64(c)) * np.uint64(0x100000001B3)
    return (packed if end - start < 8 else np.int64(-1)), digest


@njit(nogil=True, cache=True)
def _place(data: np.ndarray, row: np.ndarray, packed: int, offset: int, size: int) -> bool:
    """Notes a member in its sample's row; True: it is the sample's image so far."""
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
        kind = signature(data, offset, offset + size)
        if kind:
            rank = RANK_IMAGE if by_suffix else RANK_BYTES
        else:
            rank = RANK_SUFFIX if by_suffix else RANK_NONE
        if rank < row[RANK]:
            row[RANK], row[IMAGE_KIND] = rank, kind
            row[IMAGE_OFFSET], row[IMAGE_SIZE] = offset, size
            return True
    return False


@njit(nogil=True, cache=True)
def _same(
    name: np.ndarray, size: int, key: np.ndarray, seen: np.ndarray, members: int, digest: np.uint64
) -> bool:
    """Whether name[:size] is the open sample's key, and the suffix is new to it.

    A suffix that occurs twice starts another sample of the same key, which is an error later on.
    """
    if members == 0 or size != len(key):
        return False
    for i in range(size):
        if name[i] != key[i]:
            return False
    for i in range(members):  # noqa: SIM110 - numba has no all() of a generator
        if seen[i] == digest:
            return False
    return True


@njit(nogil=True, cache=True)
def _appended(data: np.ndarray, state: np.ndarray) -> int:
    """MORE if a header stands behind the zero blocks at state[POSITION], else END.

    `cat` of two tars makes such files, and every reader loses the second in silence. (Ant's tars
    have remains of older blocks there, which is harmless; nothing tells the two apart.)
    """
    at = state[tar.POSITION]
    for _ in range(PADDING_BLOCKS):
        if at + tar.BLOCK > len(data):
            break
        block = block_state(data, at)
        if block == 1:
            state[tar.POSITION] = at
            return tar.MORE
        if block == 2:
            break
        at += tar.BLOCK
    return tar.END


@njit(
    types.UniTuple(types.int64, 2)(
        BYTES,
        types.int64[::1],
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
    data: np.ndarray,
    state: np.ndarray,
    rows: np.ndarray,
    keys: np.ndarray,
    suffixes: np.ndarray,
    name: np.ndarray,
    seen: np.ndarray,
) -> tuple[int, int]:
    """Walks on from state[POSITION] to the end, to a break, or until there is no room.

    data: uint8 (n,), the file. state: int64 (STATE of tarheader,), kept between calls. rows: int64
    (m, COLUMNS). keys, suffixes: uint8, the samples' keys and the suffixes of their images, end to
    end, each with room for NAME_LIMIT bytes or more. name: uint8 (NAME_LIMIT,) and seen: uint64
    (SAMPLE_MEMBERS,) are scratch. Returns (how it ended, number of rows filled). The last sample
    is left out when the walk broke off before its image was met.
    """
    member = np.empty(tar.MEMBER, np.int64)
    found = np.empty(4, np.int64)
    count = members = 0  # whole samples; members of the open one, 0: none is open
    key_start = key_end = suffix_start = suffix_end = 0
    while True:
        ended = next_member(data, state, found, member, name)
        if ended != tar.FOUND:
            break
        length = member[tar.NAME_SIZE]
        key = _key_size(name, length)
        if key == 0:
            continue
        packed, digest = _suffix(name, key + 1, length)
        if not _same(name, key, keys[key_start:key_end], seen, members, digest):
            if members:
                rows[count, KEY_END], rows[count, SUFFIX_END] = key_end, suffix_end
                key_start, suffix_start = key_end, suffix_end
                count += 1
                members = 0
            free = min(len(keys) - key_start, len(suffixes) - suffix_start)
            if count == len(rows) or free < tar.NAME_LIMIT:
                state[tar.POSITION] = member[tar.BEGIN]
                state[tar.MEMBERS] -= 1
                return FULL, count
            rows[count] = -1
            rows[count, IMAGE_KIND] = 0
            rows[count, RANK] = RANK_NONE
            for i in range(key):
                keys[key_start + i] = name[i]
            key_end, suffix_end = key_start + key, suffix_start
        if members == SAMPLE_MEMBERS:
            state[tar.POSITION] = member[tar.BEGIN]
            ended = CROWD
            break
        seen[members] = digest
        members += 1
        if _place(data, rows[count], packed, member[tar.BODY], member[tar.SIZE]):
            suffix_end = suffix_start + length - key - 1
            for i in range(suffix_end - suffix_start):
                suffixes[suffix_start + i] = name[key + 1 + i]
    whole = ended == tar.END or ended == tar.END_UNMARKED
    if members and (whole or rows[count, RANK] <= RANK_BYTES):
        rows[count, KEY_END], rows[count, SUFFIX_END] = key_end, suffix_end
        count += 1
    if ended == tar.END:
        ended = _appended(data, state)
    return ended, count
