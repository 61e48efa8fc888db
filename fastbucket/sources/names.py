"""Names of a sample's members."""

from __future__ import annotations

_SUFFIXES = {"text": b".txt", "json": b".json", "class": b".cls"}


def member_name(key: bytes, suffix: bytes, part: str) -> bytes:
    """The name of the member that is a part of a sample: image, text, json or class.

    `suffix` is that of the image; an image file without one is named by its key alone.
    """
    if part != "image":
        return key + _SUFFIXES[part]
    return key + b"." + suffix if suffix else key
