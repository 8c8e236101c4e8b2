"""Makes the quantization parameters of a published network: what turns its float weights into the int8 bundle.

    python recipes/quantize_default.py efficientnet_lite0.in1k IMAGES --calibrate 100

IMAGES: labelled images (a folder of class folders, or with a labels.csv). The first part, in an order that is the same
every time, chooses ranges; the second, as many, decides, by how near the outputs are to the float network's, which way
of choosing ranges; the rest measures what was lost. Nothing is tried on that rest but the result.
"""

import argparse
import random
from pathlib import Path

import numpy as np

from eyespot.accuracy.dataset import examples
from eyespot.accuracy.paired import paired
from eyespot.bundle.published import published
from eyespot.bundle.resolve import open_bundle
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
    out = Path("src/eyespot/bundle/int8") / f"{asked.model}.safetensors"
    out.parent.mkdir(exist_ok=True)
    out.write_bytes(params.to_bytes(facts))
    print(out, out.stat().st_size, "bytes", lost.to_json())


def images(bundle, folder):
    """(prepared pixels, targets) of every image, shuffled, the same way every time."""
    labelled = examples(folder, bundle.labels)
    random.Random(0).shuffle(labelled)  # noqa: S311 - which images, not secrets
    pixels = [decode_and_prepare(read_bytes(e.picture()), bundle.card.preprocess) for e in labelled]
    return np.stack(pixels), np.array([e.target + int(bundle.labels.background) for e in labelled])


if __name__ == "__main__":
    main()
