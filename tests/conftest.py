"""Fixtures that more than one test uses."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "assets"


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real weights, pictures and data sets that lies beside a checkout; tests skip without it."""
    if not SHARED.is_dir():
        pytest.skip("needs real weights and pictures in ../shared/assets, which do not ship with the project")
    return SHARED


@pytest.fixture(scope="session")
def examples() -> Path:
    """The project's own photographs."""
    return ROOT / "examples"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's cache; within one test run the cache is shared."""
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path_factory.getbasetemp() / "eyespot-cache"))


@pytest.fixture
def server():
    """A server on loopback (tests/loopback.py); a test gives it files and faults."""
    import threading

    from loopback import Server

    server = Server()
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.stop.set()
    server.shutdown()
    thread.join()
    server.server_close()


def make_bundle(
    path: Path, *, name: str = "tiny.test", classes: int = 10, size: int = 32, seed: int = 0, training_images=None
):
    """A real bundle of a small network with random weights."""
    from eyespot.arch.catalogue import draw
    from eyespot.bundle.build import build
    from eyespot.core.card import Card
    from eyespot.core.labels import Labels
    from eyespot.core.pixels import torchvision_preprocess
    from eyespot.lower.tensors import random_weights

    arguments = {"classes": classes, "size": size}
    graph = draw("mobilenet_v1_0.25", arguments)
    card = Card(name, "mobilenet_v1_0.25", arguments, graph, torchvision_preprocess(size, size), licence="Apache-2.0")
    weights, labels = random_weights(graph, seed), Labels.numbered(classes)
    return build(path, card, weights=weights, labels=labels, training_images=training_images)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A bundle that classifies a picture in well under a millisecond; do not change its files."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


def make_pictures(folder: Path, count: int) -> list[Path]:
    """Small JPEGs, all different."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    paths = []
    for i in range(count):
        data = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).resize((40, 40)).save(data, "JPEG", quality=60)
        paths.append(folder / f"{i:05}.jpg")
        paths[-1].write_bytes(data.getvalue())
    return paths
