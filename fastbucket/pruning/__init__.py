"""Samples taken out of a finished export: by key or image_id, shards full again."""

from .removal import prune
from .report import BucketPruned, PruneReport

__all__ = ["BucketPruned", "PruneReport", "prune"]
