"""Recipe: everything that a training run depends on besides its data, as a value that TOML holds.

    recipe = Recipe.from_toml(text)              # keys that nobody knows are refused, with the nearest that exist
    recipe = recipe.with_settings(["optimizer.lr=0.01", "augment.policy=rand"])
    text = recipe.to_toml()                      # every value, so that a run can be read without this code

0 (or "" for text, "auto" for a choice) means: chosen when the run starts, from the data and by measurement; the
resolved recipe of a run holds what was chosen.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

from eyespot.errors import UsageError

Kind = Literal["probe", "finetune", "scratch", "distill"]
Policy = Literal["none", "trivial", "rand"]
Auto = Literal["auto", "on", "off"]

T = TypeVar("T")


def _number(default: T, low: float, high: float = math.inf) -> T:
    """A field whose value (or each of whose values) lies from ``low`` to ``high``."""
    value: T = field(default=default, metadata={"range": (low, high)})
    return value


@dataclass(frozen=True, slots=True)
class Augment:
    """How a training picture is varied. All of it is off in ``Augment(area=(1, 1), aspect=(1, 1), flip=0)``.

    area: of a random crop, as shares of the picture. aspect: of that crop, width over height relative to the
    network's input. flip: probability of a mirror image. policy: 'trivial' is TrivialAugment (2103.10158), one
    operation of random strength; 'rand' is RandAugment (1909.13719), two of them at ``magnitude`` of 10. erase:
    probability of a random rectangle erased (1708.04896). mixup, cutmix: the α of the Beta distribution that mixes
    two pictures (1710.09412, 1905.04899), 0 for none; where both are given, each batch takes one of them.
    """

    area: tuple[float, float] = _number((0.35, 1.0), 0.01, 1.0)
    aspect: tuple[float, float] = _number((3 / 4, 4 / 3), 0.1, 10.0)
    flip: float = _number(0.5, 0, 1)
    policy: Policy = "none"
    magnitude: float = _number(9.0, 0, 10)
    erase: float = _number(0.0, 0, 1)
    mixup: float = _number(0.0, 0, 10)
    cutmix: float = _number(0.0, 0, 10)


@dataclass(frozen=True, slots=True)
class Optimizer:
    """Who moves the weights. lr: the peak rate of the last layers; stages before them get ``stage_decay`` times the
    rate of the stage after, down to the stem. decay: weight decay of convolutions and linear layers (never of biases
    and batch norm). clip: the largest norm of the gradient, 0 for no limit. Momentum goes with 'sgd', betas with
    'adamw'.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = _number(1e-3, 0)
    decay: float = _number(0.02, 0, 10)
    momentum: float = _number(0.9, 0, 0.9999)
    betas: tuple[float, float] = _number((0.9, 0.999), 0, 0.999999)
    stage_decay: float = _number(1.0, 0, 1)
    clip: float = _number(0.0, 0)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The rate over the run: a linear rise over ``warmup`` of all steps, then ``shape`` down to ``end`` of the peak."""

    shape: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = _number(0.1, 0, 0.9)
    end: float = _number(0.01, 0, 1)


@dataclass(frozen=True, slots=True)
class Loss:
    """Cross-entropy. smoothing: the share of a target spread over all classes. balance: whether rare classes count more
    in the 'loss', are drawn more often by 'sampling', or neither."""

    smoothing: float = _number(0.0, 0, 0.9)
    balance: Literal["none", "loss", "sampling"] = "none"


@dataclass(frozen=True, slots=True)
class Regularisation:
    """What else keeps a network from learning its pictures by heart.

    dropout: before the classifier; drop_path: of the last residual branch, rising linearly from 0 (1603.09382); -1
    leaves what the architecture draws. ema_span: of the exponential moving average of the weights, as a share of the
    run's steps, so that short runs average over few steps and long ones over many; 0 for none. blend: at the end of a
    finetune, points on the line from its first weights (0) to its last ones (1) that are validated too (WiSE-FT,
    2109.01903).
    """

    dropout: float = _number(-1.0, -1, 0.95)
    drop_path: float = _number(-1.0, -1, 0.95)
    ema_span: float = _number(0.0, 0, 1)
    blend: tuple[float, ...] = _number((), 0, 1)


@dataclass(frozen=True, slots=True)
class Norm:
    """Batch norm. momentum: of the running statistics (the share of the new batch). frozen: the statistics of the
    start stay, as small batches want. restore: networks whose batch norm was folded away get it back."""

    momentum: float = _number(0.1, 0.0001, 1)
    frozen: bool = False
    restore: bool = True


@dataclass(frozen=True, slots=True)
class Probe:
    """The linear classifier on features computed once. decays: weight decays of which validation chooses, or, where
    that part has fewer than 100 images, stratified folds of the training images; folds: how many, 0 for never. steps:
    the most L-BFGS steps for each fit. passes: over augmented training images before a finetune's first step, in which
    batch norm's statistics are measured as training will see them, and a classifier is fitted to what comes of it; 0: a
    finetune starts from the probe's. start_decay: the weight decay of that one; a large one keeps its answers soft, so
    that the network has something to learn from."""

    decays: tuple[float, ...] = _number((1e-4, 1e-3, 1e-2, 1e-1, 1.0), 0, 100)
    folds: int = _number(5, 0, 100)
    steps: int = _number(100, 1, 100_000)
    passes: float = _number(0.0, 0, 100)
    start_decay: float = _number(10.0, 0, 1000)


@dataclass(frozen=True, slots=True)
class Distill:
    """A teacher's soft labels. share: of the loss that is theirs; temperature: that softens both (1503.02531)."""

    share: float = _number(0.5, 0, 1)
    temperature: float = _number(2.0, 0.1, 100)


