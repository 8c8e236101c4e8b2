"""The LiteRT (TFLite) file as a flatbuffer: tensors, operators, one subgraph. Knows the format, nothing of networks.

Schema 3; its Python classes come with ai-edge-litert, so there is one description of the format, the runtime's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.errors import MissingExtra
from eyespot.lower.int8.quantized import Grid

Option = int | float | bool | Sequence[int]
_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # of tensors, as the schema's force_align asks; kernels read them where they lie
_SHIFT = 128  # our grids count levels from 0, LiteRT's int8 from -128


class Tensor(NamedTuple):
    """A tensor of the file: its place in the list, shape with the batch axis, type, and grid where it is int8."""

    place: int
    shape: tuple[int, ...]
    dtype: str
    grid: Grid | None = None


class _Kind(NamedTuple):
    """options: the table of its options. versions: of the operator on float32 and on int8 (op_version.cc)."""

    options: str = ""
    versions: tuple[int, int] = (1, 1)


_KINDS: Mapping[str, _Kind] = {
    "ADD": _Kind("AddOptions", (1, 2)),
    "AVERAGE_POOL_2D": _Kind("Pool2DOptions", (1, 2)),
    "CONCATENATION": _Kind("ConcatenationOptions", (1, 2)),
    "CONV_2D": _Kind("Conv2DOptions", (1, 3)),
    "DEPTHWISE_CONV_2D": _Kind("DepthwiseConv2DOptions", (1, 3)),
    "DEQUANTIZE": _Kind("DequantizeOptions", (1, 2)),
    "DIV": _Kind("DivOptions"),
    "EXP": _Kind("ExpOptions"),
    "FULLY_CONNECTED": _Kind("FullyConnectedOptions", (1, 4)),
    "GATHER": _Kind("GatherOptions", (1, 2)),
    "GELU": _Kind("GeluOptions", (1, 2)),
    "HARD_SWISH": _Kind("HardSwishOptions"),
    "LEAKY_RELU": _Kind("LeakyReluOptions"),
    "LOGISTIC": _Kind("", (1, 2)),
    "MAX_POOL_2D": _Kind("Pool2DOptions", (1, 2)),
    "MEAN": _Kind("ReducerOptions", (1, 2)),
    "MINIMUM": _Kind("MaximumMinimumOptions", (1, 2)),
    "MUL": _Kind("MulOptions", (1, 3)),
    "PAD": _Kind("PadOptions", (1, 2)),
    "PADV2": _Kind("PadV2Options", (1, 2)),
    "QUANTIZE": _Kind("QuantizeOptions"),
    "RELU": _Kind("", (1, 2)),
    "RELU6": _Kind("", (1, 2)),
    "RESHAPE": _Kind("ReshapeOptions"),
    "RESIZE_BILINEAR": _Kind("ResizeBilinearOptions", (3, 3)),
    "RESIZE_NEAREST_NEIGHBOR": _Kind("ResizeNearestNeighborOptions", (1, 2)),
    "SLICE": _Kind("SliceOptions", (1, 2)),
    "SOFTMAX": _Kind("SoftmaxOptions", (1, 2)),
    "SUB": _Kind("SubOptions", (1, 2)),
    "TANH": _Kind("", (1, 2)),
    "TRANSPOSE": _Kind("TransposeOptions", (1, 2)),
    "TRANSPOSE_CONV": _Kind("TransposeConvOptions", (3, 3)),
}


def schema() -> Any:
    """The generated classes of the format. MissingExtra where ai-edge-litert is not installed."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError:
        raise MissingExtra("writing LiteRT's files", "litert") from None
    return schema_py_generated


