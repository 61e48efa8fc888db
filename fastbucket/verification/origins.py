"""Exported samples against their sources: every source image read again, and its SHA-256 compared.

A tar is read by the standard library, a Parquet file by pyarrow, once, from front to back, be it a
file or a stream; of a
folder only the files that are asked for. Names in the JSON of a sample are looked up among the
names that are there, and never opened as paths.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

from ..errors import RunError
from ..public import public
from .findings import PATH_LIMIT, Findings, Problem

if TYPE_CHECKING:
    from ..catalogue import Archive

_READ = 1 << 20
"""Bytes read and hashed at a time: what a member claims to be never has to fit in memory."""

_ROWS = 64
"""Rows of a Parquet file whose images are in memory at a time."""

_PROGRESS = 64
"""Samples between two reports."""


class Origin(NamedTuple):
    """Where a sample says it comes from."""

    key: str
    member: str
    size: int
    sha256: str

    def line(self) -> bytes:
        """One line of JSON: a million of them wait in the parent, in 200 bytes each."""
        return json.dumps(self).encode() + b"\n"


class SourceTask(NamedTuple):
    """One archive, and who says to come from it. samples: (path of the shard, lines of Origin)."""

    kind: str
    path: str
    name: str
    samples: tuple[tuple[str, bytes], ...]


class SourceFacts(NamedTuple):
    """What came of an archive. read: samples whose source was found and read."""

    read: int
    problems: list[Problem]
    more: int


class SourceCheck:
    """A job: check all samples of one archive. Nothing in an archive makes it raise."""

    def __init__(self, setup: dict[str, Any]) -> None: ...

    def __call__(self, task: SourceTask, progress: Callable[[int], None]) -> SourceFacts:
        found = Findings(PATH_LIMIT)
        wanted: dict[str, list[tuple[str, Origin]]] = {}
        for path, lines in task.samples:
            for line in lines.splitlines():
                origin = Origin(*json.loads(line))
                wanted.setdefault(origin.member, []).append((path, origin))
        read = reported = 0
        why = ""
        try:
            for member, size, opened in contents(task.kind, task.path, wanted):
                sha256 = _sha256(opened)
                for path, origin in wanted[member]:
                    for flaw in _flaws(origin, size, sha256, task.name):
                        found.add(path, f"{origin.key}.json", flaw)
                    read += 1
                del wanted[member]  # only now: what fails on the way stays, and is named below
                if read - reported >= _PROGRESS:
                    progress(read - reported)
                    reported = read
                if not wanted:
                    break
        except RunError as error:
            why = f": {error}"
        except OSError as error:
            why = f": {error.strerror or error}"
        except (tarfile.TarError, ValueError, OverflowError, IndexError, RecursionError) as error:
            why = f": the tar cannot be read to its end ({error})"
        progress(read - reported)
        for member, samples in wanted.items():
            for path, origin in samples:
                text = f"source_member {member!r} was not found whole in {public(task.path)}{why}"
                found.add(path, f"{origin.key}.json", text)
        return SourceFacts(read, found.problems, found.more)


def _sha256(opened: IO[bytes]) -> str:
    state = hashlib.sha256()
    while data := opened.read(_READ):
        state.update(data)
    return state.hexdigest()


def _flaws(origin: Origin, size: int, sha256: str, archive: str) -> Iterator[str]:
    if size != origin.size:
        there = f"is of {size} bytes in {archive}"
        yield f"source_bytes is {origin.size}, and {origin.member!r} {there}"
    elif sha256 != origin.sha256:
        yield f"source_sha256 is not that of {origin.member!r} in {archive}"


def _in_tar(path: str, wanted: dict[str, Any]) -> Iterator[tuple[str, int, IO[bytes]]]:
    """The wanted members of a tar, in its order: name, size and content."""
    with tarfile.open(path, "r:", errors="surrogateescape") as tar:
        yield from _members(tar, wanted)


def _in_stream(path: str, wanted: dict[str, Any]) -> Iterator[tuple[str, int, IO[bytes]]]:
    """The wanted members of a packed or remote tar."""
    from ..sources.locate import archives
    from ..sources.stream import opened

    try:
        (archive,) = archives([path])
        with (
            closing(opened(archive)) as stream,
            tarfile.open(fileobj=cast(Any, stream), mode="r|", errors="surrogateescape") as tar,
        ):
            yield from _members(tar, wanted)
    except RunError as error:
        raise OSError(str(error)) from None


def _members(tar: tarfile.TarFile, wanted: dict[str, Any]) -> Iterator[tuple[str, int, IO[bytes]]]:
    from ..catalogue import text

    while (info := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # it would keep every member
        name = text(info.name.encode("utf-8", "surrogateescape"))
        if name in wanted and info.isreg() and not info.issparse():
            content = tar.extractfile(info)
            assert content is not None  # it is a regular file
            yield name, info.size, content


def _in_folder(path: str, wanted: dict[str, Any]) -> Iterator[tuple[str, int, IO[bytes]]]:
    """The wanted files of a folder: relative path, size and content."""
    from ..catalogue import text
    from ..sources.tree import files

    for file in files(path):
        name = text(file.name)
        if name in wanted:
            with open(os.path.join(os.fsencode(path), file.name), "rb") as opened:
                yield name, os.fstat(opened.fileno()).st_size, opened


def _in_parquet(path: str, wanted: dict[str, Any]) -> Iterator[tuple[str, int, IO[bytes]]]:
    """The wanted rows of a Parquet file, read by pyarrow: name, size and image."""
    from ..catalogue import Archive, text
    from ..sources.parquet import Reader

    members = {member.rpartition(".")[0]: member for member in wanted}
    reader = Reader(Archive("parquet", path, "", "", 0))
    try:
        keys = [text(key) for key in reader.keys().to_pylist()]
        batches = reader.file.iter_batches(_ROWS, columns=[reader.columns.leaf])
        rows = (value for batch in batches for value in batch.column(0).to_pylist())
        for key, value in zip(keys, rows, strict=True):
            if key in members:
                image = value["bytes"] if isinstance(value, dict) else value
                yield members[key], len(image or b""), io.BytesIO(image or b"")
    finally:
        reader.close()


_CONTENTS: dict[str, Callable[[str, dict[str, Any]], Iterator[tuple[str, int, IO[bytes]]]]] = {
    "tar": _in_tar,
    "folder": _in_folder,
    "parquet": _in_parquet,
    "stream": _in_stream,
}


def contents(kind: str, path: str, wanted: dict[str, Any]) -> Iterator[tuple[str, int, IO[bytes]]]:
    """The wanted members of an archive of this kind, as it comes by them: name, size and content,
    which is good up to the next. Raises what tarfile and the file system raise."""
    return _CONTENTS[kind](path, wanted)


def tasks(
    archives: Sequence[Archive], origins: Sequence[tuple[str, dict[str, bytes]]], found: Findings
) -> list[SourceTask]:
    """A task for every archive that samples come from; notes archives that are not there.

    origins: (path of a shard, lines of Origin by name of the archive), in the order of the shards.
    """
    waiting: dict[str, list[tuple[str, bytes]]] = {}
    for path, by_archive in origins:
        for name, lines in by_archive.items():
            waiting.setdefault(name, []).append((path, lines))
    made = []
    for archive in archives:
        if archive.kind in _CONTENTS and (samples := waiting.pop(archive.name, None)):
            made.append(SourceTask(archive.kind, archive.path, archive.name, tuple(samples)))
    for name, samples in sorted(waiting.items()):
        count = sum(lines.count(b"\n") for _, lines in samples)
        first = Path(samples[0][0]).as_posix()
        found.add(first, "", f"{count} samples are of the source {name!r}, which was not given")
    return made
