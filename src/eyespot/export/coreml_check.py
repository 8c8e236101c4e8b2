"""What of a written Core ML package is not the bundle's network, found by reading it, where Core ML does not run.

Core ML runs on Apple's systems only. Here the written package is read again: every layer must be there with its shape,
every weight must be the network's, and in 8 bits every rounding must lie where the network has it, on its grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.store import Bundle
from eyespot.core import ops
from eyespot.core.graph import INPUT, Node
from eyespot.core.pixels import Preprocess
from eyespot.export.coreml import CENTRED, LOGITS, SCALED, channel_axis, float_network, plain_name, quiet, window
from eyespot.lower.int8.quantized import Quantized, as_float32, rectifies

_WINDOWED = (ops.Conv2d, ops.ConvTranspose2d, ops.MaxPool, ops.AvgPool)
_OF_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "variance"}
# What a node's value comes from, in coremltools' words; an activation's own name where it is not among these.
_MADE_BY: dict[type[ops.Op], tuple[str, ...]] = {
    ops.Conv2d: ("conv",),
    ops.ConvTranspose2d: ("conv_transpose",),
    ops.Linear: ("linear",),
    ops.BatchNorm: ("batch_norm",),
    ops.MaxPool: ("max_pool",),
    ops.AvgPool: ("avg_pool",),
    ops.GlobalAvgPool: ("reduce_mean",),
    ops.Flatten: ("reshape",),
    ops.Add: ("add",),
    ops.Mul: ("mul",),
    ops.Scale: ("mul",),
    ops.Concat: ("concat",),
    ops.Slice: ("slice_by_size",),
    ops.PadChannels: ("pad",),
    ops.Shuffle: ("reshape",),
    ops.Resize: ("upsample_nearest_neighbor", "upsample_bilinear"),
    ops.Softmax: ("softmax",),
}
_ACTIVATED_BY = {"hard_sigmoid": "sigmoid_hard", "hard_swish": "mul", "mish": "mul"}
_CONSTANTS = ("const", "constexpr_affine_dequantize", "constexpr_cast")


def differs(package: Path, bundle: Bundle) -> str:
    """What of a written package is not the bundle's network, in words; empty when all that is looked at is."""
    stored = bundle.card.precision != "float32"
    network = bundle.quantized() if stored else float_network(bundle.card.graph, bundle.weights())
    return _Check(package, network).differs(bundle.card.preprocess)


