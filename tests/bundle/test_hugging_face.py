"""Hugging Face directories: read whole, from their JSON alone; what cannot be reproduced is refused in one line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from eyespot.arch.catalogue import draw
from eyespot.bundle.adopt import Request, adopt
from eyespot.bundle.hugging_face import read_directory
from eyespot.core.pixels import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from eyespot.errors import EyespotError, UsageError, WeightsError
from eyespot.lower.tensors import random_weights
from eyespot.weights.names import SCHEMES
from eyespot.weights.renamed import renamed
from eyespot.weights.timm_models import TIMM_MODELS

sys.path.append(str(Path(__file__).parents[1] / "weights" / "fixtures"))
from make_names import MODELS

V2 = {
    "architectures": ["MobileNetV2ForImageClassification"], "model_type": "mobilenet_v2", "depth_multiplier": 0.35,
    "tf_padding": True, "layer_norm_eps": 0.001, "finegrained_output": True, "image_size": 96, "num_channels": 3,
    "id2label": {str(i): name for i, name in enumerate(["an owl", "a newt", "a cup"])},
    "label2id": {"an owl": 0, "a newt": 1, "a cup": 2}, "transformers_version": "4.35.0", "hidden_act": "relu6",
}  # fmt: skip
V1 = {**V2, "architectures": ["MobileNetV1ForImageClassification"], "model_type": "mobilenet_v1"}
del V1["finegrained_output"]
B0 = {
    "architectures": ["EfficientNetForImageClassification"], "model_type": "efficientnet", "width_coefficient": 1.0,
    "depth_coefficient": 1.0, "depthwise_padding": [], "hidden_dim": 1280, "hidden_act": "swish",
}  # fmt: skip
R18 = {
    "architectures": ["ResNetForImageClassification"], "model_type": "resnet", "layer_type": "basic",
    "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512], "embedding_size": 64,
}  # fmt: skip
TIMM = {
    "architecture": "mobilenetv2_035", "num_classes": 3, "global_pool": "avg", "label_names": ["x", "y", "z"],
    "pretrained_cfg": {"input_size": [3, 96, 96], "crop_pct": 0.9, "interpolation": "bilinear", "num_classes": 3,
                       "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 1.0], "license": "apache-2.0", "tag": "x"},
}  # fmt: skip
CROP = {
    "image_processor_type": "MobileNetV2ImageProcessor", "do_resize": True, "size": {"shortest_edge": 110},
    "do_center_crop": True, "crop_size": {"height": 96, "width": 96}, "resample": 2, "do_rescale": True,
    "rescale_factor": 0.00392156862745098, "do_normalize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5] * 3,
}  # fmt: skip


def directory(path, config, processor=None):
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    if processor is not None:
        (path / "preprocessor_config.json").write_text(json.dumps(processor))
    (path / "model.safetensors").touch()
    return path


def refused(path, match, kind=EyespotError):
    with pytest.raises(kind, match=match) as caught:
        read_directory(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def without(mapping, key):
    return {k: v for k, v in mapping.items() if k != key}


def test_a_directory_becomes_a_bundle_that_needs_no_options(tmp_path):
    path = directory(tmp_path / "m", V2, CROP)
    graph = draw("mobilenet_v2_0.35", {"classes": 3, "padding": "same", "eps": 1e-3, "size": 96})
    weights = random_weights(graph, 0)
    save_file(renamed(weights, graph, SCHEMES["transformers.mobilenet_v2"]), path / "model.safetensors")
    bundle = adopt(path, tmp_path / "b")
    assert bundle.card.graph == graph
    assert bundle.labels.names == ("an owl", "a newt", "a cup")
    assert bundle.card.preprocess == Preprocess((96, 96), "crop", 110, mean=(0.5,) * 3, std=(0.5,) * 3, centring="down")
    got = bundle.weights()
    assert all(np.array_equal(got[name], weights[name]) for name in weights)
    assert len(got) == len(weights)


def test_the_caller_goes_before_the_directory(tmp_path):
    path = directory(tmp_path / "m", V2, CROP)
    graph = draw("mobilenet_v2_0.35", {"classes": 3})
    save_file(
        renamed(random_weights(graph, 0), graph, SCHEMES["transformers.mobilenet_v2"]), path / "model.safetensors"
    )
    request = Request(arguments={"size": 64}, pixels="caffe", licence="MIT", name="mine.v1")
    bundle = adopt(path, tmp_path / "b", request=request)
    pixels = bundle.card.preprocess
    assert (bundle.card.name, bundle.card.licence, bundle.card.graph.input) == ("mine.v1", "MIT", (3, 64, 64))
    assert (pixels.size, pixels.resize, pixels.channels, pixels.rule) == ((64, 64), 73, "bgr", "crop")


def test_weights_under_the_wrapper_of_transformers(tmp_path):
    path = directory(tmp_path / "m", {**TIMM, "model_type": "timm_wrapper", "do_pooling": True, "model_args": None})
    graph = draw("mobilenet_v2_0.35", {"classes": 3, "size": 96})
    tensors = renamed(random_weights(graph, 0), graph, SCHEMES["timm.mobilenet_v2"])
    save_file({f"timm_model.{name}": tensor for name, tensor in tensors.items()}, path / "model.safetensors")
    bundle = adopt(path, tmp_path / "b")
    assert bundle.card.graph == graph
    assert (bundle.card.licence, bundle.labels.names) == ("apache-2.0", ("x", "y", "z"))


@pytest.mark.parametrize(
    ("config", "architecture", "scheme", "arguments"),
    [
        (V1, "mobilenet_v1_0.25", "transformers.mobilenet_v1", {"padding": "same", "eps": 1e-3}),
        ({**V2, "tf_padding": False, "layer_norm_eps": 0.01}, "mobilenet_v2_0.35", "transformers.mobilenet_v2",
         {"padding": "symmetric", "eps": 0.01}),
        (B0, "efficientnet_b0", "transformers.efficientnet", {"padding": "same", "eps": 1e-3}),
        (R18, "resnet18", "transformers.resnet", {"padding": "symmetric", "eps": 1e-5}),
        ({**R18, "layer_type": "bottleneck", "depths": [3, 4, 23, 3], "hidden_sizes": [256, 512, 1024, 2048],
          "downsample_in_bottleneck": True}, "resnet101", "transformers.resnet",
         {"padding": "symmetric", "eps": 1e-5, "stride_on": "1x1"}),
    ],
)  # fmt: skip
def test_networks(tmp_path, config, architecture, scheme, arguments):
    config = {**config, "depth_multiplier": 0.25} if config is V1 else config
    found = read_directory(directory(tmp_path / "m", config, CROP))
    assert (found.architecture, found.scheme) == (architecture, scheme)
    assert {k: v for k, v in found.arguments.items() if k not in ("size", "classes")} == arguments
    assert found.arguments["size"] == [96, 96]
    draw(found.architecture, found.arguments)


def test_timm_s_description(tmp_path):
    found = read_directory(directory(tmp_path / "m", TIMM))
    assert found.preprocess == Preprocess((96, 96), "crop", 106, mean=(0.5,) * 3, std=(0.25, 0.5, 1.0))
    found = read_directory(directory(tmp_path / "m", {**TIMM, "architecture": "tf_efficientnet_lite0.in1k"}))
    assert (found.architecture, found.arguments["padding"]) == ("efficientnet_lite0", "same")
    squash = {"pretrained_cfg": {"crop_mode": "squash", "crop_pct": 1.0}}
    found = read_directory(directory(tmp_path / "m", {**TIMM, **squash}))
    assert found.preprocess == Preprocess((224, 224), "stretch", 0, "bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD)


def test_timm_s_names_of_models_are_those_that_were_compared():
    """fixtures/make_names.py holds the networks that the tests compare with timm's own."""
    compared = {name: (architecture, scheme) for library, name, scheme, architecture in MODELS if library == "timm"}
    assert {name: TIMM_MODELS.get(name) for name in compared} == compared


