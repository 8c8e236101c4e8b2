"""A plain loop of timm and torch: timm's transforms, a DataLoader with a process per core, AdamW with a cosine.

python train_with_timm.py HOME SIZE EPOCHS BATCH: prints a JSON line per epoch, `{"epoch": 1, "top1": 0.9}`.
"""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """The loop, timed by whoever reads the lines."""
    home, size, epochs, batch = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    import timm
    import torch
    from safetensors.torch import load_file
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    torch.manual_seed(0)
    model = timm.create_model("mobilenetv2_100")
    model.load_state_dict(load_file(home / "timm.safetensors"))
    pixels = {"input_size": (3, size, size), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    train = ImageFolder(home / "pictures/train", timm.data.create_transform(**pixels, is_training=True))
    held = ImageFolder(home / "pictures/val", timm.data.create_transform(**pixels, is_training=False))
    model.reset_classifier(len(train.classes))
    workers = os.cpu_count() or 1
    batches = DataLoader(train, batch, shuffle=True, drop_last=True, num_workers=workers)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(batches))
    for epoch in range(epochs):
        model.train()
        for inputs, targets in batches:
            loss = torch.nn.functional.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        right = 0
        with torch.inference_mode():
            for inputs, targets in DataLoader(held, batch, num_workers=workers):
                right += int((model(inputs).argmax(1) == targets).sum())
        print(json.dumps({"epoch": epoch + 1, "top1": right / len(held)}), flush=True)


if __name__ == "__main__":
    main()
