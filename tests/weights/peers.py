"""Networks of torchvision, timm, transformers and Keras, made lively: random weights and statistics, signals alive."""

from pathlib import Path

import numpy as np

CLASSES = 17


def torch_model(library: str, name: str):
    """A network with fresh weights and logits as its output."""
    if library == "torchvision":
        import torchvision

        quick = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return getattr(torchvision.models, name)(weights=None, num_classes=CLASSES, **quick)
    if library == "pytorchcv":
        from pytorchcv.model_provider import get_model

        return get_model(name, num_classes=CLASSES)
    import timm

    return timm.create_model(name, pretrained=False, num_classes=CLASSES)


def liven(model, size: int):
    """Norms that have seen noise, with random scales: random statistics would drown a deep network in rounding."""
    import torch

    torch.manual_seed(0)
    model.eval()  # but for the norms: auxiliary heads take no small pictures
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 0.5
            norm.weight.uniform_(0.6, 1.4)
            norm.bias.uniform_(-0.2, 0.2)
            norm.train()
        for _ in range(3):
            model(torch.randn(2, 3, size, size))
        return model.eval()


def torch_logits(model, x: np.ndarray) -> np.ndarray:
    """What a torch network answers to (n, 3, h, w)."""
    import torch

    with torch.no_grad():
        out = model(torch.from_numpy(x))
    return getattr(out, "logits", out).numpy()


def keras_model(name: str, size: int):
    """A network of keras.applications on the torch backend: 'MobileNet:0.25' has alpha 0.25."""
    import keras

    function, _, alpha = name.partition(":")
    more = {"alpha": float(alpha)} if alpha else {}
    if function.startswith(("MobileNetV3", "EfficientNetV2")):
        more["include_preprocessing"] = False
    return getattr(keras.applications, function)(
        weights=None, classes=CLASSES, classifier_activation=None, input_shape=(size, size, 3), **more
    )


def liven_keras(model, seed: int = 1):
    """Random weights that keep signals alive: norms near one, He-like kernels."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.weights and layer.name != "normalization":
            layer.set_weights([_lively(tuple(w.shape), w.name, layer.name, rng) for w in layer.weights])
    return model


def _lively(shape, name: str, layer: str, rng) -> np.ndarray:
    if len(shape) < 2:
        low, high = (0.5, 1.5) if "variance" in name else (0.8, 1.4) if "gamma" in name else (-0.3, 0.3)
        return rng.uniform(low, high, shape).astype("f4")
    reach = shape[:2] if "dw" in layer or "depthwise" in layer else shape[:-1]
    gain = 0.1 if "project" in layer else 2  # the ends of residual branches, whose sums would grow with depth
    return rng.normal(0, np.sqrt(gain / np.prod(reach)), shape).astype("f4")


def keras_logits(model, x: np.ndarray) -> np.ndarray:
    """What a Keras network answers to (n, h, w, 3)."""
    return np.asarray(model.predict(x, verbose=0))


def save_timm(model, folder: Path) -> Path:
    """A directory as timm writes it for the hub, with timm's own code."""
    from timm.models import save_for_hf

    save_for_hf(model, folder, safe_serialization=True)
    return folder
