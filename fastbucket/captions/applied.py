"""The caption in a sample's `.txt` and `.json`: read, and put in the place of another.

The three caption fields are the last of the document, so they are exchanged as bytes. That is safe
where the document ends in exactly them: within a string its quotes would be escaped, and within an
inner object another brace would follow.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from ..errors import RunError
from ..format import CAPTION_FIELDS, MISSING_NUMBER, MISSING_TEXT

_TAIL_LIMIT = 512
"""Bytes in which the three fields are looked for; a longer variant goes the long way round."""

_TAIL = re.compile(
    rb',"caption_variant":"(\w*)","caption_selector_index":(-?\d+),"caption_source_id":(-?\d+)\}\Z',
    re.ASCII,
)


class Applied(NamedTuple):
    """The caption fields of a sample's JSON, in their order."""

    variant: str
    rank: int
    source_id: int


NONE = Applied(MISSING_TEXT, MISSING_NUMBER, MISSING_NUMBER)


def read(document: bytes) -> Applied:
    """The caption fields of a JSON. Raises ValueError where it has none."""
    found = _TAIL.search(document, max(0, len(document) - _TAIL_LIMIT))
    if found is not None:
        return Applied(found[1].decode(), int(found[2]), int(found[3]))
    values = json.loads(document)
    if not isinstance(values, dict) or not CAPTION_FIELDS.keys() <= values.keys():
        raise ValueError("has no caption fields")
    return Applied(*(values[name] for name in CAPTION_FIELDS))


def tail(applied: Applied) -> bytes:
    """The end of a JSON with these caption fields."""
    fields = dict(zip(CAPTION_FIELDS, applied, strict=True))
    return b"," + json.dumps(fields, separators=(",", ":")).encode()[1:]


def written(document: bytes, tail: bytes, where: str) -> bytes:
    """The JSON with the caption fields of `tail`. Raises RunError, naming `where`, for what is no
    document of ours."""
    found = _TAIL.search(document, max(0, len(document) - _TAIL_LIMIT))
    if found is not None:
        return document[: found.start()] + tail
    try:
        values = json.loads(document)
        for name in CAPTION_FIELDS:
            del values[name]
        text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
        return text.encode()[:-1] + tail
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(
            f"{where}: its JSON is damaged ({error}); fastbucket verify tells more"
        ) from None
