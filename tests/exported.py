"""An export read back with the standard library alone, and tars of one's own.

Nothing here imports the package: what an export holds is not told by what wrote it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif", "tif", "avif")


class Sample(NamedTuple):
    """One exported sample. path: of its shard, relative to the export; index: within it."""

    path: str
    index: int
    key: str
    jpg: bytes
    txt: bytes
    json: dict[str, Any]


def shards(out: Path) -> list[Path]:
    """Every shard, in the order of the paths."""
    return sorted(out.glob("buckets/*/*.tar"))


def samples(out: Path) -> Iterator[Sample]:
    """Every sample; the members must stand in threes, in the order of the format."""
    for path in shards(out):
        with tarfile.open(path, "r:") as tar:
            members = tar.getmembers()
            assert len(members) % 3 == 0, path
            for index, at in enumerate(range(0, len(members), 3)):
                three = members[at : at + 3]
                keys, suffixes = zip(*(m.name.split(".") for m in three), strict=True)
                assert suffixes == ("jpg", "txt", "json"), path
                assert len(set(keys)) == 1, path
                jpg, txt, facts = (tar.extractfile(member).read() for member in three)
                relative = path.relative_to(out).as_posix()
                yield Sample(relative, index, keys[0], jpg, txt, json.loads(facts))


def digests(out: Path) -> dict[str, str]:
    """SHA-256 of every shard: what no number of workers and no crash may change."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in shards(out)
    }


def belonging(out: Path) -> dict[str, bytes]:
    """Path -> bytes of what is of an export wherever it goes, told by docs/format.md alone."""
    parts = ("buckets/", "index/", "meta/", "README.md", "manifest.json")
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.relative_to(out).as_posix().startswith(parts)
    }


def manifest(out: Path) -> dict[str, Any]:
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def source_members(paths: Iterable[Path]) -> dict[str, dict[str, bytes]]:
    """image_id -> suffix -> bytes of source tars, in tar order."""
    found: dict[str, dict[str, bytes]] = {}
    for path in paths:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                content = tar.extractfile(member).read()
                found.setdefault(f"{path.stem}/{key}", {})[suffix.lower()] = content
    return found


def image_of(members: dict[str, bytes]) -> bytes | None:
    """The image among a sample's members, None without one."""
    return next((members[s] for s in IMAGE_SUFFIXES if s in members), None)


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A plain ustar file of these members, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
