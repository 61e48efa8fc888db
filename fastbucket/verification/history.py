"""run.json, where there is one: whole, and of the shape that readers expect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..format import RUN
from .findings import flaws, no_constant, one_of_each

SHAPE: dict[str, Any] = {
    "export_id": str,
    "finished_at": str,
    "workers": int,
    "cpus": int,
    "machine": str,
    "system": str,
    "archives": int,
    "scanned": int,
    "exported": int,
    "shards": int,
    "resumed_shards": int,
    "resumed_samples": int,
    "bytes_in": int,
    "bytes_out": int,
    "phases": {str: float},
    "stages": {str: float},
    "sources": [str],
}
"""As findings.flaws reads it."""


def run_flaws(root: Path) -> Iterator[str]:
    """What is wrong with the file; nothing where it is absent.

    It is not held against the manifest: that follows what is done to an export later.
    """
    try:
        text = (root / RUN).read_bytes().decode()
        facts = json.loads(text, object_pairs_hook=one_of_each, parse_constant=no_constant)
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError) as error:
        yield f"is no JSON: {error}; it may be removed"
        return
    yield from flaws(facts, SHAPE, "")
