"""Makes a bundle of somebody's weights file, or Hugging Face directory: ``eyespot import``.

What the file is, is taken from the directory's own description, from its published card when its sha256 has one, else
from its tensors' names and shapes, else from the caller; nothing is matched by guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from pathlib import Path

from eyespot.bundle.build import build
from eyespot.bundle.fit import Fitted, Say, fit
from eyespot.bundle.published import (
    LABEL_SETS,
    Published,
    by_file,
    by_hub_name,
    how_to_import,
    is_hub_name,
    label_set,
)
from eyespot.bundle.store import Bundle, check_free, sha256
from eyespot.core.card import Card
from eyespot.core.labels import Labels
from eyespot.core.pixels import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from eyespot.errors import UsageError
from eyespot.weights.by_order import BY_ORDER

# How pixels become numbers, by the names people know: (channels, scale, mean, std).
PIXELS: Mapping[str, Preprocess] = {
    "imagenet": Preprocess(mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "tf": Preprocess(scale=1.0, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)),
    "lite": Preprocess(scale=1.0, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)),
    "caffe": Preprocess(scale=1.0, channels="bgr", mean=(103.939, 116.779, 123.68)),
    "unit": Preprocess(),
    "raw": Preprocess(scale=1.0),
}

# What each source feeds its networks, where a file of it comes without a card: by scheme, or by its first word. (Keras'
# MobileNetV3 and EfficientNet scale their pixels inside, to this.) A source that is not here must be told.
_SCHEME_PIXELS: Mapping[str, str] = {
    "torchvision": "imagenet",
    "timm": "imagenet",
    "gluon": "imagenet",
    "akamaster": "imagenet",
    "mmpretrain": "imagenet",
    "pytorchcv": "imagenet",
    "lukemelas": "lite",
    "torchvision.inception_v1": "tf",  # torchvision's networks bring ImageNet's mean and deviation back to this
    "torchvision.inception_v3": "tf",
    "timm.inception_v4": "tf",
    "timm.inception_resnet_v2": "tf",
    "timm.xception": "tf",
    "keras.inception_v3": "tf",
    "keras.inception_resnet_v2": "tf",
    "keras.xception": "tf",
    "keras.mobilenet_v1": "tf",
    "keras.mobilenet_v2": "tf",
    "keras.mobilenet_v3": "tf",
    "keras2.mobilenet_v3": "tf",
    "keras.efficientnet": "imagenet",
    "keras.resnet": "caffe",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What the caller says of a file; None leaves it to the published card or to the file.

    arguments are the architecture's (``{"size": 160}``); pixels is a name of ``PIXELS``; preprocess, when given, is the
    whole contract. by_order: the tensors' names say nothing but come in order of execution.
    """

    architecture: str | None = None
    arguments: Mapping[str, object] = field(default_factory=dict)
    scheme: str | None = None
    by_order: bool = False
    name: str | None = None
    pixels: str | None = None
    preprocess: Preprocess | None = None
    labels: Labels | None = None
    licence: str | None = None


def adopt(
    file: Path,
    out: Path | None,
    *,
    published: Published | None = None,
    request: Request = Request(),
    replace: bool = False,
    say: Say = lambda _: None,
) -> Bundle:
    """Imports a weights file as a bundle at ``out``; None puts it into the cache under its name.

    file: a file of weights, or a directory as the Hugging Face hub has them; what the caller says goes before both.
    say: told in one line each what was taken where the file leaves a choice.

    Raises:
        WeightsError: a tensor is missing, left over or of the wrong shape; the message says which.
        UsageError: the file alone does not say what it is; the message says what to pass.
    """
    if file.is_dir():
        file, request = _described(file, request)
    if not file.is_file():
        raise UsageError(_no_file(file))
    digest = sha256(file)
    card = published or by_file(file, digest)
    if card is not None and request.architecture not in (None, card.architecture):
        card = None  # the caller knows better, and then all of it
    name = request.name or (card.name if card else None)
    if out is not None:
        check_free(out, replace=replace)
    fitted = fit(
        file,
        architecture=request.architecture,
        scheme=BY_ORDER if request.by_order else request.scheme,
        arguments=request.arguments,
        card=card,
        say=say,
    )
    if fitted.outputs == 1:
        fitted = _two_classes(file, fitted, request)
    labels = _given(request.labels, fitted) or _labels(fitted, card, say)
    if fitted.keras is not None and fitted.keras.activation is None:
        say(f"{file.name} holds weights alone, so that its outputs are taken for logits of one class each image")
    architecture = fitted.architecture.rpartition(":")[2]  # of a network in a person's own file, its function's name
    name = name or f"{architecture}.{digest[:8]}"
    if out is None and (card is None or name != card.name):
        asked, name = name, _unclaimed(name, digest)
        if name != asked:
            say(f"{asked} is the name of a built-in or published model; this one is called {name} here")
    made = Card(
        name=name,
        architecture=architecture,
        arguments=fitted.arguments,
        graph=fitted.matched.graph,
        preprocess=request.preprocess or _preprocess(file, fitted, request, card, say),
        metrics=card.metrics if card else (),
        licence=request.licence or (card.licence if card else ""),
        source=card.source if card else f"the file {file.name}, sha256 {digest[:16]}…",
        description=card.description if card else "",
    )
    return build(out or _place(name), made, weights=fitted.matched.weights, labels=labels, replace=replace)


