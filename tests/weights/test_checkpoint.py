"""Which kind of file it is, safetensors, and files that are no weights."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from eyespot.errors import WeightsError
from eyespot.weights.checkpoint import read_checkpoint, read_tensors


def safetensors(header: dict | bytes, data: bytes = b"", size: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if size is None else size) + raw + data


def entry(kind: str, shape: list[int], start: int, end: int) -> dict:
    return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}


def test_safetensors_in_file_order_and_half_as_float32(tmp_path):
    header = {
        "a": entry("F16", [2], 12, 16), "b": entry("BF16", [2], 8, 12), "c": entry("F32", [2, 1], 0, 8),
        "__metadata__": {"format": "pt"}, "d": entry("I64", [], 16, 24), "e": entry("F32", [0, 3], 24, 24),
    }  # fmt: skip
    data = struct.pack("<2f", 1, -2) + b"\x80\x3f\x40\xc0" + struct.pack("<2e", 0.5, 65504) + struct.pack("<q", 7)
    path = tmp_path / "any.name"
    path.write_bytes(safetensors(header, data))
    found = read_checkpoint(path)
    assert found.format == "safetensors"
    assert list(found.tensors) == ["c", "b", "a", "d", "e"]
    assert found.tensors["c"].tolist() == [[1], [-2]]
    assert found.tensors["b"].tolist() == [1, -3]
    assert found.tensors["a"].tolist() == [0.5, 65504]
    assert found.tensors["d"].tolist() == 7
    assert found.tensors["e"].shape == (0, 3)
    assert [t.dtype for t in found.tensors.values()] == ["f4", "f4", "f4", "i8", "f4"]
    assert all(t.flags.owndata or t.base is not None for t in found.tensors.values())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (safetensors(b"{}", size=2 << 30), r"claims a header of 2147483648 bytes"),
        (safetensors(b"{}", size=(1 << 64) - 1), r"claims a header of 18446744073709551615 bytes"),
        (safetensors(b"{}", size=100), r"claims a header of 100 bytes"),
        (safetensors({"a": entry("F32", [2], 0, 8)}, b"\0" * 7), "damaged or no safetensors file"),
        (safetensors({"a": entry("F32", [2], 0, 8)}, b"\0" * 9), "damaged or no safetensors file"),
        (safetensors({"a": entry("F32", [3], 0, 8)}, b"\0" * 8), "damaged or no safetensors file"),
        (safetensors({"a": entry("F32", [-1], 0, 8)}, b"\0" * 8), "damaged or no safetensors file"),
        (safetensors({"a": entry("F32", [1 << 62, 4], 0, 8)}, b"\0" * 8), "damaged or no safetensors file"),
        (safetensors({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 2, 6)}, b"\0" * 6), "damaged or no"),
        (safetensors({"a": entry("F8_E4M3", [1], 0, 1)}, b"\0"), "a is F8_E4M3; save it as F32"),
        (safetensors(b"{" + b"[" * 100_000), "damaged or no safetensors file"),
        (safetensors({"a": 3}), "damaged or no safetensors file"),
    ],
)
def test_damaged_safetensors(tmp_path, data, message):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=message) as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite model"),
        (b"\x1f\x8b\x08", "gzip archive; unpack it first"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html>", "web page"),
        (b"\x93NUMPY\x01\0", "single numpy array"),
        (b"x" * 257 + b"ustar", "tar archive"),
        (b"\xff\xd8\xff\xe0", "is no file of weights that eyespot reads: .pth"),
    ],
)
def test_strangers_are_named(tmp_path, data, message):
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=rf"^weights\.pth .*{message}|^weights\.pth {message}"):
        read_tensors(path)


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.pth cannot be read: No such file"):
        read_tensors(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="cannot be read: Is a directory"):
        read_tensors(str(tmp_path))


def test_real_files(assets: Path):
    folder = assets / "weights"
    found = read_checkpoint(folder / "mobilenet_v3_small_1.0_224.tf.float16.safetensors")
    assert str(found) == "108 tensors (safetensors)"
    assert {t.dtype for t in found.tensors.values()} == {np.dtype("f4")}
    reference = read_tensors(folder / "squeezenet_1.1_224.gluon.reference.safetensors")
    assert {n: t.shape for n, t in reference.items()}["output_1"] == (1, 1000)
    with pytest.raises(WeightsError, match="TensorFlow Lite"):
        read_tensors(folder / "tflite" / "v3-small_224_1.0_uint8.tflite")
    with pytest.raises(WeightsError, match="no file of weights that eyespot reads"):
        read_tensors(folder / "darknet" / "yolo-fastest-1.1.weights")
