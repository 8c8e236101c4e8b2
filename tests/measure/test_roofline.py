"""The roofline: MACs are the graph's whatever the runtime fused; bounds follow from the peak, which is cached."""

import math

import pytest

from eyespot.core.card import Card
from eyespot.core.cost import cost
from eyespot.core.machine import Conditions
from eyespot.core.roof import Peak
from eyespot.errors import RuntimeFailure
from eyespot.measure import peak as peaks
from eyespot.measure.roofline import Step, _layer, _steps, roofline

PEAK = Peak(1, {"float32": 100.0, "int8": 400.0}, ((1 << 20, 100.0), (1 << 28, 10.0)))


@pytest.mark.parametrize("variant", ["mobilenet_v3_small_1.0", "ghostnet_1.0", "repvgg_a0", "squeezenet_1.1"])
def test_every_mac_belongs_to_a_layer(variant, tmp_path):
    from eyespot.arch.catalogue import draw
    from eyespot.bundle.build import build
    from eyespot.core.labels import Labels
    from eyespot.core.pixels import torchvision_preprocess
    from eyespot.lower.reparam import reparam_graph
    from eyespot.lower.tensors import random_weights

    arguments = {"classes": 7, "size": 64}
    graph = draw(variant, arguments)
    card = Card("some.test", variant, arguments, graph, torchvision_preprocess(64, 64))
    bundle = build(tmp_path / "b", card, weights=random_weights(graph, 0), labels=Labels.numbered(7))
    found = roofline(bundle, PEAK, network_ms=2.0)
    macs = cost(reparam_graph(graph)).macs
    assert sum(layer.macs for layer in found.layers) == macs
    assert math.isclose(math.fsum(layer.share for layer in found.layers), 1.0)
    assert math.isclose(found.reach, macs / (100.0 * 1e9) / 2e-3)
    assert found.precision == "float32"
    assert not list(tmp_path.glob("*.json"))


def step(ms, macs, moved, weights, precision="float32"):
    return Step("layer", "Conv", ms, macs, moved, weights, precision)


@pytest.mark.parametrize(
    ("taken", "bound", "reach"),
    [
        (step(2.0, 100_000_000, 1000, 0), "compute", 0.5),  # 1 ms at 100 G a second
        (step(2.0, 100_000_000, 1000, 0, "int8"), "compute", 0.125),
        (step(2.0, 1000, 10_000_000, 0), "memory", 0.5),  # 1 ms at 10 GB a second, from memory
        (step(2.0, 1000, 1_000_000, 0), "overhead", 0.005),  # 0.01 ms from a cache
        (step(2.0, 1000, 0, 10_000_000), "memory", 0.5),  # weights come from where the whole network fits
        (step(0.0, 1000, 0, 0), "overhead", 0.0),
    ],
)
def test_what_binds_a_layer(taken, bound, reach):
    layer = _layer(taken, PEAK, total=4.0, network_bytes=50_000_000)
    assert layer.bound == bound
    assert math.isclose(layer.reach, reach, rel_tol=1e-3)
    assert layer.share == taken.ms / 4


def event(name, index, dur, **args):
    shapes = {"input_type_shape": [], "output_type_shape": []}
    sizes = {"activation_size": "100", "output_size": "50", "parameter_size": "7"}
    return {
        "cat": "Node",
        "name": name,
        "dur": dur,
        "args": {"node_index": index, "op_name": "Conv", **shapes, **sizes, **args},
    }


