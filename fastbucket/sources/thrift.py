"""Thrift's compact protocol, as much of it as the page headers of Parquet hold.

Source: github.com/apache/thrift, doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from typing import Any


def varint(data: Any, at: int) -> tuple[int, int]:
    """The number at data[at], and where it ends. Raises IndexError where the data end first,
    OverflowError beyond 64 bits."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise OverflowError("a number without an end")


def _zigzag(data: Any, at: int) -> tuple[int, int]:
    value, at = varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """Field number -> value, and where the struct ends; binaries and lists are passed over.

    Raises IndexError where the data end first; OverflowError, RecursionError or TypeError where
    they are no struct.
    """
    fields: dict[int, Any] = {}
    number = 0
    while data[at]:
        kind, delta = data[at] & 15, data[at] >> 4
        at += 1
        if delta:
            number += delta
        else:
            number, at = _zigzag(data, at)
        fields[number], at = (kind == 1, at) if kind in (1, 2) else _value(data, at, kind)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (1, 2, 3):  # within a list a boolean is a byte
        return data[at], at + 1
    if kind in (4, 5, 6):
        return _zigzag(data, at)
    if kind == 7:
        return None, _within(data, at + 8)
    if kind == 8:
        size, at = varint(data, at)
        return None, _within(data, at + size)
    if kind in (9, 10):
        size, of = data[at] >> 4, data[at] & 15
        at += 1
        if size == 15:
            size, at = varint(data, at)
        for _ in range(size):
            _, at = _value(data, at, of)
        return None, at
    if kind == 12:
        return struct(data, at)
    raise OverflowError(f"a field of type {kind}")


def _within(data: bytes, at: int) -> int:
    if at > len(data):
        raise IndexError("the header goes on")
    return at
