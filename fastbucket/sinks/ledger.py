"""What was sent: lines beside the export, so that a push that was interrupted reads nothing twice.

    {"destination": SHA-256 of the URL, which may hold a password, "manifest": SHA-256}
    {"path": ..., "bytes": ..., "mtime": ..., "mark": ...}

A line counts while the file here and the object there are as they were. It goes with the state
folder when the push is complete; without it everything is compared again, and that is all.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import IO

from .. import commit
from ..format import STATE
from .destination import Remote
from .files import File

FOLDER = f"{STATE}/push"


def place(out: Path, url: str) -> Path:
    """The folder of one destination."""
    return out / FOLDER / _digest(url)[:16]


def _digest(url: str) -> str:
    return hashlib.sha256(url.rstrip("/").encode()).hexdigest()


class Ledger:
    """The lines of one destination, for one state of the export."""

    def __init__(self, out: Path, url: str) -> None:
        self._path = place(out, url) / "sent.jsonl"
        manifest = (out / "manifest.json").read_bytes()
        self._head = {"destination": _digest(url), "manifest": hashlib.sha256(manifest).hexdigest()}
        self._known: dict[str, tuple[int, int, str]] = {}
        self._file: IO[str] | None = None
        self._early: list[tuple[File, Remote]] = []
        self.begun = self._read()

    def knows(self, file: File, remote: Remote) -> bool:
        """Whether this very object was found right when the file was as it is."""
        wanted = (file.bytes, file.mtime, remote.mark)
        return bool(remote.mark) and self._known.get(file.path) == wanted

    def begin(self) -> None:
        """From here on objects of our names there are of this push. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self.begun:
            commit.write_text(self._path, json.dumps(self._head) + "\n")
            self.begun = True
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 held until close
        self._file.write("\n")  # ends a line that a dead run has left half-written
        for file, remote in self._early:
            self.note(file, remote)

    def note(self, file: File, remote: Remote) -> None:
        """An object is right. What is noted before the beginning is written with it."""
        if self._file is None:
            self._early.append((file, remote))
        elif remote.mark:
            entry = {"path": file.path, "bytes": file.bytes, "mtime": file.mtime}
            self._file.write(json.dumps({**entry, "mark": remote.mark}) + "\n")
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> bool:
        """Whether there is a ledger of this state; its lines are known then."""
        try:
            head, *lines = self._path.read_text(encoding="utf-8").splitlines()
            if json.loads(head) != self._head:
                return False
        except (OSError, ValueError):
            return False
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                self._known[entry["path"]] = (entry["bytes"], entry["mtime"], entry["mark"])
        return True
