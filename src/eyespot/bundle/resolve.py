"""From a name or a path to an opened bundle: built in, cached, or made from published weights at first use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.bundle.cache import bundle_directory, cache_directory
from eyespot.bundle.published import Published, installed_file, published
from eyespot.bundle.store import CARD, Bundle, read
from eyespot.errors import BundleError, FetchError, UnknownName, WeightsError

if TYPE_CHECKING:
    from eyespot.bundle.fetch import Watch

IMAGENET = "efficientnet_lite0.in1k"  # what the extra `imagenet` brings
BUILT_IN = Path(__file__).parent / "builtin"
_MADE_BY = "1"  # raised when bundles made from published weights must be made again (another lowering, say)


@dataclass(frozen=True, slots=True)
class Errand:
    """How to get weights that are not here. folder: looked in instead of the network, where one is given.

    watch: told (bytes here, bytes in all) as they come. waiting: called when another process is getting the same.
    """

    folder: Path | None = None
    watch: Watch | None = None
    waiting: Callable[[], None] | None = None


def open_bundle(name: str | Path | None = None, *, errand: Errand = Errand()) -> Bundle:
    """Opens a bundle by directory or by name; None opens the default model.

    A name is looked up among the bundles inside the package, then in the cache (``eyespot import`` and ``eyespot
    unpack`` without ``--out`` put them there), then among the published cards, whose weights are taken from an
    installed distribution or fetched, and whose bundle is cached. Raises UnknownName, BundleError, HashMismatch,
    FetchError.
    """
    if name is None:
        return open_default()
    path = Path(name)
    if (path / CARD).is_file():
        return read(path)
    text = os.fspath(name)
    if isinstance(name, Path) or path.name != text or path.is_dir():
        raise BundleError(f"{text} is not a bundle: there is no {CARD} in it; make one with `eyespot import`")
    for place in (BUILT_IN / text, bundle_directory(text)):
        if (place / CARD).is_file():
            return read(place)
    card = published().get(text)
    if card is None:
        raise UnknownName(f"there is no model called {text!r}{_nearest(text)}")
    return _from_published(card, errand)


def is_here(name: str) -> bool:
    """Whether a bundle of that name opens without getting anything."""
    card = published().get(name)
    places = [BUILT_IN / name, bundle_directory(name), *([made_place(card)] if card else [])]
    return any((place / CARD).is_file() for place in places)


def open_default() -> Bundle:
    """The 1,000 ImageNet classes when their weights are installed or cached, else the small built-in model."""
    if is_here(IMAGENET) or installed_file(published()[IMAGENET]) is not None:
        return open_bundle(IMAGENET)
    return read(BUILT_IN / built_in_names()[0])


def built_in_names() -> list[str]:
    """The bundles inside the package."""
    return sorted(place.name for place in BUILT_IN.iterdir() if (place / CARD).is_file())


def cached_names() -> list[str]:
    """The bundles that the user imported into the cache."""
    places = cache_directory() / "bundles"
    return sorted(p.name for p in places.iterdir() if (p / CARD).is_file()) if places.is_dir() else []


def known_names() -> list[str]:
    """Every name that may be opened without giving a path."""
    return sorted({*built_in_names(), *cached_names(), *published()})


def made_place(card: Published) -> Path:
    """Where the bundle made from published weights is cached; it need not exist."""
    return cache_directory() / "published" / f"{card.name}-{_MADE_BY}-{card.fingerprint}"


def download_place(card: Published) -> Path:
    """Where the published file is kept once it is fetched; it need not exist."""
    return cache_directory() / "downloads" / card.name / card.file_name


def _from_published(card: Published, errand: Errand) -> Bundle:
    """The cached bundle, else one made now; a damaged one is made again. Two processes do not make it twice."""
    from eyespot.bundle.lock import held

    place = made_place(card)
    try:
        return read(place)
    except BundleError:
        pass
    try:
        with held(cache_directory() / "locks" / card.name, waiting=errand.waiting):
            try:
                return read(place)
            except BundleError:
                shutil.rmtree(place, ignore_errors=True)
            return _make(card, errand)
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


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known_names(), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else "; `eyespot models` lists them"
