"""One job, bytes in memory to JPEG bytes in memory, one contender a file.

Each module has the same three names:

    NAME                            what a reader of the table sees
    available() -> str | None       why it cannot take part; None where it can
    transcode(data, plan) -> bytes  the whole job

and may have more, which the measurement uses where they are:

    PYTHON                   the interpreter of an environment of its own
    DISTRIBUTIONS            whose versions go into the record
    versions() -> dict       further versions
    prepare(data, plan)      called once before each transcode, for all of a turn first, not timed
    seconds() -> float       of the last call, by a clock of its own (a program behind a pipe)
    decode(data, plan) -> X, resize(X, plan) -> Y    the parts, in the contender's own types
    pixels(data, plan)       uint8 RGB (h, w, 3) before JPEG, for the quality

Everyone decodes at the `shrink` of the plan where it has that, resizes by bicubic with antialiasing
where it has that, crops, and encodes with the plan's quality and chroma.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

CONTENDERS = (
    "floor",
    "ours",
    "pillow_simd",
    "torch_uint8",
    "opencv_area",
    "libvips_thumbnail",
    "sharp_node",
    "pillow_bicubic",
    "torch_float",
)
"""Modules here, in the order of the table."""


def contender(name: str) -> Any:
    """The module of a contender. Importing it loads none of its libraries."""
    return import_module(f"{__name__}.{name}")
