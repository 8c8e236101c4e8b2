"""Checkpoints as training scripts write them import without options and give the network's own logits."""

import argparse
import collections
import datetime
import enum
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import libraries
from eyespot.bundle.adopt import Request, adopt
from eyespot.errors import UsageError, WeightsError
from eyespot.lower.reference import run

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
SIZE = 64


@pytest.fixture(scope="module")
def torch():
    libraries.imported("torchvision")
    return libraries.imported("torch")


class Mode(enum.Enum):
    FAST = "fast"


class Config(dict):
    """A dictionary with attributes, as hyperparameters are kept."""


def network(torch, **replaced):
    """torchvision's MobileNetV2, narrow, with norms that have seen images."""
    import peers
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v2(width_mult=0.35, num_classes=5)
    for name, module in replaced.items():
        setattr(model, name, module)
    return peers.liven(model, SIZE)


def untrained(torch):
    """The same network with other answers."""
    model = network(torch)
    torch.nn.init.zeros_(model.classifier[1].weight)
    return model


def optimizer(torch, model):
    """One that has made a step, so that it holds tensors by number."""
    made = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    return made


def prefixed(state, prefix):
    return collections.OrderedDict((f"{prefix}{name}", tensor) for name, tensor in state.items())


def beside(torch):
    """What no tensor is and stands in checkpoints all the same."""
    return argparse.Namespace(
        output=Path("runs/1"), device=torch.device("cpu"), dtype=torch.float16, size=torch.Size((2, 3)), mode=Mode.FAST,
        best=np.float64(71.5), scores=np.arange(3.0), begun=datetime.datetime(2026, 1, 2),
        seen=collections.defaultdict(int),
        counts=collections.Counter("abca"), key={(1, 2): 3.5, 1 << 40: None}, partial=collections.deque([1]),
    )  # fmt: skip


def torchvision_reference(torch):
    """references/classification/train.py: the averaged model is a module of its own, with a counter."""
    model, averaged = network(torch), torch.optim.swa_utils.AveragedModel(network(torch))
    made = optimizer(torch, model)
    with torch.no_grad():
        model.classifier[1].bias += 1
    schedule = torch.optim.lr_scheduler.StepLR(made, 30)
    return averaged.module, {
        "model": model.state_dict(), "optimizer": made.state_dict(), "lr_scheduler": schedule.state_dict(), "epoch": 3,
        "args": beside(torch), "model_ema": averaged.state_dict(), "scaler": {"scale": 65536.0},
    }  # fmt: skip


def lightning(torch):
    model = network(torch)
    state = prefixed(model.state_dict(), "model.")
    state["criterion.weight"] = torch.ones(5)
    callbacks = {"ModelCheckpoint{'monitor': None}": {"best_model_path": Path("x"), "current_score": torch.tensor(0.5)}}
    return model, {
        "epoch": 3, "global_step": 10, "state_dict": state, "callbacks": callbacks,
        "optimizer_states": [optimizer(torch, model).state_dict()], "lr_schedulers": [], "loops": {"fit_loop": {}},
        "hparams_name": "kwargs", "hyper_parameters": Config(lr=1e-3, where=Path("data"), mode=Mode.FAST),
    }  # fmt: skip


def compiled_lightning(torch):
    model = network(torch)
    return model, {"state_dict": prefixed(model.state_dict(), "net._orig_mod."), "epoch": 1}


def distributed(torch):
    model = network(torch)
    return model, {"state_dict": prefixed(model.state_dict(), "module."), "best_acc1": torch.tensor(0.5)}


def compiled_and_distributed(torch):
    model = network(torch)
    return model, {"model": prefixed(model.state_dict(), "_orig_mod.module.")}


def averaged(torch):
    wrapped = torch.optim.swa_utils.AveragedModel(torch.nn.DataParallel(network(torch)))
    return wrapped.module.module, wrapped.state_dict()


def averaged_inside_lightning(torch):
    """A module that holds the network and its average, as the hooks of Lightning have it."""
    model, last = network(torch), untrained(torch)
    state = {**prefixed(last.state_dict(), "model."), **prefixed(model.state_dict(), "model_ema.module.")}
    return model, {"state_dict": state, "pytorch-lightning_version": "2.4.0"}


