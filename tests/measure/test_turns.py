"""Turns: every sample is kept, each thing gets its time, and the order is fair."""

import gc

from eyespot.measure.turns import MOST_RUNS, Plan, plan, take_turns, warm_up


def test_each_thing_runs_as_planned_and_in_alternating_order():
    seen = []
    steps = []
    turns = take_turns(
        [lambda: seen.append("a"), lambda: seen.append("b")], Plan(3, (2, 1)), step=lambda: steps.append(1)
    )
    assert [[len(turn) for turn in each] for each in turns] == [[2, 2, 2], [1, 1, 1]]
    assert "".join(seen) == "aaabb" + "bbaaa" + "aaabb"  # the first of each is not kept
    assert len(steps) == 6
    assert all(value >= 0 for each in turns for turn in each for value in turn)


def test_the_collector_waits_and_works_again():
    states = []
    take_turns([lambda: states.append(gc.isenabled())], Plan(1, (1,)))
    assert states == [False, False]
    assert gc.isenabled()


def test_the_plan_keeps_to_the_time():
    assert plan([0.001, 0.01], seconds=2.0, turns=20) == Plan(20, (100, 10))
    assert plan([0.5], seconds=4.0, turns=20) == Plan(8, (1,))
    assert plan([3.0], seconds=4.0, turns=20) == Plan(6, (1,))  # fewer give no interval
    assert plan([3.0], seconds=4.0, turns=2) == Plan(2, (1,))
    assert plan([0.0], seconds=4.0, turns=1) == Plan(1, (MOST_RUNS,))


def test_warming_up_runs_as_often_as_asked():
    counts = [0]

    def work():
        counts[0] += 1

    expected = warm_up([work], runs=3000)
    assert counts[0] == 3000
    assert expected[0] >= 0
