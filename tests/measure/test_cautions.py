"""Each doubt is raised by what it is about, stays away from quiet measurements, and knows what was asked for."""

from dataclasses import replace

import pytest
from measurements import MACHINE, QUIET

from eyespot.core.machine import Conditions
from eyespot.core.timing import Samples
from eyespot.measure.cautions import Asked, judge

STEADY = Samples.of([[1.0 + 0.001 * ((turn + run) % 5) for run in range(10)] for turn in range(20)])


USUAL = Asked()


def kinds(samples=STEADY, conditions=QUIET, machine=MACHINE, asked=USUAL):
    return {caution.kind: caution for caution in judge([("network alone", samples)], conditions, machine, asked)}


def test_a_quiet_measurement_has_none():
    assert kinds() == {}


@pytest.mark.parametrize(
    ("kind", "conditions", "machine", "seen"),
    [
        ("load", replace(QUIET, others=0.4), MACHINE, "other programs took 40% of the 2 cores"),
        ("load", Conditions(load_before=3.0), MACHINE, "the load average was 3.0"),
        ("neighbours", replace(QUIET, neighbours=0.9), MACHINE, "outside the 2 cores of this were 90% busy"),
        ("stolen", replace(QUIET, stolen=0.05), MACHINE, "the hypervisor took 5.0%"),
        ("throttled", replace(QUIET, throttled_seconds=0.3), MACHINE, "quota held this up for 300 ms"),
        ("frequency", replace(QUIET, megahertz=(3000.0, 2000.0)), MACHINE, "3,000 to 2,000 MHz"),
        ("governor", QUIET, replace(MACHINE, governor="powersave"), "'powersave'"),
    ],
)  # fmt: skip
def test_what_surrounds_it(kind, conditions, machine, seen):
    found = kinds(conditions=conditions, machine=machine)
    assert set(found) == {kind}
    assert seen in str(found[kind])
    assert found[kind].advice


def test_more_threads_than_cores():
    assert "--threads 2" in kinds(asked=Asked(threads=8))["threads"].advice


def test_advice_depends_on_what_was_asked():
    assert "even ratios" in kinds(conditions=replace(QUIET, others=0.5))["load"].advice
    busy = replace(QUIET, others=0.2)
    assert "compare bundles in one call" in kinds(conditions=busy)["load"].advice
    assert "trust the ratios" in kinds(conditions=busy, asked=Asked(ways=2))["load"].advice
    hot = replace(QUIET, megahertz=(3000.0, 2000.0))
    assert "cpupower" in kinds(conditions=hot)["frequency"].advice
    assert "already" in kinds(conditions=hot, machine=replace(MACHINE, governor="performance"))["frequency"].advice
    held = replace(QUIET, throttled_seconds=1.0)
    small = replace(MACHINE, core_limit=1.0)
    assert "quota of 1 core " in kinds(conditions=held, machine=small)["throttled"].seen
    assert "--threads 1" in kinds(conditions=held, machine=small, asked=Asked(threads=2))["throttled"].advice
    assert "raise the quota" in kinds(conditions=held, machine=small, asked=Asked(threads=1))["throttled"].advice


def test_outliers():
    turns = [list(turn) for turn in STEADY.by_turn()]
    turns[7][3] = 9.0
    found = kinds(Samples.of(turns))
    assert set(found) == {"outliers"}
    assert "1 run of 200 took more than 1.10 ms, up to 9.00" in str(found["outliers"])


def test_a_slow_start():
    turns = [[2.0] * 10, *([[1.0] * 10] * 19)]
    assert "--warmup from 5 to 50" in kinds(Samples.of(turns))["slow start"].advice
    assert "--warmup from 40 to 400" in kinds(Samples.of(turns), asked=Asked(warmup=40))["slow start"].advice


@pytest.mark.parametrize(("sign", "advice"), [(1, "rest"), (-1, "--warmup")])
def test_drift(sign, advice):
    turns = [[1.0 + 0.01 * (turn if sign > 0 else 19 - turn)] * 10 for turn in range(20)]
    found = kinds(Samples.of(turns))["drift"]
    assert advice in found.advice
    assert ("longer" in found.seen) == (sign > 0)


def test_turns_that_disagree():
    turns = [[1.0 if turn % 2 else 1.3] * 10 for turn in range(20)]
    found = kinds(Samples.of(turns))
    assert "drift" not in found
    assert "more than 5%" in found["unsteady"].advice
    assert "--seconds from 4 to 16" in found["unsteady"].advice
    assert "--seconds" not in kinds(Samples.of(turns), asked=Asked(seconds=60))["unsteady"].advice


def test_few_runs():
    found = kinds(Samples.of([[1.0] * 4] * 5))
    assert "p99 of 20 runs" in found["few"].seen
    assert "--seconds from 4 to 20" in found["few"].advice
