"""Names and arguments: found, or refused in one line that says what would do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from eyespot.arch.catalogue import FAMILIES, backbone, draw, variant, variants
from eyespot.core.graph import Graph
from eyespot.core.sketch import Sketch
from eyespot.errors import GraphError, UnknownName, UsageError


def test_every_variant_is_found_under_its_familys_name():
    for name, v in variants().items():
        assert v.name == name
        assert name.startswith(v.family)
        assert variant(name) == v
        assert v.arguments.keys() <= v.function.__kwdefaults__.keys()
    assert {v.family for v in variants().values()} == set(FAMILIES)


def test_the_families_of_the_mission_are_there():
    have = variants().keys()
    assert {f"mobilenet_v1_{w}" for w in ("0.25", "0.5", "0.75", "1.0")} <= have
    assert {f"mobilenet_v2_{w}" for w in ("0.35", "0.5", "0.75", "1.0", "1.3", "1.4")} <= have
    assert {f"mobilenet_v3_{n}_{w}" for n in ("small", "large") for w in ("0.75", "1.0")} <= have
    assert {"squeezenet_1.0", "squeezenet_1.1"} <= have
    assert {"inception_v1", "inception_v3", "inception_v4", "inception_resnet_v2", "xception"} <= have
    assert {f"shufflenet_v1_1.0_g{g}" for g in (1, 2, 3, 4, 8)} <= have
    assert {f"shufflenet_v2_{w}" for w in ("0.5", "1.0", "1.5", "2.0")} <= have
    assert {f"mnasnet_{w}" for w in ("0.5", "0.75", "1.0", "1.3")} <= have
    assert {f"ghostnet_{w}" for w in ("0.5", "1.0", "1.3")} <= have
    assert {"regnet_y_400mf", "regnet_y_800mf", "resnext50_32x4d"} <= have
    assert {f"efficientnet_v2_{n}" for n in ("s", "m", "l", "b0", "b1", "b2", "b3")} <= have
    assert {f"resnet{d}" for d in (18, 34, 50, 101, 152)} <= have
    assert {f"resnet{d}_cifar" for d in (20, 32, 44, 56)} <= have
    assert {f"efficientnet_b{i}" for i in range(8)} | {f"efficientnet_lite{i}" for i in range(5)} <= have


def test_every_family_takes_the_common_arguments():
    for v in variants().values():
        assert {"size", "classes", "padding", "dropout"} <= v.function.__kwdefaults__.keys()


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        variants()["mobilenet_v2_1.0"] = None


def test_arguments_win_over_the_variants_own():
    assert draw("efficientnet_b1").input == (3, 240, 240)
    assert draw("efficientnet_b1", {"size": 96}).input == (3, 96, 96)
    assert draw("mobilenet_v2_1.0", {"width": 0.5}) == draw("mobilenet_v2_0.5")


def test_a_size_from_json_is_a_list():
    assert draw("mobilenet_v2_1.0", {"size": [192, 256]}) == draw("mobilenet_v2_1.0", {"size": (192, 256)})


def test_an_unknown_name_says_the_nearest():
    with pytest.raises(UnknownName, match=r"'mobilenet_v2_1'.*mobilenet_v2_1\.0"):
        draw("mobilenet_v2_1")
    with pytest.raises(UnknownName, match="nearest are"):
        draw("zzz")


def test_an_unknown_argument_says_the_legal_ones():
    with pytest.raises(UsageError, match="no argument 'num_classes'; it takes classes, depth, dropout, eps, "):
        draw("mobilenet_v2_1.0", {"num_classes": 10})


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mobilenet_v2_1.0", {"size": "224"}, "size is '224'; it must be an integer or a pair"),
        ("mobilenet_v2_1.0", {"size": [224]}, "a pair"),
        ("mobilenet_v2_1.0", {"size": [224, 2.5]}, "a pair"),
        ("mobilenet_v2_1.0", {"size": True}, "a pair"),
        ("mobilenet_v2_1.0", {"size": 0}, "at least 1 pixel"),
        ("mobilenet_v2_1.0", {"size": (-1, 224)}, "at least 1 pixel"),
        ("mobilenet_v2_1.0", {"classes": 0}, "classes is 0; it must be a positive integer"),
        ("mobilenet_v2_1.0", {"classes": 10.0}, "a positive integer"),
        ("mobilenet_v2_1.0", {"width": "wide"}, "width is 'wide'; it must be a number"),
        ("mobilenet_v2_1.0", {"width": float("nan")}, "a number"),
        ("mobilenet_v2_1.0", {"width": -1.0}, "a number"),
        ("mobilenet_v2_1.0", {"padding": 1}, "padding is 1; it must be text"),
        ("efficientnet_b0", {"lite": 1}, "lite is 1; it must be true or false"),
        ("mobilenet_v3_small_1.0", {"network": "medium"}, "network 'medium' is not one of large, small"),
        ("squeezenet_1.1", {"version": "1.2"}, r"version '1\.2' is not one of 1\.0, 1\.1"),
        ("resnet50", {"depth": 51}, "depth 51 is not one of 18, 34, 50, 101, 152"),
        ("resnet50", {"stride_on": "2x2"}, "stride_on '2x2' is not one of 1x1, 3x3"),
        ("resnet20_cifar", {"depth": 21}, r"depth 21 .* 6n \+ 2"),
        ("resnet20_cifar", {"depth": 2}, r"6n \+ 2"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(name, arguments, message):
    with pytest.raises(UsageError, match=message) as caught:
        draw(name, arguments)
    assert "\n" not in str(caught.value)


def test_an_unknown_padding_rule_is_refused():
    with pytest.raises(GraphError, match="padding rule 'full' is not one of symmetric, same, valid"):
        draw("mobilenet_v2_1.0", {"padding": "full"})


@pytest.mark.parametrize("name", variants())
def test_a_tiny_picture_is_drawn_or_refused(name):
    try:
        assert isinstance(draw(name, {"size": 1}), Graph)
    except GraphError as error:
        assert "draw a larger input" in str(error)  # noqa: PT017


def test_drawing_one_network_reads_one_family_and_the_standard_library():
    code = (
        "import sys; from eyespot.arch.catalogue import draw; draw('mobilenet_v2_1.0');"
        "print(*sorted(m for m in sys.modules if m.startswith('eyespot.arch.')));"
        "print(*sorted({m.partition('.')[0] for m in sys.modules} & {'numpy', 'PIL', 'torch', 'onnxruntime'}))"
    )
    # -S: what site-packages loads at start is no business of ours; the path is passed on instead.
    path = f"import sys; sys.path[:] = {sys.path!r};"
    done = subprocess.run([sys.executable, "-S", "-c", path + code], capture_output=True, text=True, check=True)
    families, heavy = done.stdout.split("\n")[:2]
    parts = ("blocks", "catalogue", "depth", "mobilenet_v2", "variant")
    assert families.split() == [f"eyespot.arch.{part}" for part in parts]
    assert heavy == ""


@pytest.mark.parametrize("name", [next(n for n, v in variants().items() if v.family == family) for family in FAMILIES])
def test_a_head_is_drawn_on_the_taps_of_every_family(name):
    whole = draw(name)
    strides = tuple(whole.taps)[-3:]
    graph = backbone(name, taps=strides)
    assert graph.outputs == tuple(whole.taps[stride] for stride in strides)
    assert not graph.by_name.keys() - whole.by_name.keys()
    assert {node.name for node in graph.nodes} == whole.upwards(*graph.outputs)
    assert all(whole.parameters[key] == parameter for key, parameter in graph.parameters.items())

    s = Sketch.extend(graph)
    scores = [s.conv(f"scores{i}", x, 5, bias=True) for i, x in enumerate(s.maps(*graph.outputs))]
    headed = s.graph(*scores)
    assert [headed.shape(name)[0] for name in headed.outputs] == [5] * len(strides)
    assert Graph.from_json(headed.to_json()) == headed
    assert headed.taps == graph.taps


def test_a_backbone_without_such_a_map_is_refused():
    with pytest.raises(UsageError, match=r"expected strides that eyelet_1.0 has \(2, 4, 8\), got 8, 64"):
        backbone("eyelet_1.0", taps=(8, 64))
    with pytest.raises(UsageError, match="got none"):
        backbone("mobilenet_v2_1.0", taps=())
    with pytest.raises(GraphError, match="'nowhere'"):
        draw("mobilenet_v2_1.0").up_to("nowhere")
    with pytest.raises(GraphError, match="'nowhere'"):
        Sketch.extend(draw("eyelet_1.0")).maps("nowhere")
