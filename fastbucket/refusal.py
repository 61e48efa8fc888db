"""What an output folder is refused for, in words: what it holds, why that does not go together with
what is asked for, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import RunError
from .format import MANIFEST
from .public import public
from .recipe import Recipe


def another(out: Path, what: str, values: dict[str, Any], recipe: Recipe, remedy: str) -> RunError:
    """An export of another recipe or source. what: complete or not; values: its recipe."""
    try:
        difference = Recipe.from_json(values).difference(recipe)
    except RunError as error:  # of a version with other fields
        difference = [str(error)]
    reason = "; ".join(difference) or "another source, or another --exclude"
    return RunError(
        f"{out} holds {what} of another kind ({reason}). {remedy}, or choose another folder"
    )


def without_exclusion(out: Path, facts: dict[str, Any]) -> RunError:
    """The complete export, of which nothing was excluded. facts: its manifest."""
    pruned = facts.get("counts", {}).get("pruned", 0)
    without = f", from which {pruned} samples were pruned since" if pruned else ""
    return RunError(
        f"{out} holds a complete export of it, without --exclude{without}. fastbucket "
        f"prune {out} LIST takes the listed samples out of it; --overwrite exports afresh "
        "without them"
    )


def changed_source(
    out: Path, before: Mapping[str, str], now: Mapping[str, str], remedy: str
) -> RunError:
    """A half-done export of sources that are others now. before, now: their states by path."""
    known = set(before.values())
    changed = [path for path, stamp in now.items() if stamp not in known]
    return RunError(
        f"{', '.join(map(public, changed[:3])) or 'a source'} changed since the export in "
        f"{out} began: its finished shards would not fit the rest. Restore the source "
        f"(with its time). {remedy}"
    )


def other_versions(out: Path, before: Any, now: dict[str, str], remedy: str) -> RunError:
    """A half-done export by other packages."""
    return RunError(
        f"{out} holds an unfinished export by other versions ({before}; now {now}), which may "
        f"write other bytes. Install those to go on. {remedy}"
    )


def orphans(out: Path, remedy: str) -> RunError:
    """Shards that nothing knows: of an export copied in part, or whose state is gone."""
    return RunError(
        f"{out} holds shards but neither {MANIFEST} nor the state of a run, so that nothing "
        "tells which export they are of. Put the manifest back, or choose another folder. "
        f"{remedy}"
    )


def strangers(out: Path, names: Sequence[str]) -> RunError:
    """Somebody's files."""
    return RunError(
        f"{out} is not empty ({', '.join(names[:3])}) and no export of this tool; choose "
        "another folder"
    )
