"""Card: all that is known of a trained network except its numbers. ``card.json`` in every bundle."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from eyespot.core.pixels import Preprocess
from eyespot.errors import BundleError, EyespotError

if TYPE_CHECKING:
    from eyespot.core.graph import Graph

FORMAT = 2  # raised when an older eyespot could not read a newer card; a card is written in the first that holds it
_LATER: Mapping[str, int] = {"temperature": 2, "threshold": 2}  # fields that came later, written when they are set


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured or published figure: 'top1' 71.878 on 'ImageNet-1K val', and who says so."""

    name: str
    value: float
    data: str
    source: str
    interval: tuple[float, float] | None = None


class _Drawn:
    """A card's graph, read from its JSON when it is first asked for: classifying a picture needs no graph."""

    def __set__(self, card: Card, graph: Graph | Mapping[str, Any]) -> None:
        vars(card)["_graph"] = graph

    def __get__(self, card: Card | None, owner: type[Card]) -> Graph:
        if card is None:
            raise AttributeError("graph")  # so that the field has no default
        from eyespot.core.graph import Graph

        graph: Graph | Mapping[str, Any] = vars(card)["_graph"]
        if not isinstance(graph, Graph):
            try:
                graph = Graph.from_json(graph)
            except EyespotError as error:
                raise BundleError(f"card.json: {error}; import the weights again") from None
            vars(card)["_graph"] = graph
        return graph


@dataclass(frozen=True)
class Card:
    """Name, structure, pixels, labels' header, files, figures, licence.

    name is ``architecture.recipe``; ``arguments`` redraw the same graph with ``arch.draw(architecture, **arguments)``,
    but the graph itself travels too, so that a bundle outlives changes of the drawing. ``files`` maps each other file
    of the bundle to its sha256. Probabilities are softmax(logits / temperature); 1.0 is a network as it was trained.
    threshold is the probability (0–1) below which an answer is not certain; None: nobody chose one.
    """

    name: str
    architecture: str
    arguments: Mapping[str, Any]
    graph: _Drawn = _Drawn()
    preprocess: Preprocess  # type: ignore[misc]
    task: str = "classify"
    precision: str = "float32"
    labels_source: str = ""
    background: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    parent: str | None = None
    licence: str = ""
    source: str = ""
    description: str = ""
    temperature: float = 1.0
    threshold: float | None = None

    def with_files(self, files: Mapping[str, str]) -> Card:
        """The same card for these files."""
        return replace(self, files=dict(files))

    def to_text(self) -> str:
        """The text of ``card.json``."""
        data: dict[str, Any] = {"format": 1}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in _LATER:
                if value == f.default:
                    continue
                data["format"] = max(data["format"], _LATER[f.name])
            if f.name in ("graph", "preprocess"):
                value = value.to_json()
            elif f.name == "metrics":
                value = [_metric_json(m) for m in value]
            elif isinstance(value, Mapping):
                value = dict(value)
            data[f.name] = value
        graph = json.dumps(data.pop("graph"), separators=(",", ":"))
        head = json.dumps(data, indent=2, ensure_ascii=False)
        return f'{head[:-2]},\n  "graph": {graph}\n}}\n'

    @classmethod
    def from_text(cls, text: str) -> Card:
        """The card that ``to_text`` wrote. BundleError, in one line, for anything else."""
        try:
            data = json.loads(text)
            version = data.pop("format")
            if not isinstance(version, int) or version > FORMAT:
                raise BundleError(f"card.json has format {version}, this eyespot reads up to {FORMAT}; upgrade eyespot")
            unknown = data.keys() - {f.name for f in fields(cls)}
            if unknown:
                raise BundleError(f"card.json has unknown fields {', '.join(sorted(unknown))}; upgrade eyespot")
            if not isinstance(data["graph"], dict):
                raise BundleError("card.json holds no graph; import the weights again")
            data["preprocess"] = Preprocess.from_json(data["preprocess"])
            data["metrics"] = tuple(_metric(m) for m in data["metrics"])
            card = cls(**data)
        except BundleError:
            raise
        except EyespotError as error:
            raise BundleError(f"card.json: {error}; import the weights again") from None
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise BundleError(
                f"card.json is not a card: {type(error).__name__}: {str(error)[:200]!r}; import the weights again"
            ) from None
        card._check()
        return card

    def _check(self) -> None:
        strings = (
            self.name, self.architecture, self.task, self.precision, self.licence, self.source, self.description,
            self.labels_source, self.parent or "",
        )  # fmt: skip
        if not all(isinstance(s, str) for s in strings):
            raise BundleError("card.json: name, architecture, task, precision, licence and source must be text")
        if not isinstance(self.files, Mapping) or not isinstance(self.arguments, Mapping):
            raise BundleError("card.json: files and arguments must be objects")
        if not isinstance(self.background, bool):
            raise BundleError("card.json: background must be true or false")
        if "/" in self.architecture or "\\" in self.architecture or ".py" in self.architecture:
            raise BundleError(f"card.json names the architecture {self.architecture!r}; only a person may name a file")
        if not _number(self.temperature) or not self.temperature > 0:
            raise BundleError(f"card.json: temperature is {self.temperature!r}; it must be a number above 0")
        if self.threshold is not None and not (_number(self.threshold) and 0 <= self.threshold <= 1):
            raise BundleError(f"card.json: threshold is {self.threshold!r}; it must be a probability or absent")
        for name, digest in self.files.items():
            if not name or name != name.replace("\\", "/").rsplit("/", 1)[-1] or name.startswith("."):
                raise BundleError(f"card.json names the file {name!r}; a bundle's files lie beside its card")
            if not isinstance(digest, str) or len(digest) != 64:
                raise BundleError(f"card.json: {name} has no sha256")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _metric_json(metric: Metric) -> dict[str, Any]:
    data = {f.name: getattr(metric, f.name) for f in fields(metric)}
    if metric.interval is None:
        del data["interval"]
    return data


def _metric(data: Mapping[str, Any]) -> Metric:
    interval = data.get("interval")
    metric = Metric(**{**data, "interval": tuple(interval) if interval is not None else None})
    texts, numbers = (metric.name, metric.data, metric.source), (metric.value, *(metric.interval or ()))
    if not all(isinstance(text, str) for text in texts) or not all(_number(number) for number in numbers):
        raise ValueError("a metric that is no name, number, data and source")
    if len(numbers) not in (1, 3):
        raise ValueError("an interval that is not two numbers")
    return metric
