"""The whole job, source tars to output tars, one contender a file.

Each module has the same three names:

    NAME                         what a reader of the table sees
    available() -> str | None    why it cannot take part; None where it can
    export(tars, out) -> dict    do it; {"samples": exported, "bytes": written, ...}

and may have `load()`, which imports what it needs outside of the time, and DISTRIBUTIONS.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

EXPORTS = ("ours", "replaced_decode_all", "replaced")
"""Modules here, in the order of the table."""


def exporter(name: str) -> Any:
    """The module of a contender. Importing it loads none of its libraries."""
    return import_module(f"{__name__}.{name}")
