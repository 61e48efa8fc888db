"""The card of an export whose captions have changed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .. import card
from ..format import CARD
from ..sidecar import Carried

_CAPTIONS = re.compile(r"^(## Captions\n\n)(.*)$", re.MULTILINE)
_LICENCE = re.compile(r"\A---\nlicense: (.*)$", re.MULTILINE)


def updated(out: Path, before: dict[str, Any], after: dict[str, Any]) -> tuple[str, bool]:
    """The new text of README.md, "" where it stays as it is; and whether it was edited by hand.

    A card as we wrote it is written anew, with its licence. Of one that was edited only the line
    on captions is exchanged.
    """
    try:
        there = (out / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        there = ""
    licence = found[1] if (found := _LICENCE.search(there)) else ""
    carried = [Carried(**entry) for entry in after["source"]["carried"]]
    new = card.card(after, carried, licence)
    if there == new:
        return "", False
    if not there or there == card.card(before, carried, licence):
        return new, False
    line = _CAPTIONS.search(new)
    edited = _CAPTIONS.sub(lambda found: found[1] + line[2], there) if line else there
    return (edited if edited != there else ""), True
