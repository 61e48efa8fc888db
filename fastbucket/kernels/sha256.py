"""SHA-256 of one stream, or of two side by side, by the SHA instructions of x86.

Each of `sha256rnds2` waits for the one before it: a stream alone leaves the unit idle half of the
time, whoever wrote the code, and two streams in turn fill it. MB/s on one busy core, best of 40:

    OpenSSL (hashlib), one stream     870        three streams                   1,990
    one stream here                   870        sixteen in AVX-512 lanes        1,590
    two streams                     1,730

Three need more registers than AVX2 has, and three files open at once for a seventh; sixteen lanes
of ordinary vectors lose to the instructions, and would want sixteen shards at once.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from .vectors import address, shuffle, vector_of

BLOCK = 64
"""Bytes of a step."""

_WORDS = vector_of(32, 4)
_POINTER = _WORDS.as_pointer()
_GROUPS = 16
"""Of four rounds each."""


def _fractions(root: int, count: int) -> np.ndarray:
    """The first 32 bits of the fraction of the square or cube roots of the first primes, uint32
    (FIPS 180-4, 4.2.2 and 5.3.3)."""
    primes = [n for n in range(2, 312) if all(n % d for d in range(2, n))][:count]
    found = []
    for prime in primes:
        scaled = prime << (32 * root)
        low, high = 0, 1 << 40
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if middle**root <= scaled else (low, middle)
        found.append(low & 0xFFFFFFFF)
    return np.array(found, np.uint32)


_CONSTANTS = _fractions(3, 64)
_START = _fractions(2, 8)


def available() -> bool:
    """Whether numba's target has the instructions. Where not, hashlib is as good as it gets."""
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    return bool(triple.startswith("x86_64")) and "+sha" in features.split(",")


def _called(b, name, kinds, *values):
    kind = ir.FunctionType(_WORDS, kinds)
    return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.{name}"), values)


def _rounds(b, halves, words, group, expand):
    """Four rounds of every stream, in turn. halves: (F E B A), (H G D C) by stream, low lane first;
    words: the last 16 of the message, by stream."""
    constants = ir.Constant(_WORDS, _CONSTANTS[4 * group : 4 * group + 4].tolist())
    for (feba, hgdc), last in zip(halves, words, strict=True):
        if expand:
            new = _called(b, "x86.sha256msg1", [_WORDS] * 2, last[0], last[1])
            new = b.add(new, shuffle(b, last[2], last[3], [1, 2, 3, 4]))
            last[:] = *last[1:], _called(b, "x86.sha256msg2", [_WORDS] * 2, new, last[3])
        else:
            last[:] = *last[1:], last[0]  # four turns, and the order is the old one
        mixed = b.add(last[3], constants)
        low = b.load(hgdc), b.load(feba)
        new = _called(b, "x86.sha256rnds2", [_WORDS] * 3, *low, mixed)
        b.store(new, hgdc)
        mixed = shuffle(b, mixed, mixed, [2, 3, 2, 3])
        b.store(_called(b, "x86.sha256rnds2", [_WORDS] * 3, low[1], new, mixed), feba)


def _compress(b, states, datas, blocks):
    """Emit the loop over the blocks of all streams. states, datas: addresses; state: 8 words."""
    slots = []
    for state in states:
        at = b.inttoptr(state, _POINTER)
        abcd, efgh = (b.load(b.gep(at, [ir.Constant(ir.IntType(32), n)]), align=4) for n in (0, 1))
        pair = [cgutils.alloca_once(b, _WORDS) for _ in range(2)]
        b.store(shuffle(b, abcd, efgh, [5, 4, 1, 0]), pair[0])
        b.store(shuffle(b, abcd, efgh, [7, 6, 3, 2]), pair[1])
        slots.append(pair)
    with cgutils.for_range(b, blocks) as loop:
        before, words = [], []
        for pair, data in zip(slots, datas, strict=True):
            before.append([b.load(half) for half in pair])
            offset = b.mul(loop.index, ir.Constant(loop.index.type, BLOCK))
            at = b.inttoptr(b.add(data, offset), _POINTER)
            loaded = [
                b.load(b.gep(at, [ir.Constant(ir.IntType(32), n)]), align=1) for n in range(4)
            ]
            words.append([_called(b, "bswap.v4i32", [_WORDS], four) for four in loaded])
        for group in range(_GROUPS):
            _rounds(b, slots, words, group, group >= 4)
        for pair, old in zip(slots, before, strict=True):
            for half, value in zip(pair, old, strict=True):
                b.store(b.add(b.load(half), value), half)
    for state, pair in zip(states, slots, strict=True):
        feba, hgdc = (b.load(half) for half in pair)
        at = b.inttoptr(state, _POINTER)
        for n, order in enumerate(([3, 2, 7, 6], [1, 0, 5, 4])):
            where = b.gep(at, [ir.Constant(ir.IntType(32), n)])
            b.store(shuffle(b, feba, hgdc, order), where, align=4)


@intrinsic
def _one(typingctx, state, data, blocks):
    def codegen(context, b, sig, args):
        _compress(b, args[:1], args[1:2], args[2])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def _two(typingctx, state, other_state, data, other_data, blocks):
    def codegen(context, b, sig, args):
        _compress(b, args[:2], args[2:4], args[4])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


@njit(nogil=True, cache=True)
def _update(state: np.ndarray, data: np.ndarray) -> None:
    _one(address(state), address(data), len(data) // BLOCK)


@njit(nogil=True, cache=True)
def _update_both(
    state: np.ndarray, data: np.ndarray, other_state: np.ndarray, other_data: np.ndarray
) -> None:
    blocks = len(data) // BLOCK
    _two(address(state), address(other_state), address(data), address(other_data), blocks)


class Sha256:
    """SHA-256 of bytes that come in pieces of whole blocks, as those of a tar do.

    `update` and `hexdigest` are hashlib's, but for that; `update_both` is what this is for.
    """

    def __init__(self) -> None:
        self._state = _START.copy()
        self._size = 0

    def update(self, piece: bytes | memoryview) -> None:
        """piece: a multiple of 64 bytes."""
        _update(self._state, self._taken(piece))

    def update_both(self, piece: memoryview, other: Sha256, other_piece: memoryview) -> None:
        """Update this and another, side by side. Both pieces: the same multiple of 64 bytes."""
        if len(piece) != len(other_piece):
            raise ValueError(f"pieces of {len(piece)} and of {len(other_piece)} bytes")
        _update_both(self._state, self._taken(piece), other._state, other._taken(other_piece))

    def hexdigest(self, end: bytes | memoryview = b"") -> str:
        """Of all that came, and of `end` behind it, which may be of any size. More may follow what
        came before."""
        size = self._size + len(end)
        last = b"".join(
            (end, b"\x80", bytes(-(len(end) + 9) % BLOCK), (8 * size).to_bytes(8, "big"))
        )
        state = self._state.copy()
        _update(state, np.frombuffer(last, np.uint8))
        return str(state.byteswap().tobytes().hex())

    def _taken(self, piece: bytes | memoryview) -> np.ndarray:
        if len(piece) % BLOCK:
            raise ValueError(f"{len(piece)} bytes are no whole blocks of {BLOCK}")
        self._size += len(piece)
        taken = np.frombuffer(piece, np.uint8)
        taken.flags.writeable = False  # numba compiles for either; of bytes they are not
        return taken
