"""timm: mobilenetv2_100 with the transform of its own data configuration, as documented."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker import main

BATCH = 32


class Timm:
    """Image.open → transform → model → topk."""

    packages = ("timm", "torch", "torchvision")

    def __init__(self, home: Path) -> None:
        import timm

        self.model = timm.create_model("mobilenetv2_100", checkpoint_path=str(home / "timm.safetensors")).eval()
        self.transform = timm.data.create_transform(
            **timm.data.resolve_model_data_config(self.model), is_training=False
        )
        self.labels = (home / "labels.txt").read_text().splitlines()[1:]

    @staticmethod
    def build(home: Path) -> None:
        """Random weights."""
        import timm
        from safetensors.torch import save_file

        save_file(timm.create_model("mobilenetv2_100").state_dict(), home / "timm.safetensors")

    def classify(self, data: bytes) -> str:
        """One picture."""
        import torch
        from PIL import Image

        pixels = self.transform(Image.open(io.BytesIO(data)).convert("RGB"))
        with torch.inference_mode():
            probabilities = self.model(pixels.unsqueeze(0)).softmax(dim=1)
        return self.labels[int(probabilities.topk(5).indices[0, 0])]

    def folder(self, paths: Sequence[Path]) -> list[str]:
        """Batches of 32 from a DataLoader with one worker process per core."""
        import torch
        from torch.utils.data import DataLoader

        found: list[str] = []
        with torch.inference_mode():
            for batch in DataLoader(Files(paths, self.transform), batch_size=BATCH, num_workers=os.cpu_count() or 1):
                found += [self.labels[index] for index in self.model(batch).argmax(dim=1).tolist()]
        return found


class Files:
    """A map-style data set of picture files."""

    def __init__(self, paths: Sequence[Path], transform: Any) -> None:
        self.paths = paths
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        from PIL import Image

        return self.transform(Image.open(self.paths[index]).convert("RGB"))


if __name__ == "__main__":
    main(Timm)
