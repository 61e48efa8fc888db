"""Verification of an export: manifest, files, every shard in worker processes, meta/."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engines.local import Local
from ..errors import RunError
from ..format import BUCKETS, CARD, INDEX, MANIFEST, META, RESERVED_FIELDS, RUN, UNFINISHED
from ..progress import Progress, Silent
from ..recipe import Recipe
from ..resources import available_cpus
from . import index, manifest, origins
from .findings import Findings, Problem, Tally
from .history import run_flaws
from .manifest import ManifestFacts
from .sample import Traits
from .shard import ListedShard, ShardFacts

if TYPE_CHECKING:
    from ..catalogue import Archive

_JOB = "fastbucket.verification:ShardCheck"
_SOURCE_JOB = "fastbucket.verification:SourceCheck"

_PATIENCE = 180.0
"""The engine's limit at a position, in seconds. A check has none, and so twenty times as long for a
shard or an archive: an hour."""


@dataclass(frozen=True)
class Verification:
    """What a verification found. samples, shards, bytes: those that were read."""

    problems: list[Problem]
    more: int  # problems beyond the bounds of the list
    samples: int
    shards: int
    bytes: int
    seconds: float
    fast: bool  # no pixels were decoded
    sources: int = 0  # samples whose source was read again

    @property
    def ok(self) -> bool:
        return not self.total

    @property
    def total(self) -> int:
        """Problems found, listed or not."""
        return len(self.problems) + self.more

    def to_json(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        problems = [problem._asdict() for problem in self.problems]
        return {"ok": self.ok, **values, "problems": problems}


def verify(
    out: str | os.PathLike[str],
    fast: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
    sources: Sequence[str | os.PathLike[str]] = (),
) -> Verification:
    """Read an export back and hold all of it against all the rest of it.

    fast: everything except decoding the pixels. workers: processes, 0 for one a CPU. sources: what
    the export was made of, named as for it; every exported sample's source is read again and held
    against its source_sha256. What is wrong is in the result, however much of it there is. Raises
    RunError only where it cannot begin: no folder, no manifest.json, or one of another format; no
    such sources.
    """
    if workers < 0:
        raise RunError(f"workers: {workers} is negative")
    start = time.monotonic()
    root, progress = Path(out), progress or Silent()
    found = Findings()
    archives = _located(sources)
    loaded = manifest.load(root)
    for marker, (work, command) in UNFINISHED.items():
        if (root / marker).is_file():
            found.add(
                marker,
                "",
                f"{work}, and the manifest does not hold until that is done: run fastbucket "
                f"{command} {out} again",
            )
    facts = manifest.check(loaded, lambda text: found.add(MANIFEST, "", text))
    for text in run_flaws(root):
        found.add(RUN, "", text)
    present = _files(root, facts.shards, found)
    read: list[tuple[ListedShard, ShardFacts]] = []
    reread = 0
    if facts.recipe is None:
        found.add(BUCKETS, "", "was not read: there is no recipe to hold it against")
    else:
        setup = {
            "out": str(root),
            "recipe": facts.recipe.to_json(),
            "caption_priority": facts.caption_priority,
            "caption_sources": [(entry["id"], entry["variant"]) for entry in facts.caption_sources],
            "fast": fast,
            "buckets": sorted({shard.bucket_id for shard in facts.shards}),
            "origins": bool(archives),
            "indexed": (root / INDEX).is_dir(),
        }
        if setup["indexed"]:
            index.check(root, [(s.path, s.samples, s.size) for s in facts.shards], found)
        progress.phase("verify", sum(shard.samples for shard in present), "samples")
        with Local(workers or available_cpus(), setup, _PATIENCE, progress.say) as engine:
            results = dict(engine.map(_JOB, present, progress.advance))
            read = [(shard, results[shard]) for shard in present]
            for _, shard in read:
                found.extend(shard.problems, shard.more)
            if archives:
                reread = _sources(archives, read, engine, progress, found)
        tally = Tally(found)
        _agreement(facts.recipe, read, tally)
        for text in _caption_flaws(facts, _whole(facts.recipe, read)):
            found.add(MANIFEST, "", text)
        _meta(root, facts, read, found, tally)
        tally.close()
    return Verification(
        found.problems,
        found.more,
        sum(shard.samples for _, shard in read),
        len(read),
        sum(shard.size for _, shard in read),
        time.monotonic() - start,
        fast,
        reread,
    )


def _whole(
    recipe: Recipe, read: Sequence[tuple[ListedShard, ShardFacts]]
) -> list[tuple[ListedShard, ShardFacts]]:
    """The shards that hold every sample once: with several bases those of the smallest."""
    return _of_base(read, min(recipe.base_resolutions, default=0))


def _of_base(
    read: Sequence[tuple[ListedShard, ShardFacts]], base: int
) -> list[tuple[ListedShard, ShardFacts]]:
    """The shards of a base; all of them for 0, in an export of one."""
    prefix = f"{base}-" if base else ""
    return [(listed, shard) for listed, shard in read if listed.bucket_id.startswith(prefix)]


def _files(root: Path, shards: Sequence[ListedShard], found: Findings) -> list[ListedShard]:
    """The shards that are there; notes missing and extra files."""
    if not (root / CARD).is_file():
        found.add(CARD, "", "is missing")
    listed = {shard.path for shard in shards}
    there: set[str] = set()
    for folder, _, names in os.walk(root / BUCKETS, followlinks=True):
        there |= {Path(folder, name).relative_to(root).as_posix() for name in names}
    # Megatron-Energon's own index stands beside the shard that it is of.
    for path in sorted(there - listed - {f"{path}.idx" for path in listed}):
        found.add(path, "", f"is not in {MANIFEST}")
    for path in sorted(listed - there):
        found.add(path, "", f"is missing; {MANIFEST} lists it")
    return [shard for shard in shards if shard.path in there]


def _located(sources: Sequence[str | os.PathLike[str]]) -> Sequence[Archive]:
    if not sources:
        return ()
    from ..sources.locate import archives  # loads array libraries, which workers do without

    return archives(sources)


def _sources(
    archives: Sequence[Archive],
    read: Sequence[tuple[ListedShard, ShardFacts]],
    engine: Local,
    progress: Progress,
    found: Findings,
) -> int:
    """Check every sample against its source; the number of those that were read."""
    progress.phase("sources", sum(shard.samples for _, shard in read), "samples")
    tasks = origins.tasks(archives, [(listed.path, shard.origins) for listed, shard in read], found)
    results = dict(engine.map(_SOURCE_JOB, tasks, progress.advance))
    for task in tasks:
        found.extend(results[task].problems, results[task].more)
    return sum(results[task].read for task in tasks)


def _agreement(
    recipe: Recipe, read: Sequence[tuple[ListedShard, ShardFacts]], tally: Tally
) -> None:
    """What must be the same in all samples: what most of them have counts as right."""
    for name in Traits._fields:
        votes: Counter[Any] = Counter()
        for _, shard in read:
            for traits, (count, _) in shard.traits.items():
                votes[getattr(traits, name)] += count
        if name == "tables":  # of copied JPEGs they are the source's
            del votes[""]
        usual = votes.most_common(1)[0][0] if votes else None
        for listed, shard in read:
            for traits, (count, key) in shard.traits.items():
                value = getattr(traits, name)
                if value not in ("", usual):
                    tally.add(listed.path, key, _TRAIT_TEXTS[name], count=count)
        if name == "carried" and usual is not None and recipe.carry != ("auto",):
            names = [field for field, _ in usual]
            expected = list(_carried(recipe))
            if names != expected:
                text = f"samples carry the fields {names}, the recipe says {expected}"
                tally.add(BUCKETS, "", text)


_TRAIT_TEXTS = {
    "carried": "carries other fields, or of other types, than most samples",
    "tables": "has other quantization tables than most samples: another quality or encoder",
}


def _carried(recipe: Recipe) -> Iterator[str]:
    """Names of the carried fields where the recipe lists them."""
    for name in recipe.carry:
        if name not in ("none", "label", "label_12k", "class_name"):
            while name in RESERVED_FIELDS:
                name = f"source_{name}"
            yield name


def _caption_flaws(
    facts: ManifestFacts, read: Sequence[tuple[ListedShard, ShardFacts]]
) -> Iterator[str]:
    counts: Counter[int] = Counter()
    for _, shard in read:
        counts.update(shard.captions)
    listed = {entry["id"]: entry["count"] for entry in facts.caption_sources}
    without = sum(shard.samples for _, shard in read) - sum(counts.values())
    if facts.missing_caption_policy == "drop" and without:
        yield f"missing_caption_policy is 'drop', and {without} samples have no caption"
    for number in sorted({*counts, *listed}):
        if counts[number] != listed.get(number, 0):
            yield (
                f"caption_sources: {listed.get(number, 0)} captions of id {number}, "
                f"the shards have {counts[number]}"
            )


def _meta(
    root: Path,
    facts: ManifestFacts,
    read: Sequence[tuple[ListedShard, ShardFacts]],
    found: Findings,
    tally: Tally,
) -> None:
    # Array libraries are for the parent alone: workers import this module too.
    from .inventory import Inventory
    from .meta import MetaCheck

    inventories: dict[int, Inventory] = {}
    for base in (facts.recipe and facts.recipe.base_resolutions) or (0,):
        shards = [(listed.path, shard) for listed, shard in _of_base(read, base)]
        inventory = inventories[base] = Inventory(shards)
        for first, second in inventory.repeated():
            other = f": also in {inventory.path(first)}"
            tally.add(inventory.path(second), inventory.key(second), "its key is not unique", other)
    check = MetaCheck(inventories, tally)
    check.read(root, lambda path, text: found.add(path, "", text))
    for text in check.sums(facts.source, facts.counts):
        found.add(META, "", text)
    check.unseen()
