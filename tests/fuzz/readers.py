"""What is fuzzed: each reader as a function of bytes, that may raise nothing but our own errors, in one line.

All is imported here: the fuzzer follows the code of modules that are imported before it begins.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from eyespot.core.card import Card
from eyespot.core.cost import cost
from eyespot.core.graph import Graph
from eyespot.core.recipe import Recipe
from eyespot.data.coco import read_instances, read_results
from eyespot.data.source import open_source
from eyespot.errors import EyespotError, GraphError
from eyespot.tasks.detect.figures import detection_figures
from eyespot.weights.darknet_cfg import read_cfg
from eyespot.weights.darknet_weights import read_weights
from eyespot.weights.keras_config import DAMAGED, layer_names, parse
from eyespot.weights.keras_h5_child import read as read_h5
from eyespot.weights.onnx.graph import to_graph
from eyespot.weights.onnx.model import read_onnx
from eyespot.weights.torch_file import read_torch

_FOLDER = Path(tempfile.mkdtemp(prefix="eyespot-fuzz-"))


def _in_file(name: str, data: bytes) -> Path:
    path = _FOLDER / name
    path.write_bytes(data)
    return path


def card(data: bytes) -> None:
    read = Card.from_text(data.decode("utf-8", "replace"))
    cost(read.graph)
    read.preprocess.affine()
    read.to_text()


def graph(data: bytes) -> None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise GraphError("no JSON") from None
    drawn = Graph.from_json(value)
    cost(drawn.inference())
    assert Graph.from_json(drawn.to_json()) == drawn


def torch(data: bytes) -> None:
    read_torch(_in_file("w.pth", data))


def h5(data: bytes) -> None:
    """The child's work, in this process."""
    read_h5(_in_file("w.h5", data))


def keras_config(data: bytes) -> None:
    with contextlib.suppress(*DAMAGED):
        layer_names(parse(data.decode("utf-8", "replace")))


def table(data: bytes) -> None:
    for name in ("a.jpg", "b.jpg"):
        if not (_FOLDER / name).exists():
            _in_file(name, b"\xff\xd8\xff")
    open_source(_in_file("labels.csv", data))


def tar(data: bytes) -> None:
    open_source(_in_file("images.tar", data))


def recipe(data: bytes) -> None:
    read = Recipe.from_toml(data.decode("utf-8", "replace"))
    assert Recipe.from_toml(read.to_toml()) == read


def onnx(data: bytes) -> None:
    cost(to_graph(read_onnx(data)).graph)


def darknet(data: bytes) -> None:
    text, _, weights = data.partition(b"\0")
    read_weights(weights, read_cfg(text.decode("utf-8", "replace")).graph)


def coco(data: bytes) -> None:
    first, _, second = data.partition(b"\0")
    instances = read_instances(_in_file("instances.json", first))
    detection_figures(read_results(_in_file("results.json", second), instances), instances)


READERS: dict[str, Callable[[bytes], None]] = {
    "card": card, "graph": graph, "torch": torch, "h5": h5, "keras_config": keras_config, "csv": table, "tar": tar,
    "recipe": recipe, "onnx": onnx, "darknet": darknet, "coco": coco,
}  # fmt: skip


def one(reader: str, data: bytes) -> None:
    """Runs a reader; whatever it raises that is not ours goes on."""
    said = ""
    try:
        READERS[reader](data)
    except EyespotError as error:
        said = str(error)
    assert len(said.splitlines()) < 2
    assert len(said) < 3000
