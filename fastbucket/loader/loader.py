"""The iterable: ranks, DataLoader workers, epochs, and a position that can be saved."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from .. import index
from ..errors import RunError
from ..format import MANIFEST
from . import choice
from . import images as decoders
from .order import Batch, Epoch, Rules
from .samples import Samples

if TYPE_CHECKING:
    _Base = object
else:
    try:  # a DataLoader takes nothing else for an iterable
        from torch.utils.data import IterableDataset as _Base
    except ImportError:
        _Base = object

FIELDS = ("__key__", "__url__", "jpg", "txt", "json", "time_ids", "bucket_id")
"""What a batch has; all but the last are lists or arrays over its samples."""

_STATE = 1
"""Version of a saved position."""


class Loader(_Base):
    """Batches of an export, each of one bucket and so of one size. See docs/loader.md.

    out: the export. batch_size: samples of one rank's batch. fields: of FIELDS, and batches are
    tuples of them; without it they are dicts of all. images: what `jpg` is, see `images`.
    shuffle, seed, buffer: see `order`. drop_last: full batches alone. buckets: these bucket_ids
    alone. bases: of an export of several base resolutions, these alone; by default all, and a
    sample comes once at each base that it went to. rank, ranks: this process among those that train
    together; by default as RANK and WORLD_SIZE or torch.distributed say. map: called with each
    batch, in the worker; what it returns is yielded.

    Raises RunError where there is no such export or bucket, or a shard of it is missing.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        batch_size: int,
        *,
        fields: Sequence[str] = (),
        images: str = "rgb8",
        shuffle: bool = True,
        seed: int = 0,
        buffer: int = 16384,
        drop_last: bool = False,
        buckets: Sequence[str] = (),
        bases: Sequence[int] = (),
        rank: int | None = None,
        ranks: int | None = None,
        map: Callable[[Any], Any] | None = None,
    ) -> None:
        if unknown := [name for name in fields if name not in FIELDS]:
            raise RunError(f"fields: {unknown[0]!r} is none of {', '.join(FIELDS)}")
        if batch_size < 1 or buffer < 0 or seed < 0:
            raise RunError("batch_size is to be 1 at least, buffer and seed 0 at least")
        self.out, self.batch_size, self.fields = Path(out), batch_size, tuple(fields)
        self.rank, self.ranks = _rank(rank, ranks)
        self._decode, self._map = decoders.decoder(images), map
        facts = choice.manifest(self.out)
        self._buckets = choice.buckets(facts, buckets, bases)
        self._shards = index.shards({"buckets": self._buckets})
        for shard, path in choice.missing(self.out, self._shards):
            raise RunError(f"{path} is missing, or not of {shard.bytes} bytes as {MANIFEST} says")
        counts = [[shard["count"] for shard in bucket["shards"]] for bucket in self._buckets]
        self._first_shard = np.concatenate(([0], np.cumsum([len(c) for c in counts]))).tolist()
        self._rules = Rules(counts, batch_size, seed, shuffle, buffer, drop_last, self.ranks)
        if not self._rules.rounds():
            raise RunError(
                f"{self.out}: {sum(self._rules.batches())} full batches of {batch_size}, not one "
                f"for each of {self.ranks} ranks: take a smaller batch_size, or drop_last=False"
            )
        names = [bucket["bucket_id"] for bucket in self._buckets]
        self._identity = {
            "export_id": facts["export_id"],
            "samples": xxhash.xxh64_hexdigest(json.dumps([names, counts]).encode()),
            **self._rules._replace(shards=[])._asdict(),
        }
        del self._identity["shards"]
        self._next = (0, 0, 0, 1)  # epoch, batches done, and by this worker since; of how many
        self._now: tuple[int, int, int, int] | None = None
        self._samples: Samples | None = None

    def __len__(self) -> int:
        """Batches of this rank in an epoch; the same for every rank."""
        return self._rules.rounds()

    @property
    def samples(self) -> int:
        """Samples of the chosen buckets, over all ranks; one at several bases counts at each."""
        return sum(bucket["count"] for bucket in self._buckets)

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration goes through, from its beginning."""
        self._next, self._now = (epoch, 0, 0, 1), None

    def __iter__(self) -> Iterator[Any]:
        """The batches of an epoch, or what is left of one after load_state_dict. Each iteration
        is of the epoch after the one before it, whether that was gone through or left."""
        worker, workers = _worker()
        epoch, done, since, of = self._next
        if since and of != workers:
            raise RunError(
                f"the position was saved by one of {of} workers of a DataLoader, and this is one "
                f"of {workers}: take as many, or save the position with Loader.position"
            )
        self._next = (epoch + 1, 0, 0, 1)
        self._now = (epoch, done, since, workers)
        return self._batches(worker, *self._now)

    def _batches(
        self, worker: int, epoch: int, done: int, since: int, workers: int
    ) -> Iterator[Any]:
        order = Epoch(self._rules, epoch)
        turns = range(done + worker + since * workers, len(self), workers)
        for turn in turns:
            found = self._batch(order.batch(turn, self.rank))
            since += 1
            self._now = (epoch, done, since, workers)
            yield self._map(found) if self._map else found
        if workers == 1:
            self._now = None  # the next epoch's beginning; one of several does not know of that

    def _batch(self, batch: Batch) -> Any:
        if self._samples is None:
            self._samples = Samples(self.out, self._shards)
        first, bucket = self._first_shard[batch.bucket], self._buckets[batch.bucket]
        samples = [self._samples.read(first + shard, at) for shard, at in batch.places]
        wanted = self.fields or FIELDS
        values: dict[str, Any] = {}
        if "json" in wanted or "time_ids" in wanted:
            values["json"] = [json.loads(bytes(sample.json)) for sample in samples]
        for name in wanted:
            if name == "__key__":
                values[name] = [sample.key for sample in samples]
            elif name == "__url__":
                values[name] = [sample.url for sample in samples]
            elif name == "jpg":
                values[name] = self._decode(samples, (bucket["target_w"], bucket["target_h"]))
            elif name == "txt":
                values[name] = [str(sample.txt, "utf-8").removesuffix("\n") for sample in samples]
            elif name == "time_ids":
                values[name] = np.array([time_ids(facts) for facts in values["json"]], np.int64)
            elif name == "bucket_id":
                values[name] = bucket["bucket_id"]
        if self.fields:
            return tuple(values[name] for name in self.fields)
        return {name: values[name] for name in FIELDS}

    def state_dict(self) -> dict[str, Any]:
        """Where the iteration stands, in plain values: the same batches follow from it. After the
        last batch of an epoch that is an iteration without any; when it has ended, the next epoch.

        Of a loader that is iterated here, or within a worker of torchdata's StatefulDataLoader. A
        plain DataLoader with workers does not tell how far they were heard: use `position`.
        """
        epoch, done, since, workers = self._now or self._next
        if workers == 1:
            done, since = done + since, 0
        return {
            "version": _STATE,
            "epoch": epoch,
            "batches": done,
            "since": since,
            "workers": workers,
            "of": dict(self._identity),
        }

    def position(self, epoch: int, batches: int) -> dict[str, Any]:
        """The state after so many batches of this rank in an epoch, as load_state_dict takes it."""
        if not 0 <= batches <= len(self):
            raise RunError(f"batches: {batches} is not 0 to {len(self)}, the batches of an epoch")
        state = {"version": _STATE, "epoch": epoch, "batches": batches, "since": 0, "workers": 1}
        return {**state, "of": dict(self._identity)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved position, of any rank. Raises RunError where it is of another dataset
        or of other settings, and says which."""
        try:
            if state["version"] != _STATE:
                raise RunError(f"a position of version {state['version']}, not {_STATE}")
            saved, place = dict(state["of"]), ("epoch", "batches", "since", "workers")
            found = tuple(int(state[name]) for name in place)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"no position of a Loader: {error!r}") from None
        wrong = [name for name in self._identity if saved.get(name) != self._identity[name]]
        if wrong:
            raise RunError(
                f"the position is not of this loader: {', '.join(_DIFFERS[n] for n in wrong)}. "
                "Its batches would be others; begin an epoch with set_epoch"
            )
        self._next, self._now = found, None  # type: ignore[assignment]

    def dataloader(self, num_workers: int = 0, **options: Any) -> Any:
        """A torch DataLoader of this loader: batches as they are made, and workers that stay, so
        that each iteration is of the next epoch. options: of DataLoader."""
        from torch.utils.data import DataLoader

        settings: dict[str, Any] = {
            "persistent_workers": num_workers > 0,
            "collate_fn": _as_it_is,
            **options,
        }
        return DataLoader(self, batch_size=None, num_workers=num_workers, **settings)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_samples": None}  # open files stay with their process


