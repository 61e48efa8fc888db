"""Hash and statistics of every sample: from meta/, or where it has none, from the stored images."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..decode import Decoder
from ..engines.local import Local
from ..errors import RunError, SampleError
from ..format import LOOK_FIELDS, META
from ..look import DTYPE, MISSING, Look, look
from ..progress import Progress, Reporter
from ..recipe import Recipe
from ..resources import available_cpus
from ..sources.probe import probe
from ..stored import Images, Place

_COLUMNS = ("key", "image_id", "bucket_id", "shard", "position")
_JOB = "fastbucket.suspects.looks:LookTask"
_PATIENCE = 180.0
_SMALL = 256
"""Pixels of the shorter side that shrinking leaves at least: the frequencies looked at are low."""


class Samples(NamedTuple):
    """Every exported sample, by bucket, shard and position. rows: a table of key, image_id,
    bucket_id, shard, position. looks: look.DTYPE (n,)."""

    rows: pa.Table
    looks: NDArray[np.void]


def samples(out: Path, workers: int, progress: Progress) -> Samples:
    """Read meta/, and look at the stored images of those that have no look there.

    Exports by a version that did not look yet have none at all. Raises RunError.
    """
    paths = sorted((out / META).glob("samples-*.parquet"))
    if not paths:
        raise RunError(
            f"{out / META}: no samples-*.parquet, which tells what an export holds; is {out} one?"
        )
    tables = [_read(path) for path in paths]
    order = [(name, "ascending") for name in _COLUMNS[2:]]
    table = pa.concat_tables(tables).sort_by(order).combine_chunks()
    looks = np.empty(table.num_rows, DTYPE)
    for name in LOOK_FIELDS:
        looks[name] = table[name].to_numpy()
    rows = table.select(list(_COLUMNS))
    blind = np.flatnonzero(looks["modal_share"] < 0)
    if len(blind):
        looks[blind] = _look(out, rows.take(blind), workers, progress)
    return Samples(rows, looks)


def _read(path: Path) -> pa.Table:
    """Kept rows of a file; -1 for what it does not tell."""
    try:
        known = set(pq.read_schema(path).names)
        wanted = [*_COLUMNS, *(name for name in LOOK_FIELDS if name in known)]
        table = pq.read_table(
            path, columns=wanted, filters=pc.field("shard") >= 0, page_checksum_verification=True
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from None
    for name, value in zip(LOOK_FIELDS, MISSING, strict=True):
        if name not in known:
            kind = pa.uint64() if name == "phash" else pa.int16()
            table = table.append_column(name, pa.array([value] * table.num_rows, kind))
    return table


def _look(out: Path, rows: pa.Table, workers: int, progress: Progress) -> NDArray[np.void]:
    """Looks of the stored images, decoded in worker processes, a shard at a time."""
    tasks: dict[tuple[str, int], list[tuple[int, str]]] = {}
    where: dict[tuple[str, int], list[int]] = {}
    for index, row in enumerate(rows.to_pylist()):
        shard = row["bucket_id"], row["shard"]
        tasks.setdefault(shard, []).append((row["position"], row["key"]))
        where.setdefault(shard, []).append(index)
    progress.say(f"{rows.num_rows:,} samples have no hash in {META}/: their images are decoded")
    progress.phase("look", rows.num_rows, "samples")
    found = np.full(rows.num_rows, np.array(MISSING, DTYPE))
    work = [(*shard, places) for shard, places in tasks.items()]
    with Local(workers or available_cpus(), {"out": str(out)}, _PATIENCE, progress.say) as engine:
        for task, looks in engine.map(_JOB, work, progress.advance):
            found[where[task[0], task[1]]] = np.frombuffer(looks, DTYPE)
    return found


class LookTask:
    """A job: looks at the samples of one shard. Called with (bucket_id, shard, [(position, key)]);
    returns look.DTYPE as bytes. What cannot be decoded has a MISSING look: verify tells of it."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._out = Path(setup["out"])
        self._decoder = Decoder(Recipe())

    def __call__(self, task: tuple[str, int, list[tuple[int, str]]], report: Reporter) -> bytes:
        bucket_id, shard, places = task
        looks = np.empty(len(places), DTYPE)
        with closing(Images(self._out, f"{META}/", "fastbucket verify says more")) as images:
            for index, (position, key) in enumerate(places):
                data = images.read(Place(bucket_id, shard, position, key))
                looks[index] = self._look(data)
                report(1)
        return looks.tobytes()

    def _look(self, jpeg: bytes) -> Look:
        try:
            source = probe(jpeg)
            side = min(source.stored)
            shrink = next((s for s in (8, 4, 2) if side >= s * _SMALL), 1)
            pixels = self._decoder.decode(
                jpeg, source.kind, 0, source.stored, shrink, source.progressive
            )
            return look(pixels.rgbx)
        except SampleError:
            return MISSING
