"""A session that finds, while it works, whether one thread or several answer a single image sooner.

Several threads are slower than one where another program keeps the second core busy, or where a virtual machine's cores
lie far apart. Neither shows before images are classified, and both change, so now and then a few calls are given to the
other session and timed, by turns. The answers do not depend on it: ONNX Runtime's kernels divide a layer's outputs
among threads, not its sums (held by a test, bit for bit).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from eyespot.errors import RuntimeFailure
from eyespot.run.session import ClosingSession, Session

FIRST = 30  # calls before the second session is opened: neither a cold start nor a handful of images pays for it
EVERY = 150  # calls from one trial to the next
FIRST_PAIRS = 12  # calls of each session in the first trial, by turns
PAIRS = 6  # and in those after it
KEPT = 18  # timings of each session that the choice is made by: under load single ones say little
BETTER = 0.9  # of the time: what the other session must take to be changed to


class SearchingSession(ClosingSession):
    """``several`` threads inside one call, or one, whichever was faster lately on single images.

    open: gives a session with so many threads. The second one is opened at call ``FIRST`` and stays open, so that the
    search costs a second copy of the network in memory. Batches of several images go to the session in use.
    """

    def __init__(self, open: Callable[[int], Session], several: int) -> None:
        self._open = open
        self._counts = (several, 1)
        self._sessions: list[Session] = [open(several)]
        self._lock = threading.Lock()
        self._used = 0  # which of the two
        self._calls = 0
        self._trial: deque[int] = deque()
        self._times: tuple[deque[float], ...] = (deque(maxlen=KEPT), deque(maxlen=KEPT))
        self._cold = 0
        self._closed = False
        self.inputs, self.outputs = self._sessions[0].inputs, self._sessions[0].outputs

    @property
    def threads(self) -> int:
        """The number of threads in use now."""
        return self._counts[self._used]

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (n, outputs) of prepared images."""
        if len(batch) != 1:
            return self._sessions[self._used].run(batch)
        chosen, timed = self._next()
        started = time.perf_counter()
        logits = self._sessions[chosen].run(batch)
        if timed:
            self._record(chosen, time.perf_counter() - started)
        return logits

    def close(self) -> None:
        """Gives the memory of both back."""
        with self._lock:
            self._closed = True
            for session in self._sessions:
                session.close()

    def _next(self) -> tuple[int, bool]:
        """(the session for this call, whether it is timed)."""
        with self._lock:
            self._calls += 1
            if self._calls > FIRST and self._calls % EVERY == 0 and not self._trial and len(self._sessions) == 2:
                self._trial.extend([0, 1] * PAIRS)
            first = self._calls == FIRST
        if first:  # one call alone comes here, and the others do not wait for it
            self._open_second()
        with self._lock:
            return (self._trial.popleft(), True) if self._trial else (self._used, False)

    def _open_second(self) -> None:
        try:
            second = self._open(1)
        except RuntimeFailure:  # no memory for another one: the first goes on alone
            return
        with self._lock:
            if self._closed:
                second.close()
                return
            self._sessions.append(second)
            self._cold = 2  # the first call of each warms its memory up
            self._trial.extend([0, 1] * (FIRST_PAIRS + 1))

    def _record(self, chosen: int, seconds: float) -> None:
        with self._lock:
            if self._cold:
                self._cold -= 1
                return
            self._times[chosen].append(seconds)
            if self._trial or not all(self._times):
                return
            took = [sum(times) / len(times) for times in self._times]  # means, for what waits for a core counts
            other = 1 - self._used
            if took[other] < BETTER * took[self._used]:
                self._used = other
