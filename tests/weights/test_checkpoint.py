"""Which kind of file it is, safetensors, and files that are no weights."""

import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from eyespot.errors import UnsafeFile, WeightsError
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


def two_shards(folder):
    for number in (1, 2):
        name = f"model-0000{number}-of-00002.safetensors"
        (folder / name).write_bytes(
            safetensors({f"net.t{number}": entry("F32", [2, 1], 0, 8)}, struct.pack("<2f", number, 0))
        )
    return {"net.t1": "model-00001-of-00002.safetensors", "net.t2": "model-00002-of-00002.safetensors"}


def test_shards_by_their_index(tmp_path):
    places = two_shards(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 16}, "weight_map": places}))
    found = read_checkpoint(index)
    assert {name: tensor[0, 0] for name, tensor in found.tensors.items()} == {"t1": 1, "t2": 2}
    with pytest.raises(WeightsError, match=r"is one of 2 shards; import model\.safetensors\.index\.json"):
        read_checkpoint(tmp_path / "model-00001-of-00002.safetensors")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{}", "is no index of shards"),
        ("[" * 100_000, "is no index of shards"),
        ('{"weight_map": 3}', "is no index of shards"),
        ('{"weight_map": {"a": "../secret.safetensors"}}', "does not lie beside it"),
        ('{"weight_map": {"a": "x.bin"}}', "eyespot reads shards of safetensors"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "is not beside it; fetch it too"),
        ('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}', "misses a, which"),
        (json.dumps({"weight_map": {f"t{i}": f"{i}.safetensors" for i in range(1001)}}), "names 1001 shards"),
    ],
)
def test_indices_that_lead_nowhere(tmp_path, index, message):
    two_shards(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(WeightsError, match=message) as caught:
        read_checkpoint(tmp_path / "model.safetensors.index.json")
    assert "\n" not in str(caught.value)


def test_numpy_s_archives(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, **{"net.a": np.ones((2, 2), "f4"), "net.b": np.ones(3, "f2"), "steps": np.int64(7)})
    found = read_checkpoint(path)
    assert found.format == "numpy"
    assert {name: (t.shape, t.dtype.name) for name, t in found.tensors.items()} == {
        "a": ((2, 2), "float32"), "b": ((3,), "float32"),
    }  # fmt: skip
    np.savez(path, a=np.array([print], object))
    with pytest.raises(UnsafeFile, match="holds Python objects"):
        read_checkpoint(path)
    np.savez(path, a=np.array(["text"]))
    with pytest.raises(WeightsError, match="save floating point"):
        read_checkpoint(path)
    np.savez_compressed(path, a=np.zeros(1 << 24, "f4"))
    with pytest.raises(WeightsError, match="unfold to more than"):
        read_checkpoint(path)
    np.savez(path, a=np.ones(64, "f4"))
    path.write_bytes(path.read_bytes().replace(b"\x93NUMPY", b"\x93NUMPX"))
    with pytest.raises(WeightsError, match=r"is damaged or no \.npz"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "header", [b"{'descr': '<f4', 'shape': (\x11", b"[" * 200, b"{'descr': [], 'shape': ()}", b"\xff" * 9]
)
def test_headers_of_numpy_that_are_none(tmp_path, header):
    array = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + bytes(64)
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", array)
    with pytest.raises(WeightsError, match=r"w\.npz is damaged or no \.npz") as caught:
        read_checkpoint(tmp_path / "w.npz")
    assert "\n" not in str(caught.value)


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
