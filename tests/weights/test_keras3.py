"""Keras 3's files: .weights.h5 by the names in it, .keras by its description; archives that unfold without end."""

import io
import json
import zipfile

import h5py
import numpy as np
import pytest

from eyespot.errors import UnsafeFile, WeightsError
from eyespot.weights.checkpoint import read_checkpoint
from eyespot.weights.keras_h5_child import read

KERNEL = np.arange(12, dtype="f4").reshape(1, 1, 3, 4)
NORM = [np.full(4, i, "f4") for i in range(4)]
LAYERS = {
    "layers/conv2d": ("stem", [KERNEL]),
    "layers/conv2d_1": ("head", [KERNEL + 1, np.ones(4, "f4")]),
    "layers/batch_normalization": ("stem_bn", NORM),
    "layers/activation": ("relu", []),
    "layers/dropout/seed_generator": ("seed", [np.zeros(2, "u4")]),
}
WANT = ["head/bias", "head/kernel", *(f"stem_bn/{n}" for n in ("beta", "gamma", "moving_mean", "moving_variance"))]
WANT += ["stem/kernel"]


def weights_h5(path, layers=LAYERS, *, named=True):
    """A file as Keras 3 writes it."""
    with h5py.File(path, "w") as file:
        file.create_group("layers")
        file.create_group("vars")
        file["optimizer/vars/0"] = np.zeros(3)
        for place, (name, tensors) in layers.items():
            group = file.create_group(f"{place}/vars")
            if named:
                group.attrs["name"] = name
            for i, tensor in enumerate(tensors):
                group[str(i)] = tensor
    return path


def described(*layers):
    rows = [{"class_name": kind, "config": {"name": name, **more}} for kind, name, more in layers]
    return {"module": "os", "class_name": "Functional", "config": {"name": "net", "layers": rows}}


CONFIG = described(
    ("InputLayer", "in", {"batch_shape": [None, 96, 64, 3]}), ("Conv2D", "stem", {}),
    ("BatchNormalization", "stem_bn", {}), ("Activation", "relu", {}), ("Conv2D", "head", {}),
)  # fmt: skip


