"""What is wrong, collected: named, bounded, and fit to be printed. And the shape of JSON values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

LIMIT = 1000
"""Problems that are listed; further ones are counted."""

PATH_LIMIT = 100
"""Problems listed of one file: one wrong setting, wrong in every member, must not hide the rest."""

INT64 = range(-(1 << 63), 1 << 63)

_TEXT_LIMIT = 400
"""Characters of a problem's text."""


class Problem(NamedTuple):
    """One thing that is off. path: relative to the export; member: in a tar, or ""."""

    path: str
    member: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}{': ' if self.member else ''}{self.member}: {self.text}"


class Findings:
    """Problems in the order in which they were found; `more` counts those beyond the limits."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.problems: list[Problem] = []
        self.more = 0
        self._limit = limit
        self._of_path: dict[str, int] = {}

    def add(self, path: str, member: str, text: str) -> None:
        """Note one problem. Names and values come from damaged files: they are made printable."""
        listed = self._of_path.get(path, 0)
        if len(self.problems) >= self._limit or listed >= PATH_LIMIT:
            self.more += 1
            return
        self._of_path[path] = listed + 1
        if len(text) > _TEXT_LIMIT:
            text = text[:_TEXT_LIMIT] + "..."
        self.problems.append(Problem(_printable(path), _printable(member), _printable(text)))

    def extend(self, problems: Iterable[Problem], more: int = 0) -> None:
        for problem in problems:
            self.add(*problem)
        self.more += more


class Tally:
    """Problems that may be thousands alike: one is listed for a file and text, with the count."""

    def __init__(self, found: Findings) -> None:
        self._found = found
        self._alike: dict[tuple[str, str], tuple[int, str, str]] = {}

    def add(self, path: str, member: str, text: str, detail: str = "", count: int = 1) -> None:
        """Note `count` samples; of those alike the first gives member and detail."""
        before, *first = self._alike.get((path, text), (0, member, detail))
        self._alike[path, text] = before + count, first[0], first[1]

    def close(self) -> None:
        """Hand all of it to the findings."""
        for (path, text), (count, member, detail) in self._alike.items():
            alike = f" ({count} samples; this is the first)" if count > 1 else ""
            self._found.add(path, member, f"{text}{detail}{alike}")
        self._alike.clear()


def _printable(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def one_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON (for json.loads). Raises ValueError for a key that stands there twice."""
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"keys that stand there twice: {', '.join(twice)}")
    return values


def no_constant(name: str) -> Any:
    """For json.loads: NaN and Infinity are no JSON, though Python reads them."""
    raise ValueError(f"{name} is no JSON")


def flaws(value: Any, shape: Any, where: str) -> list[str]:
    """How a JSON value departs from a shape; one line each, empty where it does not.

    | shape          | value                                                |
    |----------------|------------------------------------------------------|
    | a type         | exactly of it: true is no int, 1 is no float; an int |
    |                | of 64 bits                                           |
    | {"a": s, ...}  | an object of these keys in this order, each of its s |
    | {str: s}       | an object of any keys, each value of s               |
    | [s]            | a list, each item of s                               |
    """
    if isinstance(shape, type):
        if type(value) is not shape:
            return [f"{where} is {_described(value)}, not {_TYPES[shape]}"]
        return [f"{where} is beyond 64 bits"] if shape is int and value not in INT64 else []
    if isinstance(shape, list):
        if type(value) is not list:
            return [f"{where} is {_described(value)}, not a list"]
        return [f for n, item in enumerate(value) for f in flaws(item, shape[0], f"{where}[{n}]")]
    if type(value) is not dict:
        return [f"{where} is {_described(value)}, not an object"]
    if str in shape:
        return [f for name in value for f in flaws(value[name], shape[str], f"{where}.{name}")]
    found = order_flaws(list(value), list(shape), where)
    for name in shape:
        if name in value:
            found += flaws(value[name], shape[name], f"{where}.{name}" if where else name)
    return found


def order_flaws(names: list[str], expected: list[str], where: str) -> list[str]:
    """How the keys of an object depart from the expected ones: missing, foreign, or misplaced."""
    if names == expected:
        return []
    what = f"{where}: " if where else ""
    found = [f"{what}{name} is missing" for name in expected if name not in names]
    found += [f"{what}{name} does not belong here" for name in names if name not in expected]
    return found or [f"{what}keys in the order {', '.join(names)}, not {', '.join(expected)}"]


_TYPES = {str: "text", int: "an integer", float: "a float", dict: "an object", list: "a list"}


def _described(value: Any) -> str:
    if value is None:
        return "null"
    kind = type(value).__name__
    return kind if isinstance(value, (dict, list)) else f"{kind} {value!r:.60}"
