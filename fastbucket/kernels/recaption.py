"""The tar of an exported shard with other captions, in pieces: images as they stand, and behind
each its text and its JSON made anew, whose last three fields are those of the caption.

A sample is two calls of pread and what they copy. Against the same by Python's bytes, in turn on a
busy core, medians of four over 32,768 samples: 310 and 295 MB a second of processor time in tmpfs,
371 and 329 in ext4.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

BLOCK = 512
KEY = 64
"""Hex digits of a key."""

# What is kept between two calls, int64.
SAMPLE = 0  # the sample at hand
COPIED = 1  # bytes of its image, header and padding included, that are in pieces
MADE = 2  # bytes behind its image, in `made`; 0: they are not made yet
TAKEN = 3  # of these in pieces
FILLED = 4  # bytes of the piece
STATE = 5

# What came of a call.
FULL = 0  # the piece is full
END = 1  # all samples are in pieces, but for the end of the tar
ODD = 2  # the JSON is none as it is written: the caller makes what stands behind the image
FAILED = 3  # to read the sample

# Columns of `members`, int64, those of walked.Walked and behind them the sample's first byte.
IMAGE_SIZE, TEXT_OFFSET, JSON_OFFSET, JSON_SIZE = 1, 2, 4, 5
BEGIN = 6
MEMBERS = 7

# Columns of `entries`, int64: sizes of the new members in bytes, and of the image in pixels.
ENTRY = 5

_pread = types.ExternalFunction(
    "pread", types.intp(types.int32, types.voidptr, types.uintp, types.int64)
)


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


_VARIANT = _bytes(',"caption_variant":"')
_RANK = _bytes('","caption_selector_index":')
_SOURCE = _bytes(',"caption_source_id":')
_WIDTH = _bytes(',"w":')
_HEIGHT = _bytes(',"h":')
_MODE = _bytes(',"image_mode":')
_TXT, _JSON = _bytes(".txt"), _bytes(".json")


@njit(nogil=True)
def _read(descriptor, into, at, size, offset):
    """size bytes from `offset` of the file to into[at:]. Whether they came."""
    done = 0
    while done < size:  # a network file system, or a signal, may cut a read short
        step = _pread(
            np.int32(descriptor),
            into[at + done : at + size].ctypes,
            np.uintp(size - done),
            offset + done,
        )
        if step <= 0:
            return False
        done += step
    return True


@njit(nogil=True)
def _is(data, at, end, text):
    """Whether `text` stands at `at`, before `end`."""
    if at < 0 or at + len(text) > end:
        return False
    for n in range(len(text)):  # noqa: SIM110 numba has no generators within all()
        if data[at + n] != text[n]:
            return False
    return True


@njit(nogil=True)
def _before_digits(data, end):
    """Where the number begins that ends before `end`, -1 where there is none."""
    at = end
    while at > 0 and 48 <= data[at - 1] <= 57:
        at -= 1
    if at == end:
        return -1
    return at - 1 if at > 0 and data[at - 1] == 45 else at


@njit(nogil=True)
def _tail(data, end):
    """Where the caption fields begin that end a document, -1 where it does not end in them."""
    if end == 0 or data[end - 1] != 125:
        return -1
    at = _before_digits(data, end - 1) - len(_SOURCE)
    if not _is(data, at, end, _SOURCE):
        return -1
    at = _before_digits(data, at) - len(_RANK)
    if not _is(data, at, end, _RANK):
        return -1
    while at > 0 and (
        48 <= data[at - 1] <= 57
        or 65 <= data[at - 1] <= 90
        or 97 <= data[at - 1] <= 122
        or data[at - 1] == 95
    ):
        at -= 1
    at -= len(_VARIANT)
    return at if _is(data, at, end, _VARIANT) else -1


@njit(nogil=True)
def _number(data, at, end):
    """The number at `at`, and the byte behind it; -1 where there is none."""
    value, first = 0, at
    while at < end and at - first < 10 and 48 <= data[at] <= 57:
        value = 10 * value + np.int64(data[at]) - 48
        at += 1
    return (value, at) if at > first else (-1, at)


@njit(nogil=True)
def _pixels(data, end):
    """Width and height of a document's image, -1 where they do not stand in it as written."""
    for at in range(end):
        if data[at] == 44 and _is(data, at, end, _WIDTH):
            width, behind = _number(data, at + len(_WIDTH), end)
            if width >= 0 and _is(data, behind, end, _HEIGHT):
                height, behind = _number(data, behind + len(_HEIGHT), end)
                if height >= 0 and _is(data, behind, end, _MODE):
                    return width, height
    return -1, -1


