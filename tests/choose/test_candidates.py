"""Who may be chosen, what is known of them without measuring, and their bundles of random weights."""

import itertools

import pytest

from choosing import QUICK, candidate
from conftest import make_bundle
from eyespot.arch.catalogue import draw
from eyespot.bundle.cache import bundle_directory
from eyespot.choose.candidate import quantizing_keeps, shrunk_by
from eyespot.choose.device import Here
from eyespot.choose.entrants import by_figures, by_weights
from eyespot.choose.trial import trial
from eyespot.errors import UsageError
from eyespot.measure.record import Way
from eyespot.run.verify import verify


@pytest.fixture(scope="module")
def published():
    return by_figures()


def test_candidates_of_figures_are_networks_that_can_be_had_so(published):
    known = [one for one in published if one.top1 is not None]
    assert len(known) > 100
    assert all(one.source and one.weights != "none" for one in known)
    best = next(one for one in known if one.architecture == "mobilenet_v3_large_1.0")
    assert best.name == "mobilenet_v3_large_1.0.miil_in21k_ft_in1k"
    assert best.draw().input == (3, 224, 224)


def test_what_nobody_published_comes_after_all_that_somebody_did(published):
    kinds = [one.top1 is not None for one in published]
    assert True in kinds
    assert False in kinds
    assert kinds == sorted(kinds, reverse=True)
    promises = [one.promise for one in published]
    assert promises == sorted(promises, reverse=True)


def test_int8_is_expected_to_lose_what_quantizing_may_lose(published):
    pairs = {}
    for one in published:
        pairs.setdefault((one.name, one.side, str(one.arguments)), {})[one.precision] = one
    for pair in pairs.values():
        if pair["float32"].top1 is not None:
            assert pair["int8"].expected == pair["float32"].expected - 0.5
            assert pair["int8"].promise < pair["float32"].promise


def test_weights_at_hand_are_offered_at_sizes_that_suit_the_pictures():
    make_bundle(bundle_directory("mobilenet_v1_0.25.mine"), name="mobilenet_v1_0.25.mine", size=96)
    found = by_weights(classes=3, side=60)
    mine = [one for one in found if one.start == "mobilenet_v1_0.25.mine"]
    assert {one.side for one in mine} == {64, 96}
    assert all(one.draw().shape("classifier") == (3,) for one in mine[:2])
    starts = [bool(one.start) for one in found]
    assert starts == sorted(starts, reverse=True)
    assert any(one.start == "eyelet_1.0.tiny200" and one.side == 64 for one in found)
    assert all(one.side <= 96 for one in found)


def test_families_that_do_not_exist():
    with pytest.raises(UsageError, match="no family is called 'perceptron'"):
        by_figures(families=["perceptron"])


def test_a_cost_is_a_lower_bound_of_the_file(tmp_path):
    for precision, side in itertools.product(("float32", "int8"), (32, 64)):
        one = candidate(side, precision=precision)
        with trial(one, one.draw()) as bundle:
            assert one.least_bytes() <= bundle.model.stat().st_size
            assert bundle.card.precision == precision
            assert all(check.passed for check in verify(bundle))


def test_a_trial_can_be_measured_as_any_bundle():
    one = candidate(precision="int8")
    with trial(one, one.draw()) as bundle:
        measured = Here().measure([Way(bundle)], QUICK, bundle.goldens().jpeg)[0]
    assert 0 < measured.network.median <= measured.latency.median
    assert measured.precision == "int8"
    assert Here().floor_ms(bundle_jpeg()) > 0


def bundle_jpeg():
    from importlib import resources

    return (resources.files("eyespot.bundle") / "golden.jpg").read_bytes()


def test_gates_are_not_known_to_keep_accuracy():
    assert quantizing_keeps(draw("mobilenet_v1_0.25", {"size": 64}))
    assert not quantizing_keeps(draw("mobilenet_v3_small_1.0", {"size": 64}))


def test_smaller_pictures_promise_less():
    assert shrunk_by(224, 224) == shrunk_by(64, 96) == 0
    # MobileNetV2's own figures, 71.8 at 224, to a point.
    for side, lost in ((192, 1.1), (160, 3.0), (128, 6.5), (96, 11.5)):
        assert abs(shrunk_by(224, side) - lost) < 1
