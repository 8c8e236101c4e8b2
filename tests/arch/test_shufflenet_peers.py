"""ShuffleNet V1 against its paper's units written down in plain torch, and with the channels in mmpretrain's order.

pytorchcv, which has it too, is compared in bundle/test_export_peers.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from eyespot.arch.catalogue import draw
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights
from libraries import imported
from tolerances import ORIGINAL_SAME_TENSOR, relative_error

pytestmark = pytest.mark.peers


def forward(torch, weights, x, groups: int, behind: str):
    functional = torch.nn.functional

    def conv(name, x, **more):
        x = functional.conv2d(x, weights[f"{name}.conv.weight"], **more)
        norm = [weights[f"{name}.norm.{short}"] for short in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(x, *norm, eps=1e-5)

    def shuffled(y):
        return y.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)

    def unit(name, x, stride, first):
        y = conv(f"{name}.reduce", x, groups=first).relu()
        y = shuffled(y) if behind == "reduce" else y
        y = conv(f"{name}.depthwise", y, stride=stride, padding=1, groups=y.shape[1])
        y = shuffled(y) if behind == "depthwise" else y
        y = conv(f"{name}.expand", y, groups=groups)
        return (x + y if stride == 1 else torch.cat([functional.avg_pool2d(x, 3, 2, 1), y], 1)).relu()

    x = functional.max_pool2d(conv("stem", x, stride=2, padding=1).relu(), 3, 2, 1)
    for stage, repeats in ((2, 4), (3, 8), (4, 4)):
        for i in range(1, repeats + 1):
            first = 1 if (stage, i) == (2, 1) else groups
            x = unit(f"stage{stage}.block{i}", x, 2 if i == 1 else 1, first)
    return functional.linear(x.mean((2, 3)), weights["classifier.weight"], weights["classifier.bias"])


@pytest.mark.parametrize(("groups", "behind"), [(1, "reduce"), (3, "reduce"), (8, "reduce"), (3, "depthwise")])
def test_v1(groups, behind):
    torch = imported("torch")
    for size in ((64, 64), (65, 97)):
        graph = draw(f"shufflenet_v1_1.0_g{groups}", {"size": size, "shuffle_behind": behind})
        weights = random_weights(graph, 3)
        x = np.random.default_rng(1).standard_normal((2, 3, *size)).astype(np.float32)
        want = forward(torch, {k: torch.from_numpy(v) for k, v in weights.items()}, torch.from_numpy(x), groups, behind)
        assert relative_error(run(graph, weights, x)[graph.outputs[0]], want.numpy()) <= ORIGINAL_SAME_TENSOR
