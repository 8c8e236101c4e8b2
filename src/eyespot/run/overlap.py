"""The same work on many things at once, in threads: memory stays flat, the order is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from eyespot.core.cores import cores

_AHEAD = 8  # things under way per worker: enough to hide one slow file, few enough that memory stays flat

Item = TypeVar("Item")
Result = TypeVar("Result")


def overlapped(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None
) -> Iterator[Result]:
    """``work`` of each item, in the items' order, computed by ``workers`` threads (None: one per core).

    ``items`` may be endless: at most eight per worker are held. What ``work`` raises is raised in its place.
    """
    workers = workers or cores()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="eyespot") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                while len(waiting) >= workers * _AHEAD or (waiting and waiting[0].done()):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
