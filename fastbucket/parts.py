"""Parts of one export that are made by jobs of their own, at the same time, into one folder.

Part i of n makes every n-th shard, from the i-th on. Nothing holds the jobs together but files in
the folder, and of file systems nothing is asked but that a rename and a link are atomic: what all
must agree on is linked into its place, so that the first wins and the others read what it says.
Locks, where they work, keep a second job of the same part away and the merge until all have ended;
where they do not (many network file systems), a `commit.Fence` does what matters.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TextIO

from . import commit, refusal
from .clearing import FENCE, SHARDS
from .commit import TEMPORARY, Fence
from .errors import RunError
from .format import BUCKETS, STATE
from .lock import holder, locked
from .recipe import Recipe
from .state import State, load, run_facts, writing

FACTS = "parts.json"


class Part(NamedTuple):
    """Part `number`, from 1, of `of` parts."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """From "3/16". Raises RunError."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise RunError(f"shards: {text!r} is no part: 3/16 is the third of sixteen")
        return cls(int(found[1]), int(found[2]))

    def owns(self, at: int) -> bool:
        """Whether the at-th of something, from 0, is its share."""
        return at % self.of == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def facts(out: Path) -> dict[str, Any] | None:
    """What all parts in a folder agree on, see `Joined.join`; None where there are none."""
    return load(out / STATE / FACTS) if (out / STATE / FACTS).is_file() else None


class Joined(State):
    """The state folder of an export to which a part has come, beside others."""

    remedy = "Remove the folder to start afresh"
    _sharing = True
    _locks_needed = False

    def __init__(self, out: Path, part: Part) -> None:
        self.part = part
        self._own: TextIO | None = None
        self._targets: frozenset[Path] = frozenset()
        super().__init__(out)

    def __enter__(self) -> Joined:
        return self

    def join(
        self,
        export_id: str,
        recipe: Recipe,
        stamps: Mapping[str, str],
        whole_id: str,
        agreed: Mapping[str, Any],
    ) -> dict[str, Any] | None:
        """Come to this export, as the first or after others. Returns the manifest where it is
        complete; afterwards `fence` is that of all its parts.

        agreed: `parts`, the number of all, and `licence`, which must be the same for all; what else
        is in it is kept as the first says it. Raises RunError where the folder is another export's,
        or is being made in another number of parts.
        """
        with writing(self.out):
            done = self._complete(export_id, recipe, whole_id)
            if done is not None:
                return done
            run = self.path / "run.json"
            if run.name not in os.listdir(self.path):
                if any(self.out.glob(SHARDS)):
                    self._leave()
                    raise refusal.orphans(self.out, self.remedy)
                self._check_empty()
            self._make_folders()
            for folder in ("catalogue", "parts"):
                commit.make_folder(self.path / folder)
            commit.write_text(run, run_facts(export_id, recipe, stamps), once=True)
            found = load(run)
            if not found.get("export_id"):
                raise RunError(
                    f"{self.out} was being cleared by a run with --overwrite: repeat that one "
                    "first, or remove the folder"
                )
            self.check_begun(found, export_id, recipe, stamps)
            commit.make_folder(self.out / BUCKETS)
            self._agree(agreed)
            self._own = locked(
                f"part {self.part} of {self.out}",
                self.path / "parts" / f"{self.part.number}.lock",
                needed=False,
            )
            self._own.truncate(0)
            self._own.write(holder())
            self._own.flush()
            commit.write_text(self.path / FENCE, os.urandom(8).hex(), once=True)
            self.fence = Fence(str(self.path / FENCE), (self.path / FENCE).read_text())
        return None

    def note(self, workers: int) -> None:
        """Say how many processes this part has."""
        path = self.path / "parts" / f"{self.part.number}.json"
        commit.write_text(path, json.dumps({"workers": workers}))

    def _agree(self, agreed: Mapping[str, Any]) -> None:
        commit.write_text(self.path / FACTS, json.dumps(dict(agreed)), once=True)
        found = load(self.path / FACTS)
        if found.get("parts") != agreed["parts"]:
            raise RunError(
                f"{self.out} is being made in {found.get('parts')} parts, and --shards {self.part} "
                f"is one of {agreed['parts']}: take the same number for all. One run without "
                "--shards completes it too"
            )
        if found.get("licence") != agreed["licence"]:
            raise RunError(
                f"the first part in {self.out} named the licence {found.get('licence')!r}, this "
                f"one {agreed['licence']!r}; fastbucket card sets it in the end"
            )

    def sweep_own(self, targets: Iterable[Path] = ()) -> None:
        """Remove what dead attempts at these files have left half-written; without any, at those
        that were named before. Raises OSError."""
        self._targets = frozenset(targets) or self._targets
        for folder in {path.parent for path in self._targets}:
            for path in folder.glob(f".*{TEMPORARY}"):
                if commit.intended(path) in self._targets:
                    path.unlink(missing_ok=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            with suppress(OSError):  # there is an error to tell already
                self.sweep_own()
        if self._own is not None:
            self._own.close()
        self._close()


class Merging(State):
    """The state folder while the parts, all made, become one export."""

    remedy = Joined.remedy
    _locks_needed = False

    def __enter__(self) -> Merging:
        return self

    def workers(self) -> int:
        """Processes of all parts."""
        notes = (self.path / "parts").glob("*.json")
        return sum(int(load(note).get("workers", 0)) for note in notes)
