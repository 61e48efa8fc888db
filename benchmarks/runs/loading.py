"""Training batches: our loader against plain webdataset, and what the indexes cost.

Both decode the same shards, in the page cache, in the same way ("pil" and "rgb8" are Pillow's
decode; ours has another for rgb8, which stands beside it) and hand out image, caption and JSON.
webdataset reads shard after shard in their order and shuffles nothing; ours shuffles, and makes
batches of one bucket. In one process, and by a DataLoader of two workers. CPU time of all
processes, as the machine is rarely ours alone.

The indexes are of a million samples that are not there: their text is made and written, fsync and
all, as the workers of an export do shard by shard.
"""

from __future__ import annotations

import hashlib
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import corpora, process
from ..exports import ours
from ..figures import Bench, versions
from ..options import parse

SAMPLES, QUICK_SAMPLES = 3_000, 8
INDEXED, QUICK_INDEXED = 1_000_000, 2_000
ROUNDS = 5
BATCH = 16
SPECS = ("pil", "rgb8", "torchrgb8")
WORKERS = (0, 2)
LOADER, PLAIN = "fastbucket.Loader", "webdataset"
INDEX = "indexes of a million samples"


def main() -> None:
    options = parse(__doc__)
    distributions = ["fastbucket", "webdataset", "pillow", "simplejpeg", "torch"]
    bench = Bench("loading", options.quick, versions(distributions))
    corpus = corpora.imagenet(options)
    wanted = QUICK_SAMPLES if options.quick else SAMPLES
    copies = max(0, -(-wanted // len(corpus.plans())) - 1)
    tars = corpora.source(options, corpus, copies, 0.0)
    out = corpora.scratch(options, "loading") / "out"
    ours.export(tars, out, 2)
    rounds = min(options.rounds, ROUNDS)
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for workers in WORKERS:
            for spec in SPECS:
                for name, function in ((LOADER, load), (PLAIN, plain)):
                    corpora.warm(sorted(out.glob("buckets/*/*.tar")))
                    title = f"{name}, {spec}, {workers} workers"
                    settings = {"out": str(out), "spec": spec, "workers": workers}
                    done = process.call(function, pinned=not workers, **settings)
                    found.setdefault(title, []).append(done)
    for title, done in found.items():
        bench.show(title, "ms", [d["cpu"] / d["samples"] * 1e3 for d in done], "ms/sample")
        bench.show(title, "rate", [d["samples"] / d["seconds"] for d in done], "samples/s")
    bench.show("source", "samples", next(iter(found.values()))[0]["samples"], "samples")
    shutil.rmtree(out)
    samples = QUICK_INDEXED if options.quick else INDEXED
    indexed = []
    for _ in range(rounds):
        folder = corpora.scratch(options, "loading-index")
        indexed.append(process.call(write_index, out=str(folder), samples=samples))
    bench.show(INDEX, "seconds", [i["cpu"] for i in indexed], "s")
    bench.show(INDEX, "wall", [i["seconds"] for i in indexed], "s")
    bench.show(INDEX, "bytes", indexed[0]["bytes"], "bytes")


def load(out: str, spec: str, workers: int) -> dict[str, float]:
    """One epoch of ours."""
    import fastbucket

    loader = fastbucket.Loader(out, BATCH, images=spec, fields=("jpg", "txt", "json"))
    batches: Any = loader
    if workers:  # that end with the epoch, so that their time is known
        batches = loader.dataloader(workers, persistent_workers=False)
    return _timed(len(texts) for _, texts, _ in batches)


def plain(out: str, spec: str, workers: int) -> dict[str, float]:
    """All samples once, as the documentation of webdataset reads them; in lists of a batch, so that
    workers do not send every sample by itself."""
    import webdataset as wds

    shards = [str(path) for path in sorted(Path(out).glob("buckets/*/*.tar"))]
    dataset: Any = wds.WebDataset(shards, shardshuffle=False, empty_check=False)
    dataset = dataset.decode(spec).to_tuple("jpg", "txt", "json").listed(BATCH)
    if workers:
        from torch.utils.data import DataLoader

        dataset = DataLoader(dataset, batch_size=None, num_workers=workers, collate_fn=list)
    return _timed(len(batch) for batch in dataset)


def _timed(counts: Iterator[int]) -> dict[str, float]:
    """samples, seconds, and CPU seconds of this process and its workers, start included."""
    start, before = time.perf_counter(), _cpu()
    samples = sum(counts)
    return {"samples": samples, "seconds": time.perf_counter() - start, "cpu": _cpu() - before}


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def write_index(out: str, samples: int) -> dict[str, float]:
    """The indexes of so many samples in shards of 1,024, which are not there."""
    from fastbucket import index
    from fastbucket.format import TAR_BLOCK

    root, made, left = Path(out), 0, samples
    sizes = (89_000, 120, 700)
    each = sum(TAR_BLOCK + size + -size % TAR_BLOCK for size in sizes)
    keys = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(1024)]
    entries = [index.Entry(key, 576, 416, sizes) for key in keys]
    listed = []
    start, before = time.perf_counter(), _cpu()
    while left:
        here = min(1024, left)
        shard = index.Shard("p1152x832", made, here, here * each + 2 * TAR_BLOCK, keys[0])
        index.write_shard(root, shard, entries[:here])
        listed.append(shard)
        made, left = made + 1, left - here
    shards = [{"count": s.samples, "bytes": s.bytes, "sha256": s.sha256} for s in listed]
    assert index.write(root, {"buckets": [{"bucket_id": "p1152x832", "shards": shards}]}) == 0
    seconds, cpu = time.perf_counter() - start, _cpu() - before
    size = sum(path.stat().st_size for path in root.rglob("*.json"))
    return {"seconds": seconds, "cpu": cpu, "bytes": size}


if __name__ == "__main__":
    main()
