"""Samples taken out of a finished export: by key or image_id, shards full again."""

from .removal import BucketPruned, PruneReport, prune

__all__ = ["BucketPruned", "PruneReport", "prune"]
