"""The indexes beside the shards: whether they say what stands in them.

They follow from the shards and nothing else needs them, so an export without the folder is whole;
one that has it must have all of it, right.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ..format import INDEX, SHARD_INDEX, WIDS
from .findings import Findings

_REMEDY = "fastbucket index writes it again"
_SIZE = re.compile(rb'[,{]"w":(\d+),"h":(\d+),')
_LIMIT = 1 << 28
"""Bytes of an index: 400,000 samples in a shard. A larger one is none of ours."""


class Place(NamedTuple):
    """Where a member's content lies in its tar, in bytes."""

    name: str
    offset: int
    length: int


def index_of(path: str) -> str:
    """Path of the index of a shard, both relative to the export."""
    return str(PurePosixPath(SHARD_INDEX, *PurePosixPath(path).parts[1:]).with_suffix(".json"))


def size_in(document: bytes) -> tuple[int, int] | None:
    """The width and height that a sample's JSON gives its JPEG."""
    found = _SIZE.search(document)
    return (int(found[1]), int(found[2])) if found else None


def shard_flaws(
    root: Path,
    path: str,
    size: int,
    sha256: str,
    members: Sequence[Place],
    shapes: Mapping[str, tuple[int, int] | None],
) -> Iterator[str]:
    """What the index of a shard says otherwise than the shard does. members: all of them, as they
    stand in the tar. shapes: width and height by name of a .jpg."""
    try:
        with open(root / index_of(path), "rb") as file:
            text = file.read(_LIMIT)
        values = json.loads(text)
        files = {name: dict(entry) for name, entry in values["files"].items()}
    except FileNotFoundError:
        yield f"is missing; {_REMEDY}"
        return
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        yield f"is no index ({error!s:.100}); {_REMEDY}"
        return
    for name, there, here in (
        ("filesize", values.get("filesize"), size),
        ("hash", values.get("hash"), sha256),
    ):
        if there != here:
            yield f"{name} is {there!r:.80}, the shard's is {here}; {_REMEDY}"
            return
    wanted = {}
    for place in members:
        entry: dict[str, Any] = {"offset": place.offset, "length": place.length}
        if (shape := shapes.get(place.name)) is not None:
            width, height = shape
            entry |= {"width": width, "height": height, "aspect": round(width / max(height, 1), 6)}
        wanted[place.name] = entry
    if files == wanted:
        return
    for name in sorted(files.keys() ^ wanted.keys())[:1]:
        alone = "the index" if name in files else "the shard"
        yield f"{name!r:.120} is in {alone} alone; {_REMEDY}"
        return
    name = next(name for name in wanted if files[name] != wanted[name])
    yield f"{name} is at {files[name]!r:.160}, in the shard at {wanted[name]}; {_REMEDY}"


def check(root: Path, shards: Sequence[tuple[str, int, int]], found: Findings) -> None:
    """wids.json against the manifest's shards, (path, samples, bytes), and files of no shard."""
    try:
        values = json.loads((root / WIDS).read_bytes())
        listed = [(s["url"], s["nsamples"], s["filesize"]) for s in values["shardlist"]]
        kind = values["__kind__"], values["wids_version"]
    except FileNotFoundError:
        found.add(WIDS, "", f"is missing; {_REMEDY}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        found.add(WIDS, "", f"is no index ({error!s:.100}); {_REMEDY}")
    else:
        wanted = [(f"../{path}", samples, size) for path, samples, size in shards]
        if listed != wanted or kind != ("wids-shard-index-v1", 1):
            found.add(WIDS, "", f"does not list the manifest's shards; {_REMEDY}")
    known = {WIDS, *(index_of(path) for path, _, _ in shards)}
    for folder, _, names in os.walk(root / INDEX):
        for name in sorted(names):
            path = Path(folder, name).relative_to(root).as_posix()
            if path not in known:
                found.add(path, "", f"is the index of no shard; {_REMEDY}, or removes it")
