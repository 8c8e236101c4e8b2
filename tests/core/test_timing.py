"""Measurement: figures are derived from the samples, ratios from turns side by side, and all of it survives JSON."""

import json
import math
import random
import statistics

import numpy as np
import pytest

from eyespot.core.machine import Conditions, Machine
from eyespot.core.roof import Layer, Peak, Roofline
from eyespot.core.timing import Caution, Measurement, Picture, Samples, median_interval, ratio
from eyespot.errors import UsageError

MACHINE = Machine("Somebody's CPU", "x86_64", ("avx2",), 2, 4, 1.5, 8 << 30, "powersave", True, "Linux 6.1", "3.11.7")
CONDITIONS = Conditions(0.5, 0.75, 0.25, 0.0, None, (2000.0, 1800.0))


def whole():
    layer = Layer("stem.conv", "Conv", 0.5, 1.0, 10_000, 4096, "compute", 0.75)
    return Measurement(
        bundle="tiny.test",
        digest="0" * 64,
        runtime="onnxruntime",
        runtime_version="1.28.0",
        threads=2,
        precision="float32",
        place="here",
        machine=MACHINE,
        conditions=CONDITIONS,
        parameters=1000,
        macs=2_000_000,
        size_bytes=5000,
        model_bytes=4000,
        network=Samples.of([[1.0, 2.0], [3.0]]),
        latency=Samples.of([[2.5]]),
        throughput=Samples.of([[100.0], [110.0]]),
        workers=2,
        cold=Samples.of([[400.0], [410.0]]),
        peak_memory_bytes=80_000_000,
        picture=Picture(18_000, 213, 320),
        roofline=Roofline(Peak(2, {"float32": 90.0}, ((1 << 20, 40.0), (1 << 28, 15.0))), "float32", 0.5, (layer,)),
        cautions=(Caution("load", "others took 40 %", "close them"),),
    )


def test_derived_figures_are_numpys():
    turns = [[5.0, 1.0, 9.0], [2.0, 2.0], [7.5, 3.25, 0.5, 4.0, 100.0]]
    samples = Samples.of(turns)
    values = np.concatenate(turns)
    assert samples.median == np.median(values)
    assert samples.mad == np.median(np.abs(values - np.median(values)))
    for share in (0.0, 0.3, 0.95, 0.99, 1.0):
        assert math.isclose(samples.quantile(share), np.quantile(values, share))
    assert samples.by_turn() == [tuple(turn) for turn in turns]
    assert samples.turn_medians() == [5.0, 2.0, 4.0]


@pytest.mark.parametrize("turns", [[], [[]], [[1.0], []], [[-1.0]], [[math.nan]], [[math.inf]]])
def test_samples_that_cannot_be(turns):
    with pytest.raises(UsageError):
        Samples.of(turns)
    with pytest.raises(UsageError):
        Samples((1.0, 2.0), (3,))


def test_every_field_survives_json():
    one = whole()
    text = json.dumps(one.to_json())
    assert Measurement.from_json(json.loads(text)) == one
    data = json.loads(text)
    assert data["latency_ms"]["median"] == 2.5
    assert data["network_ms"] | {"samples": [1.0, 2.0, 3.0], "p95": 2.9} == data["network_ms"]
    assert data["roofline"]["bound"] == {"compute": 1.0}
    bare = Measurement.from_json({**data, "latency_ms": None, "cold_start_ms": None, "picture": None, "roofline": None})
    assert bare.whole == bare.network
    assert bare.roofline is None
    assert Measurement.from_json(json.loads(json.dumps(bare.to_json()))) == bare


@pytest.mark.parametrize(
    "change",
    [
        {"format": 99},
        {"surprise": 1},
        {"machine": {"processor": "x"}},
        {"machine": None},
        {"conditions": []},
        {"network_ms": None, "latency_ms": {"samples": "abc", "turns": [3]}},
        {"network_ms": {"samples": [1.0], "turns": [2]}},
        {"cautions": [{"kind": "load"}]},
        {"roofline": {"peak": {}}},
    ],
)
def test_what_is_no_measurement_is_refused_in_one_line(change):
    data = {**json.loads(json.dumps(whole().to_json())), **change}
    with pytest.raises(UsageError, match="measure again") as error:
        Measurement.from_json(data)
    assert "\n" not in str(error.value)


def test_a_ratio_holds_though_the_machine_changes_its_speed():
    pace = [1.0, 10.0, 1.0, 5.0, 2.0, 1.0, 8.0, 1.0]  # of a busy machine, turn by turn
    one = Samples.of([[3.0 * p] for p in pace])
    other = Samples.of([[2.0 * p, 2.0 * p] for p in pace])
    found = ratio(one, other)
    assert found.value == 1.5
    assert found.interval == (1.5, 1.5)
    assert found.turns == 8
    with pytest.raises(UsageError, match="8 and 1 turns"):
        ratio(one, Samples.of([[1.0]]))


def test_the_interval_is_the_sign_tests():
    assert median_interval([1, 2, 3, 4, 5]) is None  # 2 · 0.5⁵ is more than 5 %
    assert median_interval([6, 1, 5, 2, 4, 3]) == (1, 6)
    assert median_interval(range(1, 21)) == (6, 15)  # as in every table of the sign test


def test_the_interval_covers_the_median_as_often_as_it_says():
    source = random.Random(0)
    hits = 0
    for _ in range(1000):
        low, high = median_interval([source.expovariate(1.0) for _ in range(20)])
        hits += low <= math.log(2) <= high
    assert hits >= 945  # at least 95 %, and three standard deviations of this count below its expected 958 at the least


def test_the_key_is_of_the_hardware():
    values = MACHINE.to_json()
    same = Machine.from_json({**values, "python": "3.13.0", "governor": None})
    assert same.key == MACHINE.key
    assert Machine.from_json({**values, "cores": 1}).key != MACHINE.key


def test_bandwidth_is_that_of_the_next_larger_working_set():
    peak = Peak(1, {}, ((100, 50.0), (1000, 20.0)))
    assert [peak.bandwidth(size) for size in (1, 100, 101, 5000)] == [50.0, 50.0, 20.0, 20.0]


def test_shares_of_the_bounds_add_up():
    layers = tuple(
        Layer(str(i), "Conv", 1.0, share, 1, 1, bound, 0.5)
        for i, (share, bound) in enumerate([(0.2, "compute"), (0.5, "memory"), (0.3, "compute")])
    )
    shares = Roofline(Peak(1, {}, ((1, 1.0),)), "float32", 0.5, layers).shares()
    assert list(shares) == ["compute", "memory"] or list(shares) == ["memory", "compute"]
    assert math.isclose(statistics.fsum(shares.values()), 1.0)
