"""Candidates on more than one runtime: the faster one is found, and int8 is judged where it will be served."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from choosing import Counting, Knowing, candidate
from eyespot.bundle.build_quantized import build_quantized
from eyespot.choose import choose as home
from eyespot.choose import deliver
from eyespot.choose.budget import Budget
from eyespot.choose.choose import Wants, choose
from eyespot.core.timing import Samples
from eyespot.lower.int8.fit import Fitter, Recipe
from eyespot.lower.int8.plan import make_ready
from eyespot.shrink.evidence import gather

pytest.importorskip("openvino", reason="the extra openvino is not installed")


class Faster(Counting):
    """OpenVINO takes half the time."""

    def _one(self, way, effort):
        found = super()._one(way, effort)
        if way.runtime == "onnxruntime":
            return found
        halved = Samples(tuple(0.5 * v for v in found.latency.values), found.latency.turns)
        return replace(found, latency=halved)


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(home, "_SHORT", home.replace(home._SHORT, seconds=0.02, threads=1))


def asked(p95):
    return Wants(Budget(latency_p95_ms=p95), minutes=1.0, runtimes=("onnxruntime", "openvino"))


def test_a_network_too_slow_on_one_runtime_is_chosen_on_the_other(tmp_path):
    here = [candidate(96, top1=70.0, start="a"), candidate(32, top1=60.0, start="b", width=0.2)]
    trainer = Knowing(tmp_path, {"a": 0.9, "b": 0.8})
    chosen = choose(asked(6.0), tmp_path / "out", device=Faster(), trainer=trainer, candidates=here)
    assert chosen.choice == "a at 96, float32 on openvino"
    assert chosen.timed.endswith("on onnxruntime and openvino")
    titles = {row.title: row for row in chosen.rows}
    assert not titles["a at 96, float32"].inside
    alone = choose(
        Wants(Budget(latency_p95_ms=6.0), minutes=1.0),
        tmp_path / "one",
        device=Faster(),
        trainer=trainer,
        candidates=here,
    )
    assert alone.choice == "b at 32, float32"


@pytest.mark.parametrize(("known", "choice"), [(0.0, "a at 64, int8 on openvino"), (2.0, None)])
def test_int8_is_judged_where_it_is_served(tmp_path, monkeypatch, known, choice):
    def eight_bits(bundle, pictures, place, *, wish, say):
        ready = make_ready(bundle.card.graph, bundle.weights(), bundle.card.preprocess)
        evidence = gather(ready, bundle.goldens().pixels)
        made = build_quantized(place, bundle, Fitter(ready, evidence).fit(Recipe()), ready.preprocess)
        return SimpleNamespace(bundle=made, why="", found=SimpleNamespace(after=0.85, pictures=20))

    monkeypatch.setattr(deliver, "quantize", eight_bits)
    here = [candidate(64, start="a", top1=90.0, precision="int8")]
    trainer = Knowing(tmp_path, {"a": known})
    chosen = choose(asked(1.6), tmp_path / "out", device=Faster(), trainer=trainer, candidates=here)
    assert chosen.choice == choice
    if choice:
        assert chosen.top1_of == "3 pictures that it did not learn from, on openvino"
    else:
        assert any("on openvino it lost" in note for note in chosen.notes)
