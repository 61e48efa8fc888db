"""The end of work on a finished export: what follows from its shards, the manifest last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import card, commit, index, manifest


def conclude(
    out: Path,
    before: Mapping[str, Any],
    after: dict[str, Any],
    marker: Path,
    say: Callable[[str], None],
) -> None:
    """The indexes, the card, the manifest, and then the marker goes. May be repeated.

    before: the manifest that is there; after: the one that is to be. say: told of what stands in
    the card by hand.
    """
    index.write(out, after)
    card.renew(out, before, after, say)
    if after != before:
        manifest.write(out, after)
    marker.unlink()
    commit.fsync_directory(marker.parent)
