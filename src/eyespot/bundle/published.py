"""Published cards: what is known of weights that other people publish, before anyone has them.

Each file of ``index/`` is a JSON list for one publisher. An entry names the file by its sha256 as far as that is
published, so that ``import`` recognises it whatever it is called, and, where there is one, a place to get it: an
installed distribution, a URL, or a file of a repository on the Hugging Face hub.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from eyespot.core.card import Metric
from eyespot.core.labels import Labels
from eyespot.core.pixels import Preprocess
from eyespot.errors import BundleError, HashMismatch

LABEL_SETS: Mapping[str, str] = {
    "imagenet_1k": "ImageNet-1K (WordNet ids)",
    "cifar10": "CIFAR-10",
}


_HERE = Path(__file__).parent
HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file on the Hugging Face hub; ``HF_ENDPOINT`` names another server that speaks as it does."""

    repo: str
    file: str
    revision: str = "main"

    def address(self, endpoint: str) -> str:
        """Where a server keeps it."""
        return f"{endpoint.rstrip('/')}/{self.repo}/resolve/{self.revision}/{self.file}"


@dataclass(frozen=True, slots=True)
class Published:
    """One published file of weights; ``scheme`` is a source of names in ``eyespot.weights``, or 'by_order'.

    sha256 is the whole hash, sha256_prefix the digits that the file's name carries, md5 what Keras' source says; what
    is not published is pinned at the first fetch. url or hub, at most one, say where the file is.
    """

    name: str
    architecture: str
    arguments: Mapping[str, Any]
    scheme: str
    preprocess: Preprocess
    labels: str
    sha256: str = ""
    sha256_prefix: str = ""
    md5: str = ""
    background: bool = False
    distribution: str | None = None
    file: str | None = None
    url: str | None = None
    hub: HubFile | None = None
    metrics: tuple[Metric, ...] = ()
    licence: str = ""
    source: str = ""
    description: str = ""
    fingerprint: str = field(default="", compare=False)

    @property
    def published_at(self) -> str:
        """The publisher's own address, which a mirror's layout follows; '' when there is none."""
        return self.hub.address(HUB) if self.hub else self.url or ""

    @property
    def address(self) -> str | None:
        """Where to download the file, by ``HF_ENDPOINT`` if it is set; None when it cannot be had over the network."""
        return self.hub.address(os.environ.get("HF_ENDPOINT") or HUB) if self.hub else self.url

    @property
    def file_name(self) -> str:
        """What the publisher calls the file; '' when it is not known."""
        return (self.published_at or self.file or "").rsplit("/", 1)[-1]


class _Cards(Mapping[str, Published]):
    """Cards by name, each made when it is first asked for: to open one model needs one of hundreds."""

    def __init__(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        self._entries = entries
        self._cards: dict[str, Published] = {}

    def __getitem__(self, name: str) -> Published:
        if name not in self._cards:
            self._cards[name] = _published(self._entries[name])
        return self._cards[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


@cache
def published() -> Mapping[str, Published]:
    """All published cards by name."""
    found: dict[str, Mapping[str, Any]] = {}
    for file in sorted((_HERE / "index").glob("*.json")):
        for entry in json.loads(file.read_text(encoding="utf-8")):
            if entry["name"] in found:
                raise BundleError(f"index/{file.name}: two published cards are called {entry['name']}")
            found[entry["name"]] = entry
    return _Cards(found)


def by_sha256(digest: str) -> Published | None:
    """The card of a file, recognised by its bytes, or by as many digits of their hash as its publisher gives."""
    cards = published().values()
    whole = next((card for card in cards if card.sha256 == digest), None)
    return whole or next((c for c in cards if c.sha256_prefix and digest.startswith(c.sha256_prefix)), None)


def by_file(path: Path, digest: str) -> Published | None:
    """The card of a file, by its sha256, or by the md5 that Keras publishes instead."""
    if (card := by_sha256(digest)) is not None:
        return card
    import hashlib

    with path.open("rb") as opened:
        md5 = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return next((card for card in published().values() if card.md5 == md5), None)


def by_hub_name(name: str) -> Published | None:
    """The card of a repository on the Hugging Face hub: ``google/mobilenet_v2_1.0_224``."""
    return next((card for card in published().values() if card.hub is not None and card.hub.repo == name), None)


def is_hub_name(text: str) -> bool:
    """Whether a text that names no file reads as owner and repository."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text) is not None


def how_to_import(hub_name: str) -> str:
    """What to do with a model of the hub that has no card."""
    folder = hub_name.rpartition("/")[2]
    return (
        f"{hub_name} is no file here, and eyespot has no card of such a model on the Hugging Face hub; if it is there, "
        f"fetch its files, hf download {hub_name} --local-dir {folder}, and run eyespot import {folder}"
    )


def label_set(name: str, *, background: bool = False) -> Labels:
    """One of the label sets that ship with eyespot (``LABEL_SETS``)."""
    text = (_HERE / "labels" / f"{name}.txt").read_text(encoding="utf-8")
    return Labels.from_text(text, source=LABEL_SETS[name], background=background)


def installed_file(card: Published) -> Path | None:
    """The published file inside its installed distribution; None when that is not installed.

    The distribution's code is never imported. HashMismatch when the file is not the published one.
    """
    if card.distribution is None or card.file is None:
        return None
    from importlib import metadata

    from eyespot.bundle.store import sha256

    try:
        found = metadata.distribution(card.distribution)
    except metadata.PackageNotFoundError:
        return None
    path = Path(str(found.locate_file(card.file)))
    if not path.is_file():
        raise BundleError(f"the distribution {card.distribution} holds no {card.file}; install it again")
    digest = sha256(path)
    if digest != card.sha256:
        raise HashMismatch(
            f"{card.file} of the distribution {card.distribution} has sha256 {digest[:12]}…, "
            f"{card.sha256[:12]}… was published; install it again"
        )
    return path


def _published(entry: Mapping[str, Any]) -> Published:
    import hashlib

    values: dict[str, Any] = dict(entry)
    values["preprocess"] = Preprocess.from_json(entry["preprocess"])
    values["hub"] = HubFile(**entry["hub"]) if "hub" in entry else None
    values["metrics"] = tuple(Metric(**metric) for metric in entry.get("metrics", ()))
    text = json.dumps(entry, sort_keys=True)
    return Published(**values, fingerprint=hashlib.sha256(text.encode()).hexdigest()[:12])
