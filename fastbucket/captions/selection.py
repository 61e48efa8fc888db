"""Which caption each sample gets: the first of the priority that it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import RunError
from .jobs import Chosen
from .store import Store


def chosen(store: Store, priority: Sequence[str], named: bool) -> list[Chosen]:
    """The sources of the priority that there are, in its order.

    named: the priority was given by the user: then a variant that the workspace does not know is a
    RunError. Where it is the export's own, captions of a variant may be yet to come.
    """
    if not priority:
        raise RunError("there is no --priority and none in the manifest: name the variants")
    if len(set(priority)) != len(priority):
        raise RunError(f"--priority names a variant twice: {', '.join(priority)}")
    known = {source.variant: source.id for source in store.sources()}
    missing = [variant for variant in priority if variant not in known]
    if missing and named:
        raise RunError(
            f"--priority {missing[0]}: no such variant in {store.path}; there are "
            f"{', '.join(sorted(known))}"
        )
    return [
        Chosen(known[variant], variant, index)
        for index, variant in enumerate(priority)
        if variant in known
    ]


class Sample(NamedTuple):
    """A sample that is to go, and where it stands in its bucket."""

    key: str
    shard: int
    position: int


def without_caption(store: Store, sources: Sequence[Chosen]) -> dict[str, list[Sample]]:
    """The samples that none of the sources has a caption of, by bucket, in their order."""
    ids = ", ".join(str(source.source_id) for source in sources)
    rows = store.query(
        "SELECT bucket_id, key, shard, position FROM samples s WHERE shard >= 0 AND NOT EXISTS "
        f"(SELECT 1 FROM captions c WHERE c.source_id IN ({ids}) AND c.sample_id = s.id AND "
        "c.status = 'ok') ORDER BY bucket_id, shard, position"
    )
    found: dict[str, list[Sample]] = {}
    for bucket_id, *sample in rows:
        found.setdefault(bucket_id, []).append(Sample(*sample))
    return found
