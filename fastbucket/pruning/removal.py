"""`prune`: samples taken out of a finished export, and everything brought up to date with that.

    marker ─▶ buckets, each staged and committed ─▶ meta/, the workspace ─▶ card ─▶ manifest ─▶ gone

While the marker stands in the state folder the manifest does not hold: `verify` says so, and other
work on the export refuses. The marker holds who is to go, and what the export had before; so after
a crash the same command, or one with a further list, or with none, goes on.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from .. import clearing, commit, manifest
from ..captions.store import Store
from ..captions.workspace import stamp
from ..engines.local import Local
from ..errors import RunError
from ..format import (
    CAPTIONS,
    PRUNING,
    at_larger_bases,
    at_smaller_bases,
    bases,
    proto,
    sample_key,
)
from ..progress import Progress, Silent
from ..repack import layout, places
from ..repack.conclusion import conclude, restated
from ..repack.staging import Staging
from ..resources import available_cpus
from ..state import State, check_finished
from . import marker
from .copied import WORK, Copied, Job
from .report import BucketPruned, PruneReport
from .selection import Selection, select

_JOB = "fastbucket.pruning.copied:CopyTask"

DETAIL = "pruned"
"""`detail` in meta/ where no reason was given."""

_Buckets = dict[str, list[dict[str, Any]]]
"""bucket_id -> its shards, as the manifest lists them."""


def prune(
    out: str | os.PathLike[str],
    names: Iterable[str] = (),
    reason: str = "",
    dry_run: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> PruneReport:
    """Take samples out of the export in `out`, whole, or go on with that.

    names: keys or image_ids; may be empty where a run was interrupted. reason: for `detail` in
    meta/. dry_run: only say what would happen. workers: processes, 0 for one a CPU. Names of no
    sample are in the report. Raises RunError where it cannot go on, where none of the names is
    known, and where nothing would be left.
    """
    start = time.monotonic()
    root, progress = Path(out), progress or Silent()
    manifest.read(root, "samples are taken out of")  # before a state folder is made
    begun = root / PRUNING
    if dry_run:
        check_finished(root)
    with nullcontext() if dry_run else State(root, marker=PRUNING) as state:
        try:
            if state is not None and begun.is_file():
                clearing.sweep(root)  # what the interrupted run left half-written
            removal = _Pruning(root, workers, progress)
            report = removal.run(dict.fromkeys(names), reason or DETAIL, dry_run)
        except OSError as error:
            raise commit.output_error(Path(error.filename or root), error) from error
        finally:
            if state is not None and not begun.is_file():
                state.remove()  # nothing was begun, or all is done
    report.seconds = time.monotonic() - start
    return report


class _Pruning:
    """One run, with the state folder held but for a dry one."""

    def __init__(self, out: Path, workers: int, progress: Progress) -> None:
        self._out, self._progress = out, progress
        self._workers = workers or available_cpus()
        self._facts = manifest.read(out, "samples are taken out of")
        self._bases = bases(self._facts)
        self._marker = out / PRUNING
        self._staging = Staging(out, WORK)
        self._resumed = self._marker.is_file()
        self._plan = marker.read(self._marker) if self._resumed else marker.begun(self._facts)
        self._records: dict[str, Any] = {}

    def run(self, names: Mapping[str, None], reason: str, dry_run: bool) -> PruneReport:
        if not names and not self._resumed:
            raise RunError("the lists name no sample")
        with nullcontext() if dry_run else self._workspace() as store:
            if self._resumed:
                self._progress.say("going on with an interrupted run")
                self._staging.go_on()
                self._records = self._staging.records()
                self._settle(self._records, store)
            elif not dry_run:
                self._clear()
            buckets = self._buckets()
            self._check_files(buckets)
            asked = select(self._out, names) if names else Selection()
            if asked.unknown and len(asked.unknown) == len(names) and not self._resumed:
                raise RunError(
                    f"none of the {len(names):,} names is of a sample of {self._out}, the first is "
                    f"{asked.unknown[0]!r:.200}"
                )
            before = {key for entry in self._plan["lists"] for key in entry["keys"]}
            asked.gone = {
                name: why
                for name, why in asked.gone.items()
                if not {name, sample_key(name)} & before
            }
            new = sorted(set(asked.keys) - before)
            selected = select(self._out, [*before, *new]) if before else asked
            layouts = self._layouts(buckets, selected)
            report = self._report(names, asked, selected, buckets, layouts)
            report.dry_run = dry_run
            if dry_run or not (layouts or self._resumed):
                return report
            if new:
                self._plan["lists"].append({"reason": reason, "keys": new})
            commit.make_folder(self._marker.parent)
            commit.fsync_directory(self._out)  # else a power cut may take the state, marker and all
            commit.write_text(self._marker, json.dumps(self._plan))
            self._remove(buckets, layouts, selected, report)
            self._settle(layouts, store)
        facts = self._updated_facts()
        conclude(self._out, self._facts, facts, self._marker, self._progress.say)
        report.removed = self._plan["before"]["exported"] - facts["counts"]["exported"]
        return report

    def _workspace(self) -> Any:
        """The workspace of the captions, open; None where there is none, or of another export."""
        if not (self._out / CAPTIONS).is_file():
            return nullcontext()
        store = Store.open(self._out)
        if store.fact("export") == stamp(self._facts):
            return store
        store.close()
        return nullcontext()

    def _clear(self) -> None:
        """What a run left that was killed after its end."""
        for path in self._staging.folder.glob("*"):
            path.unlink()

    def _settle(self, buckets: Iterable[str], store: Store | None) -> None:
        """meta/ and the workspace say again where every sample of these buckets is."""
        names = {proto(bucket_id) for bucket_id in buckets}
        if not names:
            return
        every = (bucket["bucket_id"] for bucket in self._facts["buckets"])
        concerned = {bucket_id for bucket_id in every if proto(bucket_id) in names}
        details = {key: entry["reason"] for entry in self._plan["lists"] for key in entry["keys"]}
        found = places.from_shards(self._out, concerned)
        places.into_meta(self._out, found, "excluded", details, concerned)
        if store is not None:
            store.place(places.from_meta(self._out), stamp(self._facts))

    def _buckets(self) -> _Buckets:
        """The shards there are: those of the manifest, but for buckets that are repacked."""
        shards = {bucket["bucket_id"]: bucket["shards"] for bucket in self._facts["buckets"]}
        for bucket_id, record in self._records.items():
            shards[bucket_id] = record["shards"]
        return shards

    def _check_files(self, buckets: _Buckets) -> None:
        for shard in (shard for shards in buckets.values() for shard in shards):
            path = self._out / shard["path"]
            if not path.is_file() or path.stat().st_size != shard["bytes"]:
                raise RunError(f"{path} is not as the export left it; fastbucket verify tells more")

    def _layouts(self, buckets: _Buckets, selected: Selection) -> dict[str, layout.Layout]:
        """How the buckets are repacked that lose samples."""
        size = self._facts["export_settings"]["shard_size"]
        total = self._samples(buckets)
        if selected.keys and len(selected.keys) == total:
            raise RunError(f"all {total:,} samples are named: nothing would be left")
        samples = {name: sum(shard["count"] for shard in those) for name, those in buckets.items()}
        leaving = {
            bucket_id: [(shard, position) for shard, position, _ in places]
            for bucket_id, places in selected.leaving.items()
        }
        return layout.layouts(samples, leaving, size, self._bases)

    def _samples(self, buckets: _Buckets) -> int:
        """Samples of the export: with several bases, of the buckets of the smallest."""
        return sum(
            shard["count"]
            for name, shards in buckets.items()
            if not at_smaller_bases(name, self._bases)
            for shard in shards
        )

    def _leaving(self, bucket_id: str, selected: Selection) -> list[tuple[int, int, str]]:
        """(shard, position, key) of the samples that leave a bucket; those that stand at larger
        bases too are named under the largest."""
        return [
            place
            for name in (bucket_id, *at_larger_bases(bucket_id, self._bases))
            for place in selected.leaving.get(name, ())
        ]

    def _report(
        self,
        names: Mapping[str, None],
        asked: Selection,
        selected: Selection,
        buckets: _Buckets,
        layouts: Mapping[str, layout.Layout],
    ) -> PruneReport:
        after = {name: len(shards) for name, shards in buckets.items()}
        after |= {name: made.shards for name, made in layouts.items()}
        return PruneReport(
            out=str(self._out),
            named=len(names),
            removed=len(selected.keys),
            gone=len(asked.gone),
            unknown=asked.unknown,
            samples=self._samples(buckets) - len(selected.keys),
            shards=sum(after.values()),
            buckets=[
                BucketPruned(
                    name,
                    sum(shard["count"] for shard in buckets[name]),
                    len(self._leaving(name, selected)),
                    len(buckets[name]),
                    made.shards,
                    len(made.pieces),
                )
                for name, made in layouts.items()
            ],
            rewritten=sum(len(made.pieces) for made in layouts.values()),
            resumed=self._resumed,
        )

    def _remove(
        self,
        buckets: _Buckets,
        layouts: Mapping[str, layout.Layout],
        selected: Selection,
        report: PruneReport,
    ) -> None:
        """Stage what changes, and commit each bucket when the last of it is there."""
        jobs = [
            job
            for name, made in layouts.items()
            for job in _jobs(name, made, self._leaving(name, selected))
        ]
        waiting = Counter(proto(job.bucket_id) for job in jobs)
        done: dict[str, list[Copied]] = {name: [] for name in layouts}
        self._progress.phase("prune", sum(len(job.pieces) for job in jobs), "samples")
        setup = {"out": str(self._out), "preload": (_JOB.partition(":")[0],)}
        with Local(self._workers, setup, say=self._progress.say) as engine:
            for job, copied in engine.map(_JOB, jobs, self._progress.advance):
                done[job.bucket_id].append(copied)
                name = proto(job.bucket_id)
                waiting[name] -= 1
                if not waiting[name]:
                    self._conclude(name, layouts, buckets, done)
        finals = [copied.final for those in done.values() for copied in those]
        report.bytes_written = sum(final.bytes for final in finals if final)

    def _conclude(
        self,
        name: str,
        layouts: Mapping[str, layout.Layout],
        buckets: _Buckets,
        done: Mapping[str, Sequence[Copied]],
    ) -> None:
        """Commit a bucket at all its bases, with what the manifest is to say of it."""
        made = {bucket_id: one for bucket_id, one in layouts.items() if proto(bucket_id) == name}
        for bucket_id, one in made.items():
            now = list(buckets[bucket_id][: one.shards])
            captions = Counter(self._records.get(bucket_id, {}).get("captions", {}))
            for copied in done[bucket_id]:
                captions.update({str(number): n for number, n in copied.captions.items()})
                if copied.final is not None:
                    now[copied.final.number] = manifest.shard_facts(bucket_id, *copied.final)
            self._records[bucket_id] = {"shards": now, "captions": dict(captions)}
        # What an earlier journal of it said of other bases is not to be lost with that.
        for bucket_id, record in self._records.items():
            if proto(bucket_id) == name and bucket_id not in made:
                made[bucket_id] = layout.Layout([], {}, len(record["shards"]))
        self._staging.conclude(made, {bucket_id: self._records[bucket_id] for bucket_id in made})

    def _updated_facts(self) -> dict[str, Any]:
        """The manifest of what stands in the shards now. It follows from what the export had before
        the first run, so that it comes out the same where the manifest has it already."""
        shards = self._buckets()
        buckets = [
            {**bucket, "count": sum(s["count"] for s in those), "shards": those}
            for bucket in self._facts["buckets"]
            if (those := shards[bucket["bucket_id"]])
        ]
        counts = restated(self._facts, buckets, "excluded")
        before = self._plan["before"]
        counts["pruned"] = before["pruned"] + before["exported"] - counts["exported"]
        lost: Counter[str] = Counter()
        for bucket_id, record in self._records.items():
            if not at_smaller_bases(bucket_id, self._bases):  # where every sample is, once
                lost.update(record["captions"])
        sources = []
        for entry in self._facts["caption_sources"]:
            number = str(entry["id"])
            count = before["captions"].get(number, entry["count"]) - lost[number]
            if count:
                sources.append({**entry, "count": count})
        return {
            **self._facts,
            "counts": counts,
            "buckets": buckets,
            "caption_sources": sources,
        }


def _jobs(name: str, made: layout.Layout, places: Sequence[tuple[int, int, str]]) -> Iterator[Job]:
    """One for every shard of the bucket that is made anew or loses samples."""
    leaving: dict[int, list[tuple[int, str]]] = {}
    for shard, position, key in sorted(places):
        leaving.setdefault(shard, []).append((position, key))
    for number in sorted({*made.pieces, *leaving}):
        yield Job(name, number, made.pieces.get(number, []), leaving.get(number, []))
