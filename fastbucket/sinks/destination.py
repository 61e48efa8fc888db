"""Where an export goes: what every kind of destination can do, and which URL names which."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..errors import RunError
from ..public import public
from .files import File

EXTRA = "pip install 'fastbucket[remote]'"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True)
class Remote:
    """An object that is there. mark: what the store changes with its content (an ETag, a time),
    "" where there is no such thing. facts: all that the store tells."""

    bytes: int
    mark: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Sent:
    """A file that is there, right to the last byte. read_back: it was read to know that."""

    remote: Remote
    read_back: bool


Done = Callable[[File, Sent], None]
"""Told of every file that is found right, in the caller's thread, before the next one."""

Advance = Callable[[int], None]
"""Told of bytes that were sent."""


class Destination(Protocol):
    """One place. Paths are relative to it. Everything raises RunError where it cannot be done."""

    def folder(self) -> Path | None:
        """Where it is on this machine, there or not; None where it is elsewhere."""

    def listing(self) -> dict[str, Remote]:
        """Every object there."""

    def compare(self, files: Sequence[tuple[File, Remote]], done: Done) -> list[File]:
        """Hold files against the objects of their paths. Returns those that differ."""

    def send(self, files: Sequence[File], done: Done, advance: Advance) -> None:
        """Send files, and check each one there."""

    def remove(self, paths: Sequence[str]) -> None:
        """Remove objects."""


def scheme(url: str) -> str:
    """s3 of s3://bucket/prefix; "" where it is no URL."""
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""


def is_url(text: str) -> bool:
    return bool(scheme(text))


def refuse_itself(place: Path, url: str, sink: Destination) -> None:
    """Raises RunError where a destination is the very folder whose export goes there: what is
    replaced there is lost here. place: that folder, there or not."""
    there = sink.folder()
    if there is None:
        return
    try:
        same = os.path.samefile(place, there)  # also by another mount
    except OSError:  # one of them is not there yet
        same = os.path.realpath(place) == os.path.realpath(there)
    if same:
        raise RunError(f"{public(url)} is {place} itself: what is pushed goes to another folder")


def opened(url: str, staging: Path, at_once: int, read_back: bool) -> Destination:
    """The destination of a URL. staging: folder that a destination may use, made when it does.

    Raises RunError where the URL is none, or the library for it is absent.
    """
    kind = scheme(url)
    if not kind:
        raise RunError(
            f"{public(url)} is no URL: s3://bucket/prefix, gs://bucket/prefix, "
            "hf://datasets/user/name, or another that fsspec knows, such as file:///mnt/disk/dataset"
        )
    if kind == "hf":
        from .hub import Hub

        return Hub(url, staging)
    from .objects import Objects

    return Objects(url, at_once, read_back)
