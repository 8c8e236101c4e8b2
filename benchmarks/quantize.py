"""Eight bits side by side: `python benchmarks/quantize.py --bundles DIR --samples DIR [--tiny DIR] [--json FILE]`.

What ONNX Runtime's own tools (per tensor, per channel), NNCF's defaults and `eyespot quantize` lose on the same
pictures, 100 to calibrate on and 400 others to measure on, and what each takes beside float32 in the same turns. On a
busy machine `--threads 1` keeps the ratios honest: threads that wait for one another measure the others' work.

--bundles: a folder of bundles with the names below, made by `eyespot import`; those that are absent are listed so.
--samples: labelled ImageNet pictures; --tiny: of Tiny ImageNet, for the built-in model. A second table times families
with random weights, for which accuracy means nothing. Needs `onnx`; `nncf` is used where it is installed.
"""

import argparse
import json
import logging
import os
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from report import machine

from eyespot.accuracy.dataset import examples
from eyespot.accuracy.paired import Paired, paired
from eyespot.arch.catalogue import draw
from eyespot.bundle.resolve import open_bundle
from eyespot.bundle.store import Bundle
from eyespot.cli.quantize import tuner
from eyespot.core.pixels import torchvision_preprocess
from eyespot.core.processor import instructions
from eyespot.core.timing import Ratio, Samples, ratio
from eyespot.image.prepare import decode_and_prepare
from eyespot.lower.int8.fit import Fitter, Recipe
from eyespot.lower.int8.plan import make_ready
from eyespot.lower.int8.to_onnx import quantized_to_onnx
from eyespot.lower.onnx import to_onnx
from eyespot.lower.tensors import random_weights
from eyespot.measure.turns import plan, take_turns, warm_up
from eyespot.run.open import cores
from eyespot.run.ort import saturates
from eyespot.run.probe import Probe
from eyespot.shrink.evidence import gather
from eyespot.shrink.ladder import Limits, Shown, climb, logits_of
from eyespot.shrink.slow_layers import leave_slow

BUNDLES = ("mobilenet_v2_1.0.tf", "mobilenet_v3_small_1.0.tf", "squeezenet_1.1.gluon", "mobilenet_v1_0.25.keras")
BUILT_IN = "eyelet_1.0.tiny200"
FAMILIES = (
    "efficientnet_b0", "efficientnet_lite0", "mobilenet_v3_large_1.0", "resnet18", "shufflenet_v2_1.0", "inception_v3",
)  # fmt: skip
CALIBRATE, EVALUATE = 100, 400
FLOAT, TENSOR, CHANNEL, NNCF, OURS = "float32", "ORT per tensor", "ORT per channel", "NNCF", "eyespot"


class Asked(NamedTuple):
    """How long each network is timed in each way, with how many threads; steps of fine-tuning, where torch is."""

    seconds: float
    threads: int
    fine_tune: int


@dataclass
class Row:
    """One way for one network. found: None where accuracy was not measured."""

    network: str
    way: str
    found: Paired | None
    milliseconds: float
    ratio: Ratio
    size: int
    note: str = ""


def pictures(bundle: Bundle, data: Path, count: int) -> Shown:
    """So many of the labelled pictures, prepared; the same ones each time."""
    chosen = examples(data, bundle.labels)
    random.Random(0).shuffle(chosen)
    chosen = chosen[:count]
    first = int(bundle.labels.background)
    read = [Path(p).read_bytes() if isinstance(p := example.picture(), str) else p for example in chosen]
    pixels = [decode_and_prepare(data, bundle.card.preprocess).pixels for data in read]
    return Shown(np.stack(pixels), np.array([example.target + first for example in chosen]))


