"""The usual ways to fine-tune, as plain loops of torch over networks of torchvision, timm and eyespot.

Each begins with a fresh classifier on the same weights, and the epoch that is best on the validation split is kept.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812  # torch's own name for it
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

BATCH = 16
Transform = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Split:
    """Decoded images and the indices of their classes."""

    images: Sequence[Image.Image]
    targets: Tensor


@dataclass(frozen=True)
class Phase:
    """So many epochs of one optimizer. all_layers: not the classifier alone; norm: batch norm measures its statistics.

    schedule: of (optimizer, steps), stepped after each batch.
    """

    epochs: Callable[[int], int]
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
    schedule: Callable[[torch.optim.Optimizer, int], torch.optim.lr_scheduler.LRScheduler] | None = None
    all_layers: bool = True
    norm: bool = True


@dataclass(frozen=True)
class Method:
    """train, test: transforms for a side in pixels."""

    phases: tuple[Phase, ...]
    train: Callable[[int], Transform]
    test: Callable[[int], Transform]


@dataclass(frozen=True)
class Start:
    """A network with a fresh classifier. network: (n, 3, h, w) → logits; mean, std: of pixels from 0 to 1."""

    network: nn.Module
    classifier: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]


def _usual(side: int) -> Transform:
    return transforms.Compose([transforms.RandomResizedCrop(side), transforms.RandomHorizontalFlip()])


def _centre(side: int) -> Transform:
    return transforms.Compose([transforms.Resize(side * 256 // 224), transforms.CenterCrop(side)])


def _turned(side: int) -> Transform:
    turn = transforms.RandomRotation(36, transforms.InterpolationMode.BILINEAR)
    return transforms.Compose([transforms.Resize((side, side)), transforms.RandomHorizontalFlip(), turn])


def _stretched(side: int) -> Transform:
    return transforms.Resize((side, side))


def _one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-4, total_steps=steps)


def epochs_for(images: int) -> int:
    """10 to 30, so that about 1,600 images are seen: what is usual for few images, and affordable."""
    return max(10, min(30, 1600 // images))


METHODS = {
    "AdamW 3e-4, one cycle": Method(
        (Phase(epochs_for, lambda p: torch.optim.AdamW(p, 3e-4), _one_cycle),), _usual, _centre
    ),
    "SGD 1e-2, cosine": Method(
        (
            Phase(
                epochs_for,
                lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9, weight_decay=1e-4),
                torch.optim.lr_scheduler.CosineAnnealingLR,
            ),
        ),
        _usual,
        _centre,
    ),
    "Keras' two phases": Method(  # keras.io, "Transfer learning & fine-tuning": 20 epochs, then 10
        (
            Phase(epochs_for, lambda p: torch.optim.Adam(p, 1e-3), all_layers=False, norm=False),
            Phase(lambda n: epochs_for(n) // 2, lambda p: torch.optim.Adam(p, 1e-5), norm=False),
        ),
        _turned,
        _stretched,
    ),
}


def read(folder: Path, classes: Sequence[str]) -> Split:
    """FOLDER/CLASS/*.png, decoded."""
    paths = sorted(folder.rglob("*.png"))
    images = [Image.open(path).convert("RGB") for path in paths]
    return Split(images, torch.tensor([classes.index(path.parent.name) for path in paths]))


def fit(method: Method, start: Start, train: Split, val: Split, side: int, seed: int) -> Iterator[tuple[float, float]]:
    """Trains in place; after each epoch (seconds of the processor so far, top-1 of `val`).

    When it ends the network has the weights of the best epoch: the highest top-1, then the least loss.
    """
    begun = time.process_time()
    torch.manual_seed(seed)
    best, best_weights = (-1.0, 0.0), start.network.state_dict()
    for phase in method.phases:
        parameters = list((start.network if phase.all_layers else start.classifier).parameters())
        for parameter in start.network.parameters():
            parameter.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)
        epochs = phase.epochs(len(train.images))
        optimizer = phase.optimizer(parameters)
        steps = epochs * -(-len(train.images) // BATCH)
        schedule = phase.schedule(optimizer, steps) if phase.schedule else None
        for _ in range(epochs):
            _set_training(start.network, norm=phase.norm)
            for inputs, targets in _batches(method.train(side), train, start):
                loss = F.cross_entropy(start.network(inputs), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if schedule:
                    schedule.step()
            answers = predict(method, start, val, side)
            top1 = int((answers.argmax(1) == val.targets).sum()) / len(val.targets)
            rank = (top1, -float(F.cross_entropy(answers, val.targets)))
            if rank > best:
                best, best_weights = rank, copy.deepcopy(start.network.state_dict())
            yield time.process_time() - begun, top1
    start.network.load_state_dict(best_weights)


@torch.inference_mode()
def predict(method: Method, start: Start, split: Split, side: int) -> Tensor:
    """Logits (n, classes)."""
    start.network.eval()
    transform = method.test(side)
    inputs = [_inputs([transform(image) for image in split.images[i : i + 50]], start) for i in _starts(split, 50)]
    return torch.cat([start.network(batch) for batch in inputs])


def _starts(split: Split, step: int) -> range:
    return range(0, len(split.images), step)


def _batches(transform: Transform, split: Split, start: Start) -> Iterator[tuple[Tensor, Tensor]]:
    """In a new order; no batch of one image, of which batch norm could not measure a deviation."""
    for chosen in torch.randperm(len(split.images)).split(BATCH):
        if len(chosen) > 1:
            yield _inputs([transform(split.images[i]) for i in chosen.tolist()], start), split.targets[chosen]


def _inputs(images: Sequence[Image.Image], start: Start) -> Tensor:
    pixels = torch.stack([transforms.functional.to_tensor(image) for image in images])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (start.mean, start.std))
    return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)


def _set_training(network: nn.Module, *, norm: bool) -> None:
    network.train()
    for module in network.modules():
        if not norm and "running_mean" in module._buffers:
            module.eval()
