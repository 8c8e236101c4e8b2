"""Parameters and MACs equal what was published, to the digits it was published with."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import pytest

from eyespot.arch.catalogue import draw, variants
from eyespot.arch.variant import Published
from eyespot.core import ops
from eyespot.core.cost import cost, training_parameters
from eyespot.core.graph import Graph
from eyespot.lower.reparam import reparam_graph

UNITS = {"G": 10**9, "M": 10**6, "k": 10**3}
ROWS = [row for v in variants().values() for row in v.figures]
TORCHVISION = {
    "MobileNet_V2": "mobilenet_v2_1.0",
    "MobileNet_V3_Small": "mobilenet_v3_small_1.0",
    "MobileNet_V3_Large": "mobilenet_v3_large_1.0",
    "SqueezeNet1_0": "squeezenet_1.0",
    "SqueezeNet1_1": "squeezenet_1.1",
    "GoogLeNet": "inception_v1",
    "Inception_V3": "inception_v3",
    "ResNeXt50_32X4D": "resnext50_32x4d",
    **{f"MNASNet{width}".replace(".", "_"): f"mnasnet_{width}" for width in ("0.5", "0.75", "1.0", "1.3")},
    **{f"ShuffleNet_V2_X{w}".replace(".", "_"): f"shufflenet_v2_{w}" for w in ("0.5", "1.0", "1.5", "2.0")},
    **{f"EfficientNet_V2_{n}": f"efficientnet_v2_{n.lower()}" for n in "SML"},
    **{f"ResNet{depth}": f"resnet{depth}" for depth in (18, 34, 50, 101, 152)},
    **{f"EfficientNet_B{i}": f"efficientnet_b{i}" for i in range(8)},
}


def agrees(ours: int, published: str, *, cut: bool = False) -> bool:
    """Whether ours, rounded or cut to the published digits, is the published figure ('' says nothing)."""
    if not published:
        return True
    unit = UNITS.get(published[-1], 1)
    digits = published.rstrip("GMk")
    last = Fraction(unit, 10 ** len(digits.partition(".")[2]))
    if cut:
        return 0 <= ours - Fraction(digits) * unit < last
    return abs(ours - Fraction(digits) * unit) <= last / 2


def counted(graph: Graph, row: Published) -> int:
    """Our parameters, counted as the source counts them."""
    trained = cost(deployed(graph, row)).parameters
    statistics = sum(p.shape[0] for p in graph.inference().parameters.values() if not p.trained)
    # Batch norm trains as many numbers (scale and offset) as it has statistics (mean and variance).
    more = {
        "without batch norm": -statistics,
        "with statistics": statistics,
        "with statistics, without gains": statistics // 2,
        "with auxiliary heads": training_parameters(graph) - trained,
    }
    return trained + more.get(row.counting, 0)


def deployed(graph: Graph, row: Published) -> Graph:
    """The network whose figures the row gives."""
    if row.counting == "without classifier":
        *nodes, last = graph.nodes
        return Graph(graph.input, tuple(nodes), last.inputs)
    return reparam_graph(graph) if row.counting == "as one branch" else graph


def name_of(row: Published) -> str:
    return f"{row.variant}-{row.size}-{row.parameters or row.macs}"


@pytest.mark.parametrize("row", [r for r in ROWS if not r.differs], ids=name_of)
def test_ours_are_the_published(row):
    graph = draw(row.variant, {"size": row.size})
    assert row.parameters or row.macs
    assert agrees(counted(graph, row), row.parameters), f"{counted(graph, row):,} parameters"
    macs = cost(deployed(graph, row)).macs
    assert agrees(macs, row.macs, cut=row.cut), f"{macs:,} MACs"


@pytest.mark.parametrize("row", [r for r in ROWS if r.differs], ids=name_of)
def test_a_figure_said_to_differ_does(row):
    assert bool(row.parameters) != bool(row.macs), "a row that differs gives the one figure that does"
    graph = draw(row.variant, {"size": row.size})
    ours = counted(graph, row) if row.parameters else cost(deployed(graph, row)).macs
    assert not agrees(ours, row.parameters or row.macs)


def test_every_row_names_a_variant():
    modules = {v.function.__module__: v.function.__globals__["PUBLISHED"] for v in variants().values()}
    assert {row.variant for rows in modules.values() for row in rows} <= variants().keys()


def test_every_imagenet_network_but_our_own_has_published_figures():
    without = [name for name, v in variants().items() if v.published is None and not name.startswith("eyelet")]
    assert without == []


def test_agreement_can_fail():
    assert agrees(3_474_999, "3.47M")
    assert not agrees(3_475_001, "3.47M")
    assert agrees(300_774_272, "0.301G")
    assert not agrees(300_774_272, "0.300G")
    assert not agrees(3_504_873, "3504872")
    assert agrees(300_774_272, "300M", cut=True)
    assert not agrees(300_774_272, "301M", cut=True)
    assert not agrees(301_000_000, "300M", cut=True)


@pytest.mark.parametrize("name", [n for n in variants() if n.startswith("efficientnet_b")])
def test_keras_efficientnet_counts_its_input_normalisation(name):
    row = next(r for r in variants()[name].figures if r.source.startswith("keras"))
    assert int(row.parameters) == counted(draw(name), row) + 7  # 3 means, 3 variances, a counter


@pytest.mark.parametrize("name", ["resnet50", "resnet101", "resnet152"])
def test_keras_resnet_counts_its_biases(name):
    row = next(r for r in variants()[name].figures if r.source.startswith("keras"))
    graph = draw(name)
    biases = sum(n.op.channels for n in graph.nodes if isinstance(n.op, ops.Conv2d))
    assert int(row.parameters) == counted(graph, row) + biases


def test_torchvisions_table_in_full(assets: Path):
    """Against the table itself, so that a typing error in a family's file cannot agree with itself."""
    with (assets.parent / "docs" / "published.csv").open(newline="") as f:
        rows = [r for r in csv.DictReader(f) if r["source"].startswith("torchvision") and r["task"] == "cls"]
    seen = set()
    for r in rows:
        if r["family"] in TORCHVISION:
            name = TORCHVISION[r["family"]]
            size = int(r["input"].partition("/")[0].removeprefix("crop"))
            graph = draw(name, {"size": size})
            parameters = training_parameters(graph) if name == "inception_v3" else cost(graph).parameters
            assert parameters == int(r["params"]), name
            assert agrees(cost(graph).macs, f"{float(r['compute']):.3f}G"), name
            seen.add(r["family"])
    assert seen == TORCHVISION.keys()
