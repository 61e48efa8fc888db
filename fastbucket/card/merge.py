"""A card that was edited, brought up to date: a merge of three texts, line by line.

The text as it was written, the text with the user's edits, and the text that would be written now.
What only one side changed is as that side has it; of lines that both changed, the user's stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple


class Merged(NamedTuple):
    """text: the result. kept: the lines of ours that the user's stand in the way of."""

    text: str
    kept: list[str]


def merge(base: str, edited: str, new: str) -> Merged:
    """`edited` with what changed between `base` and `new`."""
    if edited == base:
        return Merged(new, [])
    was, theirs, ours = (text.split("\n") for text in (base, edited, new))
    lines: list[str] = []
    kept: list[str] = []
    at = theirs_at = ours_at = 0
    for same, theirs_same, ours_same, size in _common(was, theirs, ours):
        before = was[at:same]
        mine, fresh = theirs[theirs_at:theirs_same], ours[ours_at:ours_same]
        if mine == before:
            lines += fresh
        else:
            lines += mine
            if fresh not in (before, mine):
                kept += [line for line in fresh if line not in before]
        lines += was[same : same + size]
        at, theirs_at, ours_at = same + size, theirs_same + size, ours_same + size
    return Merged("\n".join(lines), kept)


def _common(
    base: Sequence[str], first: Sequence[str], second: Sequence[str]
) -> Iterator[tuple[int, int, int, int]]:
    """Stretches that all three have: where each begins in each, and how many lines it has. The
    last one is empty, at their ends."""
    blocks = [
        SequenceMatcher(None, base, other, autojunk=False).get_matching_blocks()[:-1]
        for other in (first, second)
    ]
    i = j = 0
    while i < len(blocks[0]) and j < len(blocks[1]):
        one, two = blocks[0][i], blocks[1][j]
        start, end = max(one.a, two.a), min(one.a + one.size, two.a + two.size)
        if start < end:
            yield start, one.b + start - one.a, two.b + start - two.a, end - start
        if one.a + one.size < two.a + two.size:
            i += 1
        else:
            j += 1
    yield len(base), len(first), len(second), 0


def likeness(one: str, other: str) -> float:
    """Share of equal lines, 0 to 1."""
    return SequenceMatcher(None, one.split("\n"), other.split("\n"), autojunk=False).ratio()
