"""The example programs' own preparing, in a page of Pillow, gives the pixels that eyespot gives."""

from __future__ import annotations

import importlib.util
import json
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from eyespot.core.pixels import Preprocess
from eyespot.image.prepare import prepare
from tolerances import RESAMPLED_TWICE

RULES = [
    Preprocess((32, 40), "crop", 45), Preprocess((32, 32), "crop", 37, "bicubic", centring="down"),
    Preprocess((31, 48), "stretch", antialias=False), Preprocess((48, 30), "letterbox"),
    Preprocess((30, 30), "stretch", filter="lanczos"),
]  # fmt: skip


@pytest.fixture
def program(tmp_path):
    source = resources.files("eyespot.export") / "examples" / "pictures.txt"
    (tmp_path / "pictures.py").write_bytes(source.read_bytes())
    spec = importlib.util.spec_from_file_location("pictures_of_an_export", tmp_path / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.rule}-{rule.filter}-{rule.antialias}")
@pytest.mark.parametrize("picture", ["chelsea.jpg", "rocket.jpg"])
def test_same_pixels(program, rule, picture, examples, tmp_path):
    (tmp_path / "preprocess.json").write_text(json.dumps(rule.to_json()))
    with Image.open(examples / picture) as image:
        ours = prepare(image, rule).pixels
    theirs = program.prepare(examples / picture)
    assert theirs.shape == (1, *rule.size, 3)
    assert theirs.dtype == np.uint8
    assert np.abs(theirs[0].astype(int) - ours).max() <= RESAMPLED_TWICE
    assert np.abs(theirs[0, ::-1].astype(int) - ours).max() > RESAMPLED_TWICE
