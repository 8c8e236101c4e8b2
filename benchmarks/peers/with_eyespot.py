"""eyespot: the same network as a bundle, through the library; its cold start is the whole command line instead.

`BUNDLE` names the bundle in the home directory: `eyespot`, in int8 as the default model is where the processor is
faster so, or `eyespot-float32`. `THREADS` is the number of threads inside one call; without it eyespot finds it.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker import main

CLASSES = 1000
BUNDLE = os.environ.get("BUNDLE", "eyespot")
THREADS = int(os.environ.get("THREADS", "0")) or None


class Eyespot:
    """bytes → label."""

    packages = ("eyespot", "onnxruntime", "pillow", "numpy")

    def __init__(self, home: Path) -> None:
        import eyespot

        self.bundle = home / BUNDLE
        self.model = eyespot.load(self.bundle, threads=THREADS)

    @staticmethod
    def build(home: Path) -> None:
        """MobileNetV2 1.0 like TensorFlow's (1001 outputs) with random weights, in int8 and float32.

        `float32.onnx` is for the others.
        """
        if (home / "eyespot").exists():
            return
        from eyespot.arch.catalogue import draw
        from eyespot.bundle.build import build
        from eyespot.core.card import Card
        from eyespot.core.labels import Labels
        from eyespot.core.pixels import Preprocess
        from eyespot.lower.onnx import to_onnx
        from eyespot.lower.tensors import random_weights

        arguments = {"classes": CLASSES + 1, "padding": "same"}
        graph = draw("mobilenet_v2_1.0", arguments)
        weights = random_weights(graph, seed=0)
        preprocess = Preprocess((224, 224), "crop", 256, "bilinear", scale=1 / 127.5, mean=(1.0, 1.0, 1.0))
        names = tuple((home / "labels.txt").read_text().splitlines()[1:])
        card = Card("mobilenet_v2_1.0.random", "mobilenet_v2_1.0", arguments, graph, preprocess, background=True)
        bundle = build(home / "eyespot-float32", card, weights=weights, labels=Labels(names, background=True))
        _quantize(home, bundle)
        (home / "float32.onnx").write_bytes(to_onnx(graph, weights))

    def classify(self, data: bytes) -> str:
        """One picture."""
        label: str = self.model(data).label
        return label

    def folder(self, paths: Sequence[Path]) -> list[str]:
        """What `eyespot classify FOLDER` does: one thread per core, each with one picture at a time."""
        import eyespot
        from eyespot.run.many import classify_many

        with eyespot.load(self.bundle, threads=1) as model:
            return [outcome.label for outcome in classify_many(model, paths)]


def _quantize(home: Path, bundle: Any) -> None:
    """The int8 bundle, its ranges from a few of the photographs."""
    import numpy as np

    from eyespot.bundle.build_quantized import build_quantized
    from eyespot.image.prepare import decode_and_prepare
    from eyespot.lower.int8.fit import Fitter, Recipe
    from eyespot.lower.int8.plan import make_ready
    from eyespot.shrink.evidence import gather

    prepared = make_ready(bundle.card.graph, bundle.weights(), bundle.card.preprocess)
    photographs = sorted((home / "folder").iterdir())[:4]
    pixels = [decode_and_prepare(path.read_bytes(), bundle.card.preprocess).pixels for path in photographs]
    network = Fitter(prepared, gather(prepared, np.stack(pixels))).fit(Recipe())
    build_quantized(home / "eyespot", bundle, network, prepared.preprocess)


if __name__ == "__main__":
    main(Eyespot)
