"""Peers: both ways. Their networks, saved by them, give the same logits here; ours, exported, give the same there.

Each comparison is made on a photograph that we prepared, and is made again on weights that are slightly off, where it
must fail.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from eyespot.bundle.adopt import Request, adopt
from eyespot.bundle.build import normalise
from eyespot.bundle.export import export_weights
from eyespot.bundle.store import read
from eyespot.image.prepare import decode_and_prepare
from eyespot.lower import reference
from eyespot.run.open import open_session
from libraries import imported
from tolerances import ORIGINAL_SAME_TENSOR, relative_error

sys.path.append(str(Path(__file__).parents[1] / "weights"))
from peers import (
    CLASSES,
    keras_logits,
    keras_model,
    liven,
    liven_keras,
    save_timm,
    torch_logits,
    torch_model,
)

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
SIZE = 64


def inferring(bundle):
    """Its network and weights without auxiliary heads."""
    graph, weights = bundle.card.graph.inference(), bundle.weights()
    return graph, {name: weights[name] for name in graph.parameters}


def answers(bundle, pixels):
    """Ours: by the reference and by ONNX Runtime."""
    graph, weights = inferring(bundle)
    yield reference.run(graph, weights, normalise(pixels, bundle.card.preprocess))[graph.outputs[0]]
    with open_session(bundle) as session:
        yield session.run(pixels)


def photograph(bundle, examples):
    return decode_and_prepare((examples / "coffee.jpg").read_bytes(), bundle.card.preprocess).pixels[None]


def assert_same(bundle, pixels, want):
    for got in answers(bundle, pixels):
        assert relative_error(got, want) < ORIGINAL_SAME_TENSOR
    graph, weights = inferring(bundle)
    off = {name: tensor * np.float32(1.002) for name, tensor in weights.items()}
    (got,) = reference.run(graph, off, normalise(pixels, bundle.card.preprocess)).values()
    assert relative_error(got, want) > ORIGINAL_SAME_TENSOR


def load_there(model, file):
    import torch
    from safetensors.torch import load_file

    state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)
    for parameter in model.state_dict().values():
        parameter.fill_(0.123) if parameter.is_floating_point() else parameter.zero_()
    model.load_state_dict(state, strict=True)
    return model


TORCH = [
    ("torchvision", "mobilenet_v2"), ("torchvision", "mobilenet_v3_small"), ("torchvision", "mobilenet_v3_large"),
    ("torchvision", "efficientnet_b0"), ("torchvision", "resnet18"), ("torchvision", "resnet50"),
    ("torchvision", "squeezenet1_1"), ("torchvision", "mnasnet0_5"), ("torchvision", "shufflenet_v2_x0_5"),
    ("torchvision", "regnet_y_400mf"), ("torchvision", "resnext50_32x4d"), ("torchvision", "efficientnet_v2_s"),
    ("torchvision", "googlenet"), ("torchvision", "inception_v3"),
    ("timm", "mobilenetv1_100"), ("timm", "mobilenetv2_050"), ("timm", "mobilenetv3_small_075"),
    ("timm", "tf_mobilenetv3_small_minimal_100"), ("timm", "mobilenetv4_conv_small_050"), ("timm", "efficientnet_b0"),
    ("timm", "tf_efficientnet_b0"), ("timm", "tf_efficientnet_lite0"), ("timm", "tf_efficientnetv2_b0"),
    ("timm", "resnet34"), ("timm", "resnext50_32x4d"), ("timm", "regnety_004"), ("timm", "mnasnet_050"),
    ("timm", "ghostnet_050"), ("timm", "repvgg_a0"), ("timm", "mobileone_s0"), ("timm", "inception_v3"),
    ("timm", "inception_v4"), ("timm", "inception_resnet_v2"), ("timm", "legacy_xception"),
    ("pytorchcv", "shufflenet_g1_wd4"), ("pytorchcv", "shufflenet_g3_w3d4"), ("pytorchcv", "shufflenet_g8_w1"),
]  # fmt: skip


def side(name: str) -> int:
    """Pixels of a picture that leave the last layers more than one to look at."""
    if "shufflenet_g" in name:  # which averages over 7×7
        return 224
    return 107 if "ception" in name else SIZE


@pytest.mark.parametrize(("library", "name"), TORCH)
def test_torch(tmp_path, examples, library, name):
    imported(library)
    import torch

    model = liven(torch_model(library, name), side(name))
    if library == "timm":
        file = save_timm(model, tmp_path / "theirs")
    else:
        file = tmp_path / "theirs.pth"
        torch.save(model.state_dict(), file)
    bundle = adopt(file, tmp_path / "bundle", request=Request(arguments={"size": side(name)}))
    pixels = photograph(bundle, examples)
    x = normalise(pixels, bundle.card.preprocess)
    want = torch_logits(model, x)
    assert_same(bundle, pixels, want)
    # torchvision's MNASNet wants a version beside its tensors, for which a .safetensors has no place.
    for ending in (".pth",) if name == "mnasnet0_5" else (".safetensors", ".pth"):
        done = export_weights(read(tmp_path / "bundle"), library, tmp_path / f"out{ending}")
        assert relative_error(torch_logits(load_there(model, done.path), x), want) < ORIGINAL_SAME_TENSOR


def transformers_model(kind):
    import transformers as t

    if kind == "mobilenet_v1":
        config = t.MobileNetV1Config(depth_multiplier=0.25, num_labels=CLASSES)
        return t.MobileNetV1ForImageClassification(config), t.MobileNetV1ImageProcessor()
    if kind == "mobilenet_v2":
        config = t.MobileNetV2Config(depth_multiplier=0.35, num_labels=CLASSES)
        return t.MobileNetV2ForImageClassification(config), t.MobileNetV2ImageProcessor()
    if kind == "mobilenet_v2 symmetric":
        config = t.MobileNetV2Config(depth_multiplier=1.4, tf_padding=False, layer_norm_eps=1e-2, num_labels=CLASSES)
        return t.MobileNetV2ForImageClassification(config), t.MobileNetV2ImageProcessor()
    if kind == "efficientnet":
        config = t.EfficientNetConfig(
            width_coefficient=1.0, depth_coefficient=1.0, image_size=SIZE, hidden_dim=1280, num_labels=CLASSES
        )
        processor = t.EfficientNetImageProcessor(size={"height": SIZE, "width": SIZE})
        return t.EfficientNetForImageClassification(config), processor
    if kind == "resnet18":
        config = t.ResNetConfig(
            hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic", num_labels=CLASSES
        )
        return t.ResNetForImageClassification(config), t.ConvNextImageProcessor(size={"shortest_edge": SIZE})
    config = t.ResNetConfig(downsample_in_bottleneck=True, num_labels=CLASSES)
    return t.ResNetForImageClassification(config), t.ConvNextImageProcessor(size={"shortest_edge": SIZE})


KINDS = ["mobilenet_v1", "mobilenet_v2", "mobilenet_v2 symmetric", "efficientnet", "resnet18", "resnet50 v1"]


@pytest.mark.parametrize("kind", KINDS)
def test_transformers(tmp_path, examples, kind):
    imported("transformers")
    model, processor = transformers_model(kind)
    if kind == "efficientnet":  # its own initialisation, a deviation of 0.02 for all, ends in zeros
        for parameter in model.parameters():
            if parameter.ndim == 4:
                import torch

                torch.nn.init.kaiming_normal_(parameter)
    liven(model, SIZE)
    model.save_pretrained(tmp_path / "theirs")
    processor.save_pretrained(tmp_path / "theirs")
    bundle = adopt(tmp_path / "theirs", tmp_path / "bundle", request=Request(arguments={"size": SIZE}))
    pixels = photograph(bundle, examples)
    x = normalise(pixels, bundle.card.preprocess)
    want = torch_logits(model, x)
    assert_same(bundle, pixels, want)
    if kind in ("mobilenet_v1", "mobilenet_v2", "efficientnet", "resnet18"):
        done = export_weights(bundle, "transformers", tmp_path / "out.safetensors")
        assert relative_error(torch_logits(load_there(model, done.path), x), want) < ORIGINAL_SAME_TENSOR


ENDINGS = (".h5", ".weights.h5", ".keras")
KERAS = [
    ("MobileNet:0.25", ENDINGS), ("MobileNetV2:0.35", ENDINGS), ("MobileNetV3Small:1.0", ENDINGS),
    ("MobileNetV3Large:1.0", ENDINGS), ("EfficientNetB0", ENDINGS), ("EfficientNetV2B0", ENDINGS),
    ("ResNet50", (".keras",)), ("Xception", (".keras",)), ("InceptionV3", (".keras",)),
    ("InceptionResNetV2", (".weights.h5",)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "endings"), KERAS)
def test_keras(tmp_path, examples, name, endings):
    keras = imported("keras")
    model = liven_keras(keras_model(name, side(name)))
    want = None
    for ending in endings:
        file = tmp_path / f"theirs{ending}"
        (model.save_weights if ending == ".weights.h5" else model.save)(file)
        pixels_as = "tf" if "ception" in name else "imagenet" if "V2B" in name else None  # where the file does not say
        bundle = adopt(file, tmp_path / ending, request=Request(arguments={"size": side(name)}, pixels=pixels_as))
        pixels = photograph(bundle, examples)
        x = normalise(pixels, bundle.card.preprocess).transpose(0, 2, 3, 1)
        if name == "EfficientNetB0":  # its fresh normalization divides by one; what comes to it is / 255
            x = x * 255
        want = keras_logits(model, x) if want is None else want
        assert_same(bundle, pixels, want)
    if name == "EfficientNetB0":  # what we export normalises as the card does
        x = pixels.astype(np.float32)
    keras.utils.clear_session()  # so that layers without names of their own are numbered from zero
    model = keras_model(name, side(name))
    for ending in (".h5",) if name == "InceptionV3" else (".weights.h5", ".h5"):
        done = export_weights(bundle, "keras", tmp_path / f"out{ending}")
        liven_keras(model, seed=2)
        exec(done.load)
        assert relative_error(keras_logits(model, x), want) < ORIGINAL_SAME_TENSOR
