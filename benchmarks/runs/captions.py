"""Captions: applied to 100,000 samples, against a loop of webdataset; and a million imported.

The export is made for the purpose, of bytes that are no photos but of their sizes: apply looks at
no image. Every round changes the caption of every sample, so that every shard is written. The loop
is what people write: it reads the same shards from the page cache, changes .txt and .json, writes
by TarWriter, and puts the new shard in the place of that of the round before; it neither syncs nor
hashes, which ours does. Both run in turn, pinned to one core, on the disk (all samples, wall time)
and in /dev/shm (as many as there is room for: a disk that keeps nobody waiting). There the ratio is
taken of processor time, which is wall time on a machine that is ours alone, and ours is timed with
the start of the worker and all.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import corpora, process
from ..figures import Bench, versions
from ..options import parse

SAMPLES, QUICK_SAMPLES = 100_000, 2_000
ROWS, QUICK_ROWS = 1_000_000, 5_000
ROOM = 1.5
"""As many times the bytes of the samples have to be free in memory."""

LOOP_SHARDS = 8
ROUNDS = 3
MEMORY = Path("/dev/shm")
BUCKETS = ("p896x1088", "p1024x1024", "p1152x832", "p832x1152")
IMAGE_BYTES = 89_000
"""Mean: JPEG quality 95 of photos at base 512, 0.34 bytes a pixel."""

VARIANTS = ("caption_one", "caption_two")
APPLY, LOOP, IMPORT = "apply", "webdataset loop", "import of a million rows"
IN_MEMORY = ", tmpfs"
"""Behind the name of what ran in /dev/shm."""


def main() -> None:
    options = parse(__doc__)
    samples = QUICK_SAMPLES if options.quick else SAMPLES
    rows = QUICK_ROWS if options.quick else ROWS
    bench = Bench("captions", options.quick, versions(["fastbucket", "webdataset", "pyarrow"]))
    rounds = min(options.rounds, ROUNDS)
    folder = MEMORY / f"fastbucket-captions-{os.getpid()}"
    held = min(samples, int(_memory() / (ROOM * IMAGE_BYTES)))
    if held >= min(samples, QUICK_SAMPLES):
        try:
            _compare(bench, folder / "out", held, rounds, IN_MEMORY)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    _compare(bench, corpora.scratch(options, "captions") / "out", samples, rounds, "")
    folder = corpora.scratch(options, "captions-import")
    process.call(make_rows, out=str(folder), rows=rows, pinned=False)
    taken = [process.call(take, out=str(folder), number=n) for n in range(rounds)]
    bench.show(IMPORT, "seconds", [t["seconds"] for t in taken], "s")
    bench.show(IMPORT, "rows", taken[0]["stored"], "rows")


def _memory() -> int:
    """Bytes that files in memory may take here."""
    if not MEMORY.is_dir():
        return 0
    words = Path("/proc/meminfo").read_text().split()
    available = int(words[words.index("MemAvailable:") + 1]) << 10
    return min(available, shutil.disk_usage(MEMORY).free)


def _compare(bench: Bench, out: Path, samples: int, rounds: int, where: str) -> None:
    """Both, and what bounds ours, of an export made in `out`, which goes again."""
    out.parent.mkdir(exist_ok=True)
    process.call(make, out=str(out), samples=samples, pinned=False)
    corpora.warm(sorted(out.glob("buckets/*/*.tar")))
    runs: dict[str, list[dict[str, float]]] = {APPLY: [], LOOP: []}
    parts = []
    for n in range(rounds):
        runs[APPLY].append(process.call(apply, out=str(out), variant=VARIANTS[n % 2], workers=1))
        runs[LOOP].append(process.call(loop, out=str(out)))
        parts.append(process.call(alone, out=str(out)))
    bench.show("source" + where, "samples", samples, "samples")
    bench.show("source" + where, "bytes", runs[APPLY][0]["bytes"], "bytes")
    for name, done in runs.items():
        name += where
        bench.show(name, "rate", [r["bytes"] / r["seconds"] / 1e6 for r in done], "MB/s")
        bench.show(name, "cpu", [r["bytes"] / r["cpu"] / 1e6 for r in done], "MB/s")
        bench.show(name, "system", [r["system"] / r["cpu"] for r in done], "")
        bench.show(name, "samples", [r["samples"] / r["seconds"] for r in done], "samples/s")
    every = process.call(apply, out=str(out), variant=VARIANTS[rounds % 2], workers=0, pinned=False)
    bench.show(
        f"{APPLY}, all cores{where}", "rate", every["bytes"] / every["seconds"] / 1e6, "MB/s"
    )
    for name in parts[0]:
        bench.show(f"{name} alone{where}", "rate", [part[name] for part in parts], "MB/s")
    shutil.rmtree(out.parent)


def _names(samples: int) -> Iterator[tuple[str, str]]:
    for number in range(samples):
        image_id = f"imagenet22k-train-{number % 4096:04d}/n{number:08d}_1"
        yield hashlib.sha256(image_id.encode()).hexdigest(), image_id


def make(out: str, samples: int) -> None:
    """An export of so many samples with a workspace and two captions each."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from fastbucket import Recipe, card, manifest, meta
    from fastbucket.buckets import buckets
    from fastbucket.captions import workspace
    from fastbucket.captions.store import Store
    from fastbucket.fill import Final
    from fastbucket.format import META, STATE, shard_path
    from fastbucket.shard import ShardFile
    from fastbucket.tar import Headers

    root, dice, recipe = Path(out), random.Random(0), Recipe()
    (root / META).mkdir(parents=True)
    noise = np.random.default_rng(0).bytes(1 << 20)
    headers, finals, rows = Headers(0), dict[int, list[Final]](), list[tuple[Any, ...]]()
    family = {b.id: n for n, b in enumerate(buckets("sdxl", 512, 32))}
    (root / "buckets").mkdir()
    names = list(_names(samples))
    each = -(-samples // len(BUCKETS))
    for at, bucket_id in enumerate(BUCKETS):
        (root / "buckets" / bucket_id).mkdir()
        mine = names[at * each : (at + 1) * each]
        for number in range(-(-len(mine) // recipe.shard_size)):
            here = mine[number * recipe.shard_size : (number + 1) * recipe.shard_size]
            with ShardFile(root / shard_path(bucket_id, number)) as shard:
                for position, (key, image_id) in enumerate(here):
                    size = dice.randrange(IMAGE_BYTES // 2, IMAGE_BYTES * 3 // 2)
                    start = dice.randrange(len(noise) - size)
                    image = b"\xff\xd8\xff" + noise[start : start + size]
                    shard.add(headers.sample(key, [image, b"\n", _document(image_id, bucket_id)]))
                    rows.append((image_id, key, bucket_id, number, position))
                sha256 = shard.commit()
            finals.setdefault(family[bucket_id], []).append(
                Final(number, len(here), shard.bytes, sha256)
            )
    columns = {name: [""] * samples if str(field.type) == "string" else [0] * samples
               for name, field in zip(meta.SCHEMA.names, meta.SCHEMA, strict=True)}  # fmt: skip
    for index, name in enumerate(("image_id", "key", "bucket_id", "shard", "position")):
        columns[name] = [row[index] for row in rows]
    pq.write_table(pa.table(columns, schema=meta.SCHEMA), root / META / "samples-00000.parquet")
    source = {"archives": 1, "samples": samples, "splits": {"": samples}, "excluded": 0}
    source |= {"broken": [], "carried": []}
    facts = manifest.make(
        "0" * 16, recipe, 1, source, {}, manifest.bucket_facts(
            buckets("sdxl", 512, 32), finals), [],
    )  # fmt: skip
    (root / STATE).mkdir()
    card.renew(root, None, facts)
    shutil.rmtree(root / STATE)
    manifest.write(root, facts)
    workspace.init(root)
    with Store.open(root) as store:
        for variant in VARIANTS:
            put = [(row[1], f"{variant}: {_caption(dice)}", "ok", "") for row in rows]
            store.put(store.source(variant), put)


def _document(image_id: str, bucket_id: str) -> bytes:
    from fastbucket.format import CAPTION_FIELDS, SAMPLE_FIELDS

    kinds: dict[Any, Any] = {str: "some words", int: 1024, float: 0.7071067811865476}
    fields = {
        name: {"quality": 95, "subsampling": "4:4:4"} if isinstance(kind, dict) else kinds[kind]
        for name, kind in SAMPLE_FIELDS.items()
    }
    fields |= {"image_id": image_id, "bucket_id": bucket_id, "source_sha256": "0" * 64}
    fields |= {n: "" if kind is str else -1 for n, kind in CAPTION_FIELDS.items()}
    return json.dumps(fields, separators=(",", ":")).encode()


WORDS = ("a", "photo", "of", "two", "small", "brown", "dogs", "on", "green", "grass", "at", "dusk")


def _caption(dice: random.Random) -> str:
    return " ".join(dice.choices(WORDS, k=dice.randrange(20, 80)))


def apply(out: str, variant: str, workers: int) -> dict[str, float]:
    """Every sample gets another caption; seconds with the start of the worker, and the sync."""
    from fastbucket.captions import application

    before = os.times()
    report = application.apply(out, [variant], workers=workers)
    assert report.rewritten == report.shards
    return {
        "seconds": report.seconds,
        "bytes": report.bytes_written,
        "samples": report.samples,
        **_spent(before),
    }


def loop(out: str) -> dict[str, float]:
    """What people write without us, over a few shards."""
    import webdataset as wds

    shards = sorted(Path(out).glob("buckets/*/*.tar"))[:LOOP_SHARDS]
    folder = Path(out).with_name("loop")
    folder.mkdir(exist_ok=True)
    corpora.warm(shards)
    unfinished = folder / "unfinished.tar"
    before, start, samples = os.times(), time.perf_counter(), 0
    for number, shard in enumerate(shards):
        with wds.TarWriter(str(unfinished)) as writer:
            for sample in wds.WebDataset([str(shard)], shardshuffle=False):
                fields = json.loads(sample["json"])
                fields |= {"caption_variant": "caption_x", "caption_selector_index": 0}
                fields |= {"caption_source_id": 9}
                sample["txt"] = f"caption_x: {fields['image_id']} and some more words\n" * 5
                sample["json"] = fields
                writer.write(sample)
                samples += 1
        unfinished.replace(folder / f"{number}.tar")
    seconds = time.perf_counter() - start
    size = sum(shard.stat().st_size for shard in shards)
    return {"seconds": seconds, "bytes": size, "samples": samples, **_spent(before)}


def _spent(before: os.times_result) -> dict[str, float]:
    """Processor time since then, of this process and of those that have ended."""
    user, system, of_children, system_of_children, _ = (
        now - then for now, then in zip(os.times(), before, strict=True)
    )
    system += system_of_children
    return {"cpu": user + of_children + system, "system": system}


HASH, PAIR, COPY = "hash", "hash of two side by side", "copy"


def alone(out: str) -> dict[str, float]:
    """What bounds it, in MB of a second of processor time: SHA-256 of bytes in the processor's
    cache, by hashlib and of two pieces side by side, and copying shards in the page cache, the old
    copy going."""
    from fastbucket.captions.beside import PIECE
    from fastbucket.kernels import sha256

    rates = {}
    pieces = [memoryview(bytearray(os.urandom(PIECE))) for _ in range(2)]
    turns = 1000
    digest, start = hashlib.sha256(), time.process_time()
    for _ in range(turns):
        digest.update(pieces[0])
    rates[HASH] = turns * PIECE / (time.process_time() - start) / 1e6
    if sha256.available():
        one, two = sha256.Sha256(), sha256.Sha256()
        one.update_both(pieces[0], two, pieces[1])  # compiles
        start = time.process_time()
        for _ in range(turns):
            one.update_both(pieces[0], two, pieces[1])
        rates[PAIR] = 2 * turns * PIECE / (time.process_time() - start) / 1e6
    shards = sorted(Path(out).glob("buckets/*/*.tar"))[:LOOP_SHARDS]
    target, size, start = Path(out).with_name("copy.tar"), 0, time.process_time()
    for shard in shards:
        target.unlink(missing_ok=True)
        with open(shard, "rb", buffering=0) as file, open(target, "wb", buffering=0) as copy:
            while n := file.readinto(pieces[0]):
                size += n
                copy.write(pieces[0][:n])
    target.unlink()
    rates[COPY] = size / (time.process_time() - start) / 1e6
    return rates


def make_rows(out: str, rows: int) -> None:
    """A workspace of so many samples, and a file of captions for them in another order."""
    from fastbucket.captions.store import Sample, Store

    names, dice = list(_names(rows)), random.Random(0)
    with Store.create(Path(out)) as store:
        samples = (
            Sample(key, image_id, f"p{n // 50_000}", n % 50_000 // 1024, n % 50_000 % 1024)
            for n, (key, image_id) in enumerate(names)
        )
        store.place(samples, "benchmark")
    dice.shuffle(names)
    captions = [_caption(dice) for _ in range(1000)]
    with open(Path(out, "rows.jsonl"), "w") as file:
        for n, (key, _) in enumerate(names):
            file.write(json.dumps({"key": key, "caption": captions[n % 1000]}) + "\n")


def take(out: str, number: int) -> dict[str, float]:
    from fastbucket.captions import intake

    start = time.perf_counter()
    report = intake.take(Path(out), Path(out, "rows.jsonl"), f"caption_{number}")
    return {"seconds": time.perf_counter() - start, "stored": report.stored}


if __name__ == "__main__":
    main()
