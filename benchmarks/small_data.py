"""Fine-tuning on small data, side by side: `python benchmarks/small_data.py ASSETS --work FOLDER`; see README.md.

ASSETS: the folder of weights and datasets (torchvision's MobileNetV2 and the images; what is not there is left out).
Each finished training is a line of FOLDER/results.jsonl, so the command can be stopped and started again, narrowed
with --datasets, --starts, --ways and --seeds, and run more than once at a time. `--table` prints what is there.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from report import machine
from small_sets import DATASETS, Absent, prepare
from small_table import Run, render

HERE = Path(__file__).resolve().parent
SIZE = 96  # pixels of the networks' inputs
OURS = {"eyespot probe": "probe", "eyespot finetune": "finetune"}
PEERS = ("AdamW 3e-4, one cycle", "SGD 1e-2, cosine", "Keras' two phases")
STARTS = ("mobilenet_v2_1.0", "efficientnet_lite0", "eyelet_1.0")


class Key(NamedTuple):
    """One training."""

    dataset: str
    start: str
    seed: int
    way: str


def main() -> None:
    """Train what is missing, or print the table."""
    asked = _arguments()
    asked.work.mkdir(parents=True, exist_ok=True)
    results = asked.work / "results.jsonl"
    if not asked.table:
        _train_missing(asked, results)
    print(render(read(results), machine(os.getloadavg()), [*OURS, *PEERS]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("assets", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="datasets, bundles and results.jsonl")
    parser.add_argument("--datasets", nargs="+", choices=list(DATASETS), default=list(DATASETS))
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=STARTS)
    parser.add_argument("--ways", nargs="+", choices=[*OURS, *PEERS], default=[*OURS, *PEERS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="train nothing")
    return parser.parse_args()


def read(results: Path) -> list[Run]:
    """The last run of each key."""
    lines = results.read_text().splitlines() if results.exists() else []
    runs = [Run(**json.loads(line)) for line in lines]
    return list({_key(run): run for run in runs}.values())


def _key(run: Run) -> Key:
    return Key(run.dataset, run.start, run.seed, run.way)


def _train_missing(asked: argparse.Namespace, results: Path) -> None:
    """Each way, start and dataset with the first seed, then with the next; another process's runs are not repeated."""
    versions = {way: _version(way) for way in asked.ways}
    for seed in asked.seeds:
        for way in asked.ways:
            for start in asked.starts:
                for dataset in asked.datasets:
                    key = Key(dataset, start, seed, way)
                    if any(_key(run) == key and run.version == versions[way] for run in read(results)):
                        continue
                    run = _run(key, asked, versions[way])
                    if run is not None:
                        with results.open("a") as file:
                            file.write(json.dumps(asdict(run)) + "\n")


def _version(way: str) -> str:
    """Changes with the code that a way's figures depend on."""
    import eyespot

    root = Path(eyespot.__file__).parent
    own = [*sorted((root / "learn").rglob("*.py")), *sorted((root / "learn").rglob("*.toml")), root / "core/recipe.py"]
    digest = hashlib.sha256()
    theirs = [HERE / "peers/finetune.py", HERE / "peers/networks.py"]
    for path in own if way in OURS else theirs:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _run(key: Key, asked: argparse.Namespace, version: str) -> Run | None:
    """One training; None when its images or weights are not there. What it fails with goes into the results."""
    try:
        images = prepare(key.dataset, key.seed, asked.assets, asked.work / "datasets")
        bundle = _bundle(key.start, asked)
    except Absent as reason:
        _say(f"{key.dataset}, {key.start}: left out: {reason}")
        return None
    counts = [len(list((images / part).rglob("*.png"))) for part in ("train", "val", "test")]
    try:
        figures = _ours(key, images, bundle, asked.work) if key.way in OURS else _peers(key, images, bundle, asked.work)
    except Exception as error:  # a way that fails on a dataset is a result
        traceback.print_exc()
        figures = {"error": f"{type(error).__name__}: {error}"}
    run = Run(**key._asdict(), version=version, images=tuple(counts), **figures)
    share = 100 * run.right.count("1") / max(len(run.right), 1)
    _say(f"{', '.join(map(str, key))}: test {share:.1f} %, {run.seconds:.0f} s {run.error}")
    return run


def _bundle(start: str, asked: argparse.Namespace) -> str:
    """The name or the folder of the bundle that training starts from."""
    from eyespot.bundle.adopt import Request, adopt
    from eyespot.errors import EyespotError

    if start == "efficientnet_lite0":
        try:
            from eyespot.bundle.resolve import open_bundle

            return str(open_bundle("efficientnet_lite0.in1k").path)
        except EyespotError as error:
            raise Absent(str(error)) from None
    if start == "eyelet_1.0":
        return "eyelet_1.0.tiny200"
    weights = asked.assets / "weights/torch/mobilenet_v2-b0353104.pth"
    if not weights.exists():
        raise Absent(f"{weights} is not there")
    path = asked.work / "bundles" / start
    if not path.exists():
        adopt(weights, path, request=Request())
    return str(path)


def _ours(key: Key, images: Path, bundle: str, work: Path) -> dict[str, Any]:
    """eyespot's own training, on one thread, with all that it chooses by itself but the size."""
    import eyespot
    from eyespot.learn import train
    from eyespot.learn.events import Watch

    curve: list[tuple[float, float]] = []
    begun = _processor_seconds()

    class Curve(Watch):
        def event(self, record: dict[str, Any]) -> None:
            if record["event"] != "done" and record.get("top1") is not None:
                curve.append((round(_processor_seconds() - begun, 2), record["top1"]))

    out = work / "runs" / "-".join(map(str, key)).replace(" ", "_")
    shutil.rmtree(out, ignore_errors=True)
    run = train(
        images,
        out,
        model=bundle,
        recipe=OURS[key.way],
        settings=[f"size={SIZE}"],
        seed=key.seed,
        threads=1,
        watch=Curve(),
    )
    seconds = _processor_seconds() - begun
    model = eyespot.load(run.best)
    paths = sorted((images / "test").rglob("*.png"))
    right = "".join(str(int(model(path).top(1)[0].id == path.parent.name)) for path in paths)
    shutil.rmtree(out / "cache", ignore_errors=True)
    return {"right": right, "curve": curve, "seconds": round(seconds, 2)}


def _peers(key: Key, images: Path, bundle: str, work: Path) -> dict[str, Any]:
    """A plain loop, on one thread; timed without imports and without testing, as eyespot's."""
    sys.path.insert(0, str(HERE / "peers"))
    import finetune
    import networks
    import torch

    torch.set_num_threads(1)
    classes = sorted(path.name for path in (images / "train").iterdir())
    start = networks.START[key.start](bundle, len(classes), SIZE, key.seed, work)
    begun = _processor_seconds()
    train, val = (finetune.read(images / part, classes) for part in ("train", "val"))
    read_seconds = _processor_seconds() - begun
    method = finetune.METHODS[key.way]
    curve = [
        (round(read_seconds + seconds, 2), top1)
        for seconds, top1 in finetune.fit(method, start, train, val, SIZE, key.seed)
    ]
    test = finetune.read(images / "test", classes)
    labels = finetune.predict(method, start, test, SIZE).argmax(1)
    right = "".join(str(int(hit)) for hit in (labels == test.targets))
    return {"right": right, "curve": curve, "seconds": curve[-1][0]}


def _processor_seconds() -> float:
    """Of this process and of its ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
