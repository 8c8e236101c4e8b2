"""Darknet's files: drawn as Darknet does it, refused by the line, weights to the last byte, maps equal to OpenCV's."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyespot.core.cost import cost
from eyespot.core.pixels import Preprocess
from eyespot.errors import WeightsError
from eyespot.lower.onnx import to_onnx
from eyespot.lower.reference import run
from eyespot.lower.reparam import reparam
from eyespot.run.probe import Probe
from eyespot.weights.darknet_cfg import DarknetHead, read_cfg
from eyespot.weights.darknet_weights import Header, read_header, read_weights, write_weights
from tolerances import ORIGINAL_SAME_TENSOR

FOLDER = Path(__file__).parents[3] / "shared/assets/weights/darknet"
HEADER = Header(0, 2, 5, 64000, True)

SMALL = """
[net]
width=32
height=24
channels=3
learning_rate=0.001

[convolutional]   # 0
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[maxpool]         # 1
size=2
stride=1

[convolutional]   # 2
filters=12
size=1
activation=mish

[route]           # 3
layers=-1
groups=2
group_id=1

[shortcut]        # 4: 6 channels and the first 6 of 8
from=1
activation=linear

[maxpool]         # 5
size=2
stride=2

[upsample]        # 6
stride=2

[route]           # 7
layers=-1, 4

[convolutional]   # 8
filters=21
size=1
stride=1
pad=1
activation=linear

