"""Batches for training, each of one bucket. See docs/loader.md.

loader = fastbucket.Loader("dataset", batch_size=16, images="torchrgb8")
for batch in loader.dataloader(num_workers=4):
    batch["jpg"], batch["txt"], batch["time_ids"]

order     which samples are in which batch, of counts alone
samples   samples out of shards, at their offsets
images    JPEGs into a batch
choice    which buckets of an export, and whether their shards stand
loader    the iterable: ranks, workers, epochs, positions
"""

from __future__ import annotations

from .loader import Loader, time_ids

__all__ = ["Loader", "time_ids"]
