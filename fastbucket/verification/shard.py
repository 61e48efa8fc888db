"""One shard: its bytes against the manifest, its members (`members`), its samples one by one."""

from __future__ import annotations

import hashlib
import re
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..format import MEMBERS
from ..recipe import Recipe
from . import index
from .findings import PATH_LIMIT, Findings, Problem
from .hashed import HashedFile
from .members import Member, members_of
from .sample import SampleCheck, Traits

_PROGRESS_SECONDS = 0.2
_KEY = re.compile("[0-9a-f]{64}")


class ListedShard(NamedTuple):
    """A shard as the manifest lists it; the task of one call of ShardCheck."""

    path: str
    bucket_id: str
    samples: int
    size: int
    sha256: str


class ShardFacts(NamedTuple):
    """What a shard turned out to hold, in the order of its samples; the parent compares shards."""

    samples: int
    size: int
    keys: bytes  # 32 a sample
    prints: bytes  # a native uint64 a sample: sample.fingerprint of what meta/ says too; 0 unknown
    traits: dict[Traits, tuple[int, str]]  # what must be equal everywhere -> samples, the first
    captions: dict[int, int]  # caption_source_id -> samples
    origins: dict[str, bytes]  # archive -> a line of origins.Origin a sample; empty unless asked
    problems: list[Problem]
    more: int


class ShardCheck:
    """A job: check one shard. Called with (ListedShard, progress); nothing in a shard makes it
    raise."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._out = Path(setup["out"])
        self._recipe = Recipe.from_json(setup["recipe"])
        self._sample = SampleCheck(
            self._recipe,
            setup["caption_priority"],
            setup["caption_sources"],
            setup["fast"],
            setup["buckets"],
        )
        self._fast = bool(setup["fast"])
        self._origins = bool(setup.get("origins"))
        self._indexed = bool(setup.get("indexed"))

    def __call__(self, task: ListedShard, progress: Callable[[int], None]) -> ShardFacts:
        whole, found = Findings(), Findings(PATH_LIMIT)
        keys, prints = bytearray(), array("Q")
        traits: dict[Traits, tuple[int, str]] = {}
        captions: Counter[int] = Counter()
        origins: dict[str, list[bytes]] = {}
        size, told, reported = 0, time.monotonic(), 0
        places: list[index.Place] = []
        shapes: dict[str, tuple[int, int] | None] = {}

        def note(member: str, text: str) -> None:
            found.add(task.path, member, text)

        try:
            with HashedFile(self._out / task.path) as file:
                size = file.size
                contents = members_of(file, self._recipe.mtime, note, self._fast)
                for key, members in samples(contents, note, places):
                    if self._indexed and "json" in members:
                        shapes[f"{key}.jpg"] = index.size_in(members["json"])
                    facts = self._sample(task.bucket_id, key, members, note)
                    keys += digest(key)
                    prints.append(facts.fingerprint)
                    if facts.traits is not None:
                        count, first = traits.get(facts.traits, (0, key))
                        traits[facts.traits] = count + 1, first
                    if facts.caption_source >= 0:
                        captions[facts.caption_source] += 1
                    if self._origins and facts.origin is not None:
                        archive, origin = facts.origin
                        origins.setdefault(archive, []).append(origin.line())
                    now = time.monotonic()
                    if now - told >= _PROGRESS_SECONDS:
                        progress(len(prints) - reported)
                        told, reported = now, len(prints)
                sha256 = file.sha256()
        except OSError as error:
            whole.add(task.path, "", f"cannot be read: {error.strerror or error}")
        else:
            for name, here, there in (
                ("size in bytes", size, task.size),
                ("SHA-256", sha256, task.sha256),
                ("number of samples", len(prints), task.samples),
            ):
                if here != there:
                    whole.add(task.path, "", f"{name} is {here}, the manifest says {there}")
            if self._indexed and not whole.problems:
                for text in index.shard_flaws(self._out, task.path, size, sha256, places, shapes):
                    whole.add(index.index_of(task.path), "", text)
        progress(len(prints) - reported)
        return ShardFacts(
            len(prints),
            size,
            bytes(keys),
            prints.tobytes(),
            traits,
            dict(captions),
            {archive: b"".join(lines) for archive, lines in origins.items()},
            [*whole.problems, *found.problems],  # the file as such first: samples may be many
            found.more,
        )


def digest(key: str) -> bytes:
    """The 32 bytes that a key spells; for a malformed one, which is a problem already, others."""
    if _KEY.fullmatch(key):
        return bytes.fromhex(key)
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def samples(
    members: Iterator[Member],
    note: Callable[[str, str], None],
    places: list[index.Place],
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Adjacent members of one key as (key, content by suffix), in the order of the shard. places:
    takes the place of every member."""
    key, group = "", list[Member]()
    for member in members:
        places.append(member.place)
        its, _, _ = member.name.partition(".")
        if group and its != key:
            yield key, _sample(key, group, note)
            group = []
        key = its
        group.append(member)
    if group:
        yield key, _sample(key, group, note)


def _sample(key: str, group: list[Member], note: Callable[[str, str], None]) -> dict[str, bytes]:
    names = [member.name for member in group]
    expected = [f"{key}.{suffix}" for suffix in MEMBERS]
    if names != expected:
        there = ", ".join(name[len(key) + 1 :] for name in names)
        note(key, f"members {there} side by side, where {', '.join(MEMBERS)} belong")
    contents = {member.name: member.content for member in group}
    found = {suffix: contents.get(f"{key}.{suffix}") for suffix in MEMBERS}
    return {suffix: content for suffix, content in found.items() if content is not None}
