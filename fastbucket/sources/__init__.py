"""Where samples come from: one file a kind, each with the functions of `Kind`.

The scans load numba when they are called, and not before: who only reads does without.
"""

from __future__ import annotations

from typing import Protocol

from ..catalogue import Archive, Catalogue
from ..progress import At, unwatched
from . import folder, parquet, script, stream, tar
from .names import member_name

__all__ = ["KINDS", "Kind", "Reader", "member_name"]


class Reader(Protocol):
    """Reads members of one archive. Raises RunError for what it cannot read whole.

    from_disk: it reads from a drive, and a stall in `read` is the drive's and no sample's fault.
    """

    from_disk: bool

    def read(self, name: str | bytes, offset: int, size: int, into: bytearray) -> memoryview:
        """`size` bytes, in `into`, which grows where it has to; valid until its next use."""

    def close(self) -> None: ...


class Kind(Protocol):
    """What the module of a kind offers."""

    def scan(self, archive: Archive, at: At = unwatched) -> Catalogue:
        """Everything in the archive, by its headers. RunError: two samples of one image_id.

        at: called where a decoder is let loose on a header, with the number of the image.
        """

    def stamp(self, archive: Archive) -> str:
        """The state of the source: another stamp means that it has to be scanned anew."""

    def listing(self, archive: Archive) -> str:
        """What export_id is made of: the same wherever and whenever the source was mounted."""

    def Reader(self, archive: Archive) -> Reader: ...


KINDS: dict[str, Kind] = {
    "tar": tar,
    "folder": folder,
    "parquet": parquet,
    "stream": stream,
    "script": script,
}
