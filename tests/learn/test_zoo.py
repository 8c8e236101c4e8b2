"""Every family of the zoo trains: each parameter moves, and all readings agree on what was trained."""

import io
import math
import zipfile
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from eyespot.arch import catalogue
from eyespot.core import ops
from eyespot.lower import reference
from eyespot.lower.onnx import to_onnx
from eyespot.lower.reparam import reparam_graph
from lowered import onnx_runtime
from tolerances import SAME_WEIGHTS, relative_error

torch = pytest.importorskip("torch")
module = import_module("eyespot.learn.module")  # after the skip

SMALL = {  # the cheapest of each family, at the smallest picture that it takes
    "mobilenet_v1": ("mobilenet_v1_0.25", 32),
    "mobilenet_v2": ("mobilenet_v2_0.35", 32),
    "mobilenet_v3": ("mobilenet_v3_small_0.75", 32),
    "mobilenet_v4": ("mobilenet_v4_conv_small_0.5", 32),
    "mnasnet": ("mnasnet_0.5", 32),
    "squeezenet": ("squeezenet_1.1", 32),
    "shufflenet_v1": ("shufflenet_v1_0.25_g1", 32),
    "shufflenet_v2": ("shufflenet_v2_0.5", 32),
    "ghostnet": ("ghostnet_0.5", 32),
    "resnet": ("resnet20_cifar", 32),
    "resnext": ("resnext50_32x4d", 32),
    "regnet": ("regnet_y_400mf", 32),
    "efficientnet": ("efficientnet_lite0", 32),
    "efficientnet_v2": ("efficientnet_v2_b0", 32),
    "repvgg": ("repvgg_a0", 32),
    "mobileone": ("mobileone_s0", 32),
    "inception_v1": ("inception_v1", 32),
    "inception_v3": ("inception_v3", 75),
    "inception_v4": ("inception_v4", 75),
    "inception_resnet_v2": ("inception_resnet_v2", 75),
    "xception": ("xception", 32),
    "eyelet": ("eyelet_0.5", 32),
}
HEAVY = ("resnext", "inception_v3", "inception_v4", "inception_resnet_v2", "xception")
FAMILIES = [pytest.param(family, marks=[pytest.mark.slow] if family in HEAVY else []) for family in SMALL]
CLASSES = 7


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn(family):
    name, smallest = SMALL[family]
    return catalogue.draw(name, {"size": smallest, "classes": CLASSES})


def loss_of(outputs, targets):
    """Of every output: auxiliary heads count as the classifier does."""
    return sum(torch.nn.functional.cross_entropy(output.float(), targets) for output in outputs.values())


