"""Which files of an export go to a destination, and which there are of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..format import BUCKETS, CARD, INDEX, MANIFEST, META

PARTS = ("shards", "index", "meta", "card", "manifest")
"""What goes, in the order in which it is begun; the manifest when everything else is there.

Not the state, not captions.sqlite (a workspace of this machine), not run.json, report.html and
suspects.* (of this run and its paths; made again in no time), and nothing that is not ours.
"""

NAMES = {
    "shards": (f"{BUCKETS}/**/shard-*.tar",),  # those that the manifest lists
    "index": (f"{INDEX}/wids.json", f"{INDEX}/webshart/**/shard-*.json"),
    "meta": (f"{META}/samples-*.parquet",),
    "card": (CARD,),
    "manifest": (MANIFEST,),
}
"""Part -> patterns of its paths, relative to the export. What matches at a destination is of an
export; anything else there is somebody's, and is let alone."""


@dataclass(frozen=True)
class File:
    """A file of the export. path: relative to it, with forward slashes. sha256: as the manifest
    tells it, "" where it does not. mtime: nanoseconds."""

    path: str
    local: Path
    bytes: int
    mtime: int
    sha256: str = ""


def is_ours(path: str) -> bool:
    """Whether a path at a destination is one of an export."""
    return any(fnmatchcase(path, name) for part in PARTS for name in NAMES[part])


def listed(out: Path, manifest: Mapping[str, Any]) -> list[File]:
    """All files that go, in the order of PARTS, the manifest last.

    Raises RunError where one is missing, or a shard is not of the size that the manifest tells.
    """
    found = []
    for bucket in manifest["buckets"]:
        for shard in bucket["shards"]:
            file = _file(out, shard["path"], shard["sha256"])
            if file.bytes != shard["bytes"]:
                raise damaged(file.local)
            found.append(file)
    for part in PARTS[1:]:
        paths = sorted({path for name in NAMES[part] for path in out.glob(name)})
        if not paths and part != "index":  # that may be absent: it follows from the shards
            remedy = f"run fastbucket card {out}" if part == "card" else "fastbucket verify"
            raise RunError(f"{out / NAMES[part][0]} is missing; {remedy} first")
        found += [_file(out, path.relative_to(out).as_posix()) for path in paths]
    return found


def damaged(path: Path) -> RunError:
    return RunError(f"{path} is not as {MANIFEST} says, and was not sent; fastbucket verify first")


def _file(out: Path, path: str, sha256: str = "") -> File:
    local = out / path
    try:
        facts = local.stat()
    except OSError as error:
        raise RunError(f"cannot read {local}: {error.strerror}; fastbucket verify first") from None
    return File(path, local, facts.st_size, facts.st_mtime_ns, sha256)
