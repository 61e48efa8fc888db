"""What stands beside an image in its source: class, JSON, caption; and which of it is carried.

The schema of the output is constant: the carried fields and their types are decided once, at the
plan, and a sample without one gets "" or -1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple

from .format import MISSING_NUMBER, MISSING_TEXT, RESERVED_FIELDS

SIDECAR_LIMIT = 16 << 20
"""Bytes; a larger .txt, .json or .cls is damage or an attack, and is treated as absent."""

AUTO_SAMPLES = 1000
"""`carry: auto` looks at the JSON of this many kept samples."""

_INT64 = range(-(1 << 63), 1 << 63)


class Carried(NamedTuple):
    """One carried field: its name in the source, its name in the output, str, int or float."""

    source: str
    name: str
    type: str


def json_object(raw: bytes | memoryview) -> dict[str, Any]:
    """The object in a .json member; {} where there is none or it is no object."""
    try:
        value = json.loads(bytes(raw).decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def text(raw: bytes | memoryview) -> str:
    """A text member as UTF-8; what is not UTF-8 becomes U+FFFD."""
    return bytes(raw).decode("utf-8-sig", "replace")


def class_id(raw: bytes | memoryview) -> int:
    """The integer of a .cls member; -1 where it is none."""
    try:
        return as_int(int(bytes(raw).decode("ascii")))
    except ValueError:
        return MISSING_NUMBER


def as_int(value: Any) -> int:
    """A JSON value as a 64 bit integer, also from "7" and 7.0; -1 where it is none."""
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            return MISSING_NUMBER
    if isinstance(value, float):
        if not value.is_integer():
            return MISSING_NUMBER
        value = int(value)
    return int(value) if isinstance(value, int) and value in _INT64 else MISSING_NUMBER


def as_float(value: Any) -> float:
    """A JSON value as a finite float; -1.0 where it is none."""
    number = isinstance(value, (int, float)) and value in _FINITE
    return float(value) if number else float(MISSING_NUMBER)


def as_str(value: Any) -> str:
    """A JSON scalar as text; "" where it is none. Lone surrogates become U+FFFD."""
    if value is None or isinstance(value, (dict, list)):
        return MISSING_TEXT
    words = value if isinstance(value, str) else json.dumps(value)
    return words.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Finite:
    def __contains__(self, value: float) -> bool:
        try:
            return math.isfinite(value)
        except OverflowError:  # an integer beyond the range of a float
            return False


_FINITE = _Finite()

_AS = {"str": as_str, "int": as_int, "float": as_float}


def output_name(name: str, taken: Container[str] = RESERVED_FIELDS) -> str:
    """The name of a carried field: its own, or with `source_` before it where it is taken."""
    while name in taken:
        name = f"source_{name}"
    return name


def decide(carry: Sequence[str], objects: Iterable[dict[str, Any]]) -> list[Carried]:
    """The carried fields, from the JSON objects of the first AUTO_SAMPLES kept samples.

    auto: every scalar met, in the order of their names. Integers that do not fit 64 bits, and
    values of several types, are carried as text; true and false as 1 and 0.
    """
    if tuple(carry) == ("none",):
        return []
    met: dict[str, set[str]] = {}
    for fields in objects:
        for name, value in fields.items():
            if isinstance(value, (bool, int)):
                met.setdefault(name, set()).add("int" if value in _INT64 else "str")
            elif isinstance(value, float):
                met.setdefault(name, set()).add("float")
            elif isinstance(value, str):
                met.setdefault(name, set()).add("str")
    own = ("label", "label_12k", "class_name")  # already fields of every sample
    names = sorted(met) if tuple(carry) == ("auto",) else list(dict.fromkeys(carry))
    # A field keeps its own name if it can: one that is renamed must not take it.
    taken = {*RESERVED_FIELDS, *(name for name in names if name not in RESERVED_FIELDS)}
    fields_: list[Carried] = []
    for name in names:
        if name in own or as_str(name) != name:
            continue
        types = met.get(name, {"str"})
        kind = "str" if "str" in types else "float" if "float" in types else "int"
        renamed = name if name not in RESERVED_FIELDS else output_name(name, taken)
        taken.add(renamed)
        fields_.append(Carried(name, renamed, kind))
    return fields_


def values(fields: Sequence[Carried], source: dict[str, Any]) -> dict[str, Any]:
    """The carried fields of one sample, all of them, in order."""
    return {field.name: _AS[field.type](source.get(field.source)) for field in fields}