def by_ort(model: Path, calibration: np.ndarray, *, per_channel: bool) -> bytes:
    """As ONNX Runtime's documentation says: preprocessed, static, QDQ, uint8 activations, int8 weights, min-max."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            one = next(self.left, None)
            return None if one is None else {"pixels": one[None]}

    with tempfile.TemporaryDirectory() as folder:
        ready, out = Path(folder) / "ready.onnx", Path(folder) / "out.onnx"
        quant_pre_process(str(model), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready), str(out), Reader(), quant_format=QuantFormat.QDQ, per_channel=per_channel,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        return out.read_bytes()


def by_nncf(model: Path, calibration: np.ndarray) -> bytes:
    """NNCF's post-training quantization with its defaults."""
    import nncf
    import onnx

    nncf.set_log_level(logging.ERROR)
    data = nncf.Dataset([{"pixels": one[None]} for one in calibration])
    return nncf.quantize(onnx.load(str(model)), data, subset_size=len(calibration)).SerializeToString()


class Plain(Probe):
    """As whoever made the model elsewhere runs it: ONNX Runtime's own options, whatever its kernels do here."""

    def __init__(self, model: bytes, *, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.names = tuple(output.name for output in self._session.get_outputs())


def opened(way: str, model: bytes, threads: int = 1) -> Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], ...]]:
    """A model as those run it who made it."""
    return (Probe if way in (FLOAT, OURS) else Plain)(model, threads=threads)


def timed(models: Mapping[str, bytes], picture: np.ndarray, asked: Asked) -> list[tuple[float, Ratio]]:
    """(milliseconds, the ratio to the first in the same turns) of each way's model."""
    probes = [opened(way, model, asked.threads) for way, model in models.items()]
    works = [lambda probe=probe: probe(picture) for probe in probes]
    turns = take_turns(works, plan(warm_up(works, runs=3), seconds=asked.seconds, turns=15))
    samples = [Samples.of(one) for one in turns]
    return [(one.median, ratio(one, samples[0])) for one in samples]


def compare(name: str, bundle: Bundle, shown: Shown, asked: Asked) -> list[Row]:
    """All ways for one trained network."""
    calibration, test = shown.pixels[:CALIBRATE], Shown(shown.pixels[CALIBRATE:], shown.targets[CALIBRATE:])
    before = logits_of(Probe(bundle.model.read_bytes()), test.pixels).argmax(1)
    models, notes = {FLOAT: bundle.model.read_bytes()}, {}
    ways: dict[str, Callable[[], bytes]] = {
        TENSOR: lambda: by_ort(bundle.model, calibration, per_channel=False),
        CHANNEL: lambda: by_ort(bundle.model, calibration, per_channel=True),
        NNCF: lambda: by_nncf(bundle.model, calibration),
    }
    for way, make in ways.items():
        try:
            models[way] = make()
        except ImportError as error:
            print(f"- {way} is absent: {error}")
    tune, _ = tuner(asked.fine_tune)
    ladder = climb(bundle, calibration, test, limits=Limits(), tune=tune)
    ladder = leave_slow(bundle, ladder, calibration, test, limits=Limits())
    models[OURS] = quantized_to_onnx(ladder.network, preprocess=ladder.ready.preprocess)
    notes[OURS] = ("" if ladder.held else "no step held; ") + "; ".join(s.name for s in ladder.steps if s.kept)
    rows = []
    for (way, model), (ms, beside) in zip(models.items(), timed(models, calibration[:1], asked), strict=True):
        after = logits_of(opened(way, model), test.pixels).argmax(1)
        found = paired(before, after, test.targets)
        rows.append(Row(name, way, found, ms, beside, len(model), notes.get(way, "")))
    return rows


