"""Where samples come from: one file a kind, each with the functions of `Kind`."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from ..catalogue import Archive, Catalogue
from .buffer import Buffer

KINDS = {
    "tar": "fastbucket.sources.tar",
    "folder": "fastbucket.sources.folder",
}
"""Kind of archive to the module that knows it; loaded when it is first asked for."""


class Reader(Protocol):
    """Reads members of one archive at an offset. Raises RunError for what it cannot read whole."""

    def read(self, name: str | bytes, offset: int, size: int, into: Buffer) -> memoryview: ...

    def close(self) -> None: ...


class Kind(Protocol):
    """What the module of a kind offers."""

    def scan(self, archive: Archive) -> Catalogue:
        """Everything in the archive, by its headers. RunError: two samples of one image_id."""

    def stamp(self, archive: Archive) -> str:
        """The state of the source: another stamp means that it has to be scanned anew."""

    def listing(self, archive: Archive) -> str:
        """What export_id is made of: the same wherever and whenever the source was mounted."""

    def Reader(self, archive: Archive) -> Reader:  # noqa: N802 - a class in every module
        ...


def kind(archive: Archive) -> Kind:
    """The module for this archive."""
    return cast(Kind, import_module(KINDS[archive.kind]))


def text(name: bytes) -> str:
    """A name as text: UTF-8, any other byte as \\\\xNN."""
    return name.decode("utf-8", "backslashreplace")


def member_name(key: bytes, suffix: bytes) -> bytes:
    """The name of a sample's member; a file without a suffix is named by its key alone."""
    return key + b"." + suffix if suffix else key
