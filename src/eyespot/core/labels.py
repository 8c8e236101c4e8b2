"""Labels: what the outputs of a classifier mean, in their order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from eyespot.errors import BundleError


@dataclass(frozen=True, slots=True)
class Prediction:
    """One label and its probability (0–1)."""

    index: int
    id: str
    label: str
    probability: float


@dataclass(frozen=True)
class Labels:
    """Names, and ids where the source has them (WordNet's for ImageNet).

    background: the network has one more output than there are labels, before them, for "none of these" (TensorFlow's
    1001-class networks). The readout drops it, so index 0 is the first label for every network.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...] = ()
    source: str = ""
    background: bool = False

    def __post_init__(self) -> None:
        if self.ids and len(self.ids) != len(self.names):
            raise BundleError(f"labels: {len(self.names)} names but {len(self.ids)} ids")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def outputs(self) -> int:
        """How many numbers the network gives."""
        return len(self.names) + self.background

    def id(self, index: int) -> str:
        """The id of a label, or its name where the source has no ids."""
        return self.ids[index] if self.ids else self.names[index]

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Label index by id and by name; a name that repeats is left out, an id never repeats."""
        seen: dict[str, int] = {}
        repeated = set()
        for i, name in enumerate(self.names):
            if name in seen:
                repeated.add(name)
            seen[name] = i
        for name in repeated:
            del seen[name]
        return seen | {id: i for i, id in enumerate(self.ids)}

    def to_text(self) -> str:
        """The text of ``labels.txt``: a line per label, the id and a tab before the name where there are ids."""
        rows = zip(self.ids, self.names, strict=True) if self.ids else ((n,) for n in self.names)
        return "".join("\t".join(row) + "\n" for row in rows)

    @classmethod
    def from_text(cls, text: str, *, source: str = "", background: bool = False) -> Labels:
        """The labels that ``to_text`` wrote, or any file with one name per line."""
        lines = [line for line in text.splitlines() if line.strip()]
        if not lines:
            raise BundleError("labels: the file is empty; it needs one label per line")
        if all("\t" in line for line in lines):
            ids, names = zip(*(line.split("\t", 1) for line in lines), strict=True)
            return cls(tuple(names), tuple(ids), source, background)
        return cls(tuple(lines), (), source, background)

    @classmethod
    def numbered(cls, count: int) -> Labels:
        """Labels for a network whose classes nobody named."""
        return cls(tuple(f"class {i}" for i in range(count)), source="numbered")
