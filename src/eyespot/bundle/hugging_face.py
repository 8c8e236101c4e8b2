"""Reads a Hugging Face model directory: which file holds the weights, and all that its JSON says of them.

Two kinds: transformers' (``config.json`` with ``model_type``, ``preprocessor_config.json``) and timm's (``config.json``
with ``architecture`` and ``pretrained_cfg``, also inside transformers' wrapper).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eyespot.bundle.hub_networks import labels_of, read_network, read_timm
from eyespot.bundle.hub_pixels import read_pretrained_cfg, read_processor
from eyespot.bundle.json_fields import Fields, read_object
from eyespot.core.labels import Labels
from eyespot.core.pixels import Preprocess
from eyespot.errors import UsageError, WeightsError

CONFIG = "config.json"
PROCESSOR = "preprocessor_config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, slots=True)
class Directory:
    """The file of weights, and what the directory says of it; arguments hold the size. labels: None if unnamed."""

    weights: Path
    architecture: str
    scheme: str
    arguments: Mapping[str, Any]
    preprocess: Preprocess
    labels: Labels | None
    licence: str = ""


def read_directory(path: Path) -> Directory:
    """What the directory is. UsageError when it is no such directory; WeightsError for what cannot be reproduced."""
    if not (path / CONFIG).is_file():
        raise UsageError(f"{path} holds no {CONFIG}; pass a weights file, or a Hugging Face model's directory")
    fields = Fields(read_object(path / CONFIG), f"{path.name}/{CONFIG}")
    names, licence = labels_of(fields), ""
    if fields.peek("model_type") in (None, "timm_wrapper"):
        # timm takes its transform from these few fields of many; the others change nothing.
        if not isinstance(fields.peek("pretrained_cfg"), dict):
            raise WeightsError(
                f"{fields.where} has no pretrained_cfg, which says how pixels are prepared; "
                f"import {_WEIGHTS[0]} by itself with --arch and --pixels"
            )
        about = Fields(fields.mapping("pretrained_cfg"), f"{path.name}/{CONFIG}: pretrained_cfg")
        preprocess, licence = read_pretrained_cfg(about), about.text("license")
        network = read_timm(fields)
    else:
        if not (path / PROCESSOR).is_file():
            raise WeightsError(
                f"{path.name} has no {PROCESSOR}, which says how pixels are prepared; fetch it too, "
                f"or import {_WEIGHTS[0]} by itself with --pixels"
            )
        preprocess = read_processor(Fields(read_object(path / PROCESSOR), f"{path.name}/{PROCESSOR}"))
        network = read_network(fields, preprocess.size)
    fields.done()
    arguments: dict[str, Any] = {**network.arguments, "size": list(preprocess.size)}
    labels = None
    if names:
        background = len(names) == 1001 and names[0].casefold() == "background"
        arguments["classes"] = len(names)
        labels = Labels(names[1:] if background else names, (), f"{path.name}/{CONFIG}", background)
    return Directory(_weights(path), network.architecture, network.scheme, arguments, preprocess, labels, licence)


def _weights(path: Path) -> Path:
    for name in _WEIGHTS:
        if (path / name).is_file():
            return path / name
        if (index := path / f"{name}.index.json").is_file():
            if name.endswith(".safetensors"):
                return index
            raise WeightsError(f"{path.name} holds its weights in several files; save them in one, as {_WEIGHTS[0]}")
    raise WeightsError(f"{path.name} holds no {' or '.join(_WEIGHTS)}; fetch the weights too")
