"""Peers: what reaches the network is what theirs would get, for every published way of preparing, on real photographs.

Compared in grey levels, so that every mean and deviation counts: theirs is taken back through our affine map.
"""

import json

import numpy as np
import pytest
from PIL import Image

from eyespot.bundle.build import normalise
from eyespot.bundle.hugging_face import read_directory
from eyespot.bundle.published import published
from eyespot.core.pixels import Preprocess
from eyespot.image.prepare import prepare
from libraries import imported
from tolerances import (
    RESAMPLED_MEAN,
    RESAMPLED_PHOTOGRAPH,
    SAME_LEVEL,
    TORCH_RESAMPLED,
    TORCH_RESAMPLED_MEAN,
)

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
PHOTOS = ("cat_720p.jpg", "dog.jpg", "hot_dog.jpg", "parrot.jpg")


@pytest.fixture(scope="module")
def photos(assets):
    return [Image.open(assets / "photos" / name).convert("RGB") for name in PHOTOS]


def levels(theirs, preprocess) -> np.ndarray:
    """A prepared tensor (3, h, w) of theirs as grey levels (h, w, 3)."""
    multiplier, offset = (np.array(v)[:, None, None] for v in preprocess.affine())
    return ((np.asarray(theirs, np.float64) - offset) / multiplier).transpose(1, 2, 0)


def assert_same(photos, preprocess, transform, *, largest=RESAMPLED_PHOTOGRAPH, mean=RESAMPLED_MEAN):
    for photo in photos:
        want = levels(transform(photo), preprocess)
        difference = np.abs(prepare(photo, preprocess).pixels - want)
        assert difference.max() <= largest
        assert difference.mean() < mean
    shifted = np.abs(np.roll(prepare(photo, preprocess).pixels, 1, axis=1) - want)
    assert shifted.mean() > mean


def distinct(rows):
    """One of each way of preparing: (its preprocess, what makes theirs), for hundreds of cards."""
    return list(dict(rows).values())


def test_torchvision_s_presets(photos):
    models = imported("torchvision.models")
    presets = {w.url: w for name in models.list_models(module=models) for w in models.get_model_weights(name)}
    cards = [card for card in published().values() if card.url in presets]
    assert len(cards) >= 20
    rows = (((card.preprocess, str(presets[card.url].transforms())), (card, presets[card.url])) for card in cards)
    for card, weights in distinct(rows):
        assert_same(photos, card.preprocess, seen_by_the_network(card, weights.transforms()))


def seen_by_the_network(card, transforms):
    """torchvision's Inceptions, ported from TensorFlow, begin by undoing ImageNet's mean and deviation."""
    if card.architecture not in ("inception_v1", "inception_v3"):
        return transforms
    mean, std = (np.array(v)[:, None, None] for v in (transforms.mean, transforms.std))
    return lambda photo: (np.asarray(transforms(photo)) * std + mean - 0.5) / 0.5


BEFORE_THE_HUB = {
    "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-cadene/xception-43020ad28.pth": (
        "legacy_xception.tf_in1k"
    )
}


def test_timm_s_transforms(photos):
    data = imported("timm.data")
    from timm.models import get_pretrained_cfg

    rows = []
    for card in published().values():
        repo = card.hub.repo if card.hub else ""
        if repo.startswith("timm/") or card.url in BEFORE_THE_HUB:
            config = get_pretrained_cfg(BEFORE_THE_HUB.get(card.url, repo.removeprefix("timm/")))
            assert config is not None, f"timm knows no {card.name}"
            resolved = data.resolve_data_config(pretrained_cfg=config.to_dict())
            rows.append(((card.preprocess, str(resolved)), (card.preprocess, resolved)))
    assert len(rows) >= 20
    for preprocess, resolved in distinct(rows):
        assert_same(photos, preprocess, data.create_transform(**resolved))


