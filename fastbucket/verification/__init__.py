"""Verification that doubts: everything of an export, read back and held against everything else.

    manifest.json   against itself, the recipe and the format             manifest
    buckets/        exactly the manifest's shards, of its size and hash    run, shard
    tar             read by tarfile: headers, order, padding, end          shard
    sample          JSON against schema, recipe, .txt and JPEG             sample, jpeg
    index/          against manifest and shards, where it is               index
    meta/           against manifest and shards                            meta
    sources         on request: read again, each against source_sha256     origins

Tars are read by the standard library and the JPEG's markers are walked here: nothing of what wrote
the export is used to read it. With --fast a header that is byte for byte the one that ustar and the
format demand is taken for what it says; only others are shown to the standard library.

What the format fixes by a rule (bucket, cover, crop, chroma) is computed again from the JSON with
the tables of `buckets`, `geometry`, `crop` and `subsampling`.
"""

from __future__ import annotations

from .findings import Problem
from .origins import SourceCheck
from .run import Verification, verify
from .shard import ShardCheck

__all__ = ["Problem", "ShardCheck", "SourceCheck", "Verification", "verify"]
