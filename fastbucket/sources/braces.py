"""Braces in names: webdataset's notation for many shards."""

from __future__ import annotations

from braceexpand import braceexpand

from ..errors import RunError
from ..public import public


def braces(pattern: str) -> list[str]:
    """`a-{0000..0002}.tar` and `{a,b}.tar` spelled out. Raises RunError for an unpaired brace."""
    try:
        return list(braceexpand(pattern))
    except ValueError:  # UnbalancedBracesError
        raise RunError(f"{public(pattern)}: its braces are not in pairs") from None
