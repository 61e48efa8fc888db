"""A finished export pushed to a destination: compare, send, check, the manifest last."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import commit
from ..errors import RunError
from ..format import MANIFEST
from ..progress import Progress, Silent
from ..public import public
from ..state import State, check_finished
from .destination import Destination, Remote, Sent, opened, refuse_itself
from .files import File, is_ours, listed
from .ledger import Ledger, place

AT_ONCE = 4
"""Files under way; each holds two parts of 16 MiB in memory."""

_NAMED = 3
"""Paths that a message names."""


@dataclass
class Pushed:
    """What a push did, or would do. files, bytes: all of the export that belong there."""

    out: str
    url: str
    status: str  # pushed, planned, already complete
    files: int
    bytes: int
    sent: int = 0  # files
    sent_bytes: int = 0
    read_back: int = 0  # files whose bytes were read there, since the store tells no digest
    differed: list[str] = field(default_factory=list)  # objects of our paths that were not the file
    stale: list[str] = field(default_factory=list)  # of an earlier export: removed
    others: int = 0  # objects there that are nobody's export: left alone
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def push(
    out: str | os.PathLike[str],
    url: str,
    *,
    replace: bool = False,
    dry_run: bool = False,
    at_once: int = AT_ONCE,
    read_back: bool = False,
    progress: Progress | None = None,
) -> Pushed:
    """Copy the complete export in `out` to `url`, or go on with a push that was interrupted.

    url: s3://bucket/prefix, gs://..., any other of fsspec, or hf://datasets/user/name. replace:
    take the place of another export there, or of another state of this one, and remove what is
    left of it. dry_run: only say what would happen. at_once: files under way. read_back: read
    every object back, also where the store tells its checksum. Raises RunError where it cannot go
    on, and where something stands in the way.
    """
    start = time.monotonic()
    root, progress = Path(out), progress or Silent()
    _manifest(root)  # before a state folder is made
    if at_once < 1:
        raise RunError(f"{at_once} files at once: at least 1")
    if dry_run:
        check_finished(root)
    sink = opened(url, place(root, url) / "folder", at_once, read_back)
    refuse_itself(root, url, sink)
    with nullcontext() if dry_run else State(root) as state:
        ledger = Ledger(root, url)
        try:
            report = _Push(root, url, sink, ledger, progress).run(replace, dry_run)
        except OSError as error:
            raise commit.output_error(Path(error.filename or root), error) from error
        finally:
            ledger.close()
            if state is not None and not ledger.begun:
                state.remove()  # nothing was begun, or all is done
    report.seconds = time.monotonic() - start
    return report


def _manifest(out: Path) -> dict[str, Any]:
    from .. import manifest  # numpy and pyarrow: an export imports this room before workers start

    return manifest.read(out, "what is pushed is")


class _Push:
    """One run, with the state folder held but for a dry one."""

    def __init__(
        self, out: Path, url: str, sink: Destination, ledger: Ledger, progress: Progress
    ) -> None:
        self._sink, self._ledger, self._progress = sink, ledger, progress
        self._files = listed(out, _manifest(out))
        size = sum(file.bytes for file in self._files)
        self._report = Pushed(str(out), public(url), "pushed", len(self._files), size)

    def run(self, replace: bool, dry_run: bool) -> Pushed:
        report, ours = self._report, {file.path for file in self._files}
        there = self._sink.listing()
        report.stale = sorted(path for path in there if is_ours(path) and path not in ours)
        report.others = sum(path not in ours and not is_ours(path) for path in there)
        todo = self._todo(there)
        if not (dry_run or replace):
            self._refuse(there)
        *files, last = self._files
        if (todo or report.stale) and last not in todo:
            todo.append(last)  # it goes first and comes last, whatever changes
        report.sent, report.sent_bytes = len(todo), sum(file.bytes for file in todo)
        if dry_run or not todo:
            report.status = "planned" if dry_run else "already complete"
            self._ledger.begun = False
            return report
        self._ledger.begin()
        if MANIFEST in there:  # until the end nothing there looks complete
            self._sink.remove([MANIFEST])
        meter = _Meter(self._progress, report.sent_bytes)
        self._send(todo[:-1], meter)
        self._sink.remove(report.stale)
        self._confirm(files)
        self._send([last], meter)
        self._ledger.begun = False  # it has served
        return report

    def _todo(self, there: dict[str, Remote]) -> list[File]:
        """The files that are not there as they are here, in order."""
        unsure = [
            (file, there[file.path])
            for file in self._files
            if file.path in there and not self._ledger.knows(file, there[file.path])
        ]
        if len(unsure) > 1:
            self._progress.say(f"comparing {len(unsure):,} files that are there already")
        self._report.differed = sorted(f.path for f in self._sink.compare(unsure, self._found))
        differ = set(self._report.differed)
        return [file for file in self._files if file.path not in there or file.path in differ]

    def _refuse(self, there: dict[str, Remote]) -> None:
        """Whether something stands in the way that nobody has said may go."""
        report = self._report
        if report.stale:
            raise RunError(
                f"{report.url} holds {len(report.stale):,} files of another export, or of an "
                f"earlier state of this one ({_some(report.stale)}), which readers would take for "
                "part of this one. --replace removes them; or choose another place"
            )
        same = MANIFEST in there and MANIFEST not in report.differed
        if report.differed and not (same or self._ledger.begun):
            raise RunError(
                f"{report.url} holds other files of these names ({_some(report.differed)}): of "
                "another export, or of an earlier state of this one. --replace takes their place; "
                "or choose another place"
            )

    def _send(self, files: Sequence[File], meter: _Meter) -> None:
        if files:
            self._sink.send(files, self._found, meter.advance)

    def _found(self, file: File, sent: Sent) -> None:
        self._report.read_back += sent.read_back
        self._ledger.note(file, sent.remote)

    def _confirm(self, files: Sequence[File]) -> None:
        """All is there, in its size, after the last of it has arrived."""
        there = self._sink.listing()
        for file in files:
            if file.path not in there or there[file.path].bytes != file.bytes:
                raise RunError(
                    f"{self._report.url}/{file.path} was removed or changed while others were "
                    f"sent; {MANIFEST} was not written. The same command mends it"
                )


class _Meter:
    """Bytes on a bar that counts in kB or MB."""

    def __init__(self, progress: Progress, size: int) -> None:
        self._progress = progress
        self._unit, name = (1_000_000, "MB") if size >= 10_000_000 else (1_000, "kB")
        self._bytes = self._shown = 0
        progress.phase("push", -(-size // self._unit), name)
        self._size = size

    def advance(self, n: int) -> None:
        self._bytes += n
        units = self._bytes // self._unit
        if self._bytes >= self._size:
            units = -(-self._size // self._unit)
        if units > self._shown:
            self._progress.advance(units - self._shown)
            self._shown = units


def _some(paths: Sequence[str]) -> str:
    more = ", ..." if len(paths) > _NAMED else ""
    return ", ".join(paths[:_NAMED]) + more