def family(name: str, asked: Asked) -> list[Row]:
    """Time and size of an architecture with random weights, in float32, by ONNX Runtime's tools and by ours."""
    graph = draw(name, {})
    side = graph.input[1]
    preprocess = torchvision_preprocess(side, side)
    weights = random_weights(graph)
    patches = np.random.default_rng(0).integers(0, 256, (4, side // 8 + 1, side // 8 + 1, 3), np.uint8)
    pixels = np.ascontiguousarray(patches.repeat(8, 1).repeat(8, 2)[:, :side, :side])
    ready = make_ready(graph, weights, preprocess)
    network = Fitter(ready, gather(ready, pixels)).fit(Recipe())
    models = {FLOAT: to_onnx(graph, weights, preprocess=preprocess)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        path.write_bytes(models[FLOAT])
        models[CHANNEL] = by_ort(path, pixels, per_channel=True)
    models[OURS] = quantized_to_onnx(network, preprocess=ready.preprocess)
    times = timed(models, pixels[:1], asked)
    pairs = zip(models.items(), times, strict=True)
    return [Row(name, way, None, ms, beside, len(model)) for (way, model), (ms, beside) in pairs]


def kernels() -> str:
    """Which kind of integer kernels was measured, and whether it is the processor's own."""
    if not saturates():
        return "Integer kernels add in 32 bits (VNNI)."
    switched_off = any("vnni" in name for name in instructions())
    why = "AVX-512 and VNNI are switched off in ONNX Runtime" if switched_off else "the processor has no VNNI"
    return f"Integer kernels add pairs in 16 bits: {why}."


def render(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| network | way | top-1 | drop [95 % interval] | agreement | ms | ÷ float32 [95 %] | MB |",
        "|---|---|" + "--:|" * 6,
    ]
    for row in rows:
        cells = ["", "", ""]
        if row.found is not None:
            low, high = (100 * v for v in row.found.drop_interval)
            cells[0] = f"{100 * row.found.after:.2f}"
            if row.way != FLOAT:
                cells[1] = f"{100 * row.found.drop:+.2f} [{low:+.1f}, {high:+.1f}]"
                cells[2] = f"{100 * row.found.agreement:.1f} %"
        interval = "" if row.ratio.interval is None else " [{:.2f}, {:.2f}]".format(*row.ratio.interval)
        beside = "1" if row.way == FLOAT else f"{row.ratio.value:.2f}{interval}"
        time = f"{row.milliseconds:.2f} | {beside} | {row.size / 1e6:.1f}"
        lines.append(f"| {row.network} | {row.way} | {' | '.join(cells)} | {time} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundles", type=Path, help="a folder of bundles")
    parser.add_argument("--samples", type=Path, help="labelled ImageNet pictures")
    parser.add_argument("--tiny", type=Path, help="labelled Tiny ImageNet pictures")
    parser.add_argument("--only", nargs="*", help="these networks only")
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing, for each network and way")
    parser.add_argument("--threads", type=int, default=min(cores(), 8), help="inside one call; 1 on a busy machine")
    parser.add_argument("--fine-tune", type=int, default=300, help="steps of the ladder's last step, where torch is")
    parser.add_argument("--json", type=Path, help="every figure goes there")
    given = parser.parse_args()
    asked = Asked(given.seconds, given.threads, given.fine_tune)
    load = os.getloadavg()
    rows: list[Row] = []
    places = [(name, given.bundles / name, given.samples) for name in BUNDLES if given.bundles and given.samples]
    for name, bundle, data in [*places, *([(BUILT_IN, BUILT_IN, given.tiny)] if given.tiny else [])]:
        if given.only and name not in given.only:
            continue
        if isinstance(bundle, Path) and not bundle.is_dir():
            print(f"- {name} is absent: no such bundle in --bundles")
            continue
        opened = open_bundle(bundle)
        rows += compare(name, opened, pictures(opened, data, CALIBRATE + EVALUATE), asked)
    for name in FAMILIES:
        if not given.only or name in given.only:
            rows += family(name, asked)
    facts = machine(load)
    print(render(rows))
    busy = f"load {load[0]:.1f}, then {facts['load_after'][0]:.1f}"
    print(f"\nMachine: {facts['cpu']}, {facts['cores']} cores, {asked.threads} threads; {busy}. {kernels()}")
    for row in rows:
        if row.note:
            print(f"- {row.network}: {row.note}")
    if given.json:
        found = [
            vars(row) | {"ratio": row.ratio.to_json(), "found": row.found.to_json() if row.found else None}
            for row in rows
        ]
        given.json.write_text(json.dumps({"machine": facts, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
