"""What is measured, in which order, and what never is."""

import time
from dataclasses import replace

import pytest

from choosing import Counting, bench, candidate
from eyespot.choose.budget import Budget
from eyespot.choose.rates import Rates
from eyespot.choose.search import Search
from eyespot.errors import RuntimeFailure, UsageError

SIDES = (32, 64, 96, 128)


def search(tmp_path, budget, candidates, *, each=False, device=None, most=60):
    device = device or Counting()
    said = []
    found = Search(budget, candidates, bench(tmp_path, device), each=each, say=said.append).run(
        time.monotonic() + 60, most=most
    )
    return found, device, said


def test_the_most_promising_that_fits_is_found_without_measuring_all(tmp_path):
    """Times are 1 ms and the MACs' (0.9, 3.4, 7.6, 13.6 M at these sizes): 96 pixels fit into 10 ms, 128 do not."""
    some = [candidate(side, top1=40 + side / 10) for side in SIDES]
    found, device, said = search(tmp_path, Budget(latency_p95_ms=10.5), some)
    assert found.inside(Budget(latency_p95_ms=10.5))[0].candidate.side == 96
    assert said[0].startswith("measuring net0.25 at")
    assert len(device.runs) < len(some) or found.unmeasured == 0


def test_what_cannot_fit_is_never_built(tmp_path):
    some = [candidate(side, top1=50.0) for side in SIDES]
    found, device, _ = search(tmp_path, Budget(latency_ms=2.0), some)
    assert not any(side > 64 for _, side in device.runs)
    assert sum(count for why, count in found.left_out.items() if "MACs" in why) >= 2
    found, device, _ = search(tmp_path, Budget(size_bytes=1000.0), some)
    assert device.runs == []
    assert found.left_out == {"their weights alone are larger than the size": len(SIDES)}
    found, device, _ = search(tmp_path, Budget(memory_bytes=1000.0), some)
    assert sum(found.left_out.values()) == len(SIDES)


def test_int8_is_tried_and_fits_where_float32_does_not(tmp_path):
    some = [candidate(128, top1=60.0, precision=precision) for precision in ("float32", "int8")]
    budget = Budget(latency_p95_ms=8.0)
    found, _, _ = search(tmp_path, budget, some)
    assert [one.candidate.precision for one in found.inside(budget)] == ["int8"]


def test_memory_is_measured_of_what_fits_otherwise(tmp_path):
    some = [candidate(side, top1=40 + side / 10) for side in (32, 128)]
    budget = Budget(latency_p95_ms=10.5, memory_bytes=60e6)
    found, device, _ = search(tmp_path, budget, some)
    held = {one.candidate.side: one.figures.memory_bytes for one in found.tried}
    assert held[32] == device.memory
    assert held.get(128) is None
    assert found.inside(Budget(memory_bytes=60e6, latency_ms=100.0))


def test_nothing_is_measured_twice(tmp_path):
    some = [candidate(side, top1=40 + side / 10) for side in SIDES]
    _, first, _ = search(tmp_path, Budget(latency_ms=12.0), some)
    found, again, _ = search(tmp_path, Budget(latency_ms=12.0), some)
    assert first.runs
    assert again.runs == []
    assert all(one.kept for one in found.tried)
    _, other, _ = search(tmp_path, Budget(latency_ms=12.0), some, device=Counting(key="another machine"))
    assert other.runs == first.runs


def test_every_start_of_weights_is_measured_at_the_largest_size_that_fits(tmp_path):
    some = [
        candidate(side, start=start, top1=top1 + side / 100, width=width)
        for start, top1, width in (("a", 60.0, 0.25), ("b", 50.0, 0.2))
        for side in SIDES
    ]
    some.append(candidate(32, width=0.1))
    budget = Budget(latency_p95_ms=10.5)
    found, _, _ = search(tmp_path, budget, some, each=True)
    inside = {(one.candidate.start, one.candidate.side) for one in found.inside(budget)}
    assert ("a", 96) in inside
    assert any(start == "b" for start, _ in inside)
    assert not any(start == "" for start, _ in inside)


