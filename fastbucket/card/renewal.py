"""The card written again: by an export, by work on a finished one, or on request."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import commit, manifest
from ..errors import RunError
from ..format import CARD, WRITTEN_CARD
from ..state import State
from .fields import Fields, checked, read
from .merge import Merged, likeness, merge
from .text import card


@dataclass
class CardReport:
    """The user's part of the card. written: whether README.md changed. kept: lines that ought to
    stand in it, but that edits by hand stand in the way of."""

    path: str
    fields: Fields
    written: bool
    kept: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def renew(
    out: Path,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any],
    say: Callable[[str], None] = lambda text: None,
    licence: str = "",
) -> None:
    """Bring the card up to date with a manifest that is about to be written, the state folder held.

    before: the manifest that the card there was made of, where it is known. A card that was edited
    keeps every edit; one whose YAML is broken stays as it is. Both are said.
    """
    try:
        there = _text(out)
        own = read(there)
        fields = replace(own, licence=licence or own.licence)
        new = card(after, fields)
        merged = _merged(out, there, before, new, fields)
    except RunError as error:
        say(f"{error}. {CARD} stays as it is")
        return
    _commit(out, there, merged.text, new)
    if merged.kept:
        say(
            f"{CARD} was edited by hand, and stays as it is there; it would say: "
            f"{' / '.join(filter(None, merged.kept)):.500}"
        )


def edit(
    out: str | os.PathLike[str],
    title: str | None = None,
    licence: str | None = None,
    source_url: str | None = None,
    notes: str | None = None,
    anew: bool = False,
) -> CardReport:
    """Set the user's part of the card of the export in `out`; None leaves a field, "" removes it.

    anew: write the card without edits by hand elsewhere. Raises RunError where a field cannot be,
    or an edit by hand stands in its way.
    """
    root = Path(out)
    given = {"title": title, "licence": licence, "source_url": source_url, "notes": notes}
    asked = {name: text for name, text in given.items() if text is not None}
    cleaned = vars(checked(Fields(**asked)))
    manifest.read(root, "a card is of")  # before a state folder is made
    with State(root) as state:
        facts = manifest.read(root, "a card is of")
        try:
            there = _text(root)
            fields = replace(read(there), **{name: cleaned[name] for name in asked})
            new = card(facts, fields)
            merged = Merged(new, []) if anew else _merged(root, there, facts, new, fields)
            _commit(root, there, merged.text, new)
        finally:
            state.remove()
    return CardReport(str(root / CARD), fields, merged.text != there, merged.kept)


def _merged(
    out: Path,
    there: str,
    before: Mapping[str, Any] | None,
    new: str,
    fields: Fields,
) -> Merged:
    """The card `new`, with the edits that `there` has. Raises RunError where that cannot be."""
    own = read(there)
    bases = [card(before, own)] if before is not None else []
    if (out / WRITTEN_CARD).is_file():
        bases.append((out / WRITTEN_CARD).read_text(encoding="utf-8"))
    if there in ("", new) or not bases:
        return Merged(new, [])
    merged = merge(max(bases, key=lambda base: likeness(base, there)), there, new)
    if read(merged.text) != fields and own != fields:
        raise RunError(
            f"{out / CARD} was edited by hand where this is to stand. Edit it there, or write the "
            f"card afresh with fastbucket card {out} --anew: that keeps title, licence, link and "
            "notes, and drops all other edits"
        )
    return merged


def _commit(out: Path, there: str, text: str, new: str) -> None:
    if text != there:
        commit.write_text(out / WRITTEN_CARD, new)
        commit.write_text(out / CARD, text)


def _text(out: Path) -> str:
    """README.md as it is, "" where there is none. Raises RunError where it cannot be read."""
    try:
        return (out / CARD).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{out / CARD}: cannot be read: {error}; mend or remove it") from None


def earlier(path: Path) -> dict[str, Any] | None:
    """The manifest in `path`, None where there is none or it is damaged."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        card(facts, Fields())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(facts)
