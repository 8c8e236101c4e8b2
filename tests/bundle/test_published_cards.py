"""Every published card is of a network that can be drawn and filled, and says no more than its publisher does."""

import re
from dataclasses import replace

import pytest

from eyespot.arch.catalogue import draw, variant
from eyespot.bundle.published import by_sha256, label_set, published
from eyespot.weights.by_order import BY_ORDER
from eyespot.weights.names import scheme_named

CARDS = list(published().values())
PUBLISHERS = {
    "https://download.pytorch.org/models/": "torchvision",
    "https://storage.googleapis.com/": "Keras applications",
    "https://huggingface.co/timm/": "timm",
    "https://github.com/rwightman/pytorch-image-models/": "timm",
    "https://huggingface.co/google/": "the Hugging Face hub",
    "https://download.openmmlab.com/": "mmpretrain",
}


def test_there_are_cards_of_every_publisher():
    for address, source in PUBLISHERS.items():
        cards = [card for card in CARDS if card.published_at.startswith(address)]
        assert cards, address
        assert all(card.source.startswith(source) for card in cards)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_the_network(card):
    graph = draw(card.architecture, card.arguments).inference()
    assert graph.input[1:] == card.preprocess.size
    labels = label_set(card.labels, background=card.background)
    assert graph.shape(graph.outputs[0]) == (labels.outputs,)
    if card.scheme != BY_ORDER:
        scheme = scheme_named(card.scheme)
        family = variant(card.architecture).family
        assert scheme.family == family
        assert scheme.suits(card.architecture)
        nodes = {node.name for node in draw(card.architecture, card.arguments).nodes}
        named = {name for name in scheme.modules(draw(card.architecture, card.arguments)) if name in nodes}
        stored = {name.rpartition(".")[0] for name in graph.parameters}
        assert stored <= named, "a table without a row for a layer cannot fill the network"
        for key, value in scheme.arguments(card.architecture).items():
            drawn = draw(card.architecture, {**card.arguments, key: value})
            assert drawn.digest == draw(card.architecture, card.arguments).digest, f"its source has {key} {value}"


def test_names():
    for card in CARDS:
        recipe = card.name.removeprefix(f"{card.architecture}.")
        assert recipe != card.name, "a name is architecture.recipe"
        assert re.fullmatch(r"[a-z0-9_]+", recipe), card.name
    assert len({card.name.lower() for card in CARDS}) == len(CARDS)
    places = [card.published_at for card in CARDS if card.published_at]
    assert len(set(places)) == len(places), "two cards of one file"


def test_hashes_are_what_can_be_checked():
    for card in CARDS:
        assert re.fullmatch(r"([0-9a-f]{64})?", card.sha256), card.name
        assert re.fullmatch(r"([0-9a-f]{8,16})?", card.sha256_prefix), card.name
        assert re.fullmatch(r"([0-9a-f]{32})?", card.md5), card.name
        assert not (card.sha256 and card.sha256_prefix), card.name
        assert card.url is None or card.hub is None, card.name
        assert card.published_at.startswith(tuple(PUBLISHERS)) or card.sha256, "nobody could check it"
        if card.published_at.startswith(("https://download.pytorch.org/", "https://download.openmmlab.com/")):
            digits = card.file_name.removesuffix(".pth").rpartition("-")[2]
            assert (card.sha256 or card.sha256_prefix).startswith(digits)


def test_what_is_said_of_them():
    for card in CARDS:
        assert card.licence, card.name
        assert card.source, card.name
        figures = {metric.name: metric.value for metric in card.metrics}
        assert figures.keys() <= {"top1", "top5"}, card.name
        assert all(40 < value < 100 for value in figures.values()), card.name
        assert figures.get("top1", 0) < figures.get("top5", 100), card.name
        assert all(metric.source for metric in card.metrics), card.name


