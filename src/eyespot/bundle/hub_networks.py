"""Which network of the catalogue a Hugging Face ``config.json`` describes, drawn with which arguments.

Sources: transformers/models/*/configuration_*.py (the defaults), timm/models/_hub.py. No code of theirs runs.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from eyespot.arch import efficientnet, mobilenet_v1, mobilenet_v2
from eyespot.arch import resnet as our_resnet
from eyespot.bundle.json_fields import Fields, shown
from eyespot.errors import WeightsError
from eyespot.weights.timm_models import TIMM_MODELS

Size = tuple[int, int]


class Network(NamedTuple):
    """``catalogue.draw(architecture, arguments)`` draws it; scheme: a name of ``weights.names.SCHEMES``."""

    architecture: str
    scheme: str
    arguments: Mapping[str, Any]


# What every configuration may say and no prediction depends on.
_IDLE = (
    "_name_or_path", "transformers_version", "torch_dtype", "dtype", "initializer_range", "return_dict",
    "output_hidden_states", "output_attentions", "use_cache", "chunk_size_feed_forward", "finetuning_task",
    "label2id", "classifier_dropout_prob", "dropout_rate", "drop_connect_rate", "batch_norm_momentum", "image_size",
    "semantic_loss_ignore_index", "num_hidden_layers", "out_features", "out_indices", "stage_names", "_commit_hash",
    "is_encoder_decoder", "task_specific_params", "attn_implementation", "_attn_implementation_autoset",
)  # fmt: skip


def read_network(fields: Fields, size: Size) -> Network:
    """The network for pictures of ``size``. WeightsError for a model, or a kind of it, that is not in the catalogue."""
    kind = fields.text("model_type")
    if kind not in _READERS:
        raise fields.wrong("model_type", kind, f"eyespot reads {', '.join(_READERS)} and timm's directories")
    class_name, reader = _READERS[kind]
    classes = fields.value("architectures", [class_name])
    if classes != [class_name]:
        raise fields.wrong("architectures", classes, f"eyespot reads {class_name}")
    fields.only("problem_type", ("single_label_classification",))
    fields.only("num_channels", (3,))
    fields.drop(_IDLE)
    return reader(fields, size)


def read_timm(fields: Fields) -> Network:
    """The network of a directory that timm wrote, or transformers' wrapper around timm."""
    name = fields.text("architecture").partition(".")[0]
    if name not in TIMM_MODELS:
        close = difflib.get_close_matches(name, TIMM_MODELS, n=4, cutoff=0.4) or list(TIMM_MODELS)[:4]
        nearest = f"nearest to it, {', '.join(close)}"
        raise fields.wrong("architecture", name, f"of timm's models eyespot has, {nearest}")
    fields.only("global_pool", ("avg", ""))
    fields.only("do_pooling", (True,))
    more = Fields(fields.mapping("model_args"), f"{fields.where}: model_args")
    more.only("in_chans", (3,))
    more.only("global_pool", ("avg",))
    more.drop(("num_classes", "drop_rate", "drop_path_rate"))
    more.done()
    fields.drop((*_IDLE, "architectures", "model_type", "num_features", "model_args", "label_descriptions"))
    architecture, scheme = TIMM_MODELS[name]
    from eyespot.weights.names import SCHEMES

    return Network(architecture, scheme, dict(SCHEMES[scheme].arguments(architecture)))


def _mobilenet(fields: Fields, rows: Mapping[str, Any], family: str, act: str) -> Network:
    width = fields.number("depth_multiplier", 1.0)
    name = next((n for n, (_, arguments) in rows.items() if arguments["width"] == width), None)
    if name is None:
        widths = ", ".join(str(arguments["width"]) for _, arguments in rows.values())
        raise fields.wrong("depth_multiplier", width, f"of {family} eyespot has the widths {widths}")
    fields.only("min_depth", (8,))
    fields.only("hidden_act", (act,))
    padding = "same" if fields.flag("tf_padding", True) else "symmetric"
    return Network(name, f"transformers.{family}", {"padding": padding, "eps": fields.number("layer_norm_eps", 1e-3)})


def _mobilenet_v1(fields: Fields, _: Size) -> Network:
    return _mobilenet(fields, mobilenet_v1.VARIANTS, "mobilenet_v1", "relu6")


def _mobilenet_v2(fields: Fields, _: Size) -> Network:
    fields.only("depth_divisible_by", (8,))
    fields.only("expand_ratio", (6.0,))
    fields.only("output_stride", (32,))
    fields.only("first_layer_is_expansion", (True,))
    network = _mobilenet(fields, mobilenet_v2.VARIANTS, "mobilenet_v2", "relu6")
    width = mobilenet_v2.VARIANTS[network.architecture][1]["width"]
    if not fields.flag("finegrained_output", True) and isinstance(width, float) and width < 1:
        raise fields.wrong("finegrained_output", False, "eyespot's network keeps its last 1280 channels")
    return network


