"""Bits of a stream and of a word, for kernels that read and write Huffman codes.

Memory is named by address, as in `vectors`: nothing checks bounds, and arrays stay with the caller.

Numba's cache looks at the file of a kernel only: after a change here, touch the kernels that
import it.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

_I1, _I16, _I32, _I64 = ir.IntType(1), ir.IntType(16), ir.IntType(32), ir.IntType(64)


def _element(kind, extend):
    """The intrinsic (address of an array of `kind`, index) -> its element, int64."""

    @intrinsic
    def element(typingctx, start, index):
        def codegen(context, b, sig, args):
            at = b.gep(b.inttoptr(args[0], kind.as_pointer()), [args[1]])
            return getattr(b, extend)(b.load(at), _I64)

        return types.int64(types.int64, types.int64), codegen

    return element


uint16, int16, uint32 = _element(_I16, "zext"), _element(_I16, "sext"), _element(_I32, "zext")


@intrinsic
def set_int16(typingctx, start, index, value):
    """Store the low half of an int64 into an array of int16 at an address."""

    def codegen(context, b, sig, args):
        at = b.gep(b.inttoptr(args[0], _I16.as_pointer()), [args[1]])
        b.store(b.trunc(args[2], _I16), at)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def clear(typingctx, start):
    """Store zeros into 128 bytes at an address."""
    vector = ir.VectorType(_I64, 16)

    def codegen(context, b, sig, args):
        b.store(ir.Constant(vector, None), b.inttoptr(args[0], vector.as_pointer()), align=2)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def peek(typingctx, at):
    """The eight bytes at an address of any alignment as a uint64, the first at its top."""

    def codegen(context, b, sig, args):
        return b.bswap(b.load(b.inttoptr(args[0], _I64.as_pointer()), align=1))

    return types.uint64(types.int64), codegen


@intrinsic
def poke(typingctx, to, word):
    """Store a uint64 at an address, its top byte first."""

    def codegen(context, b, sig, args):
        b.store(b.bswap(args[1]), b.inttoptr(args[0], _I64.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.uint64), codegen


@intrinsic
def leading(typingctx, word):
    """Zeros above the topmost bit that is set in a uint64; 64 of zero."""

    def codegen(context, b, sig, args):
        return b.ctlz(args[0], _I1(0))

    return types.int64(types.uint64), codegen


@intrinsic
def ones(typingctx, word):
    """How many bits are set in a uint64."""

    def codegen(context, b, sig, args):
        return b.ctpop(args[0])

    return types.int64(types.uint64), codegen


def _has_pdep():
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    return triple.startswith("x86_64") and "+bmi2" in features


@njit(nogil=True)
def deposit_by_bit(word, mask):
    """`deposit` where the CPU has no instruction for it."""
    made = np.uint64(0)
    while word and mask:
        lowest = mask & (~mask + np.uint64(1))
        if word & np.uint64(1):
            made |= lowest
        mask ^= lowest
        word >>= np.uint64(1)
    return made


if _has_pdep():

    @intrinsic
    def deposit(typingctx, word, mask):
        """The low bits of a uint64 at the places that are set in `mask`, the lowest first."""

        def codegen(context, b, sig, args):
            kind = ir.FunctionType(_I64, [_I64, _I64])
            pdep = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.bmi.pdep.64")
            return b.call(pdep, args)

        return types.uint64(types.uint64, types.uint64), codegen

else:
    deposit = deposit_by_bit


@njit(nogil=True, forceinline=True)
def has_ff(word):
    """Whether a byte of a uint64 is FF: its top bit is set, and adding 1 carries out of it."""
    added = word + np.uint64(0x0101010101010101)
    return word & np.uint64(0x8080808080808080) & ~added != np.uint64(0)


# A reader of bits: a word, its next bit at the top; how many of its bits count; the address of the
# byte behind those. Eight bytes from there on are read, whatever they are.


@njit(nogil=True, forceinline=True)
def resume(start, bit):
    """The reader (word, have, at) from a bit on of the bytes at an address."""
    at, passed = start + (bit >> 3), bit & 7
    return peek(at) << np.uint64(passed), 8 - passed, at + 1


@njit(nogil=True, forceinline=True)
def refill(word, have, at):
    """The same reader with 56 bits or more. The trick is Giesen's: no branch, and what it loads is
    not waited for by what takes bits."""
    word |= peek(at) >> np.uint64(have)
    return word, have | 56, at + ((63 - have) >> 3)


@njit(nogil=True, forceinline=True)
def first_bits(word, count):
    """The topmost `count` (0 to 63) bits of a uint64, as an int64."""
    return np.int64((word >> np.uint64(1)) >> np.uint64(63 - count))
