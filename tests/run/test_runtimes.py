"""The runtimes that a bundle can be served on, and what is said of those that are absent or unknown."""

from typing import get_args

import numpy as np
import pytest

from conftest import make_bundle
from eyespot.bundle.build_quantized import build_quantized
from eyespot.cli.arguments import RUNTIME
from eyespot.errors import MissingExtra, RuntimeFailure, UsageError
from eyespot.lower.int8.fit import Fitter, Recipe
from eyespot.lower.int8.plan import make_ready
from eyespot.run import open as home
from eyespot.run.open import Runtime, open_model, open_session
from eyespot.run.ort import saturates
from eyespot.run.verify import verify
from eyespot.shrink.evidence import gather


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


def test_the_command_line_offers_them_all():
    assert tuple(RUNTIME.choices) == get_args(Runtime)


def test_what_is_absent_or_unknown_is_said(bundle, monkeypatch):
    monkeypatch.setattr(home, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"eyespot\[openvino\]"):
        open_session(bundle, runtime="openvino")
    with pytest.raises(UsageError, match="onnxruntime, openvino, reference"):
        open_session(bundle, runtime="tensorflow")
    with pytest.raises(UsageError, match="no runtime 'reference'"):
        open_model(bundle.model, runtime="reference", threads=1)


def test_openvino_answers_as_onnx_runtime_does(bundle, tmp_path):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    assert all(check.passed for check in verify(bundle, runtime="openvino"))
    ready = make_ready(bundle.card.graph, bundle.weights(), bundle.card.preprocess)
    network = Fitter(ready, gather(ready, bundle.goldens().pixels)).fit(Recipe())
    eight = build_quantized(tmp_path / "eight", bundle, network, ready.preprocess)
    if saturates():  # OpenVINO's sums overflow
        with pytest.raises(RuntimeFailure, match="no VNNI"):
            verify(eight, runtime="openvino")
    else:
        assert all(check.passed for check in verify(eight, runtime="openvino"))
    pixels = bundle.goldens().pixels
    with open_session(bundle, runtime="openvino", threads=1) as one, open_session(bundle, threads=1) as other:
        assert one.inputs == other.inputs
        np.testing.assert_allclose(one.run(pixels), other.run(pixels), atol=1e-4 * np.ptp(other.run(pixels)))
