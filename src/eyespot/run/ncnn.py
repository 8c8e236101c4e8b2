"""A session on ncnn, in float32, one picture after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ncnn
import numpy as np
from numpy.typing import NDArray

from eyespot.errors import RuntimeFailure
from eyespot.lower.ncnn import BIN, LOGITS, PIXELS
from eyespot.run.session import ClosingSession, TensorSpec


class NcnnSession(ClosingSession):
    """The file ``model``, a .param with its .bin beside it, on the CPU, with ``threads`` inside one call."""

    def __init__(self, model: Path, *, threads: int) -> None:
        self._net: Any = opened(model, threads)
        words = next(line.split() for line in model.read_text().splitlines() if line.startswith("Input"))
        size = dict(word.split("=") for word in words[5:])
        self.inputs = (TensorSpec(PIXELS, "uint8", (None, int(size["1"]), int(size["0"]), 3)),)
        self.outputs = (TensorSpec(LOGITS, "float32", (None, None)),)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (n, outputs) of prepared pictures."""
        if self._net is None:
            raise RuntimeFailure("this session is closed; open another one")
        wanted = self.inputs[0].shape[1:]
        if batch.dtype != np.uint8 or batch.shape[1:] != wanted:
            raise RuntimeFailure(f"ncnn cannot run {batch.dtype} {batch.shape}; it needs uint8 (n, {str(wanted)[1:]}")
        return np.stack([_extract(_fed(self._net, picture), LOGITS) for picture in batch])

    def close(self) -> None:
        """Gives the memory back."""
        self._net = None


def opened(model: Path, threads: int) -> Any:
    """An ``ncnn.Net`` that computes in float32 what is float: float16 would be its own choice on a phone."""
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    if net.load_param(str(model)) or net.load_model(str(model.parent / BIN)):
        raise RuntimeFailure(f"ncnn {ncnn.__version__} refuses {model.name} or {BIN}; export the bundle again")
    return net


def values_of(model: Path, names: Sequence[str], batch: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
    """The values of those ``names`` (of nodes of ours) that the file makes, flat in our order, for one picture."""
    net = opened(model, 1)
    net.opt.lightmode = False
    made = {blob.name for blob in net.blobs()}
    extractor = _fed(net, batch[0])
    extractor.set_light_mode(False)
    return {name: _extract(extractor, name)[None] for name in names if name in made}


def _fed(net: Any, picture: NDArray[np.uint8]) -> Any:
    extractor = net.create_extractor()
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32)
    extractor.input(PIXELS, ncnn.Mat(planes).clone())
    return extractor


def _extract(extractor: Any, name: str) -> NDArray[np.float32]:
    code, found = extractor.extract(name)
    if code:
        raise RuntimeFailure(f"ncnn {ncnn.__version__} failed at {name!r} with code {code}; is there enough memory?")
    return np.array(found.numpy(), np.float32)
