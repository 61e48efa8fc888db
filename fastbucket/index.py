"""Indexes that other tools read, outside buckets/: where every sample of an export lies.

    index/wids.json                              webdataset's wids: the shards and their samples
    index/webshart/<bucket_id>/shard-000000.json webshart and SimpleTuner: offset and length of
                                                 every member, the size of every image

Whoever writes a shard knows its offsets and writes its index; `write` sees to the rest before the
manifest is committed. An index names its shard's size and SHA-256 in its first bytes, so that one
that is of another shard, or of an earlier state of it, is known without being read. All of it
follows from the shards: it can be removed, and written again, at any time.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from . import commit
from .errors import RunError
from .format import (
    BUCKETS,
    INDEX,
    MANIFEST,
    MEMBERS,
    SHARD_INDEX,
    TAR_BLOCK,
    WIDS,
    index_path,
    shard_path,
)

_SIZE = re.compile(rb',"w":(\d+),"h":(\d+),"image_mode":')
"""In the JSON of a sample as it is written. A quote within a string would be escaped."""


class Entry(NamedTuple):
    """A sample of a shard. width, height: of its JPEG in pixels. sizes: bytes of its members, in
    the order of format.MEMBERS."""

    key: str
    width: int
    height: int
    sizes: tuple[int, int, int]


class Shard(NamedTuple):
    """A shard as the manifest lists it."""

    bucket_id: str
    number: int
    samples: int
    bytes: int
    sha256: str


def shards(manifest: Mapping[str, Any]) -> list[Shard]:
    """Every shard of a manifest, in its order."""
    return [
        Shard(bucket["bucket_id"], number, shard["count"], shard["bytes"], shard["sha256"])
        for bucket in manifest["buckets"]
        for number, shard in enumerate(bucket["shards"])
    ]


def write(out: Path, manifest: Mapping[str, Any] | None = None, *, afresh: bool = False) -> int:
    """Bring the indexes up to date with the shards of a manifest: that of the export, or one that
    is about to be committed.

    Indexes that are of their shards stay, the others are made from the shards themselves, and those
    of no shard are removed. afresh: none stays, whatever it says. Returns how many were made.
    Raises RunError where a shard is missing or no tar of ours.
    """
    if manifest is None:
        try:
            manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise RunError(f"{out} is no complete export: {MANIFEST}: {why}") from None
    listed, made = shards(manifest), 0
    try:
        for shard in listed:
            if afresh or not is_current(out, shard):
                write_shard(out, shard, entries(out / shard_path(shard.bucket_id, shard.number)))
                made += 1
        _remove_others(out, {index_path(shard.bucket_id, shard.number) for shard in listed})
        commit.make_folder(out / INDEX)
    except OSError as error:
        raise commit.output_error(Path(error.filename or out / INDEX), error) from None
    text = wids(listed)
    with suppress(OSError):
        if (out / WIDS).read_text() == text:
            return made
    commit.write_text(out / WIDS, text)
    return made


def wids(listed: Sequence[Shard]) -> str:
    """index/wids.json. The URLs are relative to its own folder, as wids takes them."""
    lines = [
        json.dumps(
            {
                "url": str(PurePosixPath("..", shard_path(shard.bucket_id, shard.number))),
                "nsamples": shard.samples,
                "filesize": shard.bytes,
            }
        )
        for shard in listed
    ]
    head = '{"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": [\n'
    return head + ",\n".join(lines) + "\n]}\n"


def write_shard(out: Path, shard: Shard, samples: Iterable[Entry]) -> None:
    """Write the index of one shard. Raises RunError where its samples are not all of its bytes."""
    path = out / index_path(shard.bucket_id, shard.number)
    jpg, txt, document = MEMBERS
    lines: list[str] = []
    shapes: dict[tuple[int, int], str] = {}  # of a bucket most often one
    end = 0
    for key, width, height, (image, text, last) in samples:
        shape = shapes.get((width, height))
        if shape is None:
            aspect = round(width / height, 6)
            shape = f',"width":{width},"height":{height},"aspect":{aspect}'
            shapes[width, height] = shape
        at = end + TAR_BLOCK
        behind = at + image + -image % TAR_BLOCK + TAR_BLOCK
        further = behind + text + -text % TAR_BLOCK + TAR_BLOCK
        end = further + last + -last % TAR_BLOCK
        lines.append(
            f'"{key}.{jpg}":{{"offset":{at},"length":{image}{shape}}},\n'
            f'"{key}.{txt}":{{"offset":{behind},"length":{text}}},\n'
            f'"{key}.{document}":{{"offset":{further},"length":{last}}}'
        )
    if len(lines) != shard.samples or end != shard.bytes - 2 * TAR_BLOCK:
        raise RunError(
            f"{out / shard_path(shard.bucket_id, shard.number)} is not as {MANIFEST} says; "
            "fastbucket verify tells more"
        )
    try:
        for folder in (path.parents[2], path.parents[1], path.parent):
            commit.make_folder(folder)
    except OSError as error:
        raise commit.output_error(path, error) from None
    commit.write_text(path, _head(shard) + ",\n".join(lines) + "\n}}\n")


def _head(shard: Shard) -> str:
    """The beginning of a shard's index: what ties it to the shard."""
    name = PurePosixPath(shard_path(shard.bucket_id, shard.number)).name
    return (
        f'{{"path":"{name}","filesize":{shard.bytes},"hash":"{shard.sha256}",'
        '"includes_image_geometry":true,"files":{\n'
    )