_DIFFERS = {
    "export_id": "it is of another export",
    "samples": "buckets or shards have other numbers of samples",
    "batch_size": "batch_size is another",
    "seed": "seed is another",
    "shuffle": "shuffle is another",
    "buffer": "buffer is another",
    "drop_last": "drop_last is another",
    "ranks": "the number of ranks is another",
}


def time_ids(facts: Mapping[str, Any]) -> tuple[int, int, int, int, int, int]:
    """SDXL's micro-conditioning of a sample, of its JSON, in the order of diffusers' add_time_ids:
    original height and width, top and left of the crop in the resized image, target height and
    width. An image that was copied is not cropped."""
    return (
        facts["source_h"],
        facts["source_w"],
        max(facts["crop_y"], 0),
        max(facts["crop_x"], 0),
        facts["target_h"],
        facts["target_w"],
    )


def _rank(rank: int | None, ranks: int | None) -> tuple[int, int]:
    """As given, or as the environment of a distributed training has it."""
    if (rank is None) != (ranks is None):
        raise RunError("rank and ranks are to be given together, or neither")
    if rank is None or ranks is None:
        from webdataset.utils import pytorch_worker_info

        rank, ranks, _, _ = pytorch_worker_info()
    if not 0 <= rank < ranks:
        raise RunError(f"rank {rank} is none of {ranks}")
    return rank, ranks


def _worker() -> tuple[int, int]:
    """This worker of a DataLoader, and how many there are; (0, 1) outside of one."""
    from webdataset.utils import pytorch_worker_info

    _, _, worker, workers = pytorch_worker_info()
    return worker, workers


def _as_it_is(batch: Any) -> Any:
    return batch
