"""Keras .h5: both layouts, networks within networks, and files that reach for other files or for memory."""

import json
import sys
import time

import h5py
import numpy as np
import pytest

from eyespot.errors import MissingExtra, UnsafeFile, WeightsError
from eyespot.weights import keras_h5
from eyespot.weights.checkpoint import read_checkpoint, read_tensors
from eyespot.weights.keras_h5_child import read

KERNEL = np.arange(12, dtype="f4").reshape(1, 1, 3, 4)


def write(path, layers: dict[str, dict[str, np.ndarray]], *, whole: bool = False, config=None):
    """A file as Keras writes it; layers: layer → weight name → array."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        root.attrs["layer_names"] = [name.encode() for name in layers]
        for layer, weights in layers.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in weights]
            for name, array in weights.items():
                group.create_dataset(name, data=array)
        if config is not None:
            file.attrs["model_config"] = config
    return path


def refused(path, match, kind=WeightsError):
    """By the function that the child process runs."""
    with pytest.raises(kind, match=match) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_layers_in_order_through_the_child_process(tmp_path):
    layers = {
        "input": {}, "z": {"z/kernel:0": KERNEL, "z/bias:0": np.ones(4, "f2")},
        "a_bn": {"a_bn/gamma:0": np.ones(4, "f8"), "a_bn/moving_mean:0": np.zeros(4, "f4")},
    }  # fmt: skip
    inputs = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 96, 128, 3]}}
    config = json.dumps({"config": {"layers": [inputs]}})
    for whole in (False, True):
        found = read_checkpoint(write(tmp_path / "m.h5", layers, whole=whole, config=config))
        assert list(found.tensors) == ["z/kernel", "z/bias", "a_bn/gamma", "a_bn/moving_mean"]
        np.testing.assert_array_equal(found.tensors["z/kernel"], KERNEL)
        assert [t.dtype for t in found.tensors.values()] == ["f4", "f4", "f8", "f4"]
        assert (found.format, found.size) == ("keras h5", (96, 128))


def test_names_that_keras_made_unique_are_the_layer_s(tmp_path):
    path = write(tmp_path / "m.h5", {"conv1": {"conv1_3/kernel:0": KERNEL}})
    assert list(read(path)[0]) == ["conv1/kernel"]


def test_a_network_within_a_network(tmp_path):
    inner = {"conv1/kernel:0": KERNEL, "conv2/kernel:0": KERNEL + 1}
    tensors, config, *_ = read(write(tmp_path / "m.h5", {"model_1": inner, "top": {"top/bias:0": np.ones(1)}}))
    assert list(tensors) == ["conv1/kernel", "conv2/kernel", "top/bias"]
    assert config is None


def test_slashes_in_names_of_layers(tmp_path):
    layers = {"Conv": {"Conv/kernel:0": KERNEL}, "Conv/BatchNorm": {"Conv/BatchNorm/gamma:0": np.ones(4)}}
    assert list(read(write(tmp_path / "m.h5", layers))[0]) == ["Conv/kernel", "Conv/BatchNorm/gamma"]


def test_a_list_of_names_too_long_for_one_attribute(tmp_path):
    path = write(tmp_path / "m.h5", {"a": {"a/kernel:0": KERNEL}, "b": {"b/kernel:0": KERNEL}})
    with h5py.File(path, "a") as file:
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = [b"b"], [b"a"]
    assert list(read(path)[0]) == ["b/kernel", "a/kernel"]


@pytest.mark.parametrize(
    "config", ["{", "[]", '{"config": {"layers": {}}}', "[" * 100_000, '{"config": {"layers": [3]}}']
)
def test_a_description_that_is_damaged(tmp_path, config):
    path = write(tmp_path / "m.h5", {"a": {"a/kernel:0": KERNEL}}, config=config)
    with pytest.raises(WeightsError, match=r"m\.h5 is damaged: its model_config is no description of a model"):
        read_checkpoint(path)


def test_links_to_other_files(tmp_path):
    secret = write(tmp_path / "secret.h5", {"a": {"a/kernel:0": KERNEL}})
    path = write(tmp_path / "m.h5", {"a": {"a/kernel:0": KERNEL}})
    with h5py.File(path, "a") as file:
        del file["a/a"]["kernel:0"]
        file["a/a/kernel:0"] = h5py.ExternalLink(str(secret), "a/a/kernel:0")
    refused(path, r"m\.h5: a/kernel:0 is a link to elsewhere", UnsafeFile)
    with h5py.File(path, "a") as file:
        del file["a"]["a"]
        file["a/a"] = h5py.SoftLink("/a")
    refused(path, "is a link to elsewhere", UnsafeFile)
    with h5py.File(path, "w") as file:
        file["model_weights"] = h5py.ExternalLink(str(secret), "/")
    refused(path, "model_weights is a link to elsewhere", UnsafeFile)
    with pytest.raises(UnsafeFile, match="model_weights is a link to elsewhere"):
        read_tensors(path)  # the kind of error comes through the child process


def test_values_out_of_other_files(tmp_path):
    path = write(tmp_path / "m.h5", {"a": {}})
    (tmp_path / "raw").write_bytes(bytes(48))
    with h5py.File(path, "a") as file:
        file["a"].attrs["weight_names"] = [b"kernel:0"]
        file["a"].create_dataset("kernel:0", (12,), "f4", external=[(str(tmp_path / "raw"), 0, 48)])
    refused(path, "takes its values from another file", UnsafeFile)
    with h5py.File(path, "a") as file:
        del file["a/kernel:0"]
        layout = h5py.VirtualLayout((12,), "f4")
        layout[:] = h5py.VirtualSource(str(path), "b", (12,))
        file["a"].create_virtual_dataset("kernel:0", layout)
    refused(path, "takes its values from another file", UnsafeFile)


def test_arrays_that_fill_the_memory(tmp_path):
    path = write(tmp_path / "m.h5", {"a": {}})
    with h5py.File(path, "a") as file:
        file["a"].attrs["weight_names"] = [b"kernel:0"]
        file["a"].create_dataset("kernel:0", (1 << 16, 1 << 16), "f4", chunks=(1, 1 << 16))  # nothing is stored
    refused(path, "a/kernel of shape 65536×65536 makes its tensors unfold")


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("weight_names", [b"../../b"], "leads nowhere"),
        ("weight_names", [b"nothing"], "damaged|elsewhere"),
        ("weight_names", [b""], "leads nowhere"),
        ("weight_names", [1, 2], "are not names"),
        ("weight_names", [b"a"], "is no array"),
        ("weight_names", [b"text"], "save floating point"),
    ],
)
def test_odd_entries(tmp_path, attribute, value, message):
    path = write(tmp_path / "m.h5", {"a": {"a/kernel:0": KERNEL}})
    with h5py.File(path, "a") as file:
        file["a"].attrs[attribute] = value
        file["a"]["text"] = np.array([b"abc"])
    refused(path, message)


def test_files_that_are_not_keras(tmp_path):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["x"] = 1
    refused(path, r"holds no Keras layers; save the whole model with model\.save")
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(WeightsError, match="damaged or no Keras file"):
        read_tensors(path)


def test_a_file_that_hangs_or_crashes_the_library(tmp_path, monkeypatch):
    """The child is another program here; what HDF5's C library does to it is not for a test to rely on."""
    path = write(tmp_path / "m.h5", {"a": {"a/kernel:0": KERNEL}})
    folder = tmp_path / "hanging" / "eyespot_stub_child.py"
    folder.parent.mkdir()
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setattr(keras_h5, "__name__", "eyespot_stub")
    monkeypatch.setattr(keras_h5, "SECONDS", 3.0)
    folder.write_text("import os; os.abort()")
    with pytest.raises(WeightsError, match="it crashes the HDF5 library"):
        keras_h5.read_keras_h5(path)
    folder.write_text("while True: pass")
    start = time.monotonic()
    with pytest.raises(WeightsError, match="reading it does not end"):
        keras_h5.read_keras_h5(path)
    assert time.monotonic() - start < 30


def test_without_h5py(tmp_path, monkeypatch):
    path = write(tmp_path / "m.h5", {"a": {"a/kernel:0": KERNEL}})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"pip install 'eyespot\[keras\]'"):
        read_tensors(path)


def test_the_real_file(assets):
    found = read_checkpoint(assets / "weights" / "keras" / "mobilenet_v1_0.25_224.h5")
    assert (len(found.tensors), found.size) == (137, (224, 224))
    assert list(found.tensors)[:2] == ["conv1/kernel", "conv1_bn/gamma"]
    assert found.tensors["conv_dw_1/depthwise_kernel"].shape == (3, 3, 8, 1)
