"""A short fine-tune of a network in 8 bits: integers and biases learn to answer as the float network does.

    tuned = fine_tune(ready, network, pictures, steps=300)    # a Quantized, on the same grids

Rounding is computed forwards and passed over backwards (the straight-through estimator: Bengio et al. 2013, 1308.3432;
for whole networks Jacob et al. 2018, 1712.05877). The teacher is the float network itself, so no labels are needed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's own name for it
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from eyespot.bundle.build import normalise
from eyespot.core.graph import INPUT, Graph
from eyespot.core.pixels import Preprocess
from eyespot.core.recipe import Schedule
from eyespot.learn.module import Layer, Network
from eyespot.learn.optim import rate
from eyespot.learn.threads import torch_threads
from eyespot.lower.int8.plan import Ready
from eyespot.lower.int8.quantized import LARGEST_WEIGHT, LEVELS, Grid, Quantized, column

Pixels = NDArray[np.uint8]
STEPS = 300  # of one batch each
_BATCH = 16
_WEIGHT_RATE = (
    0.01  # steps of a weight's own grid per step: in 300 of them some hundred weights in a thousand cross over
)
_BIAS_RATE = 0.02  # levels of the tensor that the layer fills
_SCHEDULE = Schedule(warmup=0.05, shape="cosine", end=0.0)
_SHIFT = 16  # a picture moves by up to a sixteenth of its side, to each side
_INSIDE = 0.49  # how far from its integer a weight may start, so that the first step answers as the network did
_MOST = 1 << 30  # of a bias in its own steps, so that sums keep inside 32 bits


@torch_threads()
def fine_tune(
    ready: Ready,
    network: Quantized,
    pictures: Pixels,
    *,
    steps: int = STEPS,
    seed: int = 0,
    step: Callable[[int], None] = lambda _: None,
) -> Quantized:
    """The network with integers and biases that answer more like ``ready``'s float network on these pictures.

    pictures: uint8 (n, height, width, 3), prepared; shifted and mirrored copies of them are learned from. Grids,
    scales and what stays in float are the same. ``step`` is called with the number of steps done. The same
    arguments give the same network on the same machine.
    """
    student = Student(ready, network)
    teacher = Network(ready.graph).eval().requires_grad_(requires_grad=False)
    teacher.load_weights(ready.weights)
    output = ready.graph.outputs[0]
    optimizer = torch.optim.Adam(
        [
            {"params": list(student.weights.values()), "share": _WEIGHT_RATE},
            {"params": list(student.biases.values()), "share": _BIAS_RATE},
        ],
        foreach=True,
    )
    rng = np.random.default_rng(seed)
    for done in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = group["share"] * rate(_SCHEDULE, 1.0, (done + 0.5) / steps)
        inputs = _batch(pictures, ready.preprocess, rng)
        with torch.no_grad():
            wanted = teacher(inputs)[output].log_softmax(1)
        optimizer.zero_grad(set_to_none=True)
        loss = F.kl_div(student(inputs).log_softmax(1), wanted, reduction="batchmean", log_target=True)
        loss.backward()
        optimizer.step()
        step(done + 1)
    return student.quantized()


class Student:
    """A quantized network as torch sees it: its weights in steps and its biases are free, its grids are not."""

    def __init__(self, ready: Ready, network: Quantized) -> None:
        self._network = network
        self._fixed = {name: torch.from_numpy(value) for name, value in network.float_weights().items()}
        self.weights: dict[str, nn.Parameter] = {}
        self.biases: dict[str, nn.Parameter] = {}
        self._scales: dict[str, Tensor] = {}
        self._units: dict[str, float] = {}
        readers = network.graph.readers()
        for layer in network.int8_layers():
            node = network.graph.by_name[layer]
            integers = network.tensors[f"{layer}.weight"].astype(np.float32)
            scale = column(network.weight_scale(layer), node.op, integers.ndim)
            inside = np.clip(ready.weights[f"{layer}.weight"] / scale - integers, -_INSIDE, _INSIDE)
            self.weights[layer] = nn.Parameter(torch.from_numpy(integers + inside))
            self._scales[layer] = torch.from_numpy(scale)
            self.biases[layer] = nn.Parameter(torch.zeros(len(integers)))
            target = network.target(node, readers)
            bias = self._fixed[f"{layer}.bias"]
            self._units[layer] = network.grids[target].scale if target else float(bias.abs().mean()) / LEVELS + 1e-6
        self._module = Network(network.graph).eval().requires_grad_(requires_grad=False)
        for name, grid in network.grids.items():
            if name != INPUT:
                self._module.get_submodule(name).register_forward_hook(_hook(grid))

    def __call__(self, x: Tensor) -> Tensor:
        """The logits (n, classes) of a normalised input (n, channels, height, width)."""
        graph: Graph = self._network.graph
        if INPUT in self._network.grids:
            x = on_grid(x, self._network.grids[INPUT])
        tensors = dict(self._fixed)
        for layer, weight in self.weights.items():
            inside = weight.clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
            tensors[f"{layer}.weight"] = _passed_over(inside, inside.round()) * self._scales[layer]
            tensors[f"{layer}.bias"] = self._bias(layer)
        outputs: dict[str, Tensor] = functional_call(self._module, tensors, (x,))
        return outputs[graph.outputs[0]]

    @torch.no_grad()
    def quantized(self) -> Quantized:
        """The network with what was learned."""
        tensors = dict(self._network.tensors)
        for layer, weight in self.weights.items():
            integers = weight.round().clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
            tensors[f"{layer}.weight"] = integers.numpy().astype(np.int8)
            steps = self._bias(layer).numpy().astype(np.float64) / self._network.bias_scale(layer)
            tensors[f"{layer}.bias"] = np.clip(np.rint(steps), -_MOST, _MOST).astype(np.int32)
        return Quantized(self._network.graph, self._network.grids, tensors)

    def _bias(self, layer: str) -> Tensor:
        return self._fixed[f"{layer}.bias"] + self.biases[layer] * self._units[layer]


def on_grid(x: Tensor, grid: Grid) -> Tensor:
    """The nearest values of the grid; the gradient is that of a clip to its ends."""
    inside = x.clamp(grid.low, grid.high)
    return _passed_over(inside, (inside / grid.scale).round() * grid.scale)


def _passed_over(x: Tensor, rounded: Tensor) -> Tensor:
    """``rounded``, with the gradient of ``x``."""
    return x + (rounded - x).detach()


def _hook(grid: Grid) -> Callable[[Layer, tuple[Tensor, ...], Tensor], Tensor]:
    return lambda _layer, _inputs, output: on_grid(output, grid)


def _batch(pictures: Pixels, preprocess: Preprocess, rng: np.random.Generator) -> Tensor:
    """Some of the pictures, shifted and, every second one, mirrored; normalised (n, channels, height, width)."""
    chosen = rng.choice(len(pictures), min(_BATCH, len(pictures)), replace=False)
    height, width = pictures.shape[1:3]
    up, left = height // _SHIFT, width // _SHIFT
    out = []
    for picture in pictures[chosen]:
        padded = np.pad(picture, ((up, up), (left, left), (0, 0)), mode="edge")
        top, start = int(rng.integers(2 * up + 1)), int(rng.integers(2 * left + 1))
        moved = padded[top : top + height, start : start + width]
        out.append(moved[:, ::-1] if rng.random() < 0.5 else moved)
    return torch.from_numpy(normalise(np.stack(out), preprocess))
