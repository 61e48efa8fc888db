"""The end of work on a finished export: what follows from its shards, the manifest last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import card, commit, index, manifest
from ..format import DROP_REASONS, bases


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


def restated(
    facts: Mapping[str, Any], buckets: Sequence[Mapping[str, Any]], reason: str
) -> dict[str, Any]:
    """The manifest's `counts` where the shards of these buckets are what is left.

    facts: the manifest that is there. reason: of every sample that is neither in a shard nor
    dropped for another one.
    """
    exported, *_ = images = manifest.images(buckets, bases(facts))
    dropped = {**facts["counts"]["dropped"], reason: 0}
    dropped[reason] = facts["source"]["samples"] - exported - sum(dropped.values())
    return {
        **facts["counts"],
        "exported": exported,
        **({"images": sum(images)} if len(images) > 1 else {}),
        "dropped": {name: dropped[name] for name in DROP_REASONS if dropped.get(name)},
    }
