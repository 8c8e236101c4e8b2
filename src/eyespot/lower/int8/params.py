"""What quantizing adds to float weights, as a small file: scales, zero points, bias corrections, layers left in float.

The weights themselves are not in it, so that it can be published where they may not: whoever has them gets the same
integers of them, and ``digest`` says whether they are the same.

    params = QuantizationParams.of(prepared, network)
    params.apply(prepared)                        # the network again, bit for bit
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.errors import WeightsError
from eyespot.lower.int8.fit import LARGEST_BIAS, round_weights, weight_scale
from eyespot.lower.int8.plan import Ready
from eyespot.lower.int8.quantized import Grid, Quantized


@dataclass(frozen=True, eq=False)
class QuantizationParams:
    """The parameters of one quantized network.

    grids: scale and zero point by tensor. layers: those that compute in integers, in order of execution. corrections:
    what is added to their biases, in steps of the bias, int32 of all their output channels one after the other.
    digest: sha256 of the network's tensors.
    """

    grids: Mapping[str, Grid]
    layers: tuple[str, ...]
    corrections: NDArray[np.int32]
    digest: str

    @classmethod
    def of(cls, prepared: Ready, network: Quantized) -> QuantizationParams:
        """Of a network that was made of ``prepared`` by rounding its weights to the nearest.

        ``apply`` gives that network, but for channels whose weights are so near zero that the bias alone sets their
        scale: those are not corrected. WeightsError when the weights are not that (fine-tuned, or rounded by answers).
        """
        layers = tuple(network.int8_layers())
        none = np.zeros(_channels(prepared, layers), np.int32)
        plain = _quantize(prepared, network.grids, layers, none)
        parts = []
        for name in layers:
            same = plain.weight_scale(name) == network.weight_scale(name)
            weights = [each.tensors[f"{name}.weight"][same] for each in (plain, network)]
            if not np.array_equal(*weights):
                raise WeightsError(f"the weights of {name} are not rounded to the nearest; they cannot be published so")
            before, after = (each.tensors[f"{name}.bias"].astype(np.int64) for each in (plain, network))
            parts.append(np.where(same, after - before, 0))
        corrections = np.concatenate([none[:0], *parts]).astype(np.int32)
        made = _quantize(prepared, network.grids, layers, corrections)
        return cls(network.grids, layers, corrections, digest_of(made))

    def apply(self, prepared: Ready) -> Quantized:
        """The quantized network of these float weights. WeightsError when they are not those it was made of."""
        if self.corrections.size != _channels(prepared, self.layers):
            raise WeightsError("the quantization parameters belong to another network; quantize it again")
        network = _quantize(prepared, self.grids, self.layers, self.corrections)
        if digest_of(network) != self.digest:
            raise WeightsError(
                "these weights give other integers than the ones that were measured; quantize them again"
            )
        return network

    def to_bytes(self, metadata: Mapping[str, Any]) -> bytes:
        """A safetensors file; ``metadata`` is kept beside the parameters."""
        from safetensors.numpy import save

        facts = {"digest": self.digest, "tensors": list(self.grids), "layers": list(self.layers)}
        tensors: dict[str, NDArray[Any]] = {
            "scale": np.array([grid.scale for grid in self.grids.values()], np.float32),
            "zero_point": np.array([grid.zero for grid in self.grids.values()], np.uint8),
            "corrections": _narrow(self.corrections),
        }
        return save(tensors, {"quantization": json.dumps(facts), **{k: json.dumps(v) for k, v in metadata.items()}})

    @classmethod
    def from_bytes(cls, data: bytes) -> tuple[QuantizationParams, dict[str, Any]]:
        """What ``to_bytes`` wrote: the parameters and their metadata. WeightsError for anything else."""
        from safetensors.numpy import load

        try:
            length = int.from_bytes(data[:8], "little")
            metadata = {k: json.loads(v) for k, v in json.loads(data[8 : 8 + length])["__metadata__"].items()}
            facts, tensors = metadata.pop("quantization"), load(data)
            scales, zeros = tensors["scale"].tolist(), tensors["zero_point"].tolist()
            grids = {n: Grid(s, z) for n, s, z in zip(facts["tensors"], scales, zeros, strict=True)}
            corrections = tensors["corrections"].astype(np.int32)
            return cls(grids, tuple(facts["layers"]), corrections, facts["digest"]), metadata
        except Exception as error:  # safetensors' errors have no common base below Exception
            raise WeightsError(f"the quantization parameters cannot be read: {error}; install eyespot again") from None


def digest_of(network: Quantized) -> str:
    """sha256 of every integer, scale and float that a network computes with."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.to_tensors().items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()


def _quantize(
    prepared: Ready, grids: Mapping[str, Grid], layers: tuple[str, ...], corrections: NDArray[np.int32]
) -> Quantized:
    tensors: dict[str, NDArray[Any]] = dict(prepared.weights)
    at = 0
    for name in layers:
        weight, bias = (prepared.weights[f"{name}.{short}"] for short in ("weight", "bias"))
        step = np.float32(grids[prepared.graph.by_name[name].inputs[0]].scale)
        scale = weight_scale(weight, np.abs(bias) / step)
        rounded = np.rint(bias / (scale * step).astype(np.float64)) + corrections[at : at + len(bias)]
        tensors[f"{name}.weight"], tensors[f"{name}.weight_scale"] = round_weights(weight, scale), scale
        tensors[f"{name}.bias"] = np.clip(rounded, -LARGEST_BIAS, LARGEST_BIAS).astype(np.int32)
        at += len(bias)
    return Quantized(prepared.graph, grids, tensors)


def _channels(prepared: Ready, layers: tuple[str, ...]) -> int:
    return sum(len(prepared.weights.get(f"{name}.bias", ())) for name in layers)


def _narrow(integers: NDArray[np.int32]) -> NDArray[Any]:
    """The same numbers in the narrowest type that holds them."""
    kinds = (np.int8, np.int16, np.int32)
    most = int(np.abs(integers).max(initial=0))
    return integers.astype(next(kind for kind in kinds if most <= np.iinfo(kind).max))
