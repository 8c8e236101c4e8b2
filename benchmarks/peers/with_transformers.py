"""transformers: AutoImageProcessor and AutoModelForImageClassification on a local directory, as documented."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker import main

BATCH = 32


class Transformers:
    """Image.open → processor → model → id2label."""

    packages = ("transformers", "torch", "torchvision")

    def __init__(self, home: Path) -> None:
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        self.processor = AutoImageProcessor.from_pretrained(home / "transformers")
        self.model = AutoModelForImageClassification.from_pretrained(home / "transformers")

    @staticmethod
    def build(home: Path) -> None:
        """The configuration of google/mobilenet_v2_1.0_224 (1001 classes) with random weights."""
        from transformers import MobileNetV2Config, MobileNetV2ForImageClassification, MobileNetV2ImageProcessor

        labels = dict(enumerate((home / "labels.txt").read_text().splitlines()))
        config = MobileNetV2Config(image_size=224, id2label=labels, label2id={v: k for k, v in labels.items()})
        MobileNetV2ForImageClassification(config).save_pretrained(home / "transformers")
        MobileNetV2ImageProcessor(size={"shortest_edge": 256}).save_pretrained(home / "transformers")

    def classify(self, data: bytes) -> str:
        """One picture."""
        return self._labels([io.BytesIO(data)])[0]

    def folder(self, paths: Sequence[Path]) -> list[str]:
        """Batches of 32."""
        batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
        return [label for batch in batches for label in self._labels(batch)]

    def _labels(self, sources: Sequence[Any]) -> list[str]:
        import torch
        from PIL import Image

        pictures = [Image.open(source).convert("RGB") for source in sources]
        inputs = self.processor(pictures, return_tensors="pt")
        with torch.no_grad():
            logits = self.model(**inputs).logits
        return [self.model.config.id2label[index] for index in logits.argmax(-1).tolist()]


if __name__ == "__main__":
    main(Transformers)
