"""Vectors of integers for kernels: what LLVM does not find by itself in a loop over RGBX pixels.

A vector is a numba type, so kernels stay in Python: `sums = dot(sums, pairs, weight)`. All of them
are LLVM's generic vectors, which every CPU can run. Three operations have an instruction on x86
that LLVM does not reliably recognise (`pmaddwd`, `packssdw`, `packuswb`, each in lanes of 128
bits); they are called by name there, as wide as the CPU has them, and spelled out elsewhere. All
of it is exact, so the width never shows in a result. An empty piece of assembly hides a value from
LLVM in one place, `repeated`.

Memory is named by address. Nothing checks bounds, and numba does not know that an address needs
its array: take addresses of arguments only, or of views of them, which the caller keeps alive.

Numba's cache looks at the file of a kernel only: after a change here, touch the kernels that
import it.
"""

from __future__ import annotations

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

I32, I64 = ir.IntType(32), ir.IntType(64)
_X86 = {
    "madd": {512: "avx512.pmaddw.d.512", 256: "avx2.pmadd.wd", 128: "sse2.pmadd.wd"},
    "packs": {512: "avx512.packssdw.512", 256: "avx2.packssdw", 128: "sse2.packssdw.128"},
    "packus": {512: "avx512.packuswb.512", 256: "avx2.packuswb", 128: "sse2.packuswb.128"},
}


def x86_bits() -> int:
    """Widest vector, in bits, that numba's target has for the operations of _X86; 0: not x86."""
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    if not triple.startswith("x86_64"):
        return 0
    return 512 if "+avx512bw" in features else 256 if "+avx2" in features else 128


class Vector(types.Type):  # type: ignore[misc]  # numba has no types
    """`lanes` integers of `bits`. Signs are a matter of the operation, as in LLVM."""

    def __init__(self, bits: int, lanes: int) -> None:
        self.bits, self.lanes = bits, lanes
        super().__init__(name=f"Vector({bits}, {lanes})")


@register_model(Vector)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, vector_of(fe_type.bits, fe_type.lanes))


def vector_of(bits, lanes):
    return ir.VectorType(ir.IntType(bits), lanes)


def filled(vector, value):
    return ir.Constant(vector.type, [value] * vector.type.count)


def shuffle(b, x, y, index):
    index = list(index)
    return b.shuffle_vector(x, y, ir.Constant(vector_of(32, len(index)), index))


def _splat(b, value, lanes):
    one = ir.Constant(vector_of(value.type.width, lanes), ir.Undefined)
    one = b.insert_element(one, value, I32(0))
    return shuffle(b, one, one, [0] * lanes)


def store(b, vector, where):
    """Emit the store of a vector at an address (int64) of any alignment."""
    b.store(vector, b.inttoptr(where, vector.type.as_pointer()), align=1)


def _clamped(b, x, low, high):
    low, high = filled(x, low), filled(x, high)
    x = b.select(b.icmp_signed("<", x, low), low, x)
    return b.select(b.icmp_signed(">", x, high), high, x)


