"""A network in 8 bits is compared with its reference answers before it is served on a processor for the first time."""

from __future__ import annotations

import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from conftest import make_bundle
from eyespot.bundle.build_quantized import build_quantized
from eyespot.bundle.store import GOLDENS, Bundle, Goldens, read
from eyespot.errors import RuntimeFailure
from eyespot.lower.int8.fit import Fitter, Recipe
from eyespot.lower.int8.plan import make_ready
from eyespot.lower.int8.to_onnx import is_all_integer
from eyespot.run import first_use
from eyespot.run.answers import check_answers
from eyespot.run.open import open_session
from eyespot.run.predict import load
from eyespot.run.verify import verify
from eyespot.shrink.evidence import gather


class Wrong(Bundle):
    """A bundle whose reference gave other answers than its model gives here."""

    def goldens(self) -> Goldens:
        goldens = super().goldens()
        return replace(goldens, logits=goldens.logits[:, ::-1].copy())


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def small(parent):
    ready = make_ready(parent.card.graph, parent.weights(), parent.card.preprocess)
    network = Fitter(ready, gather(ready, parent.goldens().pixels)).fit(Recipe())
    return build_quantized(parent.path.parent / "small", parent, network, ready.preprocess)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def comparisons(monkeypatch):
    """How often answers were compared."""
    made = []
    check = first_use.check_answers
    monkeypatch.setattr(first_use, "check_answers", lambda *args, **named: made.append(1) or check(*args, **named))
    return made


def test_answers_are_compared_once_for_each_processor_and_version(small, cache, comparisons, monkeypatch):
    for _ in range(3):
        open_session(small).close()
    assert len(comparisons) == 1
    assert len(list((cache / "verified").iterdir())) == 1
    monkeypatch.setattr(first_use, "_processor", lambda: "another one")
    open_session(small).close()
    assert len(comparisons) == 2
    monkeypatch.setattr(first_use, "_version", lambda _: "1.0")
    open_session(small).close()
    assert len(comparisons) == 3


def test_float32_and_the_reference_need_no_comparison(parent, small, cache, comparisons):
    open_session(parent).close()
    open_session(small, runtime="reference").close()
    assert comparisons == []


def test_wrong_answers_are_refused_in_one_line_and_not_remembered(small, cache):
    wrong = Wrong(small.path, small.card, small.labels)
    for _ in range(2):
        with pytest.raises(RuntimeFailure, match=r"tiny\.test-int8 in 8 bits is wrong on onnxruntime .* here") as said:
            open_session(wrong)
    assert "\n" not in str(said.value)
    assert "tiny.test" in str(said.value)
    assert not (cache / "verified").exists()
    checks = {check.name: check.passed for check in verify(wrong)}  # it is the one who says what is wrong
    assert not checks["logits"]


def test_whole_numbers_must_be_equal_to_what_they_mean(parent, small):
    """Goldens that rounded a sum otherwise condemn nobody; a level that is not what the integers mean does."""
    network = small.quantized()
    assert is_all_integer(network, small.card.preprocess)
    true = small.goldens().logits
    moved = true + 1e-4 * np.ptp(true) * np.eye(2, 10, dtype=np.float32)

    class Moved(Bundle):
        def goldens(self):
            return replace(super().goldens(), logits=moved)

    older = Moved(small.path, small.card, small.labels)
    assert check_answers(small, true, runtime="onnxruntime").passed
    assert check_answers(older, true, runtime="onnxruntime").passed
    assert not check_answers(small, moved, runtime="onnxruntime").passed
    assert not check_answers(older, moved + (moved - true), runtime="onnxruntime").passed
    assert check_answers(small, moved, runtime="openvino").passed


def test_the_refusal_names_what_the_processor_lacks(small, cache, monkeypatch):
    monkeypatch.setattr(first_use, "saturates", lambda: True)
    with pytest.raises(RuntimeFailure, match="no VNNI"):
        open_session(Wrong(small.path, small.card, small.labels))


def test_openvino_is_refused_where_its_sums_overflow(parent, small, monkeypatch):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    monkeypatch.setattr(first_use, "saturates", lambda: True)
    with pytest.raises(RuntimeFailure, match="wrong on OpenVINO here: this processor has no VNNI"):
        open_session(small, runtime="openvino")
    open_session(parent, runtime="openvino").close()


def test_everything_that_serves_goes_through_it(small, tmp_path, cache, comparisons, monkeypatch):
    with load(small.path) as model:
        assert len(comparisons) == 1
        assert model.session.run(small.goldens().pixels).shape == (2, 10)
    monkeypatch.setattr("eyespot.run.answers.INT8_FARTHEST", -1.0)
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path / "other"))
    with pytest.raises(RuntimeFailure, match="is wrong on"):
        load(small.path)


@pytest.mark.parametrize("kind", ["a file", "a folder that may not be written", "nothing above it"])
def test_a_cache_that_cannot_be_written_costs_the_comparison_alone(small, tmp_path, monkeypatch, comparisons, kind):
    place = tmp_path / "cache"
    if kind == "a file":
        place.write_text("here")
    elif kind == "nothing above it":
        place = Path("/dev/null/cache")
    else:
        place.mkdir()
        monkeypatch.setattr(Path, "touch", lambda self: (_ for _ in ()).throw(PermissionError(13, "read-only")))
    monkeypatch.setenv("EYESPOT_CACHE", str(place))
    for _ in range(2):
        open_session(small).close()
    assert len(comparisons) == 2


def _opened(path):
    with open_session(read(path), threads=1) as session:
        return session.run(read(path).goldens().pixels)


def test_many_processes_at_once(small, cache):
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        answers = list(pool.map(_opened, [small.path] * 8))
    assert all(np.array_equal(one, answers[0]) for one in answers)
    assert len(list((cache / "verified").iterdir())) == 1


def test_another_bundle_is_another_comparison(small, tmp_path, cache, comparisons):
    shutil.copytree(small.path, tmp_path / "copy")
    open_session(small).close()
    open_session(read(tmp_path / "copy")).close()  # the same digests: the same bundle
    assert len(comparisons) == 1
    files = {**small.card.files, GOLDENS: "0" * 64}
    open_session(Bundle(small.path, replace(small.card, files=files), small.labels)).close()
    assert len(comparisons) == 2


def test_processors_are_told_apart_by_what_they_can_do(monkeypatch):
    def processor(**fields):
        monkeypatch.setattr(first_use, "cpu_fields", lambda: fields)
        return first_use._processor()

    one, two, three = (
        processor(flags=flags, **{"model name": "Some Xeon", "cpu mhz": clock})
        for flags, clock in (("avx2", "1000"), ("avx2 avx512_vnni", "1000"), ("avx2", "2500"))
    )
    assert one == three != two
    assert processor()  # no /proc