def keras(path, h5, config=CONFIG, **more):
    files = {"metadata.json": b"{}", "config.json": json.dumps(config).encode(), "model.weights.h5": h5.read_bytes()}
    files |= {name.replace("__", "."): data for name, data in more.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def refused(path, match, kind=WeightsError):
    with pytest.raises(kind, match=match) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_weights_by_the_names_in_the_file(tmp_path):
    found = read_checkpoint(weights_h5(tmp_path / "m.weights.h5"))
    assert sorted(found.tensors) == sorted(WANT)
    np.testing.assert_array_equal(found.tensors["head/kernel"], KERNEL + 1)
    np.testing.assert_array_equal(found.tensors["stem_bn/moving_mean"], NORM[2])
    assert (found.format, found.size) == ("keras h5", None)


def test_weights_by_the_description_in_an_archive(tmp_path):
    for named in (True, False):
        found = read_checkpoint(keras(tmp_path / "m.keras", weights_h5(tmp_path / "w", named=named)))
        assert sorted(found.tensors) == sorted(WANT)
        np.testing.assert_array_equal(found.tensors["head/kernel"], KERNEL + 1)
        assert (found.format, found.size) == ("keras zip", (96, 64))


def test_names_that_are_nowhere_or_two(tmp_path):
    refused(weights_h5(tmp_path / "m.h5", named=False), r"does not say the name of layers/.*save the model as \.keras")
    less = described(*[("Conv2D", "stem", {})])
    refused(keras(tmp_path / "a.keras", tmp_path / "m.h5", less), "its description has no such layer")
    path = weights_h5(tmp_path / "w")
    other = json.loads(json.dumps(CONFIG).replace('"stem"', '"stern"'))
    refused(keras(tmp_path / "b.keras", path, other), "calls layers/conv2d stern and stem")
    twice = {**LAYERS, "layers/conv2d_2": ("stem", [KERNEL])}
    refused(weights_h5(tmp_path / "d.h5", twice), "holds stem/kernel twice")


def test_a_network_within_a_network(tmp_path):
    layers = {"layers/functional/layers/conv2d": ("stem", [KERNEL]), "layers/dense": ("top", [np.ones((4, 2), "f4")])}
    inner = {"layers": [{"class_name": "Conv2D", "config": {"name": "stem"}}]}
    config = described(("Functional", "body", inner), ("Dense", "top", {}))
    path = weights_h5(tmp_path / "m.weights.h5", layers, named=False)
    assert sorted(read_checkpoint(keras(tmp_path / "m.keras", path, config)).tensors) == ["stem/kernel", "top/kernel"]


def test_a_norm_without_scale_and_a_layer_nobody_knows(tmp_path):
    layers = {"layers/batch_normalization": ("bn", NORM[1:]), "layers/lstm": ("odd", [KERNEL, KERNEL])}
    tensors = read_checkpoint(weights_h5(tmp_path / "m.h5", layers)).tensors
    assert sorted(tensors) == ["bn/beta", "bn/moving_mean", "bn/moving_variance", "odd/0", "odd/1"]
    np.testing.assert_array_equal(tensors["bn/beta"], NORM[1])


def test_links_and_values_out_of_other_files(tmp_path):
    secret = weights_h5(tmp_path / "secret.h5")
    for place in ("layers/conv2d/vars/0", "layers/conv2d/vars", "layers/conv2d", "layers"):
        path = weights_h5(tmp_path / "m.h5")
        with h5py.File(path, "a") as file:
            del file[place]
            file[place] = h5py.ExternalLink(str(secret), place)
        with pytest.raises(UnsafeFile, match="is a link to elsewhere"):
            read(path)
    (tmp_path / "raw").write_bytes(bytes(48))
    with h5py.File(path, "w") as file:
        outside = [(str(tmp_path / "raw"), 0, 48)]
        file.create_group("layers/dense/vars").create_dataset("0", (12,), "f4", external=outside)
    with pytest.raises(UnsafeFile, match="takes its values from another file"):
        read(path)
    refused(keras(tmp_path / "m.keras", path), "takes its values from another file", UnsafeFile)


def test_odd_groups(tmp_path):
    path = tmp_path / "m.h5"
    for place, value, message in (
        ("layers", np.zeros(3), "is no group of layers"),
        ("layers/conv2d", np.zeros(3), "layers/conv2d is no layer"),
        ("layers/conv2d/vars", np.zeros(3), "has no tensors"),
        ("layers/conv2d/vars/kernel", np.zeros(3), "does not number its tensors"),
        ("layers/" + "a/layers/" * 10 + "b", np.zeros(3), "no group of layers"),
    ):
        with h5py.File(path, "w") as file:
            file[place] = value
        with pytest.raises(WeightsError, match=message):
            read(path)


def test_arrays_that_fill_the_memory(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_group("layers/dense/vars").create_dataset("0", (1 << 16, 1 << 16), "f4", chunks=(1, 1 << 16))
    refused(tmp_path / "m.h5", "makes its tensors unfold")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[" * 200_000, "damaged or no Keras model"),
        ("[]", "no object"),
        ("{}", "damaged or no Keras model"),
        ('{"config": {"layers": [7]}}', "damaged or no Keras model"),
        ('{"config": {"layers": {"a": 1}}}', "damaged or no Keras model"),
    ],
)
def test_descriptions_that_are_none(tmp_path, config, message):
    path = weights_h5(tmp_path / "w")
    refused(keras(tmp_path / "m.keras", path, config__json=config.encode()), message)


def test_archives_that_unfold_without_measure(tmp_path):
    path = weights_h5(tmp_path / "w")
    bomb = path.read_bytes() + bytes(64 << 20)
    refused(
        keras(tmp_path / "m.keras", path, model__weights__h5=bomb), r"model\.weights\.h5 unfolds to more", UnsafeFile
    )
    long = json.dumps(CONFIG).encode() + b" " * (33 << 20)
    refused(keras(tmp_path / "n.keras", path, config__json=long), r"config\.json unfolds to more", UnsafeFile)


def test_archives_that_are_damaged(tmp_path):
    path = keras(tmp_path / "m.keras", weights_h5(tmp_path / "w"))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", "{}")
    refused(path, "more than once")
    keras(path, tmp_path / "w")
    whole = path.read_bytes()
    at = whole.index(b"model.weights.h5") + 40
    path.write_bytes(whole[:at] + bytes(8) + whole[at + 8 :])
    refused(path, "damaged or no Keras model")
    encrypted = bytearray(whole)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := encrypted.find(mark, start + 1)) >= 0:
            encrypted[start + offset] |= 1
    path.write_bytes(encrypted)
    refused(path, "damaged or no Keras model")


def test_a_torch_archive_stays_one(tmp_path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("config.json", "{}")
    (tmp_path / "m.zip").write_bytes(data.getvalue())
    with pytest.raises(WeightsError) as caught:
        read_checkpoint(tmp_path / "m.zip")
    assert "Keras" not in str(caught.value)
