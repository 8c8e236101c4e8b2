"""Measures candidates in order of promise until enough is known or the time is up; what cannot fit is never built."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from eyespot.choose.budget import Budget, Figures
from eyespot.choose.candidate import Candidate, quantizing_keeps
from eyespot.choose.device import Device
from eyespot.choose.kept import Kept, Key, digest
from eyespot.choose.rates import Rates
from eyespot.choose.trial import trial
from eyespot.core.graph import Graph
from eyespot.errors import EyespotError
from eyespot.measure.record import Effort, Way

_LATE = 15.0  # seconds more for networks that can be written
_SOON, _PERHAPS = 1.15, 1.7  # times the latency asked for, up to which a guess is tried first, and at all
# How many are measured as what: guessed to fit; guessed too slow, and perhaps wrongly; the nearest where nothing fits;
# faster ones for the Pareto table once the choice is known.
_MOST = {"likely": 1000, "doubtful": 6, "nearest": 4, "faster": 6}


@dataclass(frozen=True)
class Tried:
    """A candidate that was measured. kept: earlier, not now."""

    candidate: Candidate
    figures: Figures
    kept: bool = False


@dataclass
class Searched:
    """What a search found. left_out: how many candidates for which reason; unmeasured: those that time did not allow
    or that could not have been chosen."""

    tried: list[Tried] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unmeasured: int = 0

    def inside(self, budget: Budget) -> list[Tried]:
        """Those within the budget, the most promising first."""
        found = [one for one in self.tried if not budget.exceeded(one.figures)]
        return sorted(found, key=lambda one: (-one.candidate.promise, one.figures.p95_ms))


@dataclass
class Bench:
    """What measures: where, with what effort on which picture, and what was measured before."""

    device: Device
    kept: Kept
    effort: Effort
    picture: bytes

    def figures(self, candidate: Candidate, graph: Graph, budget: Budget) -> tuple[Figures, bool]:
        """Its figures, and whether they were kept. GraphError, RuntimeFailure where it cannot be built or run.

        Memory, which takes fresh processes and seconds, is measured of what is inside the budget otherwise.
        """
        key = Key(
            machine=self.device.key,
            graph=graph.digest,
            pixels=digest(candidate.preprocess.to_json()),
            precision=candidate.precision,
            runtime=candidate.runtime,
            runtime_version=self.device.runtime_version(candidate.runtime),
            threads=self.effort.inside(),
            picture=hashlib.sha256(self.picture).hexdigest()[:16],
        )
        found = self.kept.get(key)
        wanted = budget.memory_bytes is not None
        if found is not None and not (wanted and found.memory_bytes is None and not budget.exceeded(found)):
            return found, True
        with trial(candidate, graph) as bundle:
            ways = [Way(bundle, candidate.runtime)]
            figures = found or Figures.of(self.device.measure(ways, self.effort, self.picture)[0])
            if wanted and not budget.exceeded(figures):
                held = replace(self.effort, seconds=0.01, turns=1, warmup=0, cold_starts=1)
                peak = self.device.measure(ways, held, self.picture)[0].peak_memory_bytes
                figures = replace(figures, memory_bytes=peak)
        self.kept.put(key, figures, title=candidate.title)
        return figures, False


class Search:
    """One search. each: whether every start of weights is of interest (they will compete in training), or the most
    promising candidate alone (they are ranked by what was published)."""

    def __init__(
        self,
        budget: Budget,
        candidates: Sequence[Candidate],
        bench: Bench,
        *,
        each: bool,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._budget, self._bench, self._each, self._say = budget, bench, each, say
        self._rates = Rates(bench.device.peak(bench.effort.inside()), bench.device.floor_ms(bench.picture))
        self.found = Searched()
        self._pending = self._possible(candidates)
        self._tries: Counter[str] = Counter()
        self._keeps: dict[str, bool] = {}

    def run(self, until: float, *, most: int = 60) -> Searched:
        """Until ``time.monotonic()`` is ``until``, nothing of interest is left, or ``most`` were measured now.

        Where nothing that can be written is inside by then, what can be written has some time more.
        """
        measured = passed_over = 0
        while self._pending and measured < most:
            if time.monotonic() >= until and self.found.tried:
                ready = [one for one in self._pending if one.ready]
                inside = self.found.inside(self._budget)
                is_written = self._each or any(tried.candidate.ready for tried in inside)
                if is_written or not ready or time.monotonic() >= until + _LATE:
                    break
                passed_over += len(self._pending) - len(ready)
                self._pending = ready
            found = self._next()
            if found is None:
                break
            candidate, why = found
            graph = self._draw(candidate)
            if graph is None:
                continue
            self._pending.remove(candidate)
            self._tries[why] += 1
            self._say(f"measuring {candidate.title}")
            measured += self._measure(candidate, graph)
        self.found.unmeasured = len(self._pending) + passed_over
        return self.found

    def _possible(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those that the Graph's cost does not rule out."""
        budget, possible = self._budget, []
        for one in candidates:
            if budget.size_bytes is not None and one.least_bytes() > budget.size_bytes:
                self.found.left_out["their weights alone are larger than the size"] += 1
            elif budget.memory_bytes is not None and one.least_memory() > budget.memory_bytes:
                self.found.left_out["their weights and maps alone take more than the memory"] += 1
            elif self._rates.least_ms(one) > budget.longest_ms:
                self.found.left_out["their MACs at this machine's peak alone take longer than the latency"] += 1
            else:
                possible.append(one)
        return possible

    def _draw(self, candidate: Candidate) -> Graph | None:
        """Its graph; None, and what is like it forgotten, where it cannot be drawn or int8 not ranked."""
        try:
            graph = candidate.draw()
        except EyespotError:  # pictures too small for it
            self._forget("they cannot be drawn so", lambda one: one == candidate)
            return None
        name = candidate.architecture
        # What is trained is quantized and evaluated; of a quantized bundle the loss is known.
        published = candidate.precision == "int8" and not (self._each or candidate.quantized)
        if published and not self._keeps.setdefault(name, quantizing_keeps(graph)):
            why = "int8 is not known to keep their published accuracy: they have gates"
            self._forget(why, lambda one: one.precision == "int8" and one.architecture == name and not one.quantized)
            return None
        return graph

    def _forget(self, why: str, which: Callable[[Candidate], bool]) -> None:
        kept = [one for one in self._pending if not which(one)]
        if len(kept) < len(self._pending):
            self.found.left_out[why] += len(self._pending) - len(kept)
        self._pending = kept

    def _measure(self, candidate: Candidate, graph: Graph) -> bool:
        """Whether it was measured now."""
        try:
            figures, kept = self._bench.figures(candidate, graph, self._budget)
        except EyespotError:
            if not self.found.tried:  # then it is not this network's fault
                raise
            self.found.left_out["the runtime refuses them"] += 1
            return False
        self._rates.learn(candidate, figures)
        self.found.tried.append(Tried(candidate, figures, kept))
        return not kept

    def _next(self) -> tuple[Candidate, str] | None:
        """What is measured next, and as what."""
        inside = self.found.inside(self._budget)
        self._drop(inside)
        wanted = [one for one in self._pending if self._is_wanted(one, inside)]
        for why, slack in (("likely", _SOON), ("doubtful", _PERHAPS)):
            near = [one for one in wanted if self._guess(one) <= slack * self._budget.longest_ms]
            if near and self._tries[why] < _MOST[why]:
                return max(near, key=lambda one: (one.promise, -one.cost.macs)), why
        why = "faster" if inside else "nearest"
        found = self._faster(inside) if inside else self._fastest()
        return (found, why) if found is not None and self._tries[why] < _MOST[why] else None

    def _fastest(self) -> Candidate | None:
        """Where nothing fits so far: what would come nearest."""
        return min(self._pending, key=lambda one: (self._guess(one), one.least_bytes()), default=None)

    def _faster(self, inside: Sequence[Tried]) -> Candidate | None:
        """For the table: the most promising one that is clearly faster than all inside."""
        least = min(one.figures.p95_ms for one in inside)
        faster = [one for one in self._pending if one.expected is not None and self._guess(one) <= 0.8 * least]
        return max(faster, key=lambda one: one.promise, default=None)

    def _is_wanted(self, one: Candidate, inside: Sequence[Tried]) -> bool:
        if not self._each:  # the best of all, and the best that can be written now
            rivals = [tried for tried in inside if tried.candidate.ready or not one.ready]
            return not rivals or one.promise > rivals[0].candidate.promise
        if not one.start:  # what starts from nothing is of interest where nothing else fits
            return not any(tried.candidate.start for tried in inside) and not (
                inside and one.promise < inside[0].candidate.promise
            )
        same = (tried.candidate for tried in inside if _is_same(tried.candidate, one))
        return not any(other.side >= one.side for other in same)

    def _drop(self, inside: Sequence[Tried]) -> None:
        """Forgets what is larger than something that was too large already, but for its pictures the same."""
        outside = [tried.candidate for tried in self.found.tried if tried not in inside]
        self._forget(
            "the same network was outside with smaller pictures",
            lambda one: any(
                _is_same(one, other) and one.runtime == other.runtime and one.side >= other.side for other in outside
            ),
        )

    def _guess(self, one: Candidate) -> float:
        return self._rates.guess_ms(one, p95=self._budget.latency_p95_ms is not None)


def _is_same(one: Candidate, other: Candidate) -> bool:
    """Whether two differ in the size of their pictures and the runtime at the most."""
    plain = [{k: v for k, v in c.arguments.items() if k != "size"} for c in (one, other)]
    same_start = one.start == other.start or not (one.start and other.start)
    return (
        (one.architecture, one.precision) == (other.architecture, other.precision)
        and plain[0] == plain[1]
        and same_start
    )