@njit(nogil=True)
def _header(made, at, key, suffix, size, template, total):
    """The header of a member, from `at` on. total: the sum of the template's bytes."""
    made[at : at + BLOCK] = template
    for n in range(KEY):
        made[at + n] = key[n]
        total += np.int64(key[n])
    for n in range(len(suffix)):
        made[at + KEY + n] = suffix[n]
        total += np.int64(suffix[n])
    for n in range(11):
        digit = 48 + ((size >> (3 * (10 - n))) & 7)
        made[at + 124 + n] = digit
        total += digit
    made[at + 135] = 0
    for n in range(6):
        made[at + 148 + n] = 48 + ((total >> (3 * (5 - n))) & 7)
    made[at + 154], made[at + 155] = 0, 32


@njit(nogil=True)
def _pad(made, at):
    """Zeros from `at` to the next block, which begins where."""
    end = at + -at % BLOCK
    made[at:end] = 0
    return end


_BYTES = types.Array(types.uint8, 1, "C", readonly=True)
_ROOM = types.Array(types.uint8, 1, "C")
_NUMBERS = types.Array(types.int64, 1, "C")
_TABLE = types.Array(types.int64, 2, "C")


@njit(
    types.int64(
        _NUMBERS, _TABLE, _BYTES, _BYTES, _NUMBERS, _NUMBERS, _BYTES, _NUMBERS, _BYTES, types.int64,
        _ROOM, _ROOM, _NUMBERS, _TABLE,
    ),
    nogil=True,
    cache=True,
)  # fmt: skip
def fill(
    files, members, keys, texts, text_ends, chosen, tails, tail_ends, template, total,
    made, piece, state, entries,
):  # fmt: skip
    """Go on with a shard until its piece is full: FULL, END, ODD or FAILED.

    files: int64 (n,), a descriptor for each sample; members: int64 (n, MEMBERS); keys: uint8
    (n * KEY,). texts: uint8, the new texts one behind the other, each with its newline; text_ends:
    int64 (n + 1,), from 0. chosen: int64 (n,), which of the tails a JSON gets; tails, tail_ends: as
    the texts. template: uint8 (BLOCK,), a header without name, size and checksum, and `total` its
    sum. made: uint8, with room for all that stands behind any image. piece: uint8, a multiple of
    BLOCK. state: int64 (STATE,), zeros at first; the caller sets FILLED to 0 when it has taken a
    piece, and MADE behind ODD. entries: int64 (n, ENTRY), written.
    """
    room = len(piece)
    while state[SAMPLE] < len(files):
        n = state[SAMPLE]
        descriptor = files[n]
        if state[MADE] == 0:
            image = members[n, TEXT_OFFSET] - BLOCK - members[n, BEGIN]
            while state[COPIED] < image:
                filled = state[FILLED]
                if filled == room:
                    return FULL
                size = min(image - state[COPIED], room - filled)
                if not _read(descriptor, piece, filled, size, members[n, BEGIN] + state[COPIED]):
                    return FAILED
                state[COPIED] += size
                state[FILLED] += size
            text, stop = text_ends[n], text_ends[n + 1]
            key = keys[n * KEY : (n + 1) * KEY]
            _header(made, 0, key, _TXT, stop - text, template, total)
            made[BLOCK : BLOCK + stop - text] = texts[text:stop]
            at = _pad(made, BLOCK + stop - text)
            size = members[n, JSON_SIZE]
            if not _read(descriptor, made, at + BLOCK, size, members[n, JSON_OFFSET]):
                return FAILED
            document = made[at + BLOCK : at + BLOCK + size]
            end = _tail(document, size)
            width, height = _pixels(document, size)
            if end < 0 or width < 0:
                return ODD
            tail, behind = tail_ends[chosen[n]], tail_ends[chosen[n] + 1]
            size = end + behind - tail
            made[at + BLOCK + end : at + BLOCK + size] = tails[tail:behind]
            _header(made, at, key, _JSON, size, template, total)
            state[MADE] = _pad(made, at + BLOCK + size)
            entries[n, 0], entries[n, 1], entries[n, 2] = members[n, IMAGE_SIZE], stop - text, size
            entries[n, 3], entries[n, 4] = width, height
        while state[TAKEN] < state[MADE]:
            filled, taken = state[FILLED], state[TAKEN]
            if filled == room:
                return FULL
            size = min(state[MADE] - taken, room - filled)
            piece[filled : filled + size] = made[taken : taken + size]
            state[TAKEN] += size
            state[FILLED] += size
        state[SAMPLE] += 1
        state[COPIED] = state[MADE] = state[TAKEN] = 0
    return END
