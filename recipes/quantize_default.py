"""Makes the quantization parameters of a published network: what turns its float weights into the int8 bundle.

    python recipes/quantize_default.py efficientnet_lite0.in1k IMAGES --float-layers stem.conv ...
    python recipes/quantize_default.py eyelet_1.0.tiny200 tiny_imagenet_200.zip     # the built-in model's whole bundle

IMAGES: labelled images (a folder of class folders, or with a labels.csv). The first part, in an order that is the same
every time, chooses ranges; the second, as many, decides, by how near the outputs are to the float network's, which way
of choosing ranges; the rest measures what was lost. Nothing is tried on that rest but the result.
"""

import argparse
import random
from pathlib import Path

import numpy as np

from eyespot.accuracy.dataset import examples
from eyespot.accuracy.interval import wilson
from eyespot.accuracy.paired import paired
from eyespot.bundle.build_quantized import build_quantized, name_of
from eyespot.bundle.published import published
from eyespot.bundle.resolve import BUILT_IN, open_bundle
from eyespot.core.card import Metric
from eyespot.image.prepare import decode_and_prepare
from eyespot.lower.int8.fit import Fitter, Recipe
from eyespot.lower.int8.params import QuantizationParams
from eyespot.lower.int8.plan import make_ready
from eyespot.lower.int8.ranges import WHOLE
from eyespot.run.pictures import read_bytes
from eyespot.run.probe import Probe, probe_quantized
from eyespot.shrink.evidence import gather
from eyespot.shrink.ladder import divergence, logits_of


def main() -> None:
    """Choose, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("images", type=Path)
    parser.add_argument("--calibrate", type=int, default=100)
    parser.add_argument("--float-layers", nargs="*", default=[], help="layers that stay in float32 for speed")
    asked = parser.parse_args()
    bundle = open_bundle(asked.model)
    pixels, targets = images(bundle, asked.images)
    first, second = asked.calibrate, 2 * asked.calibrate
    before = logits_of(Probe(bundle.model.read_bytes(), threads=1), pixels)
    prepared = make_ready(bundle.card.graph, bundle.weights(), bundle.card.preprocess)
    fitter = Fitter(prepared, gather(prepared, pixels[:first]))
    recipes = [
        Recipe(method, corrected=corrected, floats=frozenset(asked.float_layers))
        for method in WHOLE
        for corrected in (False, True)
    ]
    found = []
    for recipe in recipes:
        after = logits_of(probe_quantized(fitter.fit(recipe), prepared.preprocess), pixels[first:second])
        found.append(divergence(before[first:second], after))
        print(f"{recipe.method:12s} corrected {recipe.corrected!s:6s} divergence {found[-1]:.5f}", flush=True)
    recipe = recipes[int(np.argmin(found))]
    params = QuantizationParams.of(prepared, fitter.fit(recipe))
    network = params.apply(prepared)
    after = logits_of(probe_quantized(network, prepared.preprocess), pixels[second:])
    lost = paired(before[second:].argmax(1), after.argmax(1), targets[second:])
    print(recipe, lost)
    card = published().get(asked.model)
    facts = {
        "model": asked.model,
        "weights": card.sha256 if card else bundle.card.files["weights.safetensors"],
        "preprocess": prepared.preprocess.to_json(),
        "measured": lost.to_json(),
    }
    if card is None:
        write_built_in(bundle, network, prepared.preprocess, after, targets[second:], lost)
        return
    out = Path("src/eyespot/bundle/int8") / f"{asked.model}.safetensors"
    out.parent.mkdir(exist_ok=True)
    out.write_bytes(params.to_bytes(facts))
    print(out, out.stat().st_size, "bytes", lost.to_json())


def write_built_in(bundle, network, preprocess, logits, targets, lost):
    """The int8 bundle inside the package, with its own figures and what it lost."""
    data = f"Tiny ImageNet validation, {len(targets):,} images that no range was chosen on"
    place = np.argsort(-logits, axis=1, kind="stable")
    metrics = []
    for name, count in (("top1", 1), ("top5", 5)):
        hits = int((place[:, :count] == targets[:, None]).any(1).sum())
        interval = tuple(round(100 * v, 2) for v in wilson(hits, len(targets)))
        metrics.append(Metric(name, round(100 * hits / len(targets), 2), data, "eyespot", interval))
    low, high = (round(100 * v, 2) for v in lost.drop_interval)
    metrics.append(Metric("top1_drop", round(100 * lost.drop, 2), data, "eyespot, beside float32", (low, high)))
    metrics.append(Metric("agreement", round(100 * lost.agreement, 2), data, "eyespot, beside float32"))
    out = BUILT_IN / name_of(bundle.card.name, "int8")
    print(build_quantized(out, bundle, network, preprocess, metrics=metrics, replace=True).size(), "bytes", metrics)


def images(bundle, folder):
    """(prepared pixels, targets) of every image, shuffled, the same way every time."""
    labelled = examples(folder, bundle.labels)
    random.Random(0).shuffle(labelled)  # noqa: S311 - which images, not secrets
    pixels = [decode_and_prepare(read_bytes(e.picture()), bundle.card.preprocess).pixels for e in labelled]
    return np.stack(pixels), np.array([e.target + int(bundle.labels.background) for e in labelled])


if __name__ == "__main__":
    main()
