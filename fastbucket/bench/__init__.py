"""`fastbucket bench`: what a sample costs on this machine and of this source, and what limits it.

    excerpt   samples of the source, copied and multiplied
    visits    shards of them, made over and over in one worker: stages
    floor     libjpeg-turbo alone on the same images, in turn with each shard
    scaling   real exports with 1, 2, 4, ... workers
    run       all of it, one after the other
    plot      a picture of the result

What contenders take is no part of this: see benchmarks/ in the repository.
"""

from __future__ import annotations

from .run import SAMPLES, SECONDS, Bench, Rate, bench
from .scaling import Scale

__all__ = ["SAMPLES", "SECONDS", "Bench", "Rate", "Scale", "bench"]
