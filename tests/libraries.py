"""Other people's libraries, which only the tests marked 'peers' need: there, or said to be missing."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import pytest

_defined: list[Any] = []  # torch forgets an operator with the object that defined it


def imported(name: str) -> ModuleType:
    """The module of that name from the extra 'peers'. Without it a test is skipped; in CI, where it must run, it fails.

    Whatever is asked for, torchvision comes first: timm and transformers import it by themselves.
    """
    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        _torchvision()
        importlib.import_module("torch").set_num_threads(1)  # tests share the machine with one another
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if os.environ.get("CI"):
            pytest.fail(f"{error.name} is not installed; the tests marked 'peers' need the extra 'peers'")
        pytest.skip(f"needs the extra 'peers': {error.name} is not installed")


def _torchvision() -> None:
    """torchvision's own operators do not load beside torch's CPU build, where its import trips over their absence.

    No network needs them; they are declared, without anything that computes.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _defined:
            raise
        import torch

        operators = torch.library.Library("torchvision", "DEF")
        operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _defined.append(operators)
        importlib.import_module("torchvision")


def one_of_each(rows: Iterable[tuple[Any, ...]], kind: Callable[..., object]) -> list[Any]:
    """Rows for ``parametrize``, of which CI runs the first of each kind (``-m "peers and not slow"``)."""
    seen: set[object] = set()
    params = []
    for row in rows:
        marks = (pytest.mark.slow,) if kind(*row) in seen else ()
        seen.add(kind(*row))
        params.append(pytest.param(*row, marks=marks))
    return params