def averaged_by_torch(torch):
    model = network(torch)
    average = torch.optim.swa_utils.AveragedModel(model)
    return model, {"model": untrained(torch).state_dict(), "swa": average.state_dict(), "epoch": 3}


def linear_head(torch):
    model = network(torch, classifier=torch.nn.Linear(1280, 3))
    return model, model.state_dict()


def linear_behind_dropout(torch):
    model = network(torch)
    model.classifier[1] = torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Linear(1280, 3, bias=False))
    return model.eval(), {"model_state_dict": model.state_dict(), "optimizer_state_dict": {}, "loss": 0.25}


def mixture(torch):
    model = network(torch)
    return model, {
        **model.state_dict(),
        "epoch": 3,
        "best": np.float32(0.5),
        "args": beside(torch),
        "rng": torch.arange(9),
    }


def other_key(torch):
    model = network(torch)
    return model, {
        "classifier_params": model.state_dict(),
        "iteration": 1,
        "optim": optimizer(torch, model).state_dict(),
    }


def whole_module(torch):
    model = network(torch)
    return model, model


def module_under_a_key(torch):
    model = network(torch)
    return model, {"epoch": 1, "net": torch.nn.DataParallel(model)}


KINDS = [
    torchvision_reference, lightning, compiled_lightning, distributed, compiled_and_distributed, averaged,
    averaged_inside_lightning, averaged_by_torch, linear_head,
    linear_behind_dropout, mixture, other_key, whole_module, module_under_a_key,
]  # fmt: skip


def agree(torch, model, bundle) -> None:
    pixels = np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE)).astype("f4")
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(pixels)).numpy()
    found = run(bundle.card.graph, bundle.weights(), pixels)[bundle.card.graph.outputs[0]]
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.ptp(expected))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_checkpoints_import_without_options(torch, tmp_path, kind, legacy):
    model, saved = kind(torch)
    torch.save(saved, tmp_path / "checkpoint.pth", _use_new_zipfile_serialization=not legacy)
    notes: list[str] = []
    size = Request(arguments={"size": SIZE})  # that the comparison is quick
    bundle = adopt(tmp_path / "checkpoint.pth", tmp_path / "bundle", request=size, say=notes.append)
    assert bundle.card.architecture == "mobilenet_v2_0.35"
    agree(torch, model, bundle)
    said = {
        "torchvision_reference": "took the network under model_ema, not the one under model",
        "averaged_by_torch": "took the network under swa, not the one under model",
        "averaged_inside_lightning": "left out what is not in model_ema.module.: model.features.0.0.weight, "
        "model.features.0.1.weight, model.features.0.1.bias, …",
        "lightning": "left out what is not in model.: criterion.weight",
    }
    assert notes == ([said[kind.__name__]] if kind.__name__ in said else [])


def test_timm_s_own_saver(torch, tmp_path):
    """Its ``arch`` says which of two sources with the same names and shapes the network is."""
    import peers
    import timm
    from timm.utils import CheckpointSaver, ModelEmaV3

    model = peers.liven(timm.create_model("mobilenetv3_small_075", num_classes=4), SIZE)
    args = argparse.Namespace(model="mobilenetv3_small_075", output=Path("out"), amp=True, opt_betas=None)
    averaged = ModelEmaV3(model)
    saver = CheckpointSaver(
        model, optimizer(torch, model), args=args, model_ema=averaged, checkpoint_dir=str(tmp_path), recovery_dir=""
    )
    saver.save_checkpoint(1, metric=np.float64(70.5))
    notes: list[str] = []
    request = Request(arguments={"size": SIZE})
    bundle = adopt(tmp_path / "last.pth.tar", tmp_path / "bundle", request=request, say=notes.append)
    assert bundle.card.arguments["padding"] == "symmetric"
    assert notes == ["took the network under state_dict_ema, not the one under state_dict"]
    agree(torch, averaged.module, bundle)
    torch.save(model.state_dict(), tmp_path / "alone.pth")
    with pytest.raises(WeightsError, match=r"say which with a scheme \(timm\.mobilenet_v3 or timm_tf"):
        adopt(tmp_path / "alone.pth", tmp_path / "other")


