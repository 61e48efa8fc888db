"""Work in order on several threads, each with tools of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

_AHEAD = 4
"""Items a thread that are taken before the first result is wanted: what memory holds of them."""


def ordered(
    make: Callable[[], Callable[[Item], Made]], items: Iterable[Item], threads: int
) -> Iterator[Made]:
    """work(item) of every item, in order. make: gives each thread its `work`.

    Takes at most _AHEAD * threads items ahead of the results. What `work` or `items` raises comes
    out here, in its place. One thread is the caller's own.
    """
    if threads <= 1:
        yield from map(make(), items)
        return
    tools = threading.local()

    def run(item: Item) -> Made:
        if not hasattr(tools, "work"):
            tools.work = make()
        made: Made = tools.work(item)
        return made

    waiting: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(threads, "fastbucket")
    failed: BaseException | None = None
    source = iter(items)
    try:
        while True:
            try:
                item = next(source)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 it is raised behind what came before it
                failed = error
                break
            waiting.append(pool.submit(run, item))
            if len(waiting) >= _AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        if failed is not None:
            raise failed
    finally:
        pool.shutdown(cancel_futures=True)
