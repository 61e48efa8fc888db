"""What the user adds to a card: title, licence, link to the source, notes. Where it stands in it.

| field      | in README.md                                                       |
|------------|--------------------------------------------------------------------|
| title      | `pretty_name` of the YAML, and the heading                         |
| licence    | `license` of the YAML, and the section on it                       |
| source_url | the line `Source: <...>`                                           |
| notes      | Markdown between two comments, NOTES and NOTES_END                 |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..errors import RunError
from ..format import CARD
from . import licences

NOTES = "<!-- notes: yours, kept when fastbucket writes this card again -->"
NOTES_END = "<!-- end of notes -->"

_NOTES = re.compile(
    rf"^{re.escape(NOTES)}\n(.*?)\n?^{re.escape(NOTES_END)}$", re.MULTILINE | re.DOTALL
)
_SOURCE = re.compile(r"^Source: <(\S+)>$", re.MULTILINE)
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s<>]+")
_MARKS = "---\n", "\n---\n"


@dataclass(frozen=True)
class Fields:
    """The user's part of a card; "" for what there is none of."""

    title: str = ""
    licence: str = ""
    source_url: str = ""
    notes: str = ""


def checked(fields: Fields) -> Fields:
    """The fields as they go into a card: white space around them removed, the title one line.

    Raises RunError for what no card can hold: text that is no UTF-8, a licence that the Hub does
    not know, a link that is none, and notes with our own comments in them.
    """
    for name, text in vars(fields).items():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RunError(f"{name}: not UTF-8 at character {error.start}") from None
    clean = Fields(
        " ".join(fields.title.split()),
        fields.licence.strip(),
        fields.source_url.strip(),
        fields.notes.replace("\r\n", "\n").replace("\r", "\n").strip("\n"),
    )
    if not clean.title.isprintable():
        raise RunError(f"title: {clean.title!a:.200} has characters that cannot be shown")
    if clean.licence:
        licences.check(clean.licence)
    if clean.source_url and not _URL.fullmatch(clean.source_url):
        raise RunError(f"source_url: {clean.source_url!r:.200} is no link such as https://...")
    if NOTES in clean.notes or NOTES_END in clean.notes:
        raise RunError(f"notes: {NOTES_END} and its like are the card's own")
    return clean


def read(text: str) -> Fields:
    """The fields of a card, also one that was edited. Raises RunError where its YAML is broken."""
    front, body = _split(text)
    notes = _NOTES.search(body)
    rest = body[: notes.start()] + body[notes.end() :] if notes else body
    source = _SOURCE.search(rest)
    title, licence = front.get("pretty_name"), front.get("license")
    return Fields(
        title if isinstance(title, str) else "",
        licence if isinstance(licence, str) else "",
        source[1] if source else "",
        notes[1] if notes else "",
    )


def _split(text: str) -> tuple[dict[str, Any], str]:
    """The YAML at the head of a card, and what stands behind it."""
    import yaml

    begin, end = _MARKS
    if not text.startswith(begin):
        return {}, text
    at = text.find(end, len(begin) - 1)
    if at < 0:
        raise RunError(f"{CARD}: its YAML has no end, a line of three dashes; mend it")
    try:
        front = yaml.safe_load(text[len(begin) : at + 1])
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise RunError(f"{CARD}: its YAML is broken; mend it: {where:.300}") from None
    return (front if isinstance(front, dict) else {}), text[at + len(end) :]