def test_a_whole_head_replaced_by_one_layer(torch, tmp_path):
    import peers
    import torchvision

    model = torchvision.models.mobilenet_v3_small(num_classes=5)
    model.classifier = torch.nn.Linear(576, 3)
    model = peers.liven(model, SIZE)
    torch.save({"net": model.state_dict()}, tmp_path / "checkpoint.pth")
    bundle = adopt(tmp_path / "checkpoint.pth", tmp_path / "bundle", request=Request(arguments={"size": SIZE}))
    assert bundle.card.arguments["hidden"] is False
    agree(torch, model, bundle)


def test_one_output_and_the_names_of_classes(torch, tmp_path):
    model = network(torch)
    model.classifier[1] = torch.nn.Linear(1280, 1)
    torch.save(model.state_dict(), tmp_path / "one.pth")
    size = Request(arguments={"size": SIZE})
    with pytest.raises(UsageError, match=r"has one output .*pass --labels with two classes"):
        adopt(tmp_path / "one.pth", tmp_path / "bundle", request=size)
    torch.save({"state_dict": model.state_dict(), "class_to_idx": {"ripe": 1, "green": 0}}, tmp_path / "two.pth")
    bundle = adopt(tmp_path / "two.pth", tmp_path / "bundle", request=size)
    assert bundle.labels.names == ("green", "ripe")
    pixels = np.zeros((1, 3, SIZE, SIZE), "f4")
    with torch.no_grad():
        logit = float(model.eval()(torch.from_numpy(pixels)))
    found = run(bundle.card.graph, bundle.weights(), pixels)[bundle.card.graph.outputs[0]][0]
    np.testing.assert_allclose(found, [0, logit], atol=1e-5)


def test_a_thousand_classes_of_one_s_own_have_no_names_of_imagenet(torch, tmp_path):
    model = network(torch)
    model.classifier[1] = torch.nn.Linear(1280, 1000)
    torch.save(model.state_dict(), tmp_path / "own.pth")
    notes: list[str] = []
    bundle = adopt(tmp_path / "own.pth", tmp_path / "bundle", say=notes.append)
    assert bundle.labels.names[:2] == ("class 0", "class 1")
    assert notes == ["the 1000 classes have no names; pass --labels imagenet_1k if they are ImageNet's"]


def test_the_message_names_the_few_tensors_that_differ(torch, tmp_path):
    model = network(torch)
    model.classifier.append(torch.nn.Linear(5, 2))
    torch.save(model.state_dict(), tmp_path / "more.pth")
    with pytest.raises(
        WeightsError, match=r"nearly mobilenet_v2_0\.35 .*but classifier\.2\.weight, classifier\.2\.bias are left"
    ):
        adopt(tmp_path / "more.pth", tmp_path / "bundle")
    both = {**prefixed(network(torch).state_dict(), "student."), **prefixed(network(torch).state_dict(), "teacher.")}
    torch.save(both, tmp_path / "both.pth")
    with pytest.raises(WeightsError, match=r"holds 2 networks, under student\., teacher\.; save one"):
        adopt(tmp_path / "both.pth", tmp_path / "bundle")


def test_numpy_s_files_and_shards(torch, tmp_path):
    model = network(torch)
    arrays = {f"model.{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    half = len(arrays) // 2
    shards = {
        "model-00001-of-00002.safetensors": list(arrays)[:half],
        "model-00002-of-00002.safetensors": list(arrays)[half:],
    }
    for shard, names in shards.items():
        save_file({name: arrays[name] for name in names}, tmp_path / shard)
    places = {name: shard for shard, names in shards.items() for name in names}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    for number, file in enumerate(("plain.npz", "small.npz", "model.safetensors.index.json")):
        bundle = adopt(tmp_path / file, tmp_path / f"bundle{number}", request=Request(arguments={"size": SIZE}))
        agree(torch, model, bundle)
