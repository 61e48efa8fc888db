"""Names of a sample's members."""

from __future__ import annotations


def member_names(key: bytes, suffix: bytes) -> dict[str, bytes]:
    """Part of a sample (as in the columns of `catalogue`) to the name of its member.

    `suffix` is that of the image; an image file without one is named by its key alone.
    """
    return {
        "image": key + b"." + suffix if suffix else key,
        "text": key + b".txt",
        "json": key + b".json",
        "class": key + b".cls",
    }