def test_what_starts_from_nothing_is_measured_where_no_weights_fit(tmp_path):
    some = [candidate(128, start="a", top1=60.0), candidate(32, width=0.1)]
    budget = Budget(latency_ms=3.0)
    found, _, _ = search(tmp_path, budget, some, each=True)
    assert [one.candidate.start for one in found.inside(budget)] == [""]


def test_time_and_number_are_bounds(tmp_path):
    some = [candidate(side, top1=80 - side / 10) for side in SIDES]
    found = Search(Budget(latency_ms=50.0), some, bench(tmp_path), each=False).run(time.monotonic() - 1)
    assert len(found.tried) == 1
    assert found.unmeasured == 3
    found, device, _ = search(tmp_path / "other", Budget(latency_ms=50.0), some, most=1)
    assert len(device.runs) == 1


def test_what_can_be_written_is_measured_even_when_the_time_is_up(tmp_path):
    """Else a slow machine would write nothing because of networks that it does not have."""
    some = [candidate(side, top1=90 - side / 10) for side in SIDES]
    some += [candidate(64, top1=50.0, start="here.test"), candidate(32, top1=40.0, start="here.test")]
    budget = Budget(latency_ms=50.0)
    found = Search(budget, some, bench(tmp_path), each=False).run(time.monotonic() - 1)
    assert [one.candidate.title for one in found.tried] == ["net0.25 at 32, float32", "here.test at 64, float32"]
    assert found.unmeasured == 4
    tight = Budget(latency_ms=4.4)  # 64 pixels are outside: the next one is tried
    found = Search(tight, some, bench(tmp_path / "tight"), each=False).run(time.monotonic() - 1)
    assert found.inside(tight)[-1].candidate.title == "here.test at 32, float32"


def test_where_nothing_fits_the_nearest_are_measured(tmp_path):
    some = [candidate(side, top1=40 + side / 10) for side in SIDES]
    budget = Budget(latency_ms=1.2)
    found, _, _ = search(tmp_path, budget, some)
    assert found.inside(budget) == []
    assert min(one.candidate.side for one in found.tried) == 32


def test_a_network_that_cannot_be_drawn_is_counted(tmp_path):
    one = candidate(32, top1=50.0)
    broken = replace(one, arguments={**one.arguments, "size": 0}, top1=60.0, promise=60.0)
    with pytest.raises(UsageError, match="size 0"):
        broken.draw()
    found, _, _ = search(tmp_path, Budget(latency_ms=50.0), [broken, one])
    assert [tried.candidate for tried in found.tried] == [one]
    assert "they cannot be drawn so" in found.left_out


def test_guesses_learn_from_what_was_measured(tmp_path):
    some = [candidate(side, top1=40 + side / 10) for side in SIDES]
    device = Counting()
    rates = Rates(device.peak(1), device.floor_ms(b""))
    assert all(rates.least_ms(one) <= 1 + one.cost.macs / 1e6 for one in some)
    figures, _ = bench(tmp_path, device).figures(some[1], some[1].draw(), Budget(latency_ms=50.0))
    rates.learn(some[1], figures)
    for one in some:
        took = 1 + one.cost.macs / 1e6
        assert abs(rates.guess_ms(one, p95=False) - took) < 0.1 * took
        assert rates.guess_ms(one, p95=True) > rates.guess_ms(one, p95=False)
    assert Rates(None, 0.0).least_ms(some[0]) == 0


def test_a_device_that_cannot_be_reached_ends_the_search_and_one_that_refuses_a_network_does_not(tmp_path):
    class Refusing(Counting):
        def measure(self, ways, effort, picture):
            if len(self.runs) == self.later:
                self.later = -1
                raise RuntimeFailure("no route to host")
            return super().measure(ways, effort, picture)

    some = [candidate(side, top1=40 + side / 10) for side in SIDES]
    with pytest.raises(RuntimeFailure, match="no route"):
        search(tmp_path / "a", Budget(size_bytes=5e6), some, device=Refusing(later=0))
    found, device, _ = search(tmp_path / "b", Budget(size_bytes=5e6), some, device=Refusing(later=1))
    assert len(found.tried) == len(device.runs) == 3
    assert sum(found.left_out.values()) == 1
