"""Around the pixels: SHA-256 of the source, JSON, tar headers, writing. Each part alone.

What they take together within an export stands in runs/export, by the export's own clock.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import corpora, process
from ..corpus import Corpus
from ..figures import Bench, versions
from ..options import parse

SHARD = 1024
"""Samples in a shard; a commit (fsync and rename) is shared by so many."""


def main() -> None:
    options = parse(__doc__)
    corpus = str(corpora.imagenet(options).folder)
    bench = Bench("stage/around", options.quick, versions(["fastbucket"]))
    rounds = []
    for _ in range(options.rounds):
        out = str(corpora.scratch(options, "around"))
        rounds.append(process.call(measure, folder=corpus, out=out))
    for name in rounds[0]:
        bench.show(name, "ms", [r[name] for r in rounds], "ms/sample")


def measure(folder: str, out: str) -> dict[str, Any]:
    """Milliseconds a sample."""
    from fastbucket.format import sample_key
    from fastbucket.shard import ShardFile
    from fastbucket.tar import Headers

    images = [data for data, _ in Corpus(Path(folder)).images()]
    samples = [images[number % len(images)] for number in range(SHARD)]
    keys = [sample_key(str(number)) for number in range(SHARD)]
    document = json.loads((Path(__file__).parent / "sample.json").read_text())
    headers = Headers(0)
    blocks: list[list[bytes]] = []

    def hashes() -> None:
        for data in samples:
            hashlib.sha256(data).hexdigest()

    def documents() -> None:
        for _ in samples:
            json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

    def tar_headers() -> None:
        text = json.dumps(document).encode()
        blocks[:] = [
            headers.sample(key, [data, b"\n", text])
            for key, data in zip(keys, samples, strict=True)
        ]

    def written() -> None:
        with ShardFile(Path(out) / "shard-000000.tar") as shard:
            for block in blocks:
                shard.add(block)
            shard.commit()

    return {
        "hash": _ms(hashes),
        "json": _ms(documents),
        "tar headers": _ms(tar_headers),
        "hash of the shard, writing, fsync": _ms(written),
    }


def _ms(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start) / SHARD


if __name__ == "__main__":
    main()