PROCESSORS = [
    ("MobileNetV1ImageProcessor", {}),
    ("MobileNetV1ImageProcessor", {"size": {"shortest_edge": 201}, "crop_size": {"height": 192, "width": 160}}),
    ("MobileNetV2ImageProcessor", {"resample": 3, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}),
    ("MobileNetV2ImageProcessor", {"do_normalize": False, "resample": 1}),
    ("EfficientNetImageProcessor", {"size": {"height": 224, "width": 240}, "image_std": [0.4, 0.5, 0.6]}),
    ("EfficientNetImageProcessor", {"rescale_offset": True, "rescale_factor": 1 / 127.5, "include_top": False}),
    ("EfficientNetImageProcessor", {"resample": 0, "size": {"height": 96, "width": 96}}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}, "resample": 2}),
    ("ViTImageProcessor", {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options"), PROCESSORS)
@pytest.mark.parametrize("backend", ["Pil", "torch"])
def test_transformers_image_processors(tmp_path, photos, kind, options, backend):
    """Pillow's backend to the level; torch's resizes in fixed point, and its 'nearest' takes other pixels."""
    if (backend, options.get("resample")) == ("torch", 0):
        pytest.skip(
            "torch's nearest pixel is the one before, not the nearest; the published weights were made with Pillow"
        )
    transformers = imported("transformers")
    processor = getattr(transformers, kind + backend.replace("torch", ""))(**options)
    processor.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    config = {"model_type": "resnet", "depths": [3, 4, 6, 3]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    preprocess = read_directory(tmp_path).preprocess
    within = {"largest": TORCH_RESAMPLED, "mean": TORCH_RESAMPLED_MEAN} if backend == "torch" else {}
    assert_same(photos, preprocess, lambda photo: processor(photo, return_tensors="np")["pixel_values"][0], **within)


def test_google_s_processors(photos):
    """The hub's files came from transformers' own conversion, which resizes to 32 pixels more than it crops."""
    transformers = imported("transformers")
    cards = [card for card in published().values() if card.hub and card.hub.repo.startswith("google/")]
    assert len(cards) >= 6
    for card in cards:
        kind = "MobileNetV1" if card.scheme.endswith("v1") else "MobileNetV2"
        (side, _) = card.preprocess.size
        processor = getattr(transformers, f"{kind}ImageProcessorPil")(
            size={"shortest_edge": side + 32}, crop_size={"height": side, "width": side}
        )

        def transform(photo, processor=processor):
            return processor(photo, return_tensors="np")["pixel_values"][0]

        assert_same(photos, card.preprocess, transform)


@pytest.mark.parametrize(
    ("module", "scheme"),
    [("mobilenet", "keras.mobilenet_v1"), ("mobilenet_v2", "keras.mobilenet_v2"), ("resnet50", "keras.resnet"),
     ("xception", "keras.xception"), ("inception_v3", "keras.inception_v3"),
     ("inception_resnet_v2", "keras.inception_resnet_v2")],
)  # fmt: skip
def test_keras_preprocess_input(photos, module, scheme):
    """What the values become; where they come from is load_img's affair (below)."""
    keras = imported("keras")
    cards = [card for card in published().values() if card.scheme == scheme]
    if not cards:
        pytest.skip(f"no published card in the names of {scheme}")
    for preprocess in {card.preprocess for card in cards}:
        pixels = prepare(photos[0], preprocess).pixels
        want = getattr(keras.applications, module).preprocess_input(pixels[None].astype(np.float32))
        got = normalise(pixels[None], preprocess).transpose(0, 2, 3, 1)
        assert np.abs(got - want).max() * preprocess.std[0] / preprocess.scale < SAME_LEVEL


@pytest.mark.parametrize("filter", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
def test_keras_load_img(assets, photos, filter):
    keras = imported("keras")
    for name, photo in zip(PHOTOS, photos, strict=True):
        want = keras.utils.load_img(assets / "photos" / name, target_size=(224, 192), interpolation=filter)
        got = prepare(photo, Preprocess((224, 192), "stretch", filter=filter)).pixels
        np.testing.assert_array_equal(got, np.asarray(want))