def test_a_profile_is_read_by_node(tiny):
    graph = tiny.card.graph
    conv = next(node for node in graph.nodes if node.name == "stem.conv")
    events = [{"cat": "Session", "name": "model_run", "dur": 5}]
    for dur in (900, 900, 900, 10, 30, 20):  # three warm up
        events.append(event("stem.act_nchwc_kernel_time", "3", dur))
        events.append(event("ReorderOutput_token_7_kernel_time", "9", dur, op_name="ReorderOutput"))
        events.append(event("stem.conv_quant_kernel_time", "4", dur, input_type_shape=[{"uint8": [1]}, {"int8": [16]}]))
    fused, reorder, quantized = _steps(events, graph)
    macs = conv.op.macs(graph.input_shapes(conv), conv.shape)
    assert (fused.name, fused.macs, fused.ms, fused.precision) == ("stem.act", macs, 0.02, "float32")
    assert (fused.layer, reorder.layer, quantized.layer) == ("stem.conv", None, "stem.conv")
    assert (reorder.name, reorder.macs, reorder.moved_bytes, reorder.weight_bytes) == ("ReorderOutput", 0, 150, 7)
    assert (quantized.macs, quantized.precision) == (macs, "int8")
    assert fused.weight_bytes == 4 * quantized.weight_bytes == 4 * math.prod(graph.parameters["stem.conv.weight"].shape)


def test_a_file_that_is_no_model(tiny, tmp_path):
    from dataclasses import replace

    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(RuntimeFailure, match="no profile"):
        roofline(replace(tiny, path=tmp_path), PEAK, network_ms=1.0)


@pytest.fixture
def quick_peak(monkeypatch):
    """A machine whose peak is measured at once, and how often it was."""
    measured = []

    def measure(threads):
        measured.append(threads)
        return Peak(threads, {"float32": 50.0 - len(measured)}, ((1 << 20, 10.0 + len(measured)),))

    monkeypatch.setattr(peaks, "measure_peak", measure)
    return measured


def others(monkeypatch, share):
    monkeypatch.setattr(peaks, "between", lambda before, after: Conditions(others=share))


def test_a_quiet_peak_is_measured_once(quick_peak, monkeypatch, tmp_path):
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path))
    others(monkeypatch, 0.01)
    first = peaks.peak(3)
    assert peaks.peak(3) == first == (Peak(3, {"float32": 49.0}, ((1 << 20, 11.0),)), 0.01)
    assert peaks.peak(1)[0].threads == 1
    assert quick_peak == [3, 1]
    assert not list(tmp_path.rglob(".*"))


def test_a_disturbed_peak_is_measured_again_and_the_better_kept(quick_peak, monkeypatch, tmp_path):
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path))
    others(monkeypatch, 0.5)
    peaks.peak(2)
    others(monkeypatch, 0.01)
    assert peaks.peak(2) == (Peak(2, {"float32": 49.0}, ((1 << 20, 12.0),)), 0.01)
    peaks.peak(2)
    assert len(quick_peak) == 2


def test_a_damaged_or_missing_cache_costs_time_only(quick_peak, monkeypatch, tmp_path):
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path))
    others(monkeypatch, 0.01)
    peaks.peak(2)
    [kept] = (tmp_path / "machine").iterdir()
    kept.write_text("{")
    peaks.peak(2)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path / "file"))
    peaks.peak(2)
    assert len(quick_peak) == 3


def test_the_real_peak_is_one(monkeypatch):
    monkeypatch.setattr(peaks, "_SECONDS", 0.01)
    found = peaks.measure_peak(1)
    assert set(found.gmacs) == {"float32", "int8"}
    assert all(rate > 0 for rate in found.gmacs.values())
    assert all(rate > 0 for _, rate in found.gbytes)
    assert [size for size, _ in found.gbytes] == sorted(size for size, _ in found.gbytes)


def test_a_measurement_holds_its_roof(tiny, monkeypatch):
    from eyespot.measure.latency import measure
    from eyespot.measure.record import Effort, Way

    monkeypatch.setattr("eyespot.measure.peak.peak", lambda threads: (PEAK, 0.5))
    effort = Effort(seconds=0.05, turns=6, warmup=1, cold_starts=0, throughput=0, threads=1)
    fast, slow = measure([Way(tiny), Way(tiny, "reference")], effort=effort)
    assert sum(layer.macs for layer in fast.roofline.layers) == fast.macs
    assert "peak" in {caution.kind for caution in fast.cautions}
    assert slow.roofline is None
