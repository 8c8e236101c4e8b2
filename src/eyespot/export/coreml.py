"""Quantized, or a float network → Core ML: an ML program of coremltools' builder, as a .mlpackage.

In 8 bits its weights are integers behind ``constexpr_affine_dequantize``, and values are rounded by ``quantize`` and
``dequantize``. Core ML says of an operation on integers ``dequantize → operation → quantize`` and may join the three;
so what ``lower/int8/to_onnx.py`` lets work on levels as they are stands between the two here. Both came with iOS 17 and
macOS 14, which run on every iPhone since 2018. iOS 18 only added scales for blocks of a weight; ours are per channel.
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

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.core.pixels import Preprocess
from eyespot.errors import ExportError
from eyespot.lower.int8.quantized import Quantized, as_float32, rectifies
from eyespot.lower.reparam import reparam
from eyespot.lower.tensors import Weights

PACKAGE = "model.mlpackage"
PIXELS, LOGITS = "pixels", "logits"
SCALED, CENTRED = "pixels.scaled", "pixels.centred"
# What a program must go through, and nothing that changes a number: of coremltools' usual passes, one makes the
# normalisation of pixels a batch norm with an epsilon of 1e-5, and one gives sums in 8 bits scales of its own.
_PASSES = (
    "common::update_output_dtypes", "common::sanitize_input_output_names", "common::add_conv_transpose_output_shape",
    "common::dedup_op_and_var_names", "common::dead_code_elimination",
)  # fmt: skip


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
    return quantized_to_coreml(float_network(graph, weights), preprocess=preprocess, metadata=metadata)


def quantized_to_coreml(
    network: Quantized,
    *,
    preprocess: Preprocess,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, bytes]:
    """As ``to_coreml``, on the network's own grids and with its integers, float32 between them; from iOS 17 and macOS
    14 on, or 16 and 13 when only weights are stored in fewer bits.

    bfloat16, which Core ML has not, becomes float32. ExportError when coremltools refuses the network.
    """
    with quiet(), tempfile.TemporaryDirectory() as folder:
        try:
            import coremltools

            oldest = coremltools.target.iOS17 if network.grids else coremltools.target.iOS16
            layout = coremltools.colorlayout.BGR if preprocess.channels == "bgr" else coremltools.colorlayout.RGB
            image = coremltools.ImageType(name=PIXELS, shape=(1, *network.graph.input), color_layout=layout)
            model = coremltools.convert(
                _program(network, preprocess, oldest),
                convert_to="mlprogram",
                inputs=[image],
                compute_precision=coremltools.precision.FLOAT32,
                minimum_deployment_target=oldest,
                skip_model_load=True,
                pass_pipeline=coremltools.PassPipeline(list(_PASSES), "eyespot"),
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


def float_network(graph: Graph, weights: Weights) -> Quantized:
    """What is written of a float network: folded, with parallel branches made one, and nothing rounded."""
    graph, folded = reparam(graph, weights)
    return Quantized(graph, {}, folded)


def plain_name(name: str) -> str:
    """What coremltools makes of a name: letters, digits and underscores."""
    return "".join(sign if sign.isalnum() else "_" for sign in name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """coremltools draws progress bars on standard error, and warns of packages that it might use."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def channel_axis(op: ops.Op) -> int:
    """The axis of a weight's output channels."""
    return 1 if isinstance(op, ops.ConvTranspose2d) else 0


def _program(network: Quantized, preprocess: Preprocess, oldest: Any) -> Any:
    from coremltools.converters.mil import Builder

    def build(pixels: Any) -> Any:
        multiplier, offset = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in preprocess.affine())
        scaled = Builder.mul(x=pixels, y=multiplier, name=SCALED)
        writer = _Writer(Builder, network, Builder.add(x=scaled, y=offset, name=CENTRED))
        for node in network.graph.nodes:
            writer.node(node)
        return writer.values[network.graph.outputs[0]]

    # The builder takes the names of its inputs from the function's own.
    inputs = [Builder.TensorSpec(shape=(1, *network.graph.input))]
    return Builder.program(input_specs=inputs, opset_version=oldest)(build)


