"""``eyespot export``: a bundle as a folder that another runtime reads, proven to answer as the bundle does."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.accuracy.dataset import examples
from eyespot.bundle.store import GOLDENS, Bundle
from eyespot.core.labels import Labels
from eyespot.data.layout import LISTING
from eyespot.errors import ExportError, PictureError, UsageError
from eyespot.export.formats import Budget, Files, Format, QuantizedWriter, Writer, find_format
from eyespot.export.proof import Proof, Shown, prove
from eyespot.image.prepare import decode_and_prepare
from eyespot.lower.tensors import of_inference
from eyespot.run.pictures import SUFFIXES, read_bytes, walk

LABELS, PREPROCESS, PHOTOGRAPH, REPORT = "labels.txt", "preprocess.json", "golden.jpg", "report.json"


@dataclass(frozen=True, eq=False)
class Exported:
    """What was written. sizes: bytes of the format's own files. proof: None where the format does not run here.

    notes: what a person must know of it. facts: what the format itself has to say.
    """

    path: Path
    model: str
    format: str
    runtime: str
    precision: str
    sizes: Mapping[str, int]
    sha256: Mapping[str, str]
    proof: Proof | None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, object] | None = None
    unreadable: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; what ``report.json`` holds."""
        return {
            "model": self.model,
            "format": self.format,
            "runtime": self.runtime,
            "precision": self.precision,
            "files": {name: {"bytes": size, "sha256": self.sha256[name]} for name, size in self.sizes.items()},
            "proof": self.proof.to_json() if self.proof else None,
            "facts": dict(self.facts or {}),
            "notes": list(self.notes),
            "unreadable": list(self.unreadable),
        }


