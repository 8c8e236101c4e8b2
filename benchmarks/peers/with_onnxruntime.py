"""Pillow and ONNX Runtime: the short script that a good engineer writes, with a float32 file and numpy."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from worker import main


class OnnxRuntime:
    """A full decode, shorter side to 256, the middle 224, scaled to [-1, 1]."""

    packages = ("onnxruntime", "pillow", "numpy")

    def __init__(self, home: Path) -> None:
        """The session has ONNX Runtime's own defaults."""
        import onnxruntime

        self.session = onnxruntime.InferenceSession(home / "float32.onnx", providers=["CPUExecutionProvider"])
        self.labels = (home / "labels.txt").read_text().splitlines()

    @staticmethod
    def build(home: Path) -> None:
        """Nothing: eyespot's script has written `float32.onnx`."""

    def classify(self, data: bytes) -> str:
        """One picture."""
        import numpy as np
        from PIL import Image

        image = Image.open(io.BytesIO(data)).convert("RGB")
        scale = 256 / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 127.5 - 1
        (logits,) = self.session.run(None, {self.session.get_inputs()[0].name: pixels.transpose(2, 0, 1)[None]})
        return self.labels[int(logits[0].argmax())]

    def folder(self, paths: Sequence[Path]) -> list[str]:
        """One thread per core, each with one picture at a time."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda path: self.classify(path.read_bytes()), paths))


if __name__ == "__main__":
    main(OnnxRuntime)