@pytest.mark.parametrize(
    ("processor", "want"),
    [
        ({}, Preprocess((224, 224), "crop", 256, "bilinear", scale=1 / 255, mean=(0.5,) * 3, std=(0.5,) * 3)),
        ({"size": 200, "crop_size": 192}, Preprocess((192, 192), "crop", 200, mean=(0.5,) * 3, std=(0.5,) * 3)),
        ({"do_rescale": False, "image_mean": 127.0, "image_std": 128.0},
         Preprocess((224, 224), "crop", 256, scale=1.0, mean=(127.0,) * 3, std=(128.0,) * 3)),
        ({"do_normalize": False}, Preprocess((224, 224), "crop", 256)),
        ({"image_processor_type": "EfficientNetImageProcessorFast", "size": {"height": 96, "width": 64}, "resample": 0,
          "image_mean": [0.485, 0.456, 0.406], "image_std": [0.5, 0.25, 2.0], "crop_size": 289},
         Preprocess((96, 64), "stretch", 0, "nearest", mean=IMAGENET_MEAN, std=(0.25, 0.0625, 4.0))),
        ({"image_processor_type": "EfficientNetImageProcessor", "rescale_offset": True, "rescale_factor": 1 / 127.5,
          "do_normalize": False, "include_top": False},
         Preprocess((346, 346), "stretch", 0, "bicubic", scale=1 / 127.5, mean=(1.0,) * 3)),
        ({"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875, "resample": 3,
          "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
         Preprocess((224, 224), "crop", 256, "bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD)),
        ({"image_processor_type": "ConvNextImageProcessor"},
         Preprocess((384, 384), "stretch", 0, "bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)),
        ({"image_processor_type": "ViTImageProcessor"},
         Preprocess((224, 224), "stretch", mean=(0.5,) * 3, std=(0.5,) * 3)),
    ],
)  # fmt: skip
def test_pixels(tmp_path, processor, want):
    from dataclasses import replace

    processor = {"image_processor_type": "MobileNetV1ImageProcessor"} | processor
    if "feature_extractor_type" in processor:
        del processor["image_processor_type"]
    assert read_directory(directory(tmp_path / "m", R18, processor)).preprocess == replace(want, centring="down")


def test_labels_with_a_background(tmp_path):
    names = {str(i): "background" if i == 0 else f"thing {i}\n" for i in range(1001)}
    found = read_directory(directory(tmp_path / "m", {**V2, "id2label": names}, CROP))
    assert found.labels.background
    assert found.labels.names[::999] == ("thing 1", "thing 1000")
    assert found.arguments["classes"] == 1001
    numbered = {str(i): f"LABEL_{i}" for i in range(1001)}
    assert read_directory(directory(tmp_path / "m", {**V2, "id2label": numbered}, CROP)).labels is None


@pytest.mark.parametrize(("size", "listed"), [(224, []), (240, [16]), (260, [5, 8, 16]), (300, [5, 18])])
def test_efficientnet_s_padding_is_tensorflow_s_at_its_size(tmp_path, size, listed):
    width, depth = {224: (1.0, 1.0), 240: (1.0, 1.1), 260: (1.1, 1.2), 300: (1.2, 1.4)}[size]
    config = {**B0, "width_coefficient": width, "depth_coefficient": depth, "depthwise_padding": listed}
    processor = {"image_processor_type": "EfficientNetImageProcessor", "size": {"height": size, "width": size}}
    assert read_directory(directory(tmp_path / "m", config, processor)).arguments["padding"] == "same"
    wrong = {**config, "depthwise_padding": [n + 1 for n in listed] or [3]}
    refused(directory(tmp_path / "m", wrong, processor), "is not TensorFlow's padding")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "vit"}, r"config\.json: model_type is 'vit'; eyespot reads mobilenet_v1, "),
        ({"architectures": ["MobileNetV2ForSemanticSegmentation"]}, "eyespot reads MobileNetV2ForImageClassification"),
        ({"depth_multiplier": 0.9}, r"eyespot has the widths 0\.35, "),
        ({"depth_multiplier": "1"}, "a number was needed"),
        ({"depth_multiplier": True}, "a number was needed"),
        ({"finegrained_output": False}, "keeps its last 1280 channels"),
        ({"output_stride": 16}, r"output_stride is 16; eyespot's network has 32"),
        ({"hidden_act": "gelu"}, r"hidden_act is 'gelu'; eyespot's network has 'relu6'"),
        ({"problem_type": "multi_label_classification"}, "problem_type is 'multi_label_classification'"),
        ({"num_channels": 1}, "num_channels is 1"),
        ({"tf_padding": 1}, "true or false was needed"),
        ({"quantization_config": {}, "x\ny": 1}, r"says 'quantization_config', 'x\\ny', which eyespot does not know"),
        ({"id2label": {"0": "a", "2": "b"}}, "its keys must be the numbers from 0 on"),
        ({"id2label": {"0": 7}}, "the labels are not all text"),
        ({"id2label": [1]}, "an object was needed"),
        ({"num_labels": 5}, "names 3 labels but counts 5 classes"),
        ({"label_names": ["a", "b", "c"]}, "both id2label and label_names"),
    ],
)  # fmt: skip
def test_networks_that_are_others(tmp_path, change, message):
    refused(directory(tmp_path / "m", {**V2, **change}, CROP), message, WeightsError)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**B0, "width_coefficient": 1.5}, "none of EfficientNet B0 to B7"),
        ({**B0, "kernel_sizes": [3, 3, 5, 3, 5, 5, 5]}, "kernel_sizes is"),
        ({**B0, "pooling_type": "max"}, "pooling_type is 'max'"),
        ({**B0, "depthwise_padding": ["x"]}, "a list of block numbers"),
        ({**R18, "depths": [2, 2, 2, 3]}, "no ResNet of the paper"),
        ({**R18, "depths": 3}, "no ResNet of the paper"),
        ({**R18, "layer_type": "other"}, "no ResNet of the paper"),
        ({**R18, "hidden_sizes": [64, 128, 256, 511]}, "hidden_sizes is"),
        ({**R18, "downsample_in_first_stage": True}, "downsample_in_first_stage is True"),
        ({**TIMM, "architecture": "resnet50d"}, "architecture is 'resnet50d'; of timm's models eyespot has"),
        ({**TIMM, "architecture": 3}, "text was needed"),
        ({**TIMM, "model_args": {"output_stride": 16}}, "model_args says 'output_stride'"),
        ({**TIMM, "global_pool": "max"}, "global_pool is 'max'"),
        (without(TIMM, "pretrained_cfg"), "has no pretrained_cfg"),
        ({**TIMM, "pretrained_cfg": {"crop_mode": "border"}}, "crop_mode is 'border'"),
        ({**TIMM, "pretrained_cfg": {"crop_mode": "squash"}}, "stretches first"),
        ({**TIMM, "pretrained_cfg": {"input_size": [3, 96, 64]}}, "square sizes"),
        ({**TIMM, "pretrained_cfg": {"input_size": [1, 96, 96]}}, "three channels"),
        ({**TIMM, "pretrained_cfg": {"std": [0, 1, 1]}}, "must not be zero"),
        ({**TIMM, "pretrained_cfg": {"crop_pct": 2}}, "a share between"),
    ],
)  # fmt: skip
def test_other_networks_that_are_others(tmp_path, config, message):
    refused(directory(tmp_path / "m", config, CROP), message, WeightsError)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_processor_type": "CLIPImageProcessor"}, "image_processor_type is 'CLIPImageProcessor'; eyespot knows"),
        ({"image_processor_type": None}, "image_processor_type is ''"),
        ({"resample": 7}, "one of Pillow's filters"),
        ({"resample": True}, "one of Pillow's filters"),
        ({"do_resize": False}, "so they are resized"),
        ({"do_center_crop": False}, "leaves pictures of all sizes"),
        ({"size": {"height": 96, "width": 96}}, "stretches first and then cuts"),
        ({"size": {"shortest_edge": 90}}, "larger than the shortest_edge 90"),
        ({"size": {"longest_edge": 90}, "do_center_crop": False}, "height and width were needed"),
        ({"crop_size": {"height": 10**9, "width": 96}}, "a side of 1 to 8192 pixels"),
        ({"crop_size": "224"}, "height and width were needed"),
        ({"image_std": [0.5, 0, 0.5]}, "must not be zero"),
        ({"image_mean": [0.5, 0.5]}, "three numbers were needed"),
        ({"rescale_factor": 0}, "must not be zero"),
        ({"do_pad": True}, "do_pad is True"),
        ({"do_flip_channel_order": True}, "says 'do_flip_channel_order', which eyespot does not know"),
    ],
)  # fmt: skip
def test_pixels_that_cannot_be_reproduced(tmp_path, change, message):
    refused(directory(tmp_path / "m", V2, {**CROP, **change}), message, WeightsError)


