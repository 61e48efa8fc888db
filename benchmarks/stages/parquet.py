"""What a Parquet source costs against a tar of the same images: the scan, and reading for export.

The images of the corpus, in a tar, in a file as `datasets` writes it (PLAIN, not compressed, row
groups of 100 MB), and in two as pyarrow does by default (Snappy, a dictionary): row groups of 1,000
rows, as older files of the Hub have, and of 100. Read are all images in order, and every eleventh,
as of a source of which 9 % fit. CPU time, one core, in the page cache.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from .. import corpora, process
from ..figures import Bench, versions
from ..options import Options, parse

COPIES, QUICK_COPIES = 9, 0
ROUNDS = 5
EVERY = {"all images": 1, "every 11th": 11}

LAYOUTS: dict[str, dict[str, Any]] = {
    "Parquet as datasets writes it": {
        "compression": "none", "use_dictionary": False, "row_group_size": 1000,
    },
    "Parquet, Snappy, groups of 100": {"row_group_size": 100},
    "Parquet, Snappy, groups of 1,000": {"row_group_size": 1000},
}  # fmt: skip


def main() -> None:
    options = parse(__doc__)
    bench = Bench("stage/parquet", options.quick, versions(["fastbucket", "pyarrow"]))
    sources = _sources(options)
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(min(options.rounds, ROUNDS)):
        for name, paths in sources.items():
            corpora.warm(paths)
            done = process.call(read, paths=[str(path) for path in paths])
            found.setdefault(name, []).append(done)
    for name, rounds in found.items():
        for metric in rounds[0]:
            bench.show(name, metric, [r[metric] for r in rounds], "us/image")


def _sources(options: Options) -> dict[str, list[Path]]:
    """The same images as tars and as Parquet files beside them."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import webdataset as wds

    copies = QUICK_COPIES if options.quick else COPIES
    tars = corpora.source(options, corpora.imagenet(options), copies, 0.0)
    sources = {"tar": tars, **{name: [] for name in LAYOUTS}}
    for number, (name, layout) in enumerate(LAYOUTS.items()):
        folder = corpora.scratch(options, f"parquet-{number}")
        for tar in tars:
            samples = wds.WebDataset([str(tar)], shardshuffle=False)
            images = [{"bytes": sample["jpg"], "path": None} for sample in samples]
            path = folder / f"{tar.stem}.parquet"
            pq.write_table(pa.table({"image": images}), path, **layout)
            sources[name].append(path)
    return sources


def read(paths: list[str]) -> dict[str, float]:
    """CPU microseconds an image: of the scan, and of reading them at the scan's offsets."""
    from fastbucket.sources import KINDS, member_name
    from fastbucket.sources.locate import archives

    found = archives(paths)
    kind = KINDS[found[0].kind]
    kind.scan(found[0])  # the kernels are loaded
    start = time.process_time()
    catalogues = [kind.scan(archive) for archive in found]
    scanned = time.process_time() - start
    samples = sum(len(catalogue) for catalogue in catalogues)
    times = {"scan": 1e6 * scanned / samples}
    for metric, step in EVERY.items():
        taken, into, start = 0, bytearray(), time.process_time()
        for archive, catalogue in zip(found, catalogues, strict=True):
            columns = [
                catalogue.columns[name][::step].tolist() for name in ("image_offset", "image_size")
            ]
            name = member_name(b"x", b"jpg", "image")
            reader = kind.Reader(archive)
            for offset, size in zip(*columns, strict=True):
                assert len(reader.read(name, offset, size, into)) == size
                taken += 1
            reader.close()
        times[metric] = 1e6 * (time.process_time() - start) / taken
    return times


if __name__ == "__main__":
    main()
