"""eyespot: the same network as a bundle, through the library; its cold start is the whole command line instead."""

from collections.abc import Sequence
from pathlib import Path

from worker import main

CLASSES = 1000


class Eyespot:
    """bytes → label."""

    packages = ("eyespot", "onnxruntime", "pillow", "numpy")

    def __init__(self, home: Path) -> None:
        import eyespot

        self.bundle = home / "eyespot"
        self.model = eyespot.load(self.bundle)

    @staticmethod
    def build(home: Path) -> None:
        """MobileNetV2 1.0 like TensorFlow's (1001 outputs) with random weights; `float32.onnx` is for the others."""
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
        build(home / "eyespot", card, weights=weights, labels=Labels(names, background=True))
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


if __name__ == "__main__":
    main(Eyespot)