def export(
    bundle: Bundle,
    to: str,
    out: Path,
    *,
    pictures: Shown | None = None,
    threads: int = 1,
    seconds: float = 1.0,
    budget: Budget | None = None,
    writer: Writer | None = None,
    quantized_writer: QuantizedWriter | None = None,
    facts: Callable[[Path], Mapping[str, object]] | None = None,
    replace: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Writes the folder ``out``, whole or not at all: the format's files, labels, pixels' contract, goldens, an example
    program and the report.

    pictures: run beside the bundle's goldens. seconds: of timing; 0: none. budget: None is the format's own. writer,
    quantized_writer: write a network in float32 and in 8 bits in the place of the format's own; the torch tower hands
    its over so. facts: finds what the report says of the written folder, in the place of the format's. ``say`` is told
    what is done. ExportError when the answers lie too far from the source's; UsageError for a place that is taken or a
    precision that the format has not; MissingExtra without its runtime.
    """
    format = find_format(to)
    format.needs()
    check_place(out, replace=replace)
    say("writing")
    files, precision, notes = _write(bundle, format, writer or format.float32, quantized_writer or format.int8)
    finding = facts or format.facts
    if format.open is None:
        notes += (format.unproven,)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            _fill(staging, bundle, format, files)
            proof, why = None, ""
            if format.open is not None:
                limits = budget or format.budgets[precision == "int8"]
                model = staging / format.model
                proof = prove(bundle, format, model, pictures, limits, threads=threads, seconds=seconds, say=say)
                why = proof.why
            elif format.check is not None:
                why = format.check(staging / format.model, bundle)
            if why:
                raise ExportError(f"{bundle.card.name} as {to} is refused and nothing stays: {why}")
            exported = Exported(
                out, bundle.card.name, to, format.title, precision,
                {name: len(data) for name, data in files.items()},
                {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
                proof, notes, finding(staging) if finding else None,
                pictures.unreadable if pictures else (),
            )  # fmt: skip
            _put(staging, exported)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror or error}; choose another place") from None
    return exported


def _put(staging: Path, exported: Exported) -> None:
    """Writes the report and renames the folder to its place; what is there is moved aside, and back on failure."""
    report, out = json.dumps(exported.to_json(), indent=2, ensure_ascii=False), exported.path
    (staging / REPORT).write_text(report + "\n", encoding="utf-8")
    staging.chmod(0o755)
    if not out.exists() or not any(out.iterdir()):
        staging.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent)) / out.name
    out.rename(old)
    try:
        staging.rename(out)
    except OSError:
        old.rename(out)
        raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)


def check_place(out: Path, *, replace: bool) -> None:
    """UsageError when something is where the folder is to be: anything but an export that may be replaced."""
    if not (out.exists() or out.is_symlink()) or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out.is_dir() and (out / REPORT).is_file()):
        raise UsageError(f"{out} exists and is no export; choose another place for the new one")
    if not replace:
        raise UsageError(f"{out} already holds an export; remove it, choose another place, or pass --replace")


def pictures_of(data: Path, bundle: Bundle, *, most: int, say: Callable[[str], None] = lambda _: None) -> Shown:
    """Prepared pictures of ``data``: labelled ones as for ``evaluate``, or a folder (or one file) of pictures alone.

    A folder that holds pictures beside no ``labels.csv`` is a plain one. most: that many, spread evenly over all.
    """
    plain = _plain(data)
    if plain is None:
        found = examples(data, bundle.labels)
        everything = [(example.picture(), example.target + int(bundle.labels.background)) for example in found]
    else:
        everything = [(path, -1) for path in plain]
    step = max(len(everything) / most, 1)
    chosen = [everything[int(i * step)] for i in range(min(most, len(everything)))]
    pixels: list[NDArray[np.uint8]] = []
    targets: list[int] = []
    unreadable: list[str] = []
    for picture, target in chosen:
        say(f"preparing {len(pixels) + 1} of {len(chosen)}")
        try:
            pixels.append(decode_and_prepare(read_bytes(picture), bundle.card.preprocess).pixels)
            targets.append(target)
        except PictureError as error:
            unreadable.append(str(error))
    if not pixels:
        raise UsageError(f"{data} holds no picture that can be read; pass a folder of pictures, or leave --data out")
    labelled = None if plain is not None else np.array(targets, np.int64)
    return Shown(np.stack(pixels), labelled, tuple(unreadable))


def _plain(data: Path) -> list[str] | None:
    """The pictures of a folder that has no labels; None for labelled data."""
    if data.is_file() and data.suffix.lower() in SUFFIXES:
        return [str(data)]
    if data.is_dir() and not (data / LISTING).is_file():
        return list(walk(str(data), recursive=False)) or None
    return None


def _write(
    bundle: Bundle, format: Format, writer: Writer | None, quantized_writer: QuantizedWriter | None
) -> tuple[Files, str, tuple[str, ...]]:
    """(the format's files, the precision that they have, notes)."""
    card = bundle.card
    metadata = {
        "name": card.name,
        "licence": card.licence,
        "graph": card.graph.digest,
        "preprocess": json.dumps(card.preprocess.to_json()),
        "labels": lines_of(bundle.labels),
    }
    notes = format.notes
    if card.precision == "int8" or card.precision in format.stores:
        if quantized_writer is None:
            raise UsageError(
                f"{card.name} is in 8 bits, which eyespot does not write as {format.name}; export the float bundle "
                f"{card.parent or 'that it was made of'}, or choose another format"
            )
        written = quantized_writer(bundle.quantized(), preprocess=card.preprocess, metadata=metadata)
        notes += format.int8_notes if card.precision == "int8" else ()
        return format.files_of(written), card.precision, notes
    if card.precision != "float32":
        notes += (f"the bundle stores its weights as {card.precision}; here they are float32",)
    if writer is None:
        raise UsageError(f"{format.name} has no float32; quantize {card.name} first: `eyespot quantize`")
    graph, weights = of_inference(card.graph, bundle.weights())
    written = writer(graph, weights, preprocess=card.preprocess, metadata=metadata)
    return format.files_of(written), "float32", notes


def lines_of(labels: Labels) -> str:
    """A line per output of the network, in their order: the id and a tab before the name where there are ids."""
    first = ("-\tbackground\n" if labels.ids else "background\n") if labels.background else ""
    return first + labels.to_text()


def _fill(folder: Path, bundle: Bundle, format: Format, files: Files) -> None:
    """Every file of an export but the report."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / LABELS).write_text(lines_of(bundle.labels), encoding="utf-8")
    contract = json.dumps(bundle.card.preprocess.to_json(), indent=2)
    (folder / PREPROCESS).write_text(contract + "\n", encoding="utf-8")
    shutil.copyfile(bundle.path / GOLDENS, folder / GOLDENS)
    (folder / PHOTOGRAPH).write_bytes(bundle.goldens().jpeg)
    programs = resources.files("eyespot.export") / "examples"
    text, name = format.example
    (folder / name).write_bytes((programs / text).read_bytes())
    if name.endswith((".py", ".c")):
        (folder / "pictures.py").write_bytes((programs / "pictures.txt").read_bytes())