@dataclass(frozen=True, slots=True)
class Speed:
    """How the arithmetic runs. 'auto' is measured when the run starts. checkpoint: seconds between checkpoints."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: Auto = "auto"
    compile: Auto = "auto"
    checkpoint: float = _number(30.0, 0)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training run but for its data.

    model: what to start from: a bundle's name or directory, an architecture, or FILE.py:FUNCTION; "" is the default
    model. teacher: a bundle's name or directory, for 'distill'. size: the side of the network's square input in pixels;
    0: chosen. epochs, batch: 0: chosen. patience: epochs without a better validation loss after which the run ends; 0:
    it goes to its last epoch, even where a finetune's training loss has left that of its first classifier. validation:
    share of the pictures that choose and measure; group: a CSV's column or a regular expression over names, whose
    pictures stay on one side.
    """

    kind: Kind = "finetune"
    model: str = ""
    teacher: str = ""
    seed: int = _number(0, 0, 2**31 - 1)
    size: int = _number(0, 0, 4096)
    epochs: int = _number(0, 0, 1_000_000)
    batch: int = _number(0, 0, 65536)
    patience: int = _number(0, 0, 1_000_000)
    validation: float = _number(0.2, 0.001, 0.9)
    group: str = ""
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loss: Loss = Loss()
    regularisation: Regularisation = Regularisation()
    norm: Norm = Norm()
    augment: Augment = Augment()
    probe: Probe = Probe()
    distill: Distill = Distill()
    speed: Speed = Speed()

    def __post_init__(self) -> None:
        _check(self, "")

    @classmethod
    def from_toml(cls, text: str, *, source: str = "recipe") -> Self:
        """The recipe of a TOML file; what it leaves out is the default. UsageError, in one line, for anything else."""
        try:
            data = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise UsageError(f"{source} is not TOML: {reason}") from None
        return _build(cls, data, source, "")

    def with_settings(self, settings: Iterable[str]) -> Self:
        """The recipe with ``section.key=value`` texts laid over it; a value is TOML, or text. UsageError otherwise."""
        data = dataclasses.asdict(self)
        for setting in settings:
            path, equals, text = setting.partition("=")
            if not equals or not path:
                raise UsageError(f"--set {setting} is not KEY=VALUE; write it like --set optimizer.lr=0.01")
            *sections, key = path.strip().split(".")
            inside: Any = data
            cls: type = type(self)
            for section in sections:
                cls = _section(cls, section, path, "--set")
                inside = inside[section]
            _known(cls, key, path.strip(), "--set")
            if is_dataclass(inside.get(key)) or isinstance(inside.get(key), dict):
                raise UsageError(f"--set {setting}: {path} is a section; set one of {', '.join(inside[key])} in it")
            inside[key] = _value(text.strip())
        return _build(type(self), data, "--set", "")

    def to_toml(self) -> str:
        """Every value, plain keys first, a section per part; ``from_toml`` gives an equal recipe."""
        values = [(f.name, getattr(self, f.name)) for f in fields(self)]
        lines = [f"{name} = {_toml(value)}" for name, value in values if not is_dataclass(value)]
        for name, part in values:
            if is_dataclass(part):
                lines += ["", f"[{name}]"]
                lines += [f"{f.name} = {_toml(getattr(part, f.name))}" for f in fields(part)]
        return "\n".join(lines) + "\n"

    @property
    def digest(self) -> str:
        """sha256 of the values, in hexadecimal: comments and order do not matter."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()


def _build(cls: type[T], data: Mapping[str, Any], source: str, prefix: str) -> T:
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in data.items():
        _known(cls, key, f"{prefix}{key}", source)
        if is_dataclass(hints[key]):
            if not isinstance(value, Mapping):
                raise UsageError(f"{source}: {prefix}{key} is a section, not {value!r}; write [{key}] and its keys")
            values[key] = _build(hints[key], value, source, f"{key}.")
        else:
            values[key] = _cast(hints[key], value, f"{source}: {prefix}{key}")
    made = cls(**values)
    _check(made, prefix)
    return made


def _known(cls: type, key: str, path: str, source: str) -> None:
    names = [f.name for f in fields(cls)]
    if key in names:
        return
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.5) or names
    raise UsageError(f"{source}: there is no {path}; the nearest are {', '.join(near)}")


def _section(cls: type, name: str, path: str, source: str) -> type:
    _known(cls, name, path, source)
    found = get_type_hints(cls)[name]
    if not is_dataclass(found):
        raise UsageError(f"{source}: {path}: {name} is no section, it holds one value")
    return found if isinstance(found, type) else type(found)


def _cast(kind: Any, value: Any, where: str) -> Any:
    """The value as its field wants it; integers go for floats, lists for tuples."""
    origin = get_origin(kind)
    if origin is Literal:
        if value not in get_args(kind):
            raise UsageError(f"{where} is {value!r}; it must be {' or '.join(map(str, get_args(kind)))}")
        return value
    if origin is tuple:
        arguments = get_args(kind)
        if not isinstance(value, (list, tuple)) or (Ellipsis not in arguments and len(value) != len(arguments)):
            count = "numbers" if Ellipsis in arguments else f"{len(arguments)} numbers"
            raise UsageError(f"{where} is {value!r}; it must be a list of {count}")
        return tuple(_cast(arguments[0], v, where) for v in value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        wanted = {bool: "true or false", int: "an integer", float: "a number", str: "text"}[kind]
        raise UsageError(f"{where} is {value!r}; it must be {wanted}")
    return value


def _check(value: Any, prefix: str) -> None:
    """Refuses numbers outside the range of their field."""
    for f in fields(value):
        if "range" not in f.metadata:
            continue
        low, high = f.metadata["range"]
        found = getattr(value, f.name)
        for number in found if isinstance(found, tuple) else (found,):
            if not low <= number <= high or math.isinf(number):
                limit = f"from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more, and finite"
                raise UsageError(f"{prefix}{f.name} is {number:g}; it must be {limit}")
        if f.name in ("area", "aspect") and found[0] > found[1]:
            raise UsageError(f"{prefix}{f.name} is {found}; the first number must not be the larger one")


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(v) for v in value)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