class LitertFile:
    """A model being written. Operators must be added in order of execution."""

    def __init__(self, name: str) -> None:
        self._schema = schema()
        self._name = name
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[str, int], int] = {}
        self._buffers: list[_Buffer] = [_Buffer(b"")]  # the first is the empty one, of whatever is computed
        self._constants: dict[tuple[str, tuple[float, ...]], Tensor] = {}

    def value(self, name: str, shape: Sequence[int], dtype: str = "float32", grid: Grid | None = None) -> Tensor:
        """A tensor that is computed, or the input. ``grid`` is that of an int8 or uint8 one."""
        quantization = None
        if grid is not None:
            zero = grid.zero - (_SHIFT if dtype == "int8" else 0)
            quantization = self._quantization([grid.scale], [zero], 0)
        return self._tensor(name, tuple(shape), dtype, 0, quantization, grid)

    def constant(
        self,
        name: str,
        array: NDArray[Any],
        *,
        scales: NDArray[np.float32] | None = None,
        axis: int = 0,
        grid: Grid | None = None,
    ) -> Tensor:
        """A stored tensor. scales: of its integers, per slice of ``axis``, symmetric. grid: of uint8 levels."""
        quantization = None
        if grid is not None:
            array = (array.astype(np.int16) - _SHIFT).astype(np.int8)
            quantization = self._quantization([grid.scale], [grid.zero - _SHIFT], 0)
        elif scales is not None:
            quantization = self._quantization(scales, [0] * len(scales), axis)
        array = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
        self._buffers.append(_Buffer(array.reshape(-1).view(np.uint8).data))
        return self._tensor(name, array.shape, array.dtype.name, len(self._buffers) - 1, quantization, grid)

    def integers(self, *values: int) -> Tensor:
        """A constant vector of int32, written once."""
        return self._once("int32", values)

    def floats(self, *values: float) -> Tensor:
        """A constant vector of float32, written once."""
        return self._once("float32", values)

    def op(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        output: Tensor,
        options: Mapping[str, Option] | None = None,
        *,
        version: int | None = None,
    ) -> Tensor:
        """One operator; returns its output. version: where it is another than its type of numbers asks for."""
        row = _KINDS[kind]
        version = version or row.versions[inputs[0].dtype == "int8"]
        made = self._schema.OperatorT(
            opcodeIndex=self._codes.setdefault((kind, version), len(self._codes)),
            inputs=[tensor.place for tensor in inputs],
            outputs=[output.place],
        )
        if row.options:
            made.builtinOptionsType = getattr(self._schema.BuiltinOptions, row.options)
            made.builtinOptions = getattr(self._schema, f"{row.options}T")()
            for key, value in (options or {}).items():
                if not hasattr(made.builtinOptions, key):
                    raise TypeError(f"LiteRT's {row.options} have no {key}")
                setattr(made.builtinOptions, key, value)
        self._operators.append(made)
        return output

    def enum(self, table: str, name: str) -> int:
        """A number of the schema: ``enum("Padding", "SAME")``."""
        number: int = getattr(getattr(self._schema, table), name)
        return number

    def to_bytes(
        self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], metadata: Mapping[str, bytes]
    ) -> bytes:
        """The file; here the tensors are copied. metadata: buffers by their names."""
        from flatbuffers import Builder

        s = self._schema
        entries = []
        for name, data in metadata.items():
            self._buffers.append(_Buffer(data))
            entries.append(s.MetadataT(name=name, buffer=len(self._buffers) - 1))
        codes = []
        for kind, version in self._codes:
            number = getattr(s.BuiltinOperator, kind)
            codes.append(s.OperatorCodeT(deprecatedBuiltinCode=min(number, 127), builtinCode=number, version=version))
        subgraph = s.SubGraphT(
            tensors=self._tensors,
            inputs=[tensor.place for tensor in inputs.values()],
            outputs=[tensor.place for tensor in outputs.values()],
            operators=self._operators,
            name=self._name,
        )
        signature = s.SignatureDefT(
            inputs=[s.TensorMapT(name=name, tensorIndex=tensor.place) for name, tensor in inputs.items()],
            outputs=[s.TensorMapT(name=name, tensorIndex=tensor.place) for name, tensor in outputs.items()],
            signatureKey="serving_default",
        )
        model = s.ModelT(
            version=3,
            operatorCodes=codes,
            subgraphs=[subgraph],
            description=self._name,
            buffers=self._buffers,
            metadata=entries,
            signatureDefs=[signature],
        )
        builder = Builder(sum(len(buffer.data) + 2 * _ALIGNMENT for buffer in self._buffers) + (1 << 16))
        builder.Finish(model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())

    def _once(self, dtype: str, values: tuple[float, ...]) -> Tensor:
        key = dtype, values
        if key not in self._constants:
            name = f"{dtype}:{','.join(map(str, values))}"
            self._constants[key] = self.constant(name, np.array(values, dtype))
        return self._constants[key]

    def _tensor(
        self, name: str, shape: tuple[int, ...], dtype: str, buffer: int, quantization: Any, grid: Grid | None
    ) -> Tensor:
        number = getattr(self._schema.TensorType, dtype.upper())
        made = self._schema.TensorT(
            shape=list(shape), type=number, buffer=buffer, name=name, quantization=quantization, hasRank=True
        )
        self._tensors.append(made)
        return Tensor(len(self._tensors) - 1, shape, dtype, grid)

    def _quantization(self, scales: Sequence[float] | NDArray[np.float32], zeros: Sequence[int], axis: int) -> Any:
        return self._schema.QuantizationParametersT(
            scale=np.asarray(scales, np.float32), zeroPoint=np.asarray(zeros, np.int64), quantizedDimension=axis
        )


def with_outputs(model: bytes, names: Sequence[str]) -> bytes:
    """The same model that also gives those of its tensors that are called ``names``; for looking inside."""
    from flatbuffers import Builder

    table = schema()
    read = table.ModelT.InitFromObj(table.Model.GetRootAs(model, 0))
    read.buffers = [_Buffer(b"" if buffer.data is None else memoryview(buffer.data)) for buffer in read.buffers]
    graph, wanted = read.subgraphs[0], set(names)
    made = {index for operator in graph.operators for index in operator.outputs}
    found = [i for i in made if graph.tensors[i].name.decode() in wanted and i not in graph.outputs]
    graph.outputs = [*graph.outputs, *sorted(found)]
    builder = Builder(len(model) + (1 << 16))
    builder.Finish(read.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


class _Buffer:
    """Bytes that are written aligned, which the generated class does not do."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = data

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the name that the generated classes call
        """Writes the bytes and their table; returns its place."""
        table = schema()
        size = len(self.data)
        vector = None
        if size:
            builder.StartVector(1, size, _ALIGNMENT)
            builder.head -= size
            builder.Bytes[builder.head : builder.head + size] = self.data
            vector = builder.EndVector()
        table.BufferStart(builder)
        if vector is not None:
            table.BufferAddData(builder, vector)
        place: int = table.BufferEnd(builder)
        return place
