"""Graph → Core ML: an ML program of coremltools' builder, float32, as a .mlpackage; and what can be checked of it here.

Core ML runs on Apple's systems only. Here the written package is read again: every layer must be there with its shape,
and every weight must be the network's.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from eyespot.bundle.store import Bundle
from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.core.pixels import Preprocess
from eyespot.errors import ExportError
from eyespot.lower.numpy_ops import Array
from eyespot.lower.reparam import reparam
from eyespot.lower.tensors import Weights

PACKAGE = "model.mlpackage"
_PIXELS, _LOGITS = "pixels", "logits"
_WEIGHTED = (ops.Conv2d, ops.ConvTranspose2d, ops.Linear)


def to_coreml(
    graph: Graph,
    weights: Weights,
    *,
    preprocess: Preprocess,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, bytes]:
    """The files of a .mlpackage: an image of the network's size in, "logits" out; from iOS 16 and macOS 13 on.

    ``metadata`` is its user-defined metadata. ExportError when coremltools refuses the network.
    """
    graph, folded = reparam(graph, weights)
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        try:
            import coremltools

            program = _program(graph, folded, preprocess)
            layout = coremltools.colorlayout.BGR if preprocess.channels == "bgr" else coremltools.colorlayout.RGB
            image = coremltools.ImageType(name=_PIXELS, shape=(1, *graph.input), color_layout=layout)
            model = coremltools.convert(
                program,
                convert_to="mlprogram",
                inputs=[image],
                compute_precision=coremltools.precision.FLOAT32,
                minimum_deployment_target=coremltools.target.iOS16,
                skip_model_load=True,
            )
            model.license = metadata.get("licence", "")
            model.user_defined_metadata.update(metadata)
            model.save(str(Path(folder) / PACKAGE))
        except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
            line = " ".join(str(error).split())[:300]
            raise ExportError(f"coremltools cannot convert the network: {line}; choose another format") from None
        return {
            str(path.relative_to(folder).as_posix()): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }


def differs(package: Path, bundle: Bundle) -> str:
    """What of a written package is not the bundle's network, in words; empty when all layers and weights are."""
    graph, weights = reparam(bundle.card.graph, bundle.weights())
    with _quiet():
        import coremltools

        model = coremltools.models.MLModel(str(package), skip_model_load=True)
        main = model.get_spec().mlProgram.functions["main"]
        stored = coremltools.optimize.coreml.get_weights_metadata(model, weight_threshold=1)
    shapes = {}
    for operation in main.block_specializations[main.opset].operations:
        for output in operation.outputs:
            axes = output.type.tensorType.dimensions
            shapes[output.name] = tuple(axis.constant.size for axis in axes)
    for node in graph.nodes:
        own = _plain_name(_LOGITS if node.name in graph.outputs else node.name)
        name = next((name for name in (own, f"{own}_has_output_shape") if name in shapes), None)
        if name is None:
            if isinstance(node.op, _WEIGHTED):
                return f"the layer {node.name} is missing"
            continue  # joined with another by coremltools
        if shapes[name] != (1, *node.shape):
            return f"{node.name} gives {shapes[name]}, the network's {(1, *node.shape)}"
        weight = weights.get(f"{node.name}.weight")
        if isinstance(node.op, _WEIGHTED) and weight is not None:
            kept = [each.val for key, each in stored.items() if key.startswith((f"{own}_weight", f"{name}_weight"))]
            if not any(np.array_equal(each.reshape(-1), weight.reshape(-1)) for each in kept):
                return f"the weights of {node.name} are not the network's"
    return ""