def is_current(out: Path, shard: Shard) -> bool:
    """Whether the index of a shard is there and is of this very shard."""
    head = _head(shard).encode()
    try:
        with open(out / index_path(shard.bucket_id, shard.number), "rb") as file:
            return file.read(len(head)) == head
    except OSError:
        return False


def starts(out: Path, shard: Shard) -> list[int] | None:
    """Where each sample of a shard begins in the tar, in bytes; None without a current index."""
    if not is_current(out, shard):
        return None
    try:
        text = (out / index_path(shard.bucket_id, shard.number)).read_bytes()
        files = json.loads(text)["files"]
        found = [int(entry["offset"]) - TAR_BLOCK for entry in files.values()][:: len(MEMBERS)]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if len(found) == shard.samples else None


def entries(path: Path) -> list[Entry]:
    """The samples of a shard, from its headers and the JSON of each. Raises RunError."""
    from .walked import walk  # the kernels: only where offsets are not known

    walked = walk(path)
    found: list[Entry] = []
    with open(path, "rb") as file:
        for key, row in zip(walked.keys, walked.members.tolist(), strict=True):
            _, jpg, _, txt, at, size = row
            document = os.pread(file.fileno(), size, at)
            found.append(Entry(key, *size_of(document, f"{path}: {key}"), (jpg, txt, size)))
    return found


def size_of(document: bytes, where: str) -> tuple[int, int]:
    """Width and height of a sample's JPEG, of its JSON. Raises RunError, naming `where`."""
    if found := _SIZE.search(document):
        return int(found[1]), int(found[2])
    try:
        values = json.loads(document)
        return int(values["w"]), int(values["h"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(
            f"{where}: its JSON is damaged ({error}); fastbucket verify tells more"
        ) from None


def _remove_others(out: Path, listed: set[str]) -> None:
    """Remove the indexes of shards that are no more."""
    folder = out / SHARD_INDEX
    for path in sorted(folder.glob("*/*.json")):
        if path.relative_to(out).as_posix() not in listed:
            path.unlink()
            commit.fsync_directory(path.parent)
    for inside in folder.glob("*/"):
        if not (out / BUCKETS / inside.name).is_dir():
            with suppress(OSError):  # somebody's file is in it
                inside.rmdir()
