"""Lists of samples: files of keys or image_ids, as people and `fastbucket suspects` write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from ..errors import RunError

FIELDS = ("key", "__key__", "image_id")
"""What names the sample in a line that is a JSON object; the first that it has."""


def names(lines: Iterable[str], where: str) -> Iterator[str]:
    """The names in the lines of a list, in their order; empty lines are passed over.

    | line                                   | name                        |
    |----------------------------------------|-----------------------------|
    | a JSON object with one of FIELDS       | the value of that field     |
    | a JSON object without; a broken one, if `where` ends in .jsonl | RunError |
    | anything else                          | itself, without white space around it |

    where: the name of the file, for messages.
    """
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("\ufeff")
        if text.startswith("{") or (text and where.endswith(".jsonl")):
            yield _field(text, f"{where}: line {number}", where.endswith(".jsonl"))
        elif text:
            yield text


def _field(text: str, where: str, strict: bool) -> str:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not strict:  # an image_id may begin with a brace
            return text
        raise RunError(f"{where}: no JSON: {error}") from None
    if not isinstance(row, dict):
        raise RunError(f"{where}: no JSON object")
    name = next((row[field] for field in FIELDS if field in row), None)
    if not isinstance(name, str) or not name:
        raise RunError(f"{where}: no text in any of {', '.join(FIELDS)}")
    return name
