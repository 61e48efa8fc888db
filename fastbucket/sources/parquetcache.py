"""What Parquet readers keep: decompressed pages, and columns beside the image."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

LIMIT = 64 << 20
"""Bytes that a process keeps. Samples of a shard come in source order: neighbours often lie in one
page. What is larger than half of it (a page of 1,000 images) has a place of its own, for one: it
and the others would drive each other out."""


class PageCache:
    """The latest values by key, up to LIMIT bytes of them, and the latest large one."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._large: tuple[Any, Any] = (None, None)
        self._bytes = 0

    def get(self, key: Any, make: Callable[[], tuple[Any, int]]) -> Any:
        """The value of a key, made by make() -> (value, bytes) where it is not kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0]
        if key == self._large[0]:
            return self._large[1]
        made = make()
        if made[1] > LIMIT // 2:
            self._large = key, made[0]
            return made[0]
        self._kept[key] = made
        self._bytes += made[1]
        while self._bytes > LIMIT:
            self._bytes -= self._kept.popitem(last=False)[1][1]
        return made[0]
