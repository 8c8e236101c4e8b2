"""timm's names of models, the architectures here that they are, and the schemes of their tensors."""

from __future__ import annotations

from collections.abc import Mapping


def _rows() -> Mapping[str, tuple[str, str]]:
    rows: dict[str, tuple[str, str]] = {"mobilenetv1_100": ("mobilenet_v1_1.0", "timm.mobilenet_v1")}
    for theirs, width in (("035", "0.35"), ("050", "0.5"), ("075", "0.75"), ("100", "1.0"), ("140", "1.4")):
        rows[f"mobilenetv2_{theirs}"] = (f"mobilenet_v2_{width}", "timm.mobilenet_v2")
    for size in ("small", "large"):
        for theirs, width in (("075", "0.75"), ("100", "1.0"), ("minimal_100", "minimalistic_1.0")):
            rows[f"tf_mobilenetv3_{size}_{theirs}"] = (f"mobilenet_v3_{size}_{width}", "timm_tf.mobilenet_v3")
            if not theirs.startswith("minimal"):
                rows[f"mobilenetv3_{size}_{theirs}"] = (f"mobilenet_v3_{size}_{width}", "timm.mobilenet_v3")
    for kind in ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "lite0", "lite1", "lite2", "lite3", "lite4"):
        rows[f"efficientnet_{kind}"] = (f"efficientnet_{kind}", "timm.efficientnet")
        rows[f"tf_efficientnet_{kind}"] = (f"efficientnet_{kind}", "timm_tf.efficientnet")
    for depth in (18, 34, 50, 101, 152):
        rows[f"resnet{depth}"] = (f"resnet{depth}", "torchvision.resnet")
    sizes = {"small_050": "small_0.5", "small": "small", "medium": "medium", "large": "large"}
    rows |= {f"mobilenetv4_conv_{k}": (f"mobilenet_v4_conv_{ours}", "timm.mobilenet_v4") for k, ours in sizes.items()}
    rows |= {name: (name, "timm.repvgg") for name in ("repvgg_a0", "repvgg_b0")}  # with their branches, as the next
    rows |= {f"mobileone_s{i}": (f"mobileone_s{i}", "timm.mobileone") for i in range(5)}
    return rows


_LIGHT: Mapping[str, tuple[str, str]] = {
    "mnasnet_050": ("mnasnet_0.5", "timm.mnasnet"),
    "mnasnet_075": ("mnasnet_0.75", "timm.mnasnet"),
    "mnasnet_100": ("mnasnet_1.0", "timm.mnasnet"),
    "ghostnet_050": ("ghostnet_0.5", "timm.ghostnet"),
    "ghostnet_100": ("ghostnet_1.0", "timm.ghostnet"),
    "ghostnet_130": ("ghostnet_1.3", "timm.ghostnet"),
    "regnety_004": ("regnet_y_400mf", "timm.regnet"),
    "regnety_008": ("regnet_y_800mf", "timm.regnet"),
    "regnety_008_tv": ("regnet_y_800mf_tv", "timm.regnet"),
    "resnext50_32x4d": ("resnext50_32x4d", "torchvision.resnext"),
    "inception_v3": ("inception_v3", "torchvision.inception_v3"),
    "inception_v4": ("inception_v4", "timm.inception_v4"),
    "inception_resnet_v2": ("inception_resnet_v2", "timm.inception_resnet_v2"),
    "legacy_xception": ("xception", "timm.xception"),
    **{f"efficientnetv2_{kind}": (f"efficientnet_v2_{kind}", "timm.efficientnet_v2") for kind in "sml"},
    **{
        f"tf_efficientnetv2_{kind}": (f"efficientnet_v2_{kind}", "timm_tf.efficientnet_v2")
        for kind in ("b0", "b1", "b2", "b3", "s", "m", "l")
    },
}

# Only models whose network is this catalogue's to the last layer: no resnet50d, no mobilenetv3_rw.
TIMM_MODELS: Mapping[str, tuple[str, str]] = {**_rows(), **_LIGHT}
