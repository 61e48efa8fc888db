"""`captions apply`: the chosen captions into the shards, and the manifest brought up to date last.

    marker ─▶ shards, each replaced whole ─▶ meta/, the workspace ─▶ card ─▶ manifest ─▶ marker gone

While the marker stands in the state folder the manifest does not hold: `verify` says so, and
`export` and `captions init` refuse. Every step looks at what is there and not at what an earlier
run meant to do, so after a crash the same command, or one with another priority, goes on: shards
that hold the right captions already are hashed and left alone.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from .. import clearing, commit, manifest
from ..engines.local import Local
from ..errors import RunError
from ..format import APPLYING, at_smaller_bases, bases, proto, shard_path
from ..progress import Progress, Silent
from ..repack import layout, places
from ..repack.conclusion import conclude, restated
from ..repack.staging import Staging
from ..resources import available_cpus
from ..state import State
from . import selection
from .jobs import FOLDER, Chosen, Job, Rewritten
from .store import Store
from .workspace import manifest_of, stamp

_JOB = "fastbucket.captions.rewrite:ApplyTask"
POLICIES = ("keep", "drop")
"""What becomes of a sample without a caption."""


@dataclass
class ApplyReport:
    """What was applied. counts: captions by variant, in the order of the priority. samples: those
    in the shards afterwards. dropped: for want of a caption, now and in earlier runs."""

    out: str
    priority: list[str]
    missing: str
    samples: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    without: int = 0
    dropped: int = 0
    shards: int = 0
    rewritten: int = 0  # shards
    bytes_written: int = 0
    seconds: float = 0.0
    resumed: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def apply(
    out: str | os.PathLike[str],
    priority: Sequence[str] = (),
    missing: str = "",
    workers: int = 0,
    progress: Progress | None = None,
) -> ApplyReport:
    """Put captions into the shards of the export in `out`, and do it whole or go on with it.

    priority: variants; the first that a sample has is its caption. missing: keep or drop samples
    without one. What is not given is that of the run that was interrupted, else the manifest's.
    workers: processes, 0 for one a CPU. Raises RunError where it cannot go on.
    """
    start = time.monotonic()
    root, progress = Path(out), progress or Silent()
    manifest_of(root)  # before a state folder is made
    with State(root, marker=APPLYING) as state:
        try:
            if (root / APPLYING).is_file():
                clearing.sweep(root)  # what the interrupted run left half-written
            report = _Application(root, priority, missing, workers, progress).run()
        except OSError as error:
            raise commit.output_error(Path(error.filename or root), error) from error
        finally:
            if not (root / APPLYING).is_file():
                state.remove()  # nothing was begun, or all is done
    report.seconds = time.monotonic() - start
    return report


class _Application:
    """One run, with the state folder held."""

    def __init__(
        self, out: Path, priority: Sequence[str], missing: str, workers: int, progress: Progress
    ) -> None:
        self._out, self._progress = out, progress
        self._workers = workers or available_cpus()
        self._facts = manifest_of(out)
        self._bases = bases(self._facts)
        self._marker = out / APPLYING
        self._staging = Staging(out, FOLDER)
        self._resumed = self._marker.is_file()
        usual = _of_manifest(self._facts)
        self._dropped: dict[str, list[str]] = {}  # keys by proto, of the interrupted run too
        if self._resumed:
            try:
                usual = _settings(self._marker)
            except RunError:
                if not (priority and missing):
                    raise
        self._named = bool(priority)
        self._priority = list(priority or usual["priority"])
        self._missing = missing or str(usual["missing"])
        if self._missing not in POLICIES:
            raise RunError(f"missing: {self._missing!r} is none of {', '.join(POLICIES)}")
        self._moved = False  # samples stand elsewhere than meta/ says

    def run(self) -> ApplyReport:
        with Store.open(self._out) as store:
            if store.fact("export") != stamp(self._facts):
                raise RunError(
                    f"{store.path} is of an earlier export; run fastbucket captions init first"
                )
            sources = selection.chosen(store, self._priority, self._named)
            settings = {"priority": self._priority, "missing": self._missing}
            if self._resumed:
                self._progress.say("going on with an interrupted run")
                self._staging.go_on()
                records = self._staging.records()
                self._dropped = {proto(bucket_id): keys for bucket_id, keys in records.items()}
                self._settle(store)
            shards = self._shards(store)
            layouts = self._layouts(store, sources, shards)
            commit.make_folder(self._marker.parent)
            commit.fsync_directory(self._out)  # else a power cut may take the state, marker and all
            commit.write_text(self._marker, json.dumps(settings))
            done = self._rewrite(sources, shards, layouts)
            if self._moved:
                self._settle(store)
            facts = self._updated_facts(store, done)
        conclude(self._out, self._facts, facts, self._marker, self._progress.say)
        return self._report(sources, done, facts)

    def _settle(self, store: Store) -> None:
        """meta/ and the workspace say again where every sample is. RunError where one is gone that
        was not to be dropped."""
        found = places.from_shards(self._out)
        details = {key: "" for keys in self._dropped.values() for key in keys}
        places.into_meta(self._out, found, "no_caption", details)
        store.place(places.from_meta(self._out), stamp(self._facts))

    def _shards(self, store: Store) -> dict[str, list[int]]:
        """Samples of each shard by bucket, in the order of their numbers. Raises RunError where
        files, workspace and, unless a run was interrupted, manifest do not agree."""
        rows = store.query(
            "SELECT bucket_id, shard, count(*) FROM samples WHERE shard >= 0 GROUP BY 1, 2 "
            "ORDER BY 1, 2"
        )
        counts: Counter[tuple[str, int]] = Counter()
        for bucket_id, number, count in rows:  # under the largest base of each sample
            for name in (bucket_id, *at_smaller_bases(bucket_id, self._bases)):
                counts[name, number] += count
        shards: dict[str, list[int]] = {}
        known = sorted(counts)
        files = {
            (bucket_id, number): path for bucket_id, number, path in clearing.shard_files(self._out)
        }
        listed = {
            (bucket["bucket_id"], number): shard["bytes"]
            for bucket in self._facts["buckets"]
            for number, shard in enumerate(bucket["shards"])
        }
        wrong = set(known) ^ set(files)
        if not self._resumed:
            wrong |= set(known) ^ set(listed)
            wrong |= {n for n in set(files) & set(listed) if files[n].stat().st_size != listed[n]}
        if wrong:
            raise RunError(
                f"{self._out / shard_path(*min(wrong))} is not as the export left it; fastbucket "
                "verify tells more"
            )
        for bucket_id, number in known:
            of_bucket = shards.setdefault(bucket_id, [])
            if number != len(of_bucket):
                raise RunError(f"{bucket_id}: shard {len(of_bucket)} is missing")
            of_bucket.append(counts[bucket_id, number])
        return shards

    def _layouts(
        self, store: Store, sources: Sequence[Chosen], shards: dict[str, list[int]]
    ) -> dict[str, layout.Layout]:
        """How the buckets are repacked that lose samples."""
        if self._missing != "drop":
            return {}
        size = self._facts["export_settings"]["shard_size"]
        without = selection.without_caption(store, sources)
        lost = sum(map(len, without.values()))
        if lost == store.count():
            raise RunError(
                f"no sample has a caption of {', '.join(self._priority)}: with --missing drop "
                "nothing would be left"
            )
        samples = {bucket_id: sum(counts) for bucket_id, counts in shards.items()}
        leaving = {
            bucket_id: [(sample.shard, sample.position) for sample in gone]
            for bucket_id, gone in without.items()
        }
        for bucket_id, gone in without.items():
            self._dropped.setdefault(proto(bucket_id), []).extend(sample.key for sample in gone)
        return layout.layouts(samples, leaving, size, self._bases)

    def _rewrite(
        self,
        sources: Sequence[Chosen],
        shards: dict[str, list[int]],
        layouts: dict[str, layout.Layout],
    ) -> dict[str, list[Rewritten]]:
        """All shards, and the renames of each repacked bucket when its last one is staged."""
        setup = {
            "out": str(self._out),
            "chosen": [tuple(source) for source in sources],
            "mtime": self._facts["recipe"]["mtime"],
            "bases": self._bases,
            "preload": (_JOB.partition(":")[0],),
        }
        jobs = list(self._jobs(shards, layouts))
        done: dict[str, list[Rewritten]] = {bucket_id: [] for bucket_id in shards}
        # Repacked together, the bucket at all bases.
        together: dict[str, dict[str, layout.Layout]] = {}
        for bucket_id, made in layouts.items():
            together.setdefault(proto(bucket_id), {})[bucket_id] = made
        waiting = Counter(proto(job.bucket_id) for job in jobs if job.bucket_id in layouts)
        for name, those in together.items():
            self._moved = True
            if not waiting[name]:
                self._conclude(name, those)
        total = sum(len(job.pieces) if job.pieces else 0 for job in jobs)
        total += sum(shards[job.bucket_id][job.number] for job in jobs if job.pieces is None)
        self._progress.phase("apply", total, "samples")
        with Local(self._workers, setup, say=self._progress.say) as engine:
            for group, results in engine.map(
                _JOB, self._groups(jobs, layouts), self._progress.advance
            ):
                for job, rewritten in zip(group, results, strict=True):
                    done[job.bucket_id].append(rewritten)
                    if job.bucket_id not in layouts:
                        continue
                    name = proto(job.bucket_id)
                    waiting[name] -= 1
                    if not waiting[name]:
                        self._conclude(name, together[name])
        for finished in done.values():
            finished.sort(key=lambda rewritten: rewritten.final.number)
        return done

    def _conclude(self, name: str, made: Mapping[str, layout.Layout]) -> None:
        """A bucket, at all bases, without its samples, and in its journal who they were: whoever
        goes on after an interruption can tell them from samples that are lost."""
        self._staging.conclude(made, dict.fromkeys(made, self._dropped[name]))

    def _groups(self, jobs: Sequence[Job], layouts: Container[str]) -> Iterator[list[Job]]:
        """What a worker does at a time: two shards of a bucket, which are of a size, as their hash
        side by side costs little more than of one; one where workers would be left without, or
        where a shard may draw on hundreds of others, each of them open."""
        few = len(jobs) < 2 * self._workers
        for bucket_id, those in groupby(jobs, lambda job: job.bucket_id):
            each = 1 if few or bucket_id in layouts else 2
            while group := list(islice(those, each)):
                yield group

    def _jobs(
        self, shards: dict[str, list[int]], layouts: dict[str, layout.Layout]
    ) -> Iterator[Job]:
        known = {
            shard["path"]: shard["sha256"]
            for bucket in self._facts["buckets"]
            for shard in bucket["shards"]
        }
        for bucket_id, counts in shards.items():
            made = layouts.get(bucket_id)
            for number in range(made.shards if made else len(counts)):
                # After an interruption the manifest may speak of a shard that is no more.
                sha256 = "" if self._resumed else known[shard_path(bucket_id, number)]
                pieces = made.pieces.get(number) if made else None
                yield Job(bucket_id, number, sha256, pieces)

    def _updated_facts(self, store: Store, done: dict[str, list[Rewritten]]) -> dict[str, Any]:
        """The manifest of what stands in the shards now."""
        buckets = []
        for bucket in self._facts["buckets"]:
            finals = [rewritten.final for rewritten in done.get(bucket["bucket_id"], [])]
            if finals:
                count = sum(final.samples for final in finals)
                shards = [manifest.shard_facts(bucket["bucket_id"], *final) for final in finals]
                buckets.append({**bucket, "count": count, "shards": shards})
        counts: Counter[int] = Counter()
        for bucket_id, those in done.items():
            if not at_smaller_bases(bucket_id, self._bases):  # where every sample is, once
                for rewritten in those:
                    counts.update(rewritten.counts)
        return {
            **self._facts,
            "caption_priority": [{"variant": variant} for variant in self._priority],
            "missing_caption_policy": self._missing,
            "counts": restated(self._facts, buckets, "no_caption"),
            "buckets": buckets,
            "caption_sources": [
                {**source._asdict(), "count": counts[source.id]}
                for source in store.sources()
                if counts[source.id]
            ],
        }

    def _report(
        self, sources: Sequence[Chosen], done: dict[str, list[Rewritten]], facts: dict[str, Any]
    ) -> ApplyReport:
        counts = {entry["variant"]: entry["count"] for entry in facts["caption_sources"]}
        every = [rewritten for those in done.values() for rewritten in those]
        changed = [rewritten for rewritten in every if rewritten.changed]
        exported = facts["counts"]["exported"]
        return ApplyReport(
            out=str(self._out),
            priority=self._priority,
            missing=self._missing,
            samples=exported,
            counts={variant: counts.get(variant, 0) for variant in self._priority},
            without=exported - sum(counts.values()),
            dropped=facts["counts"]["dropped"].get("no_caption", 0),
            shards=len(every),
            rewritten=len(changed),
            bytes_written=sum(rewritten.final.bytes for rewritten in changed),
            resumed=self._resumed,
        )


def _settings(marker: Path) -> dict[str, Any]:
    """What the interrupted run was to do."""
    try:
        settings = json.loads(marker.read_text())
        return {"priority": list(settings["priority"]), "missing": str(settings["missing"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{marker}: {error}; name --priority and --missing again") from None


def _of_manifest(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "priority": [entry["variant"] for entry in facts["caption_priority"]],
        "missing": facts["missing_caption_policy"],
    }
