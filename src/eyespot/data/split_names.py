"""What folders, and values of a CSV, call the splits of a dataset; and which folders look like splits and are none."""

from __future__ import annotations

import re
from collections.abc import Mapping

PARTS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_KINDS = PARTS | {
    "trn": "train", "eval": "val", "evaluation": "val", "holdout": "test", "fold": "fold",
    "unlabeled": "unlabelled", "unlabelled": "unlabelled",
}  # fmt: skip
_WORD = re.compile(rf"({'|'.join(_KINDS)})(?:set|data|images?|imgs?|split)?")
# Words beside a split's that say nothing of what is on the images.
_NEUTRAL = frozenset(
    ("set", "data", "dataset", "image", "images", "img", "imgs", "split", "seg", "a", "b", "new", "small", "full", "v")
)
# Classes of images that are plausible where no other folder looks like a split.
_PLAUSIBLE = frozenset(("train", "training", "valid", "dev", "evaluation", "fold"))


def split_like(folders: Mapping[str, bool]) -> list[str]:
    """Those of the folders beside each other that look like splits, not like classes.

    folders: their names; whether they hold folders of images. A name counts when nothing but its split's word has a
    meaning (``train2017``, ``seg_train``, ``TestSet``), or when another differs from it in that word alone. One alone
    that holds images themselves may be a class (``train``, beside ``car``).
    """
    read = {name: words for name in folders if (words := _read(name)) is not None}
    families: dict[tuple[str, ...], set[str]] = {}
    for kind, rest in read.values():
        families.setdefault(rest, set()).add(kind)
    strong = {name: kind for name, (kind, rest) in read.items() if {*rest} <= _NEUTRAL or len(families[rest]) > 1}
    if len(set(strong.values())) > 1:
        return sorted(strong)
    return sorted(name for name in strong if folders[name] or name.casefold() not in _PLAUSIBLE)


def _read(name: str) -> tuple[str, tuple[str, ...]] | None:
    """A folder's split and the other words of its name; None when it has no word of a split."""
    text = re.sub(r"hold[ _-]?out", "holdout", name, flags=re.IGNORECASE)
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)]
    for at, word in enumerate(words):
        if match := _WORD.fullmatch(word):
            return _KINDS[match[1]], (*words[:at], *words[at + 1 :])
    return None