class _Writer:
    """Writes node by node. values: what readers of a name see, float32, rounded where the name has a grid."""

    def __init__(self, mb: Any, network: Quantized, centred: Any) -> None:
        self._mb = mb
        self._network = network
        self.values = {INPUT: self._rounded(INPUT, centred)}

    def node(self, node: Node) -> None:
        name, grids = node.name, self._network.grids
        inputs = [self.values[i] for i in node.inputs]
        if name in grids and rectifies(node.op, grids[name]) and node.inputs[0] not in grids:
            made = inputs[0]  # rounding to the grid is all that is left to do
        else:
            last = name in self._network.graph.outputs and name not in grids
            made = _node(self._mb, node, LOGITS if last else name, inputs, self._tensors(node))
        self.values[name] = self._rounded(name, made)

    def _rounded(self, name: str, value: Any) -> Any:
        grid = self._network.grids.get(name)
        if grid is None:
            return value
        scale, zero = np.float32(grid.scale), np.uint8(grid.zero)
        levels = self._mb.quantize(input=value, scale=scale, zero_point=zero, output_dtype="uint8", name=f"{name}.q")
        last = name in self._network.graph.outputs
        return self._mb.dequantize(input=levels, scale=scale, zero_point=zero, name=LOGITS if last else f"{name}.dq")

    def _tensors(self, node: Node) -> dict[str, Any]:
        """The node's parameters by their short names, as constants in the types that they are stored in."""
        network, tensors = self._network, {}
        for parameter in network.graph.parameters_of(node):
            tensor, short = network.tensors[parameter.name], parameter.name[len(node.name) + 1 :]
            if tensor.dtype == np.int8:
                scale = network.weight_scale(node.name)
                tensors[short] = self._mb.constexpr_affine_dequantize(
                    quantized_data=tensor,
                    scale=scale,
                    zero_point=np.zeros(len(scale), np.int8),
                    axis=np.int32(channel_axis(node.op)),
                    name=f"{node.name}.{short}",
                )
            elif tensor.dtype == np.float16:
                tensors[short] = self._mb.constexpr_cast(
                    source_val=tensor, output_dtype="fp32", name=f"{node.name}.{short}"
                )
            else:
                # Core ML knows no biases in int32: these are what they stand for.
                step = network.bias_scale(node.name) if tensor.dtype == np.int32 else np.float32(1)
                tensors[short] = as_float32(tensor) * step
        return tensors


def _node(mb: Any, node: Node, name: str, inputs: list[Any], tensors: Mapping[str, Any]) -> Any:  # noqa: PLR0912 (one case per op)
    x, rank = inputs[0], len(node.shape)
    bias = {"bias": tensors["bias"]} if "bias" in tensors else {}
    match node.op:
        case ops.Conv2d() as op:
            y = mb.conv(
                x=x, weight=tensors["weight"], **bias, **window(op), dilations=list(op.dilation), groups=op.groups,
                name=name,
            )  # fmt: skip
        case ops.ConvTranspose2d() as op:
            y = mb.conv_transpose(x=x, weight=tensors["weight"], **bias, **window(op), name=name)
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
            y = mb.max_pool(x=x, kernel_sizes=list(op.kernel), **window(op), name=name)
        case ops.AvgPool() as op:
            inside = not op.count_padding
            y = mb.avg_pool(
                x=x, kernel_sizes=list(op.kernel), **window(op), exclude_padding_from_average=inside, name=name
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


def window(op: ops.Conv2d | ops.ConvTranspose2d | ops.MaxPool | ops.AvgPool) -> dict[str, Any]:
    """Where a layer's window lies, in the builder's words."""
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