def _described(path: Path, request: Request) -> tuple[Path, Request]:
    """The file of weights in a directory, and the request with all that the directory says and the caller does not."""
    from eyespot.bundle.hugging_face import read_directory

    found = read_directory(path)
    pixels = found.preprocess
    if request.pixels is not None:
        named = _pixels(request.pixels)
        pixels = replace_fields(pixels, channels=named.channels, scale=named.scale, mean=named.mean, std=named.std)
    size = request.arguments.get("size")
    sides = (size, size) if isinstance(size, int) else size
    if isinstance(sides, (list, tuple)) and len(sides) == 2 and tuple(sides) != pixels.size:
        pixels = _for_size(pixels, (sides[0], sides[1]))
    return found.weights, replace_fields(
        request,
        architecture=request.architecture or found.architecture,
        arguments={**found.arguments, **request.arguments},
        scheme=request.scheme or found.scheme,
        pixels=None,
        preprocess=request.preprocess or pixels,
        labels=request.labels or found.labels,
        licence=request.licence or found.licence or None,
    )


def _no_file(path: Path) -> str:
    text = path.as_posix()
    if not is_hub_name(text):
        return f"{path} is not a file; pass the weights file to import"
    if card := by_hub_name(text):
        name = card.name
        return f"{text} on the Hugging Face hub needs no import; run eyespot fetch {name} and pass --model {name}"
    return how_to_import(text)


def _unclaimed(name: str, digest: str) -> str:
    from eyespot.bundle.resolve import unclaimed

    return unclaimed(name, digest[:8])


def _place(name: str) -> Path:
    from eyespot.bundle.cache import bundle_directory

    if name != Path(name).name or name.startswith("."):
        raise UsageError(f"{name!r} cannot name a bundle; use letters, digits, dots and underscores")
    return bundle_directory(name)


def _two_classes(file: Path, fitted: Fitted, request: Request) -> Fitted:
    """One output is a probability where the file, or the caller by naming two classes, says so."""
    if (
        (fitted.keras is not None and fitted.keras.activation == "sigmoid")
        or len(request.labels or ()) == 2
        or len(fitted.classes.names if fitted.classes else ()) == 2
    ):
        return fitted.with_two_outputs()
    raise UsageError(
        f"{file.name} has one output and does not say what it means; if it is the logit of a probability (a sigmoid "
        "comes behind it), pass --labels with two classes, first the one of low probability"
    )


def _given(labels: Labels | None, fitted: Fitted) -> Labels | None:
    """The caller's labels; a set of eyespot's own fits a network with a background class too."""
    if labels is not None and labels.source in LABEL_SETS.values() and fitted.outputs == len(labels) + 1:
        return replace_fields(labels, background=True)
    return labels


def _labels(fitted: Fitted, card: Published | None, say: Say) -> Labels:
    if card is not None:
        return label_set(card.labels, background=card.background)
    outputs = fitted.outputs
    if fitted.classes is not None and len(fitted.classes.names) == outputs:
        return Labels(fitted.classes.names, fitted.classes.ids, "the weights file")
    if fitted.matched.scheme == "akamaster.resnet_cifar" and outputs == 10:
        return label_set("cifar10")
    if outputs in (1000, 1001):
        say(f"the {outputs} classes have no names; pass --labels imagenet_1k if they are ImageNet's")
    return Labels.numbered(outputs)


def _preprocess(file: Path, fitted: Fitted, request: Request, card: Published | None, say: Say) -> Preprocess:
    height, width = fitted.matched.graph.input[1:]
    size = (height, width)
    if card is not None and request.pixels is None:
        return _for_size(card.preprocess, size)
    keras = fitted.keras
    if keras is not None and keras.preprocess is not None:
        if request.pixels is None:
            return _stretched(keras.preprocess, size)
        if keras.activation is not None:  # a whole model; beside weights alone the caller may know better
            raise UsageError(f"{file.name} scales its pixels itself; leave --pixels {request.pixels} out")
    name = request.pixels or _source_pixels(fitted.matched.scheme)
    if name is None:
        raise UsageError(f"{file.name} does not say how its pixels are scaled; pass --pixels {', '.join(PIXELS)}")
    base = _pixels(name)
    if keras is not None:
        if request.pixels is None:
            say(f"{file.name} does not scale its pixels; took --pixels {name}, with which Keras trains such networks")
        return _stretched(base, size)
    shorter = round(max(size) / 0.875) if max(size) > 64 else max(size)  # the usual margin, none for thumbnails
    return _for_size(base, size, shorter)


def _pixels(name: str) -> Preprocess:
    if name not in PIXELS:
        raise UsageError(f"there is no way of scaling pixels called {name!r}; choose one of {', '.join(PIXELS)}")
    return PIXELS[name]


def _source_pixels(scheme: str) -> str | None:
    return _SCHEME_PIXELS.get(scheme) or _SCHEME_PIXELS.get(scheme.partition(".")[0])


def _stretched(base: Preprocess, size: tuple[int, int]) -> Preprocess:
    """As Keras loads images (``image_dataset_from_directory``): stretched to the size, without antialiasing."""
    return replace_fields(base, size=size, rule="stretch", resize=0, antialias=False)


def _for_size(base: Preprocess, size: tuple[int, int], shorter: int | None = None) -> Preprocess:
    if shorter is None:
        shorter = base.resize if size == base.size else round(base.shorter_side * max(size) / max(base.size))
    return replace_fields(base, size=size, resize=shorter)