def _efficientnet(fields: Fields, size: Size) -> Network:
    width, depth = fields.number("width_coefficient", 2.0), fields.number("depth_coefficient", 3.1)
    rows = {n: a for n, (_, a) in efficientnet.VARIANTS.items() if not a.get("lite")}
    name = next((n for n, a in rows.items() if (a["width"], a["depth"]) == (width, depth)), None)
    if name is None:
        raise fields.wrong("width_coefficient", width, f"with depth {depth} that is none of EfficientNet B0 to B7")
    for key, value in (
        ("depth_divisor", 8),
        ("kernel_sizes", (3, 3, 5, 3, 5, 5, 3)),
        ("in_channels", (32, 16, 24, 40, 80, 112, 192)),
        ("out_channels", (16, 24, 40, 80, 112, 192, 320)),
        ("strides", _STRIDES),
        ("num_block_repeats", _REPEATS),
        ("expand_ratios", (1, 6, 6, 6, 6, 6, 6)),
        ("squeeze_expansion_ratio", 0.25),
        ("pooling_type", "mean"),
    ):
        fields.only(key, (value,))
    fields.only("hidden_act", ("swish", "silu"))
    fields.drop(("hidden_dim",))  # the tensors say it
    padding = _efficientnet_padding(fields, depth, size)
    return Network(
        name, "transformers.efficientnet", {"padding": padding, "eps": fields.number("batch_norm_eps", 1e-3)}
    )


_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_REPEATS = (1, 2, 2, 3, 3, 4, 1)


def _efficientnet_padding(fields: Fields, depth: float, size: Size) -> str:
    """'same', if the configured padding is that of TensorFlow for this size.

    Theirs is fixed: one pixel after the picture, and before a strided depthwise convolution one less than after, but
    for the blocks listed. That is TensorFlow's for maps of even sides, and for odd ones in the blocks listed.
    """
    listed = fields.value("depthwise_padding", [])
    if not isinstance(listed, list) or not all(type(n) is int for n in listed):
        raise fields.wrong("depthwise_padding", listed, "a list of block numbers was needed")
    fits = size[0] % 2 == 0 and size[1] % 2 == 0
    height, width = (math.ceil(n / 2) for n in size)
    block = 0
    for repeats, stride in zip(_REPEATS, _STRIDES, strict=True):
        if stride == 2:
            odd = block in listed
            fits = fits and (height % 2 == 1, width % 2 == 1) == (odd, odd)
            height, width = math.ceil(height / 2), math.ceil(width / 2)
        block += math.ceil(repeats * depth)
    if not fits:
        raise fields.wrong(
            "depthwise_padding", listed, f"for pictures of {size[0]}×{size[1]} that is not TensorFlow's padding"
        )
    return "same"


def _resnet(fields: Fields, _: Size) -> Network:
    layer = fields.text("layer_type", "bottleneck")
    depths = fields.value("depths", [3, 4, 6, 3])
    found = next(
        (
            depth
            for depth, row in our_resnet.TABLE_1.items()
            if row.bottleneck == (layer == "bottleneck") and list(row.blocks) == depths
        ),
        None,
    )
    if found is None or layer not in ("basic", "bottleneck"):
        raise fields.wrong("depths", depths, f"with {shown(layer)} layers that is no ResNet of the paper")
    channels = (64, 128, 256, 512) if layer == "basic" else (256, 512, 1024, 2048)
    fields.only("hidden_sizes", (channels,))
    fields.only("embedding_size", (64,))
    fields.only("hidden_act", ("relu",))
    fields.only("downsample_in_first_stage", (False,))
    arguments = {"padding": "symmetric", "eps": 1e-5}
    if fields.flag("downsample_in_bottleneck", False):
        arguments["stride_on"] = "1x1"
    return Network(f"resnet{found}", "transformers.resnet", arguments)


_Reader = Callable[[Fields, Size], Network]
_READERS: Mapping[str, tuple[str, _Reader]] = {
    "mobilenet_v1": ("MobileNetV1ForImageClassification", _mobilenet_v1),
    "mobilenet_v2": ("MobileNetV2ForImageClassification", _mobilenet_v2),
    "efficientnet": ("EfficientNetForImageClassification", _efficientnet),
    "resnet": ("ResNetForImageClassification", _resnet),
}


def labels_of(fields: Fields) -> tuple[str, ...]:
    """The names of all outputs; none where they are only numbered. WeightsError where they contradict themselves."""
    named = fields.mapping("id2label")
    listed = fields.value("label_names", [])
    counts = {int(fields.number(key, -1)) for key in ("num_labels", "num_classes")} - {-1}
    if named and listed:
        raise WeightsError(f"{fields.where} has both id2label and label_names; keep one")
    keys = {str(i) for i in range(len(named))}
    if set(named) != keys:
        raise fields.wrong("id2label", list(named)[:5], "its keys must be the numbers from 0 on")
    if not isinstance(listed, list):
        raise fields.wrong("label_names", listed, "a list was needed")
    names = [named[str(i)] for i in range(len(named))] or listed
    if not all(isinstance(name, str) for name in names):
        raise WeightsError(f"{fields.where}: the labels are not all text")
    if names and counts - {len(names)}:
        raise WeightsError(f"{fields.where} names {len(names)} labels but counts {min(counts - {len(names)})} classes")
    clean = tuple(" ".join(name.split()) or f"class {i}" for i, name in enumerate(names))
    return () if all(name == f"LABEL_{i}" for i, name in enumerate(clean)) else clean
