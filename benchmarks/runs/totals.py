"""14 million catalogue rows to their manifest and page: the phases around the export, at full size.

Plan, meta/, card and manifest by the functions of the export, the page by that of `report`, each in
a fresh process. The catalogues are drawn (catalogues.py) and no image is made: the records say that
every shard came out as planned, with looks drawn at random. So there is nothing to fill, no shard
to index, and the page has no pictures.
"""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import numpy as np

from fastbucket.catalogue import VERSION

from .. import catalogues, corpora, process
from ..figures import Bench, versions
from ..options import parse
from .plan import QUICK_ARCHIVES, Watch, phantom

SAMPLE_BYTES = 110_000
PLAN, FINISH, PAGE = "plan", "meta/, card, manifest", "page of the report"


def main() -> None:
    options = parse(__doc__)
    archives = QUICK_ARCHIVES if options.quick else catalogues.ARCHIVES
    folder = options.work / "catalogues" / f"{archives}-v{VERSION}"
    catalogues.make(folder, archives)
    bench = Bench("totals", options.quick, versions(["fastbucket", "numpy", "pyarrow"]))
    out = str(corpora.scratch(options, "totals"))
    parts = process.call(finish, folder=str(folder), archives=archives, out=out, pinned=False)
    parts |= process.call(page, out=out, pinned=False)
    for name, part in parts.items():
        for metric, unit in (("seconds", "s"), ("peak", "MB"), ("own", "MB"), ("bytes", "bytes")):
            if metric in part:
                bench.show(name, metric, part[metric], unit)
        bench.show(name, "rows", part["rows"], "rows")


def finish(folder: str, archives: int, out: str) -> dict[str, Any]:
    """The plan, and what an export does when all its shards are there."""
    phantom()
    from fastbucket import Recipe, catalogue, fill, index, outcome, planfile, planning
    from fastbucket.look import DTYPE
    from fastbucket.records import Record

    watch, start = Watch(), time.perf_counter()
    tables = [
        catalogue.read(catalogues.path(Path(folder), number), catalogues.STAMP)
        for number in range(archives)
    ]
    names = [catalogues.archive(number) for number in range(archives)]
    plan = planning.make(names, tables, Recipe())
    (state := Path(out, ".fastbucket")).mkdir()
    planfile.write(plan, tables, state)
    planned = time.perf_counter() - start
    facts: dict[str, Any] = {
        PLAN: {"seconds": planned, "rows": int(plan.starts[-1]), **_memory(watch)}
    }
    report = outcome.planned(Path(out), plan, tables, "0" * 16, 1)
    dice = np.random.default_rng(0)
    records: dict[int, list[Record]] = {}
    for shard in plan.shards:
        n = shard.stop - shard.start
        looks = dice.bytes(n * DTYPE.itemsize)
        records.setdefault(shard.bucket, []).append(
            Record(
                plan.buckets[shard.bucket].id, shard.number, n, n * SAMPLE_BYTES, "0" * 64, 0, [],
                list(range(n)), list(range(SAMPLE_BYTES, (n + 1) * SAMPLE_BYTES, SAMPLE_BYTES)),
                base64.b64encode(looks).decode(), {"decode": n},
            )
        )  # fmt: skip

    def filled(_: Path, __: Path, those: list[Record], *rest: Any) -> list[fill.Final]:
        return [fill.Final(r.number, r.samples, r.bytes, r.sha256) for r in those]

    fill.fill = filled  # type: ignore[assignment]
    index.write = lambda *_, **__: 0
    start = time.perf_counter()
    outcome.finish(Path(out), Recipe(), plan, tables, records, report, 0, "", [], lambda text: None)
    facts[FINISH] = {
        "seconds": time.perf_counter() - start,
        "rows": int(plan.starts[-1]),
        "bytes": sum(path.stat().st_size for path in Path(out, "meta").iterdir()),
        **_memory(watch),
    }
    return facts


def page(out: str) -> dict[str, Any]:
    """The page of what `finish` has left."""
    from fastbucket.overview import page as overview
    from fastbucket.verification.manifest import load

    watch, start = Watch(), time.perf_counter()
    written = overview.write(out)
    seconds = time.perf_counter() - start
    rows = load(Path(out))["source"]["samples"]
    return {PAGE: {"seconds": seconds, "rows": rows, "bytes": written.bytes, **_memory(watch)}}


def _memory(watch: Watch) -> dict[str, float]:
    """Peaks of this process so far, in MB: all of it, and without mapped files."""
    return {"peak": process.memory()["VmHWM"], "own": watch.largest}


if __name__ == "__main__":
    main()
