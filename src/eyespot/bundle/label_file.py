"""Reads files of labels as people have them: one name per line, numbered lines, CSV, JSON in any direction."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

from eyespot.bundle.published import LABEL_SETS, label_set
from eyespot.core.labels import Labels
from eyespot.errors import UsageError
from eyespot.weights.class_names import ClassNames, class_names, clean, in_order

_MAX_BYTES = 64 << 20
_HEADERS = frozenset({
    "label", "labels", "name", "names", "class", "classes", "class_name", "class name", "category", "categories",
    "label_name", "index", "id", "idx", "class_id", "label_id", "class_index",
})  # fmt: skip
_NUMBERED = re.compile(r"(\d{1,9})(?:\s*[:;,\t]\s*|\s+)(\S.*)")
_NUMBER_LAST = re.compile(r"(\S.*?)\s*[;,\t]\s*(\d{1,9})")
_WORDNET = re.compile(r"(n\d{8})\s+(\S.*)")


def read_labels(path: Path, *, background: bool = False) -> Labels:
    """The labels of a file, or of a set that eyespot brings (``imagenet_1k``), in the order of the network's outputs.

    Lines may be numbered (``0 cat``, ``cat,0``), in any order, or have WordNet's ids; a header, a byte order mark and
    Windows' line ends are passed over. JSON may be a list, index to name, name to index, or a ``config.json``.

    Raises:
        UsageError: there is no such file, or it does not name each class once.
    """
    if not path.exists() and str(path) in LABEL_SETS:
        return label_set(str(path), background=background)
    text = _text(path)
    if text.lstrip()[:1] in ("{", "["):
        try:
            classes = class_names(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"--labels {path} is not valid JSON ({str(error)[:100]})") from None
        if classes is None:
            raise UsageError(
                f"--labels {path} does not name the classes 0, 1, …; expected a list of names, or an object of "
                "index and name in either direction"
            )
    else:
        classes = _of_lines(path, [line.strip() for line in text.splitlines() if line.strip()])
    return Labels(classes.names, classes.ids, path.name, background)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as opened:
            raw = opened.read(_MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            raise UsageError(f"--labels {path} has more than {_MAX_BYTES} bytes; expected one label per line")
        utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return raw.decode("utf-16" if utf16 else "utf-8-sig")
    except OSError as error:
        sets = ", ".join(LABEL_SETS)
        raise UsageError(
            f"--labels {path} cannot be read ({error.strerror}); expected a file, or one of {sets}"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"--labels {path} is not UTF-8 text; save it as UTF-8") from None


def _of_lines(path: Path, lines: list[str]) -> ClassNames:
    lines = lines[1:] if len(lines) > 1 and _is_header(lines[0]) else lines
    if not lines:
        raise UsageError(f"--labels {path} is empty; expected one label per line")
    if all(line.startswith("- ") for line in lines):  # a list in YAML
        lines = [line[2:] for line in lines]
    wordnet = [_WORDNET.fullmatch(line) for line in lines]
    if all(wordnet):
        return ClassNames(tuple(clean(m[2]) for m in wordnet if m), tuple(m[1] for m in wordnet if m))
    for pattern, number, name in ((_NUMBERED, 1, 2), (_NUMBER_LAST, 2, 1)):
        matches = [m for line in lines if (m := pattern.fullmatch(line))]
        if len(matches) == len(lines) and (order := in_order([int(m[number]) for m in matches])) is not None:
            names = [_unquoted(matches[i][name]) for i in order]
            if len(set(names)) == len(names):
                return ClassNames(tuple(names))
    if all("\t" in line for line in lines):
        pairs = [line.split("\t", 1) for line in lines]
        return ClassNames(tuple(clean(name) for _, name in pairs), tuple(clean(key) for key, _ in pairs))
    return ClassNames(tuple(_unquoted(line) for line in lines))


def _is_header(line: str) -> bool:
    """Whether a first line names columns: only words that no list of classes begins with by accident."""
    words = [word.strip().strip("\"'").casefold() for word in re.split(r"[,;\t:]", line) if word.strip()]
    return bool(words) and all(word in _HEADERS for word in words)


def _unquoted(name: str) -> str:
    name = name.rstrip(",")
    if len(name) > 1 and name[0] == name[-1] == '"':
        row: Sequence[str] = next(csv.reader([name]), [])
        return clean(row[0]) if len(row) == 1 else clean(name)
    return clean(name[1:-1] if len(name) > 1 and name[0] == name[-1] == "'" else name)
