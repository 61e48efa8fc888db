"""Arrays that end where memory ends: whoever reads or writes one byte too far is ended by SIGSEGV.

Numba's bounds check does not see what goes by address (the vectors of `resample`, the window's
pread) nor what libjpeg-turbo writes. Run as a program this takes all of them through arrays with a
page of PROT_NONE behind them, and then before them; test_bounds does so.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import mmap
import os
import random
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import hostile as corpus
import numpy as np
import progressive
import tars
import test_recaption
from PIL import Image

from fastbucket import resize
from fastbucket.captions import beside
from fastbucket.decode import recode, turbo
from fastbucket.geometry import Size
from fastbucket.kernels import (
    chroma,
    jpegheader,
    jpegscans,
    look,
    recaption,
    sha256,
    signature,
    tarheader,
    tarwalk,
    window,
)
from fastbucket.resize import Resizer

_PAGE = mmap.PAGESIZE
_kept: list[mmap.mmap] = []


def fenced(size: int, front: bool = False) -> np.ndarray:
    """uint8 (size,), zeros, right behind (front) or right before a page that nobody may touch."""
    room = max(-(-size // _PAGE), 1) * _PAGE
    memory = mmap.mmap(-1, room + 2 * _PAGE)
    _kept.append(memory)  # never freed while an array may still look at it
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for fence in (start, start + _PAGE + room):
        if ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(fence), _PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    at = _PAGE if front else _PAGE + room - size
    return np.frombuffer(memory, np.uint8, size, at)


def fence(data: bytes | np.ndarray, front: bool) -> np.ndarray:
    """A copy of bytes or of an array, fenced."""
    array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
    copy = fenced(array.nbytes, front).view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def resampling(chance: random.Random, front: bool, rounds: int) -> None:
    """Sizes at random, whole and shrunken, odd and tiny; all of the kernel is fenced."""
    made_weights = resize.weights

    def fenced_weights(*arguments: Any) -> tuple[Any, ...]:
        made = made_weights(*arguments)
        return tuple(fence(one, front) if isinstance(one, np.ndarray) else one for one in made)

    resize.weights = fenced_weights
    for _ in range(rounds):
        target = Size(*(chance.randint(1, 96) for _ in range(2)))
        side = chance.choice((1.0, 1.01, 1.5, 2.0, 3.7, 9.0))
        resized = Size(target.width + chance.randint(0, 40), target.height + chance.randint(0, 40))
        width, height = (int(n * side) + chance.randint(0, 3) for n in resized)
        pixels = np.full((height, width, 4), 200, np.uint8)
        corner = (
            chance.randint(0, resized.width - target.width),
            chance.randint(0, resized.height - target.height),
        )
        span = (Fraction(2 * width - chance.randint(0, 1), 2), Fraction(height))
        arguments: Any = (span, resized, corner, target)
        made = Resizer()(fence(pixels, front), *arguments)
        assert (np.abs(made[:, :, :3].astype(int) - 200) <= 1).all()
    resize.weights = made_weights


def headers(chance: random.Random, front: bool, rounds: int) -> None:
    """Cut and changed headers: bytes before and behind the array do not exist."""
    bases = [file.data for file in corpus.jpegs() if len(file.data) < 20_000]
    bases += [file.data for file in corpus.others() if len(file.data) < 20_000]
    for _ in range(rounds):
        data = bytearray(chance.choice(bases)) or bytearray(1)
        for _ in range(chance.randint(0, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        view = fence(bytes(data[: chance.randint(1, len(data))]), front)
        out = fence(np.zeros(jpegheader.FIELDS, np.int64), front)
        signature.signature(view, 0, len(view))
        jpegheader.jpeg_header(view, 0, len(view), out)
        jpegscans.scans(view)
        _kept.clear()


def chromas(chance: random.Random, front: bool, rounds: int) -> None:
    for _ in range(rounds):
        shape = chance.randint(1, 40), chance.randint(1, 40), 4
        chroma.chroma_loss(fence(np.zeros(shape, np.uint8), front))
        look.look(fence(np.full(shape, 9, np.uint8), front))


def walks(chance: random.Random, front: bool, rounds: int) -> None:
    """The walk with every array of its own fenced, the window that pread fills among them."""
    bases = [data for data in dict(corpus.tars(tars.JPEG)).values() if len(data) < 1 << 20]
    for n in range(rounds):
        data = bytearray(bases[n % len(bases)])
        for _ in range(chance.randint(0, 3) if n >= len(bases) else 0):
            data[chance.randrange(len(data))] = chance.randrange(256)
        descriptor = os.memfd_create("tar")
        os.write(descriptor, data)
        file = fence(window.opened(descriptor, len(data)), front)
        arrays = [fence(array, front) for array in tars.arrays(chance.choice((1, 7, 64)))]
        ended = tarwalk.FULL
        while ended == tarwalk.FULL:
            ended, _ = tarwalk.walk(file, *arrays)
        assert ended in (tarheader.END, tarheader.END_UNMARKED, *tarwalk.BREAKS)
        os.close(descriptor)
        _kept.clear()


def decodes(chance: random.Random, front: bool, rounds: int) -> None:
    """libjpeg-turbo writes into a buffer of ours: exactly as much as we say, shrunken or not."""
    for n in range(rounds):
        image = Image.new("RGB", (chance.randint(1, 90), chance.randint(1, 90)), (9, 200, 30))
        file = io.BytesIO()
        image.save(file, "JPEG", subsampling=n % 3)
        turbo.Turbo().decode(file.getvalue(), Size(*image.size), chance.choice((1, 2, 4, 8)))
        _kept.clear()


def recodes(chance: random.Random, front: bool, rounds: int) -> None:
    """Progressive JPEGs of any script, most of them damaged; all that the kernel sees is fenced."""
    real = recode.recode

    def fenced_recode(*arguments: Any) -> int:
        *given, out, to = arguments
        room = fence(out, front)
        end = real(*(fence(a, front) if isinstance(a, np.ndarray) else a for a in given), room, to)
        out[:] = room
        return end

    recode.recode = fenced_recode
    made = 0
    for _ in range(rounds):
        factors = chance.choice([((1, 1),), ((1, 1),) * 3, ((2, 2), (1, 1), (1, 1))])
        frame = progressive.Frame(chance.randint(1, 60), chance.randint(1, 60), factors)
        values = progressive.coefficients(frame, chance, chance.random(), 1023)
        script = progressive.script(len(factors), chance)
        whole = progressive.encode(frame, values, script, chance.randint(9, 16))
        for damage in range(6):
            data = bytearray(whole)
            for _ in range(damage):
                data[chance.randrange(whole.index(b"\xff\xda"), len(data))] = chance.randrange(256)
            made += recode.Recoder()(np.frombuffer(data, np.uint8)) is not None
        _kept.clear()
    assert made >= rounds


def hashes(chance: random.Random, front: bool, rounds: int) -> None:
    """Streams of any number of blocks, alone and side by side; their states are fenced too."""
    if not sha256.available():
        return
    for _ in range(rounds):
        size = sha256.BLOCK * chance.randint(0, 9)
        pieces = [fence(chance.randbytes(size), front) for _ in range(2)]
        ours = [sha256.Sha256() for _ in range(2)]
        for digest in ours:
            digest._state = fence(digest._state, front)
        ours[0].update_both(memoryview(pieces[0]), ours[1], memoryview(pieces[1]))
        ours[1].update(memoryview(pieces[0]))
        for digest, data in zip(ours, (pieces[0], np.concatenate(pieces[::-1])), strict=True):
            assert digest.hexdigest() == hashlib.sha256(data).hexdigest()
        _kept.clear()


def recaptions(chance: random.Random, front: bool, rounds: int) -> None:
    """Shards of random samples in pieces of random size, with all that the kernel sees fenced."""
    fill = recaption.fill
    fences: dict[int, np.ndarray] = {}

    def fenced_fill(*arguments: Any) -> int:
        inside = list(arguments)
        for n, array in enumerate(arguments):
            if isinstance(array, np.ndarray):
                inside[n] = fences.setdefault(id(array), fence(array, front))
                inside[n][...] = array
        outcome = fill(*inside)
        for own, array in zip(arguments[-4:], inside[-4:], strict=True):
            own[...] = array
        return int(outcome)

    recaption.fill = fenced_fill
    with tempfile.TemporaryDirectory() as folder:
        for n in range(rounds):
            beside.PIECE = recaption.BLOCK * chance.randint(1, 99)
            odd = chance.choice(("", *test_recaption.ODD))
            old = test_recaption.shard(Path(folder, f"{n}.tar"), chance, 5, odd)
            test_recaption.check([(old, index) for index in range(5)], chance)
            os.close(old.descriptor)
            fences.clear()
            _kept.clear()
    recaption.fill = fill


STEPS = {
    "resample": resampling,
    "headers": headers,
    "chroma": chromas,
    "walk": walks,
    "recode": recodes,
    "sha256": hashes,
    "recaption": recaptions,
}
ROUNDS = {
    "resample": 150,
    "headers": 1500,
    "chroma": 100,
    "walk": 120,
    "decode": 100,
    "recode": 60,
    "sha256": 100,
    "recaption": 30,
}


def main(name: str) -> None:
    for front in (False, True):
        chance = random.Random(20240229)
        place = "before" if front else "behind"
        # What rooms ask of `buffers.aligned` is fenced as well; vectors load at any alignment.
        for room in (resize, turbo):
            room.aligned = lambda size, front=front: fenced(size, front)
        {**STEPS, "decode": decodes}[name](chance, front, ROUNDS[name])
        sys.stdout.write(f"{name}: {ROUNDS[name]} rounds, fenced {place}\n")
        _kept.clear()


def trespass() -> None:
    """Read one byte too far: if this ends with anything but SIGSEGV the fence is none."""
    array = fenced(100)
    ctypes.string_at(array.ctypes.data, 101)


if __name__ == "__main__":
    trespass() if sys.argv[1] == "trespass" else main(sys.argv[1])
