"""One or two shards written side by side, so that the hash of both costs little more than of one.

Each is made in pieces that stay in the processor's cache while they are read, hashed and written.

Where the time goes, profiled in ext4's page cache: hash 23 %, write (new page cache) 19 %, freeing
the old shard's page cache 14 %, read 8 %, indexes and walks 6 %, telling the disk to begin 4 %, the
rest Python, and two seconds at the start. What was tried for the bytes:

- Two hashes side by side against one after the other: half of the hash (kernels/sha256.py).
- The old shard mapped, hashed and written from the mapping: page faults cost what reading into a
  piece does (5 and 5 GB/s in tmpfs, 9 and 8 in ext4), and a file that is cut short is a SIGBUS.
- copy_file_range: as fast as reading and writing (0.8 to 1.1 GB/s in tmpfs, 1.2 to 2.3 in ext4), as
  it copies too; and the bytes are then still to be read for the hash.
- Written past the page cache (O_DIRECT): 175 to 600 MB/s on a disk where buffered writes with
  their fsync made 400 to 940, as nothing else is under way meanwhile; in processor time 1.0 to 1.6
  times as fast by pieces of 1 MiB, and 0.7 times by 256 KiB.
- Pieces of 128 KiB to 1 MiB: the same within the noise; of 32 KiB: half (ext4 gives small folios).
- The replaced file kept (RENAME_EXCHANGE) and written over as the next temporary one: not done. In
  page cache that is there already a write is two to four times as fast, but who has the old shard
  open would read other bytes. A lease (F_SETLEASE) tells of openers on this machine, not of those
  of an NFS client whose server has closed the file.
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
