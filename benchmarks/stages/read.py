"""The start of a sample: its bytes out of the tar into a reused buffer, and its header."""

from __future__ import annotations

import time
from typing import Any

from .. import corpora, process
from ..figures import Bench, versions
from ..options import parse


def main() -> None:
    options = parse(__doc__)
    tars = [str(p) for p in corpora.source(options, corpora.imagenet(options), 0, 0.0)]
    bench = Bench("stage/read", options.quick, versions(["fastbucket", "numba"]))
    rounds = [process.call(measure, paths=tars) for _ in range(options.rounds)]
    bench.show("read", "ms", [r["read"] for r in rounds], "ms/image")
    bench.show("header", "ms", [r["header"] for r in rounds], "ms/image")


def measure(paths: list[str]) -> dict[str, Any]:
    """Milliseconds an image, of the second pass: the first brings the files into memory."""
    from fastbucket.sources import KINDS
    from fastbucket.sources.locate import archives
    from fastbucket.sources.probe import probe

    ns = {"read": 0, "header": 0}
    images, into = 0, bytearray()
    for _ in range(2):
        images, ns = 0, dict.fromkeys(ns, 0)
        for archive in archives(paths, []):
            kind = KINDS[archive.kind]
            columns = kind.scan(archive).columns
            reader = kind.Reader(archive)
            for offset, size in zip(
                map(int, columns["image_offset"]), map(int, columns["image_size"]), strict=True
            ):
                start = time.perf_counter_ns()
                data = reader.read("image", offset, size, into)
                read = time.perf_counter_ns()
                probe(data)
                ns["header"] += time.perf_counter_ns() - read
                ns["read"] += read - start
                images += 1
            reader.close()
    return {stage: spent / images / 1e6 for stage, spent in ns.items()}


if __name__ == "__main__":
    main()
