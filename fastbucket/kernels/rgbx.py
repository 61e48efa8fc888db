"""Steps of the resample kernel on vectors of RGBX pixels; `resample` says how they fit together.

A lane of 128 bits is the unit throughout: four pixels of bytes, or one pair of pixels as int16
(R R' G G' B B' X X'), or one pixel as int32.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from .vectors import I64, Vector, filled, in_lanes, shuffle, store, vector_of

WEIGHT_BITS = 14
ROW_BITS = 6
OPAQUE = -(1 << 24)
"""X = 255, as int32."""


@intrinsic
def zip_rows(typingctx, upper, lower):
    """Bytes of two rows, n pixels each, as int16 pairs (upper, lower) of every channel.

    Four vectors: the first pixel of every lane, the second, the third, the fourth.
    """
    pixels = types.UniTuple(Vector(16, upper.lanes // 2), 4)

    def codegen(context, b, sig, args):
        upper, lower = args
        n, zero = upper.type.count, filled(upper, 0)

        def unpack(x, y, start):  # punpcklbw, punpckhbw: 8 bytes of each lane, in turns
            return shuffle(b, x, y, [
                i for at in range(start, n, 16) for j in range(at, at + 8) for i in (j, n + j)
            ])  # fmt: skip

        made = [
            b.bitcast(unpack(unpack(upper, lower, half), zero, quarter), vector_of(16, n // 2))
            for half in (0, 8)
            for quarter in (0, 8)
        ]
        return context.make_tuple(b, sig.return_type, made)

    return pixels(upper, lower), codegen


@intrinsic
def store_rows(typingctx, where, stride, upper, lower):
    """Store sums of two target rows as pairs of pixels.

    upper, lower: the four vectors that grew from `zip_rows`, int32 with 6 + 8 fractional bits; the
    8 are cut off. Pair i goes to where + i x stride: 16 bytes of `upper`, 16 of `lower`.
    """

    def codegen(context, b, sig, args):
        where, stride = args[:2]
        rows = [[b.extract_value(row, i) for i in range(4)] for row in args[2:]]
        n = rows[0][0].type.count
        fit = vector_of(16, 2 * n)
        turns = [i for j in range(0, 2 * n, 2) for i in (j, 2 * n + j + 1)]

        def pair(left, right):  # int32 with 14 fractional bits -> int16 with 6, left and right
            low = b.bitcast(b.lshr(left, filled(left, WEIGHT_BITS - ROW_BITS)), fit)
            high = b.bitcast(b.shl(right, filled(right, 16 - WEIGHT_BITS + ROW_BITS)), fit)
            return shuffle(b, low, high, turns)

        for first in (0, 1):  # pixels 0 and 1 of every lane, pixels 2 and 3
            upper, lower = (pair(row[2 * first], row[2 * first + 1]) for row in rows)
            # Two lanes at a time: one permutation with AVX-512, plain moves on half the width.
            for lane in range(0, n // 4, 2):
                order = [
                    start + j
                    for at in (8 * lane, 8 * lane + 8)
                    for start in (at, 2 * n + at)
                    for j in range(8)
                ]
                both = shuffle(b, upper, lower, order)
                for i in (0, 1):
                    at = b.mul(stride, I64(2 * (lane + i) + first))
                    half = shuffle(b, both, both, range(16 * i, 16 * i + 16))
                    store(b, half, b.add(where, at))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, upper, lower), codegen


@intrinsic
def store_block(typingctx, where, stride, columns):
    """Store sums of four target pixels in each of four target rows as bytes.

    columns: four vectors (left to right) of 16 int32 with 20 fractional bits, a lane for each row;
    the fraction is cut off and the rest clamped to bytes. X becomes 255. Row i goes to
    where + i x stride, 16 bytes.
    """

    def codegen(context, b, sig, args):
        where, stride = args[:2]
        whole = [b.extract_value(args[2], i) for i in range(4)]
        whole = [b.ashr(column, filled(column, WEIGHT_BITS + ROW_BITS)) for column in whole]
        pixels = in_lanes(
            b, "packus", in_lanes(b, "packs", *whole[:2]), in_lanes(b, "packs", *whole[2:])
        )
        pixels = b.bitcast(pixels, vector_of(32, 16))
        pixels = b.or_(pixels, filled(pixels, OPAQUE))
        for i in range(4):
            row = shuffle(b, pixels, pixels, range(4 * i, 4 * i + 4))
            store(b, row, b.add(where, b.mul(stride, I64(i))))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, columns), codegen
