"""The marker of a run of `prune`: while it stands, the manifest does not hold.

It holds who is to go, and what the export had before the first of the runs that go on with one
another; so the manifest comes out the same, whether or not it has been written already.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import RunError


def begun(facts: dict[str, Any]) -> dict[str, Any]:
    """The marker of a run that begins. lists: who is to go, and why; before: what there was."""
    return {
        "lists": [],
        "before": {
            "exported": facts["counts"]["exported"],
            "pruned": facts["counts"].get("pruned", 0),
            "captions": {str(entry["id"]): entry["count"] for entry in facts["caption_sources"]},
        },
    }


def read(marker: Path) -> dict[str, Any]:
    """What the interrupted run was to do."""
    try:
        plan: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{marker}: {error}; without it nothing tells what was to go: export afresh with "
            "--overwrite"
        ) from None
    return plan
