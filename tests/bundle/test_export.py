"""Export: everybody's names and layouts, read back to the same bundle; networks that differ are refused."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from conftest import make_bundle
from eyespot.arch.catalogue import draw
from eyespot.bundle.adopt import Request, adopt
from eyespot.bundle.build import build
from eyespot.bundle.export import export_weights
from eyespot.bundle.store import read
from eyespot.cli.export_weights import command
from eyespot.core.card import Card
from eyespot.core.labels import Labels
from eyespot.core.pixels import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from eyespot.errors import UsageError, WeightsError
from eyespot.lower.fold import fold
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights
from eyespot.weights.checkpoint import read_checkpoint, read_tensors
from eyespot.weights.names import SCHEMES, match
from eyespot.weights.renamed import renamed
from tolerances import SAME_WEIGHTS, relative_error

FIXTURES = Path(__file__).parents[1] / "weights" / "fixtures"
sys.path.append(str(FIXTURES))
from make_names import CLASSES, digest  # noqa: E402

LIBRARIES = json.loads((FIXTURES / "names.json").read_text())
TF = {"padding": "same", "eps": 1e-3}
TORCH = {"padding": "symmetric", "eps": 1e-5}


def bundle_of(path, architecture, arguments, *, folded=False, preprocess=None):
    """A bundle of random weights for five classes."""
    arguments = {"classes": 5, "size": 32, **arguments}
    graph = draw(architecture, arguments)
    weights = random_weights(graph, 0)
    if folded:
        graph, weights = fold(graph, weights)
    preprocess = preprocess or Preprocess(graph.input[1:], mean=IMAGENET_MEAN, std=IMAGENET_STD)
    card = Card(f"{architecture}.test", architecture, arguments, graph, preprocess)
    return build(path, card, weights=weights, labels=Labels.numbered(5))


@pytest.mark.parametrize("name", LIBRARIES)
def test_names_and_shapes_are_the_library_s_own(name):
    """The inverse of the table that reads them; names.json was written from the libraries."""
    scheme, architecture, want = LIBRARIES[name]
    graph = draw(architecture, {"classes": CLASSES})
    graph = graph.inference() if name.startswith(("timm", "keras")) else graph  # theirs are without auxiliary heads
    weights = {n: np.zeros(p.shape, "f4") for n, p in graph.parameters.items()}
    shapes = {n: t.shape for n, t in renamed(weights, graph, SCHEMES[scheme]).items()}
    assert digest({n: s for n, s in shapes.items() if not n.endswith("num_batches_tracked")}) == want
    if name.startswith(("torchvision", "timm")):
        assert sum(n.endswith("num_batches_tracked") for n in shapes) == sum(n.endswith("running_var") for n in shapes)


def test_linear_layers_that_are_convolutions_elsewhere():
    graph = draw("mobilenet_v3_small_0.75", {"classes": 5})
    weights = random_weights(graph, 0)
    there = renamed(weights, graph, SCHEMES["timm.mobilenet_v3"])
    assert there["conv_head.weight"].shape == (1024, 432, 1, 1)
    assert there["classifier.weight"].shape == (5, 1024)
    there = renamed(weights, graph, SCHEMES["keras.mobilenet_v3"])
    assert (there["conv_2/kernel"].shape, there["logits/kernel"].shape) == ((1, 1, 432, 1024), (1, 1, 1024, 5))
    assert renamed(
        random_weights(draw("mobilenet_v1_0.25"), 0), draw("mobilenet_v1_0.25"), SCHEMES["keras.mobilenet_v1"]
    )["conv_preds/kernel"].shape == (1, 1, 256, 1000)


@pytest.mark.parametrize(
    ("source", "architecture", "arguments", "endings"),
    [
        ("torchvision", "mobilenet_v2_0.35", TORCH, (".safetensors", ".pth")),
        ("torchvision", "resnet18", TORCH, (".pth",)),
        ("timm", "mobilenet_v3_small_0.75", TF, (".safetensors",)),
        ("timm", "resnet18", TORCH, (".safetensors",)),
        ("transformers", "mobilenet_v1_0.25", TF, (".safetensors",)),
        ("keras", "mobilenet_v1_0.25", TF, (".weights.h5", ".h5")),
        ("keras", "efficientnet_b0", TF, (".weights.h5", ".h5")),
    ],
)
def test_what_is_exported_comes_back(tmp_path, source, architecture, arguments, endings):
    bundle = bundle_of(tmp_path / "b", architecture, arguments)
    want = bundle.weights()
    for ending in endings:
        done = export_weights(bundle, source, tmp_path / f"out{ending}")
        request = Request(architecture=architecture, arguments={"size": 32}, scheme=done.scheme, pixels="imagenet")
        again = adopt(done.path, tmp_path / ending, request=request)
        assert again.card.graph == bundle.card.graph
        got = again.weights()
        assert list(got) == list(want)
        assert all(np.array_equal(got[name], want[name]) for name in want)
        assert len(read_tensors(done.path)) == done.tensors
        assert str(done.path) in done.load
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["b", *endings, *(f"out{e}" for e in endings)])


def test_keras_finds_its_layers_in_their_order(tmp_path):
    """The order of model.layers for a ResNet: a shortcut's layers stand between those of the branch."""
    import h5py

    bundle = bundle_of(tmp_path / "b", "resnet50", {"padding": "symmetric", "eps": 1.001e-5, "stride_on": "1x1"})
    export_weights(bundle, "keras", tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        names = list(np.asarray(file.attrs["layer_names"], "U"))
    block = [
        f"conv2_block1_{step}" for step in ("1_conv", "1_bn", "2_conv", "2_bn", "0_conv", "3_conv", "0_bn", "3_bn")
    ]
    assert names[:10] == ["conv1_conv", "conv1_bn", *block]
    assert names[-1] == "predictions"
    export_weights(bundle, "keras", tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5") as file:
        assert [file[f"layers/conv2d_{i}/vars"].attrs["name"] for i in (1, 2, 3, 4)] == block[0::2][:2] + block[4:6]
        assert [list(file[f"layers/{kind}/vars"]) for kind in ("conv2d", "batch_normalization")] == [
            ["0", "1"], ["0", "1", "2", "3"],
        ]  # fmt: skip


def test_keras_efficientnet_normalises_as_the_card_does(tmp_path):
    pixels = Preprocess((32, 32), scale=1.0, mean=(127.5, 100.0, 0.0), std=(127.5, 51.0, 255.0))
    bundle = bundle_of(tmp_path / "b", "efficientnet_b0", TF, preprocess=pixels)
    tensors = read_tensors(export_weights(bundle, "keras", tmp_path / "m.weights.h5").path)
    raw = np.array([10.0, 200.0, 255.0])
    got = (raw / 255 - tensors["normalization/mean"]) / np.sqrt(tensors["normalization/variance"])
    np.testing.assert_allclose(got, (raw - np.array(pixels.mean)) / np.array(pixels.std), rtol=SAME_WEIGHTS)
    assert tensors["normalization/count"].shape == ()
    bgr = bundle_of(tmp_path / "c", "efficientnet_b0", TF, preprocess=replace(pixels, channels="bgr"))
    with pytest.raises(WeightsError, match="takes RGB, this bundle takes BGR"):
        export_weights(bgr, "keras", tmp_path / "n.h5")


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("eps", [1e-5, 1e-2])
def test_folded_networks_and_other_epsilons_give_the_same_answers(tmp_path, folded, eps):
    bundle = bundle_of(tmp_path / "b", "mobilenet_v2_0.35", {"padding": "symmetric", "eps": eps}, folded=folded)
    done = export_weights(bundle, "torchvision", tmp_path / "m.safetensors")
    theirs = draw("mobilenet_v2_0.35", {**bundle.card.arguments, **TORCH})
    weights = match(read_checkpoint(done.path).tensors, theirs, done.scheme).weights
    x = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype("f4")
    (want,) = run(bundle.card.graph, bundle.weights(), x).values()
    (got,) = run(theirs, weights, x).values()
    assert relative_error(got, want) < SAME_WEIGHTS
    wrong = {n: t + (np.float32(0.01) if n.endswith("norm.bias") else 0) for n, t in weights.items()}
    assert relative_error(run(theirs, wrong, x)["classifier"], want) > SAME_WEIGHTS


@pytest.mark.parametrize(
    ("source", "architecture", "arguments", "message"),
    [
        ("torchvision", "mobilenet_v2_0.35", TF,
         r"mobilenet_v2_0\.35\.test cannot be exported to torchvision: stem\.conv has padding .*, in torchvision\."),
        ("keras", "mobilenet_v2_0.35", TORCH, r"in keras\.mobilenet_v2 it has \[0, 0, 1, 1\]"),
        ("torchvision", "resnet50", {"stride_on": "1x1"}, r"stage2\.block1\.reduce\.conv has stride"),
        ("torchvision", "mobilenet_v1_0.25", TORCH, r"torchvision has no names for mobilenet_v1_0\.25"),
        ("timm", "squeezenet_1.1", {}, r"timm has no names for squeezenet_1\.1"),
        ("keras", "efficientnet_lite0", TF, r"keras has no names for efficientnet_lite0"),
        ("pytorchcv", "shufflenet_v1_0.25_g3", {}, r"or their channels, come in another order in pytorchcv"),
        ("mmpretrain", "shufflenet_v1_1.0_g3", {}, r"come in another order in mmpretrain\.shufflenet_v1$"),
    ],
)  # fmt: skip
def test_networks_that_would_answer_otherwise(tmp_path, source, architecture, arguments, message):
    ending = "h5" if source == "keras" else "pth"
    with pytest.raises(WeightsError, match=message) as caught:
        export_weights(bundle_of(tmp_path / "b", architecture, arguments), source, tmp_path / f"m.{ending}")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_keras_networks_that_order_their_layers_otherwise(tmp_path):
    bundle = bundle_of(tmp_path / "b", "inception_v3", {"size": 96, "eps": 1e-3, "count_padding": False})
    with pytest.raises(UsageError, match=r"in another order than Keras does; export to \.h5"):
        export_weights(bundle, "keras", tmp_path / "m.weights.h5")
    done = export_weights(bundle, "keras", tmp_path / "m.h5")
    assert done.load.endswith("by_name=True)")
    assert read_tensors(done.path)["conv2d_93/kernel"].shape == (1, 1, 2048, 192)


def test_where_to_and_as_what(tmp_path, tiny):
    with pytest.raises(UsageError, match="called 'caffe'; there are torchvision, timm, keras, transformers"):
        export_weights(tiny, "caffe", tmp_path / "m.pth")
    with pytest.raises(UsageError, match=r"m\.h5 cannot be loaded by timm; let it end in \.safetensors or \.pth"):
        export_weights(tiny, "timm", tmp_path / "m.h5")
    with pytest.raises(UsageError, match=r"let it end in \.weights\.h5 or \.h5"):
        export_weights(tiny, "keras", tmp_path / "m.pth")
    (tmp_path / "m.pth").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        export_weights(tiny, "timm", tmp_path / "m.pth")
    assert (tmp_path / "m.pth").read_text() == "mine"
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        export_weights(tiny, "timm", tmp_path / "file" / "m.pth")


def test_the_verb(tmp_path):
    make_bundle(tmp_path / "b")
    out = tmp_path / "new" / "m.safetensors"
    result = CliRunner().invoke(command, [str(tmp_path / "b"), "--as", "timm", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert re.search(
        r"m\.safetensors holds \d+ tensors as timm\.mobilenet_v1 names them; load them with\n", result.output
    )
    assert f"model.load_state_dict(safetensors.torch.load_file({str(out)!r}), strict=True)" in result.output
    assert read_tensors(out)["classifier.weight"].shape == (10, 256)
    assert read(tmp_path / "b").card.architecture == "mobilenet_v1_0.25"
