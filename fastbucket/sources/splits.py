"""Which split an archive belongs to: by the user's patterns, else by the words in its name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import translate

from ..catalogue import Archive
from ..errors import RunError
from .braces import braces

WORD = re.compile(r"(?<![a-z])(train|validation|val|test)(?![a-z])", re.IGNORECASE)
"""The first of these words that stands in a name between anything but letters."""

_MAGIC = re.compile(r"[*?[]")


def assign(found: Sequence[Archive], splits: Sequence[tuple[str, str]]) -> list[Archive]:
    """The archives with their splits; of several patterns the first that matches decides.

    splits: (name, pattern); a pattern with braces and wildcards is matched against the file name,
    with and without .tar, and the full path. Raises RunError for one that matches nothing.
    """
    matchers = [(name, pattern, _Matcher(pattern)) for name, pattern in splits]
    matched = [False] * len(matchers)
    result = []
    for archive in found:
        split = None
        for i, (name, _, matcher) in enumerate(matchers):
            if matcher.matches(archive):
                matched[i] = True
                split = name if split is None else split
        if split is None:
            word = WORD.search(archive.name)
            split = word[0].lower() if word else ""
        result.append(replace(archive, split=split))
    for (name, pattern, _), met in zip(matchers, matched, strict=True):
        if not met:
            raise RunError(f"split {name}={pattern} matches none of the {len(found)} archives")
    return result


class _Matcher:
    """A pattern made ready: 4,096 names from one brace are a set, not 4,096 comparisons."""

    def __init__(self, pattern: str) -> None:
        patterns = braces(pattern)
        self._names = {p for p in patterns if not _MAGIC.search(p)}
        wild = "|".join(translate(p) for p in patterns if _MAGIC.search(p))
        self._wild = re.compile(wild) if wild else None

    def matches(self, archive: Archive) -> bool:
        names = (os.path.basename(archive.path), archive.name, archive.path)
        return any(
            name in self._names or (self._wild is not None and self._wild.match(name) is not None)
            for name in names
        )