def _spelled_out(b, name, x, y):
    """What the x86 instruction does, lane of 128 bits by lane."""
    bits, n = x.type.element.width, x.type.count
    if name == "madd":  # x and y int16: x[0] y[0] + x[1] y[1], ... as int32
        wide = vector_of(32, n // 2)
        even = [b.sext(shuffle(b, v, v, range(0, n, 2)), wide) for v in (x, y)]
        odd = [b.sext(shuffle(b, v, v, range(1, n, 2)), wide) for v in (x, y)]
        return b.add(b.mul(*even), b.mul(*odd))
    step = 128 // bits  # a lane of x, then a lane of y, saturated to half the bits
    order = [lane + i for lane in range(0, n, step) for i in (*range(step), *range(n, n + step))]
    low, high = (0, 255) if name == "packus" else (-(1 << 15), (1 << 15) - 1)
    both = _clamped(b, shuffle(b, x, y, order), low, high)
    return b.trunc(both, vector_of(bits // 2, 2 * n))


def in_lanes(b, name, x, y):
    """`madd`, `packs` or `packus` of two vectors, in pieces as wide as the CPU takes."""
    have = min(x86_bits(), x.type.element.width * x.type.count)
    if not have:
        return _spelled_out(b, name, x, y)
    n = have // x.type.element.width
    takes = vector_of(x.type.element.width, n)
    gives = vector_of(32, n // 2) if name == "madd" else vector_of(x.type.element.width // 2, 2 * n)
    call = cgutils.get_or_insert_function(
        b.module, ir.FunctionType(gives, [takes, takes]), f"llvm.x86.{_X86[name][have]}"
    )
    pieces = [
        b.call(call, [shuffle(b, v, v, range(i, i + n)) for v in (x, y)])
        for i in range(0, x.type.count, n)
    ]
    while len(pieces) > 1:
        whole = range(2 * pieces[0].type.count)
        pieces = [shuffle(b, *two, whole) for two in zip(pieces[::2], pieces[1::2], strict=True)]
    return pieces[0]


@intrinsic
def address(typingctx, array):
    """Address of the first element of a contiguous array, int64."""

    def codegen(context, b, sig, args):
        data = context.make_array(sig.args[0])(context, b, args[0]).data
        return b.ptrtoint(data, I64)

    return types.int64(array), codegen


@intrinsic(prefer_literal=True)
def load(typingctx, where, bits, lanes):
    """The vector of `lanes` integers of `bits` (constants) at an address of any alignment."""
    vector = Vector(bits.literal_value, lanes.literal_value)

    def codegen(context, b, sig, args):
        kind = context.get_value_type(vector)
        return b.load(b.inttoptr(args[0], kind.as_pointer()), align=1)

    return vector(types.int64, bits, lanes), codegen


@intrinsic
def fetch(typingctx, where):
    """Ask for the cache line at an address, which may be anywhere, into the L2; waits for nothing.

    Not into the L1, from where it would drive out what is being worked on.
    """

    def codegen(context, b, sig, args):
        at = b.inttoptr(args[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [at.type, I32, I32, I32])
        prefetch = b.module.declare_intrinsic("llvm.prefetch", [at.type], kind)
        b.call(prefetch, [at, I32(0), I32(2), I32(1)])  # to read, the second nearest, data
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic(prefer_literal=True)
def fill(typingctx, value, lanes):
    """`lanes` (a constant) times an int32."""

    def codegen(context, b, sig, args):
        return _splat(b, args[0], lanes.literal_value)

    return Vector(32, lanes.literal_value)(types.int32, lanes), codegen


@intrinsic
def dot(typingctx, sums, pairs, weights):
    """sums + pairs x weights: n int32, 2n int16, and one int32 that holds two int16.

    Lane i gains pairs[2i] x (low half of weights) + pairs[2i + 1] x (high half).
    """

    def codegen(context, b, sig, args):
        weights = b.bitcast(_splat(b, args[2], args[0].type.count), args[1].type)
        return b.add(args[0], in_lanes(b, "madd", args[1], weights))

    return sums(sums, pairs, types.int32), codegen


@intrinsic(prefer_literal=True)
def repeated(typingctx, four, lanes):
    """Four int32, again and again up to `lanes` (a constant), in a register.

    On x86 LLVM is not told where they come from. It would load each of the four by itself for what
    is `spread` from them, and loads are what is scarce there.
    """
    n = lanes.literal_value

    def codegen(context, b, sig, args):
        have = min(max(x86_bits() // 32, 4), n)
        four = shuffle(b, args[0], args[0], [i % 4 for i in range(have)])
        if x86_bits():
            four = b.asm(ir.FunctionType(four.type, [four.type]), "", "=v,0", [four], False)
        return shuffle(b, four, four, [i % have for i in range(n)])

    return Vector(32, n)(four, lanes), codegen


@intrinsic(prefer_literal=True)
def spread(typingctx, vector, lane):
    """Of every four int32 the one in `lane` (a constant), in the place of all four."""
    at = lane.literal_value

    def codegen(context, b, sig, args):
        n = args[0].type.count
        return shuffle(b, args[0], args[0], [i // 4 * 4 + at for i in range(n)])

    return vector(vector, lane), codegen


@intrinsic
def dot_each(typingctx, sums, pairs, weights):
    """As `dot`, by a vector of weights: lane i by its lane i."""

    def codegen(context, b, sig, args):
        return b.add(args[0], in_lanes(b, "madd", args[1], b.bitcast(args[2], args[1].type)))

    return sums(sums, pairs, weights), codegen