def trained(graph, steps=4):
    """A network after some steps on noise, and the names of the parameters that got a gradient meanwhile."""
    network = module.Network(graph).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    generator, moved = torch.Generator().manual_seed(0), set()
    torch.manual_seed(0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(network(torch.randn(4, *graph.input, generator=generator)), torch.arange(4)).backward()
        moved |= {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
        optimizer.step()
    return network, moved


def test_all_families_are_here():
    assert tuple(SMALL) == catalogue.FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_gets_a_gradient_and_all_readings_agree_afterwards(family):
    """Branches start at zero, so weights inside them get theirs from the second step on."""
    graph = drawn(family)
    network, moved = trained(graph)
    assert moved == {name for name, p in graph.parameters.items() if p.trained}
    weights = network.export_weights()
    x = np.random.default_rng(1).normal(size=(3, *graph.input)).astype(np.float32)
    want = reference.run(graph, weights, x)[graph.outputs[0]]
    assert np.isfinite(want).all()
    with torch.no_grad():
        outputs = network.eval()(torch.from_numpy(x))
    assert list(outputs) == list(graph.inference().outputs)
    runtime = onnx_runtime(to_onnx(graph, weights), x)
    assert list(runtime) == ["logits"]
    for got in (outputs[graph.outputs[0]].numpy(), runtime["logits"]):
        assert relative_error(got, want) < SAME_WEIGHTS
    name = [n for n in graph.inference().parameters if n.endswith(".weight")][-1]
    off = reference.run(graph, weights | {name: weights[name] * np.float32(1.01)}, x)[graph.outputs[0]]
    assert relative_error(off, want) > SAME_WEIGHTS


@pytest.mark.parametrize("family", ["repvgg", "mobileone"])
def test_branches_train_side_by_side_and_are_one_convolution_afterwards(family):
    graph = drawn(family)
    sums = [node for node in graph.nodes if isinstance(node.op, ops.Add)]
    assert sums
    network, moved = trained(graph, steps=2)
    assert all(len([n for n in moved if n.startswith(node.name.rpartition(".")[0])]) > 4 for node in sums)
    deployed = reparam_graph(graph)
    assert not any(isinstance(node.op, ops.Add | ops.BatchNorm) for node in deployed.nodes)
    model = to_onnx(graph, network.export_weights())
    assert sum(model.count(node.name.encode() + b".weight") > 0 for node in graph.nodes) == len(
        [node for node in deployed.nodes if isinstance(node.op, ops.Conv2d | ops.Linear)]
    )


def test_auxiliary_heads_add_to_the_loss_and_are_gone_in_service():
    """Inception v1 has two; what only they lead to gets a gradient from their own outputs."""
    graph = drawn("inception_v1")
    network = module.Network(graph).train()
    outputs = network(torch.randn(4, *graph.input, generator=torch.Generator().manual_seed(0)))
    assert list(outputs) == ["classifier", "aux1.classifier", "aux2.classifier"]
    torch.nn.functional.cross_entropy(outputs["classifier"], torch.arange(4)).backward(retain_graph=True)
    weight = network.get_parameter("aux1.classifier.weight")
    assert weight.grad is None
    loss_of(outputs, torch.arange(4)).backward()
    assert weight.grad.abs().sum() > 0
    assert b"aux1" not in to_onnx(graph, network.export_weights())


TAUGHT = SMALL | {  # their smallest ones learn too slowly to show
    "mobilenet_v1": ("mobilenet_v1_1.0", 64),
    "mobileone": ("mobileone_s1", 64),
}
LEARNT = 0.05  # nats; what knows nothing stays within 0.02 of ln(6) on so many pictures
# Goldfish, jellyfish, school bus, bell pepper, espresso, alp: unlike enough for 2,000 pictures, seen once, to teach.
UNLIKE = ("n01443537", "n01910747", "n04146614", "n07720875", "n07920052", "n09193705")


@pytest.fixture(scope="module")
def thumbnails(assets):
    """2,200 Tiny ImageNet pictures of six classes, uint8 (n, 64, 64, 3), shuffled; and their classes."""
    with zipfile.ZipFile(assets / "datasets" / "tiny_imagenet_200.zip") as archive:
        names = [n for n in archive.namelist() if n.endswith(".webp") and n.startswith("train/")]
        names = sorted(n for n in names if n.split("/")[1] in UNLIKE)
        order = np.random.default_rng(0).permutation(len(names))[:2200]
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(names[i]))).convert("RGB")) for i in order])
    return pixels, np.array([UNLIKE.index(names[i].split("/")[1]) for i in order])


def to_input(pixels, size):
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 64 - 2
    return x if x.shape[2] == size else torch.nn.functional.interpolate(x, (size, size), mode="bilinear")


@torch.no_grad()
def settle(network, pixels, size):
    """Lets the statistics of batch norm catch up with weights that changed faster than they do, without training."""
    network.eval()
    for layer in network.modules():
        if isinstance(layer, module.Layer) and isinstance(layer.node.op, ops.BatchNorm):
            layer.train()
    for chosen in np.array_split(pixels, 30):  # 0.9 ** 30 of what was there is left
        network(to_input(chosen, size))


@torch.no_grad()
def evaluated(network, pixels, targets, size):
    network.eval()
    logits = torch.cat([network(to_input(p, size))[network.graph.outputs[0]] for p in np.array_split(pixels, 5)])
    return float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets)))


@pytest.mark.slow
@pytest.mark.parametrize("family", SMALL)
def test_one_epoch_on_two_thousand_pictures_lowers_the_loss(family, thumbnails):
    """From fresh weights, by AdamW: on the pictures that it trains on, and on 200 others with the statistics of
    service. Nothing knows anything at a loss of ln(6)."""
    pixels, targets = thumbnails
    name, smallest = TAUGHT[family]
    graph = catalogue.draw(name, {"size": max(smallest, 64), "classes": len(UNLIKE)})
    size = graph.input[1]
    network = module.Network(graph)
    optimizer, batch, losses = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.02), 16, []
    steps = 2000 // batch
    torch.manual_seed(0)
    network.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min((step + 1) / 12, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        rows = slice(step * batch, step * batch + batch)
        outputs = network(to_input(pixels[rows], size))
        y = torch.from_numpy(targets[rows])
        optimizer.zero_grad()
        loss_of(outputs, y).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(torch.nn.functional.cross_entropy(next(iter(outputs.values())).detach(), y).item())
    first, last = np.mean(losses[:20]), np.mean(losses[-20:])
    settle(network, pixels[:1200], size)
    held = evaluated(network, pixels[2000:], targets[2000:], size)
    print(f"{name} at {size}: {first:.3f} → {last:.3f}, held out {held:.3f}")
    assert last < first - LEARNT
    assert held < math.log(len(UNLIKE)) - LEARNT