class _Check:
    """A written program, node by node beside the network that it is to be."""

    def __init__(self, package: Path, network: Quantized) -> None:
        with quiet():
            import coremltools
            from coremltools.converters.mil.frontend.milproto.load import load

            model = coremltools.models.MLModel(str(package), skip_model_load=True)
            spec = model.get_spec()
            main = load(spec, spec.specificationVersion, model.weights_dir).functions["main"]
        self._network, self._graph = network, network.graph
        self._output = main.outputs[0]
        self._made = {output.name: operation for operation in main.operations for output in operation.outputs}
        self._own = {CENTRED: plain_name(CENTRED)} | {n.name: self._name_of(n.name) for n in network.graph.nodes}

    def differs(self, preprocess: Preprocess) -> str:
        """The first difference, in words; empty when there is none."""
        scaled, centred = (self._made.get(plain_name(name)) for name in (SCALED, CENTRED))
        for operation, values in zip((scaled, centred), preprocess.affine(), strict=True):
            if operation is None or not _same(operation.y.val, np.array(values, np.float32).reshape(1, 3, 1, 1)):
                return "the pixels are not normalised as the network's"
        for node in self._graph.nodes:
            why = self._node_differs(node)
            if why:
                return why
        last = self._graph.outputs[0]
        if self._output.name != LOGITS:
            return f"the program gives {self._output.name}, not {LOGITS}"
        return self._reading_differs(LOGITS, [last], [self._output])

    def _name_of(self, name: str) -> str:
        """What the operation that computes a node is called."""
        last = name in self._graph.outputs and name not in self._network.grids
        own = plain_name(LOGITS if last else name)
        shaped = f"{own}_has_output_shape"  # coremltools' name for a transposed convolution
        return shaped if shaped in self._made else own

    def _origin(self, name: str) -> str:
        """The name of the value that is rounded to the grid of ``name``: what a rectifier reads, where that is all."""
        if name == INPUT:
            return self._own[CENTRED]
        node, grids = self._graph.by_name[name], self._network.grids
        absorbed = rectifies(node.op, grids[name]) and node.inputs[0] not in grids
        return self._own[node.inputs[0] if absorbed else name]

    def _node_differs(self, node: Node) -> str:
        name, grids = node.name, self._network.grids
        if name in grids and self._origin(name) != self._own[name]:
            return ""  # its readers are asked for the rounding
        operation = self._made.get(self._own[name])
        if operation is None:
            return f"the layer {name} is missing"
        made = _MADE_BY.get(type(node.op), ())
        if isinstance(node.op, ops.Activation):
            made = (_ACTIVATED_BY.get(node.op.function, node.op.function),)
        if operation.op_type not in made:
            return f"{name} is made by {operation.op_type}, not by {' or '.join(made)}"
        shape = tuple(operation.outputs[0].shape)
        if shape != (1, *node.shape):
            return f"{name} gives {shape}, the network's {(1, *node.shape)}"
        if isinstance(node.op, _WINDOWED):
            wanted = window(node.op)
            if isinstance(node.op, ops.Conv2d):
                wanted["dilations"] = list(node.op.dilation)
            for key, value in wanted.items():
                if np.asarray(operation.inputs[key].val).tolist() != value:
                    return f"the {key} of {name} are {operation.inputs[key].val}, the network's {value}"
        why = self._reading_differs(name, node.inputs, list(self._leaves(operation)))
        return why or self._weights_differ(node, operation)

    def _weights_differ(self, node: Node, operation: Any) -> str:
        for parameter in self._graph.parameters_of(node):
            short = parameter.name[len(node.name) + 1 :]
            value = operation.inputs.get(_OF_NORM[short] if isinstance(node.op, ops.BatchNorm) else short)
            if value is None or not self._stored(value, node, self._network.tensors[parameter.name]):
                words = {"weight": "weights", "bias": "biases"}
                return f"the {words.get(short, short)} of {node.name} are not the network's"
        return ""

    def _stored(self, value: Any, node: Node, tensor: NDArray[Any]) -> bool:
        """Whether a constant is the network's tensor, in the type and with the scales that it has there."""
        made = value.op
        if tensor.dtype == np.int8:
            return (
                made.op_type == "constexpr_affine_dequantize"
                and _same(made.quantized_data.val, tensor)
                and _same(made.scale.val, self._network.weight_scale(node.name))
                and not made.zero_point.val.any()
                and made.axis.val == channel_axis(node.op)
            )
        if tensor.dtype == np.float16:
            return made.op_type == "constexpr_cast" and _same(made.source_val.val, tensor)
        step = self._network.bias_scale(node.name) if tensor.dtype == np.int32 else np.float32(1)
        return made.op_type == "const" and _same(value.val, as_float32(tensor) * step)

    def _leaves(self, operation: Any) -> Iterator[Any]:
        """What an operation reads of other nodes, through those that belong to its own: a gate's parts, a shuffle's."""
        for given in operation.inputs.values():
            for value in given if isinstance(given, (list, tuple)) else [given]:
                made = value.op
                if made is None or made.op_type in ("quantize", "dequantize") or value.name in self._own.values():
                    yield value
                elif made.op_type not in _CONSTANTS:
                    yield from self._leaves(made)

    def _reading_differs(self, reader: str, names: Sequence[str], values: list[Any]) -> str:
        """What of the values that ``reader`` reads is not what the network reads there."""
        wanted = list(dict.fromkeys(names))
        found = list({value.name: value for value in values}.values())
        if len(found) != len(wanted):
            return f"{reader} reads {len(found)} values, the network's {len(wanted)}"
        for name, value in zip(wanted, found, strict=True):
            if name in self._network.grids:
                why = self._rounding_differs(name, value)
                if why:
                    return why
            elif value.name != self._own.get(name, self._own[CENTRED]):
                return f"{reader} reads {value.name}, not {name}"
        return ""

    def _rounding_differs(self, name: str, value: Any) -> str:
        """What of the rounding to the grid of ``name``, whose readers see ``value``, is not the network's."""
        grid, back = self._network.grids[name], value.op
        to = back.input.op if back is not None and back.op_type == "dequantize" else None
        if to is None or to.op_type != "quantize" or to.output_dtype.val != "uint8":
            return f"{name} is not rounded to levels of uint8"
        for each in (to, back):
            scale, zero = each.scale.val, None if each.zero_point is None else each.zero_point.val
            if not (_same(scale, np.float32(grid.scale)) and zero is not None and _same(zero, np.uint8(grid.zero))):
                return (
                    f"{name} is rounded with scale {scale} and zero {zero}, the network's {grid.scale} and {grid.zero}"
                )
        if to.input.name != self._origin(name):
            return f"what is rounded as {name} is {to.input.name}, not {self._origin(name)}"
        return ""


def _same(found: Any, wanted: Any) -> bool:
    """Whether two arrays are equal, in type and shape too."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    return found.dtype == wanted.dtype and np.array_equal(found, wanted)
