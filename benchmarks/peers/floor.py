"""The floor of this machine: only the decoder (`FLOOR=decode`), or only the network (`FLOOR=network`)."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

from worker import main

SHORTER_SIDE = 256


class Decode:
    """JPEG bytes to 8-bit RGB, at the smallest of libjpeg-turbo's scales whose sides are at least 256."""

    packages = ("pillow",)

    def __init__(self, home: Path) -> None:
        """Needs no file."""

    @staticmethod
    def build(home: Path) -> None:
        """Nothing."""

    def classify(self, data: bytes) -> str:
        """Says how large the picture became."""
        from PIL import Image

        image = Image.open(io.BytesIO(data))
        image.draft("RGB", (SHORTER_SIDE, SHORTER_SIDE))
        image.load()
        return str(image.size)

    def folder(self, paths: Sequence[Path]) -> list[str]:
        """One after the other."""
        return [self.classify(path.read_bytes()) for path in paths]


class Network:
    """The float32 network on constant numbers, with every core up to eight, as eyespot opens it."""

    packages = ("onnxruntime",)

    def __init__(self, home: Path) -> None:
        import numpy as np
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = min(os.cpu_count() or 1, 8)
        self.session = onnxruntime.InferenceSession(home / "float32.onnx", options, providers=["CPUExecutionProvider"])
        numbers = np.random.default_rng(0).uniform(-1, 1, (1, 3, 224, 224)).astype(np.float32)
        self.feed = {self.session.get_inputs()[0].name: numbers}

    @staticmethod
    def build(home: Path) -> None:
        """Nothing: eyespot's script has written `float32.onnx`."""

    def classify(self, data: bytes) -> str:
        """Takes no notice of the picture."""
        return str(self.session.run(None, self.feed)[0].shape)

    def folder(self, paths: Sequence[Path]) -> list[str]:
        """As often as there are files."""
        return [self.classify(b"") for _ in paths]


if __name__ == "__main__":
    main(Decode if os.environ["FLOOR"] == "decode" else Network)