def _plain_name(name: str) -> str:
    """What coremltools makes of a name: letters, digits and underscores."""
    return "".join(sign if sign.isalnum() else "_" for sign in name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """coremltools draws progress bars on standard error, and warns of packages that it might use."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _program(graph: Graph, weights: Mapping[str, Array], preprocess: Preprocess) -> Any:
    import coremltools
    from coremltools.converters.mil import Builder

    inputs = [Builder.TensorSpec(shape=(1, *graph.input))]

    def build(pixels: Any) -> Any:
        multiplier, offset = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in preprocess.affine())
        scaled = Builder.mul(x=pixels, y=multiplier, name="pixels.scaled")
        values: dict[str, Any] = {INPUT: Builder.add(x=scaled, y=offset, name="pixels.centred")}
        for node in graph.nodes:
            tensors = {p.name[len(node.name) + 1 :]: weights[p.name] for p in graph.parameters_of(node)}
            name = _LOGITS if node.name in graph.outputs else node.name
            values[node.name] = _node(Builder, node, name, [values[i] for i in node.inputs], tensors)
        return values[graph.outputs[0]]

    # The builder takes the names of its inputs from the function's own.
    return Builder.program(input_specs=inputs, opset_version=coremltools.target.iOS16)(build)


def _node(mb: Any, node: Node, name: str, inputs: list[Any], tensors: Mapping[str, Array]) -> Any:  # noqa: PLR0912 (one case per op)
    x, rank = inputs[0], len(node.shape)
    bias = {"bias": tensors["bias"]} if "bias" in tensors else {}
    match node.op:
        case ops.Conv2d() as op:
            y = mb.conv(
                x=x, weight=tensors["weight"], **bias, **_window(op), dilations=list(op.dilation), groups=op.groups,
                name=name,
            )  # fmt: skip
        case ops.ConvTranspose2d() as op:
            y = mb.conv_transpose(x=x, weight=tensors["weight"], **bias, **_window(op), name=name)
        case ops.Linear():
            y = mb.linear(x=x, weight=tensors["weight"], **bias, name=name)
        case ops.BatchNorm() as op:
            y = mb.batch_norm(
                x=x, mean=tensors["running_mean"], variance=tensors["running_var"], gamma=tensors["weight"],
                beta=tensors["bias"], epsilon=op.eps, name=name,
            )  # fmt: skip
        case ops.Activation() as op:
            y = _activation(mb, op, x, name)
        case ops.MaxPool() as op:
            y = mb.max_pool(x=x, kernel_sizes=list(op.kernel), **_window(op), name=name)
        case ops.AvgPool() as op:
            inside = not op.count_padding
            y = mb.avg_pool(
                x=x, kernel_sizes=list(op.kernel), **_window(op), exclude_padding_from_average=inside, name=name
            )
        case ops.GlobalAvgPool():
            y = mb.reduce_mean(x=x, axes=[2, 3], keep_dims=True, name=name)
        case ops.Flatten():
            y = mb.reshape(x=x, shape=[1, *node.shape], name=name)
        case ops.Add():
            first = reduce(lambda a, b: mb.add(x=a, y=b), inputs[:-1])
            y = mb.add(x=first, y=inputs[-1], name=name)
        case ops.Mul():
            y = mb.mul(x=x, y=inputs[1], name=name)
        case ops.Scale() as op:
            y = mb.mul(x=x, y=np.float32(op.factor), name=name)
        case ops.Concat():
            y = mb.concat(values=inputs, axis=1, name=name)
        case ops.Slice() as op:
            rest = rank - 1
            y = mb.slice_by_size(x=x, begin=[0, op.start, *[0] * rest], size=[1, *node.shape], name=name)
        case ops.PadChannels() as op:
            pad = [0, 0, op.before, op.after, *[0, 0] * (rank - 1)]
            y = mb.pad(x=x, pad=pad, mode="constant", constant_val=np.float32(0), name=name)
        case ops.Shuffle() as op:
            y = _shuffle(mb, node, op, x, name)
        case ops.Resize() as op:
            factors = {"scale_factor_height": float(op.scale[0]), "scale_factor_width": float(op.scale[1])}
            if op.mode == "nearest":
                y = mb.upsample_nearest_neighbor(x=x, **factors, name=name)
            else:
                y = mb.upsample_bilinear(x=x, **factors, align_corners=False, name=name)
        case ops.Softmax():
            y = mb.softmax(x=x, axis=1, name=name)
        case op:
            raise TypeError(f"Core ML: no operation for {op.kind}")
    return y


def _window(op: ops.Conv2d | ops.ConvTranspose2d | ops.MaxPool | ops.AvgPool) -> dict[str, Any]:
    top, left, bottom, right = op.padding
    return {"strides": list(op.stride), "pad_type": "custom", "pad": [top, bottom, left, right]}


def _shuffle(mb: Any, node: Node, op: ops.Shuffle, x: Any, name: str) -> Any:
    channels, *rest = node.shape
    table = mb.reshape(x=x, shape=[1, op.groups, channels // op.groups, *rest])
    turned = mb.transpose(x=table, perm=[0, 2, 1, *range(3, 3 + len(rest))])
    return mb.reshape(x=turned, shape=[1, *node.shape], name=name)


def _activation(mb: Any, op: ops.Activation, x: Any, name: str) -> Any:
    simple: dict[str, Callable[[], Any]] = {
        "relu": lambda: mb.relu(x=x, name=name),
        "relu6": lambda: mb.relu6(x=x, name=name),
        "leaky_relu": lambda: mb.leaky_relu(x=x, alpha=op.slope, name=name),
        "silu": lambda: mb.silu(x=x, name=name),
        "sigmoid": lambda: mb.sigmoid(x=x, name=name),
        "tanh": lambda: mb.tanh(x=x, name=name),
        "hard_sigmoid": lambda: mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5, name=name),
        "hard_swish": lambda: mb.mul(x=x, y=mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5), name=name),
        "gelu": lambda: mb.gelu(x=x, mode="EXACT", name=name),
        "mish": lambda: mb.mul(x=x, y=mb.tanh(x=mb.softplus(x=x)), name=name),
    }
    return simple[op.function]()
