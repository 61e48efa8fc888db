"""One or two shards written side by side, so that the hash of both costs little more than of one.

Each is made in pieces that stay in the processor's cache while they are read, hashed and written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from ..kernels import sha256
from ..shard import ShardFile

PIECE = 256 << 10
"""Bytes of a shard that are hashed and written at a time; a multiple of a block of the hash."""


def write(files: Sequence[ShardFile], streams: Sequence[Iterator[memoryview]]) -> list[str]:
    """Write the pieces of every stream into its file; returns the SHA-256 of each, in hex.

    Two streams are hashed side by side where the processor can, as long as both have something to
    say. Pieces are written before the next is asked for.
    """
    paired = len(files) == 2 and sha256.available()
    digests = [sha256.Sha256() if paired else hashlib.sha256() for _ in files]
    going = list(range(len(files)))
    while going:
        pieces = {n: piece for n in going if (piece := next(streams[n], None)) is not None}
        going = list(pieces)
        if paired and len(pieces) == 2 and len(pieces[0]) == len(pieces[1]):
            first, second = digests
            assert isinstance(first, sha256.Sha256)
            assert isinstance(second, sha256.Sha256)
            first.update_both(pieces[0], second, pieces[1])
        else:
            for n, piece in pieces.items():
                digests[n].update(piece)
        for n, piece in pieces.items():
            files[n].write(piece)
    return [digest.hexdigest() for digest in digests]