def test_directories_that_are_none(tmp_path):
    refused(tmp_path, r"holds no config\.json", UsageError)
    refused(directory(tmp_path / "m", V2), r"m has no preprocessor_config\.json", WeightsError)
    path = directory(tmp_path / "n", V2, CROP)
    (path / "model.safetensors").rename(path / "model.safetensors.index.json")
    assert read_directory(path).weights.name == "model.safetensors.index.json"
    (path / "model.safetensors.index.json").rename(path / "pytorch_model.bin.index.json")
    refused(path, "in several files", WeightsError)
    (path / "pytorch_model.bin.index.json").unlink()
    refused(path, r"holds no model\.safetensors or pytorch_model\.bin", WeightsError)
    (path / "pytorch_model.bin").touch()
    assert read_directory(path).weights.name == "pytorch_model.bin"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "nested too deeply"),
        ("{", "is not JSON"),
        ("[]", "holds no object"),
        ('{"depth_multiplier": NaN}', "NaN is not a number"),
        ("\xff", "is not JSON"),
        (" " * ((8 << 20) + 1), "larger than 8 MB"),
        ('{"model_type": "mobilenet_v2", "depth_multiplier": 1e999}', "a number was needed|is inf"),
        ('{"id2label": {"0": "\\u0000\\n\\u001b[31m"}, "model_type": "x\\ny\\u001b"}', r"model_type is 'x\\ny\\x1b'"),
    ],
)  # fmt: skip
def test_hostile_json(tmp_path, text, message):
    path = directory(tmp_path / "m", V2, CROP)
    (path / "config.json").write_bytes(text.encode("latin-1"))
    refused(path, message, WeightsError)
