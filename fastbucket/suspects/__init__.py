"""What is better looked at before training: copies, blanks, placeholders, borders.

looks       hash and statistics of every sample: from meta/, or from the shards themselves
clusters    near-identical samples, by their hashes
kinds       thresholds of the statistics
find        all of it, in order; suspects.jsonl
page        suspects.html: a contact sheet with tick boxes, which saves a list of keys
"""

from __future__ import annotations

from .find import Found, suspects

__all__ = ["Found", "suspects"]