[yolo]            # 9
mask = 1,2,0
anchors = 1,2, 3,4, 5,6
classes=2
num=3
scale_x_y = 1.05
"""


def tensors_of(graph, seed=0):
    random = np.random.default_rng(seed)
    made = {}
    for name, parameter in graph.parameters.items():
        shape, role = parameter.shape, name.rsplit(".", 1)[1]
        if role == "weight" and len(shape) == 4:
            tensor = random.normal(0, np.sqrt(1.6 / np.prod(shape[1:])), shape)
        elif role in ("weight", "running_var"):
            tensor = random.uniform(0.6, 1.6, shape)
        else:
            tensor = random.normal(0, 0.1, shape)
        made[name] = tensor.astype(np.float32)
    return made


def test_a_small_network_is_drawn_as_darknet_draws_it():
    network = read_cfg(SMALL)
    graph = network.graph
    assert graph.outputs == ("layer8.conv",)
    assert network.heads == (DarknetHead("yolo", "layer8.conv", ((3, 4), (5, 6), (1, 2)), 2, 1.05),)
    shapes = {name: graph.shape(name) for name in ("layer1.pool", "layer4.add", "layer5.pool", "layer7.concat")}
    assert shapes == {
        "layer1.pool": (8, 12, 16),  # padded at the right and bottom
        "layer4.add": (6, 12, 16),
        "layer5.pool": (6, 6, 8),
        "layer7.concat": (12, 12, 16),
    }
    assert graph.by_name["layer1.pool"].op.padding == (0, 0, 1, 1)
    assert graph.by_name["layer0.act"].op.slope == 0.1
    assert read_cfg(SMALL, size=(64, 96)).graph.shape("layer8.conv") == (21, 32, 48)


def test_routes_and_shortcuts_take_the_channels_that_darknet_takes():
    graph = read_cfg(SMALL).graph
    tensors = tensors_of(graph)
    pixels = np.random.default_rng(0).random((1, 3, 24, 32), np.float32)
    values = run(graph, tensors, pixels, keep=("layer1.pool", "layer2.act", "layer4.add"))
    assert np.allclose(values["layer4.add"], values["layer2.act"][:, 6:] + values["layer1.pool"][:, :6])


def test_weights_are_in_the_files_order_and_come_back_bit_for_bit():
    graph = read_cfg(SMALL).graph
    tensors = tensors_of(graph)
    data = write_weights(HEADER, tensors, graph)
    numbers = np.frombuffer(data[20:], "<f4")
    order = [f"layer0.norm.{role}" for role in ("bias", "weight", "running_mean", "running_var")]
    assert np.concatenate([tensors[name] for name in order]).tolist() == numbers[:32].tolist()
    assert tensors["layer0.conv.weight"].ravel().tolist() == numbers[32 : 32 + 216].tolist()
    header, read = read_weights(data, graph)
    assert header == HEADER
    assert list(read) == list(graph.parameters)
    assert all((read[name] == tensors[name]).all() for name in tensors)
    assert write_weights(header, read, graph) == data


@pytest.mark.parametrize(
    ("version", "wide"), [((0, 1, 0), False), ((0, 2, 0), True), ((0, 2, 5), True), ((1, 0, 0), True)]
)
def test_headers_of_every_version(version, wide):
    data = struct.pack("<3i" + ("Q" if wide else "I"), *version, 77) + bytes(8)
    assert read_header(data) == Header(*version, 77, wide)
    assert data.startswith(read_header(data).to_bytes())


@pytest.mark.parametrize("change", [lambda d: d[:-4], lambda d: d + bytes(4), lambda d: d[:-1], lambda d: d[:50]])
def test_weights_of_another_cfg_are_refused(change):
    graph = read_cfg(SMALL).graph
    data = write_weights(HEADER, tensors_of(graph), graph)
    with pytest.raises(WeightsError, match=r"expected 629 numbers for this cfg, got [\d,]+"):
        read_weights(change(data), graph)


def test_other_broken_weights_are_refused():
    graph = read_cfg(SMALL).graph
    tensors = tensors_of(graph)
    tensors["layer2.conv.bias"][3] = np.nan
    with pytest.raises(WeightsError, match=r"got NaN or infinity in layer2\.conv\.bias"):
        read_weights(write_weights(HEADER, tensors, graph), graph)
    for data in (b"", b"PK\3\4" + bytes(100), struct.pack("<5i", 2000, 0, 0, 0, 0)):
        with pytest.raises(WeightsError, match=r"expected a Darknet \.weights file"):
            read_weights(data, graph)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[upsample]        # 6", "[reorg]", r"line 38: expected a known section \(.*\), got '\[reorg\]'"),
        ("size=3", "sise=3", r"line 11: expected a known key of \[convolutional\], got 'sise'"),
        (
            "filters=8",
            "filters=eight",
            r"line 10: expected a whole number as filters of \[convolutional\], got 'eight'",
        ),
        ("filters=8", "filters=0", "line 10: expected numbers from 1"),
        ("filters=21", "filters=20", r"line \d+: expected a number for which 3 · \(5 \+ classes\) are 20 channels"),
        ("from=1", "from=9", r"line \d+: expected layers drawn before this one \(4\) as from"),
        ("layers=-1, 4", "layers=-1, 7", "expected layers drawn before this one"),
        ("layers=-1, 4", "layers=-1, 0", None),
        ("layers=-1, 4", "layers=-1, 5", r"\[route\] cannot be drawn"),
        ("activation=mish", "activation=stair", "expected one of linear, leaky"),
        ("anchors = 1,2, 3,4, 5,6\n", "", r"expected anchors= in \[yolo\], got none"),
        ("anchors = 1,2, 3,4, 5,6", "anchors = 1,2, 3,4", r"expected 3 pairs of positive numbers"),
        ("anchors = 1,2, 3,4, 5,6", "anchors = 1,2, 3,nan, 5,6", "expected finite numbers"),
        ("mask = 1,2,0", "mask = 1,2,3", "expected numbers from 0 to 2 as mask"),
        ("[net]", "[maxpool]", r"expected a known key|expected \[net\]"),
        ("[net]", "width=3\n[net]", "expected key=value in a section"),
        ("height=24", "height=99999", "expected numbers from 1 to 8192"),
        ("stride=2\npad=1", "stride=65\npad=1", "expected numbers from 1 to 64 as stride"),
    ],
)
def test_what_is_not_known_is_refused_by_its_line(old, new, said):
    text = SMALL.replace(old, new, 1)
    assert text != SMALL
    if said is None:
        read_cfg(text)
        return
    with pytest.raises(WeightsError, match=said) as error:
        read_cfg(text)
    assert "\n" not in str(error.value)


def test_huge_and_empty_files_are_refused():
    for text in (
        "",
        "[net]\nwidth=1\nheight=1\n",
        "a" * (1 << 21),
        "[net]\nwidth=9\nheight=9\n" + "[dropout]\n" * 3000,
    ):
        with pytest.raises(WeightsError, match="expected"):
            read_cfg(text)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_files_give_one_line(data):
    lines = SMALL.splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        change = data.draw(st.sampled_from(["delete", "double", "swap", "value"]))
        if change == "delete":
            lines.pop(at)
        elif change == "double":
            lines.insert(at, lines[at])
        elif change == "swap":
            lines[at], lines[-1] = lines[-1], lines[at]
        else:
            lines[at] = (
                lines[at].partition("=")[0] + "=" + data.draw(st.sampled_from(["-1", "0", "1e9", "7", "x", "", "1,2"]))
            )
    try:
        network = read_cfg("\n".join(lines))
    except WeightsError as error:
        message = str(error)
    else:
        message = "" if network.graph.outputs else "no outputs\n"
    assert "\n" not in message


SIZES = {  # parameters and operations (two for each multiply-accumulate), as far as they were published
    "cfg_only/yolov3": (61.95e6, 65.9e9),
    "cfg_only/yolov3-tiny": (8.85e6, 5.56e9),
    "cfg_only/yolov3-spp": (63.0e6, None),
    "cfg_only/yolov3-tiny-prn": (None, None),
    "cfg_only/yolov4-tiny": (6.06e6, 6.91e9),
    "cfg_only/yolov2-tiny": (11.23e6, 5.41e9),
    "cfg_only/yolov2-tiny-voc": (15.86e6, 6.97e9),
    "cfg_only/tiny-yolo-voc": (15.86e6, 6.97e9),
    "cfg_only/darknet19": (20.84e6, 5.58e9),
    "cfg_only/darknet53": (41.61e6, 18.57e9),
    "cfg_only/efficientnet_b0": (None, None),
    "yolo-fastest-1.1": (None, 0.252e9),
    "yolo-fastest-1.1-xl": (None, 0.725e9),
}
QUICK = ("cfg_only/yolov3-tiny", "cfg_only/yolov2-tiny", "yolo-fastest-1.1", "yolo-fastest-1.1-xl")


@pytest.mark.parametrize("name", SIZES)
def test_published_networks_have_their_published_size(name):
    parameters, operations = SIZES[name]
    if not FOLDER.is_dir():
        pytest.skip("needs ../shared/assets/weights/darknet")
    network = read_cfg((FOLDER / f"{name}.cfg").read_text())
    found = cost(network.graph)
    assert parameters is None or found.parameters == pytest.approx(parameters, rel=1e-3)
    assert operations is None or 2 * found.macs == pytest.approx(operations, rel=5e-3)
    weights = FOLDER / f"{name}.weights"
    if weights.is_file():
        data = weights.read_bytes()
        assert write_weights(*read_weights(data, network.graph), network.graph) == data


@pytest.mark.peers
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in SIZES]
)
def test_maps_equal_opencvs(name, tmp_path):
    try:
        import cv2
    except ModuleNotFoundError:
        if os.environ.get("CI"):
            raise
        pytest.skip("needs the extra 'peers': opencv-python-headless is not installed")
    if not FOLDER.is_dir():
        pytest.skip("needs ../shared/assets/weights/darknet")
    cfg, weights = FOLDER / f"{name}.cfg", FOLDER / f"{name}.weights"
    graph = read_cfg(cfg.read_text()).graph
    if not weights.is_file():
        weights = tmp_path / "random.weights"
        weights.write_bytes(write_weights(HEADER, tensors_of(graph), graph))
    _, tensors = read_weights(weights.read_bytes(), graph)
    height, width = graph.input[1:]
    pixels = np.random.default_rng(1).integers(0, 256, (1, height, width, 3), np.uint8)

    peer = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    peer.setInput(cv2.dnn.blobFromImage(pixels[0], 1 / 255, (width, height)))
    layers = peer.getLayerNames()
    numbers = [output.split(".")[0].removeprefix("layer") for output in graph.outputs]
    wanted = [f"conv_{number}" if f"conv_{number}" in layers else layers[-1] for number in numbers]
    ours = Probe(to_onnx(*reparam(graph, tensors), preprocess=Preprocess((height, width))))(pixels)
    for got, layer in zip(ours, wanted, strict=True):
        want = peer.forward(layer).reshape(got.shape)
        assert np.abs(got - want).max() <= ORIGINAL_SAME_TENSOR * np.ptp(want)
        shifted = np.roll(want, 1, axis=1)  # the comparison sees a channel in the wrong place
        assert np.abs(got - shifted).max() > ORIGINAL_SAME_TENSOR * np.ptp(want)
