"""From a name or a path to an opened bundle: built in, cached, or made from published weights at first use."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.bundle.cache import bundle_directory, cache_directory
from eyespot.bundle.published import (
    HUB,
    Published,
    by_hub_name,
    how_to_import,
    installed_file,
    is_hub_name,
    published,
)
from eyespot.bundle.store import CARD, Bundle, read, sha256
from eyespot.core.processor import int8_is_faster
from eyespot.errors import BundleError, FetchError, UnknownName, WeightsError

if TYPE_CHECKING:
    from eyespot.bundle.fetch import Watch

IMAGENET = "efficientnet_lite0.in1k"  # what the extra `imagenet` brings
BUILT_IN = Path(__file__).parent / "builtin"
BUILT_IN_DEFAULT = "eyelet_1.0.tiny200"  # what answers without the extra
INT8 = "-int8"  # what the name of the quantized bundle of a published network ends with
_MADE_BY = "1"  # raised when bundles made from published weights must be made again (another lowering, say)


@dataclass(frozen=True, slots=True)
class Errand:
    """How to get weights that are not here. folder: looked in instead of the network, where one is given.

    watch: told (bytes here, bytes in all) as they come. waiting: called when another process is getting the same.
    """

    folder: Path | None = None
    watch: Watch | None = None
    waiting: Callable[[], None] | None = None


def open_bundle(name: str | Path, *, errand: Errand = Errand()) -> Bundle:
    """Opens a bundle by directory or by name.

    A name is looked up among the bundles inside the package, then in the cache (``eyespot import`` and ``eyespot
    unpack`` without ``--out`` put them there), then among the published cards, whose weights are taken from an
    installed distribution or fetched, and whose bundle is cached. A name on the Hugging Face hub, owner/repository, is
    that of its card. Raises UnknownName, BundleError, HashMismatch, FetchError.
    """
    path = Path(name)
    if (path / CARD).is_file():
        return read(path)
    text = os.fspath(name).removeprefix(f"{HUB}/")
    if isinstance(name, str) and is_hub_name(text) and not path.exists():
        named = by_hub_name(text)
        if named is None:
            raise UnknownName(how_to_import(text))
        return open_bundle(named.name, errand=errand)
    if isinstance(name, Path) or path.name != text or path.is_dir():
        raise BundleError(f"{text} is not a bundle: there is no {CARD} in it; make one with `eyespot import`")
    for place in (BUILT_IN / text, bundle_directory(text)):
        if (place / CARD).is_file():
            return read(place)
    card = published().get(text.removesuffix(INT8))
    if card is None or (text != card.name and quantization_file(card) is None):
        raise UnknownName(f"there is no model called {text!r}{_nearest(text)}")
    return _from_published(card, errand, int8=text != card.name)


def is_here(name: str) -> bool:
    """Whether a bundle of that name opens without getting anything."""
    card = published().get(name.removesuffix(INT8))
    places = [BUILT_IN / name, bundle_directory(name)]
    if card is not None and (name == card.name or quantization_file(card)):
        places.append(made_place(card, int8=name != card.name))
    return any((place / CARD).is_file() for place in places)


def open_default(*, float32: bool = False) -> Bundle:
    """The 1,000 ImageNet classes when their weights are installed or cached, else the small built-in model.

    In int8 where that takes less time than float32 by this processor's instructions; ``float32`` refuses it.
    """
    int8 = not float32 and int8_is_faster()
    if is_here(IMAGENET) or (int8 and is_here(IMAGENET + INT8)) or installed_file(published()[IMAGENET]) is not None:
        return open_bundle(IMAGENET + INT8 if int8 else IMAGENET)
    return read(BUILT_IN / (BUILT_IN_DEFAULT + INT8 * int8))


def built_in_names() -> list[str]:
    """The bundles inside the package."""
    return sorted(place.name for place in BUILT_IN.iterdir() if (place / CARD).is_file())


def cached_names() -> list[str]:
    """The bundles that the user imported into the cache."""
    places = cache_directory() / "bundles"
    return sorted(p.name for p in places.iterdir() if (p / CARD).is_file()) if places.is_dir() else []


def known_names() -> list[str]:
    """Every name that may be opened without giving a path."""
    int8 = {card.name + INT8 for card in published().values() if quantization_file(card)}
    return sorted({*built_in_names(), *cached_names(), *published(), *int8})


def unclaimed(name: str, mark: str) -> str:
    """The name under which a bundle from elsewhere may lie in the cache: ``name.mark`` where ``name`` is another's.

    Built-in and published names belong to those bundles: nobody may be answered by another one under them. Their
    letters' case does not count, as file systems ignore it.
    """
    int8 = {card + INT8 for card in published()}
    claimed = {one.lower() for one in (*built_in_names(), *published(), *int8)}
    return f"{name}.{mark}" if name.lower() in claimed else name


def quantization_file(card: Published) -> Path | None:
    """The parameters that make the int8 bundle of published weights; None where nobody measured any."""
    path = Path(__file__).parent / "int8" / f"{card.name}.safetensors"
    return path if path.is_file() else None


def made_place(card: Published, *, int8: bool = False) -> Path:
    """Where the bundle made from published weights is cached; it need not exist."""
    file = quantization_file(card) if int8 else None
    name = f"{card.name}-{_MADE_BY}-{card.fingerprint}" + (f"{INT8}-{sha256(file)[:12]}" if file else "")
    return cache_directory() / "published" / name


def download_place(card: Published) -> Path:
    """Where the published file is kept once it is fetched; it need not exist."""
    return cache_directory() / "downloads" / card.name / card.file_name


def _from_published(card: Published, errand: Errand, *, int8: bool = False) -> Bundle:
    """The cached bundle, else one made now; a damaged one is made again. Two processes do not make it twice."""
    import shutil

    from eyespot.bundle.lock import held

    place = made_place(card, int8=int8)
    try:
        return read(place)
    except BundleError:
        pass
    try:
        parent = open_bundle(card.name, errand=errand) if int8 else None
        with held(cache_directory() / "locks" / (card.name + INT8 * int8), waiting=errand.waiting):
            try:
                return read(place)
            except BundleError:
                shutil.rmtree(place, ignore_errors=True)
            return _make_int8(card, parent, place) if parent else _make(card, errand)
    except OSError as error:
        raise FetchError(
            f"{error.filename or cache_directory()} cannot be written: {error.strerror or error}; set EYESPOT_CACHE to "
            "a folder that can"
        ) from None


def _make(card: Published, errand: Errand) -> Bundle:
    from eyespot.bundle.adopt import adopt
    from eyespot.bundle.obtain import obtain, pin, reject

    kept = download_place(card)
    file = obtain(card, kept, folder=errand.folder, watch=errand.watch)
    try:
        bundle = adopt(file, made_place(card), published=card)
    except WeightsError as error:
        if file == kept:
            reject(card, kept)
        raise WeightsError(f"{card.published_at or file.name} is not the weights of {card.name}: {error}") from None
    pin(card, file)
    return bundle


def _make_int8(card: Published, parent: Bundle, place: Path) -> Bundle:
    """The int8 bundle of a published network's float32 one. WeightsError when it is not the one that was measured."""
    from eyespot.bundle.build_quantized import build_quantized
    from eyespot.core.card import Metric
    from eyespot.lower.int8.params import QuantizationParams
    from eyespot.lower.int8.plan import make_ready

    file = quantization_file(card)
    assert file is not None  # noqa: S101 - asked before
    params, facts = QuantizationParams.from_bytes(file.read_bytes())
    prepared = make_ready(parent.card.graph, parent.weights(), parent.card.preprocess)
    try:
        network = params.apply(prepared)
    except WeightsError:
        raise WeightsError(
            f"{parent.path} does not hold the published weights of {card.name}, so there is no int8 of it; give it "
            "another name"
        ) from None
    measured = facts["measured"]
    data, source = f"{measured['pictures']} images that no range was chosen on", "eyespot, beside float32"
    low, high = (round(100 * v, 2) for v in measured["drop_interval"])
    metrics = (
        Metric("top1_drop", round(100 * measured["drop"], 2), data, source, (low, high)),
        Metric("agreement", round(100 * measured["agreement"], 2), data, source),
    )
    return build_quantized(place, parent, network, prepared.preprocess, metrics=metrics)


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known_names(), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else "; `eyespot models` lists them"