def test_recipes_pictures():
    """Read off torchvision's and timm's own metadata; a V2 recipe resizes to 232."""
    wanted = {
        "resnet50.tv_in1k": (256, "bilinear", (0.485, 0.456, 0.406)),
        "resnet50.tv2_in1k": (232, "bilinear", (0.485, 0.456, 0.406)),
        "efficientnet_b2.tv_in1k": (288, "bicubic", (0.485, 0.456, 0.406)),
        "resnet50.a1_in1k": (235, "bicubic", (0.485, 0.456, 0.406)),
        "efficientnet_b7.tf_aa_in1k": (632, "bicubic", (0.485, 0.456, 0.406)),
        "mobilenet_v1_1.0.ra4_e3600_r224_in1k": (256, "bicubic", (0.5, 0.5, 0.5)),
        "mobilenet_v2_1.0.google": (256, "bilinear", (0.5, 0.5, 0.5)),
        "resnet50.keras": (256, "bilinear", (103.939, 116.779, 123.68)),
    }
    for name, (resize, filter, mean) in wanted.items():
        preprocess = published()[name].preprocess
        assert (preprocess.resize, preprocess.filter, preprocess.mean) == (resize, filter, mean), name


def test_a_file_is_recognised_by_its_first_digits():
    card = published()["resnet18.tv_in1k"]
    assert by_sha256(card.sha256_prefix + "0" * 56) == card
    assert by_sha256("f" * 64) is None
    whole = published()["mobilenet_v2_1.0.tv_in1k"]
    assert by_sha256(whole.sha256) == whole
    assert by_sha256(whole.sha256[:8] + "0" * 56) is None, "its whole hash is known"


def test_addresses(monkeypatch):
    card = published()["mobilenet_v2_1.0.google"]
    assert card.address == "https://huggingface.co/google/mobilenet_v2_1.0_224/resolve/main/pytorch_model.bin"
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example/")
    assert card.address == "http://hub.example/google/mobilenet_v2_1.0_224/resolve/main/pytorch_model.bin"
    assert card.published_at.startswith("https://huggingface.co/"), "a mirror's layout does not move"
    assert replace(card, hub=None).address is None


def test_a_file_is_known_by_the_md5_that_keras_publishes(tmp_path, monkeypatch):
    from dataclasses import replace
    from hashlib import md5, sha256

    from eyespot.bundle import published as module

    file = tmp_path / "renamed.h5"
    file.write_bytes(b"weights")
    card = next(card for card in module.published().values() if card.md5)
    mine = replace(card, md5=md5(b"weights").hexdigest())
    monkeypatch.setattr(module, "published", lambda: {mine.name: mine})
    assert module.by_file(file, sha256(b"weights").hexdigest()) == mine
    file.write_bytes(b"others")
    assert module.by_file(file, sha256(b"others").hexdigest()) is None


def test_a_repository_of_the_hub_has_one_card():
    from eyespot.bundle.published import by_hub_name, is_hub_name, published

    repositories = [card.hub.repo for card in published().values() if card.hub is not None]
    assert len(repositories) == len(set(repositories)) > 100
    assert all(is_hub_name(name) and by_hub_name(name) is not None for name in repositories)
    assert not any(map(is_hub_name, ("a/b/c", "./a", "a", "/a/b", "../b", "a b/c", "a/", "")))


def test_a_hub_name_opens_the_bundle_of_its_card(monkeypatch, tmp_path):
    from eyespot.bundle import resolve
    from eyespot.errors import UnknownName

    monkeypatch.setattr(resolve, "_from_published", lambda card, *_, **__: card.name)
    monkeypatch.chdir(tmp_path)
    assert resolve.open_bundle("google/mobilenet_v2_1.0_224") == "mobilenet_v2_1.0.google"
    assert resolve.open_bundle("https://huggingface.co/google/mobilenet_v2_1.0_224") == "mobilenet_v2_1.0.google"
    with pytest.raises(UnknownName, match=r"hf download nobody/no_net --local-dir no_net"):
        resolve.open_bundle("nobody/no_net")
