"""What the torch reader reads: every kind of tensor in both formats, as torch itself reads it."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch_files as make

from eyespot.errors import WeightsError
from eyespot.weights.checkpoint import read_checkpoint, read_tensors

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = [
    "state_dict.zip.pt",
    "state_dict.legacy.pt",
    "checkpoint.zip.pt",
    "checkpoint.legacy.pt",
    "checkpoint.protocol5.pt",
]
MATRIX = make.tensor(make.storage("0", 2), (1, 2), (2, 1))
FLOATS = struct.pack("<6f", 0, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_what_torch_reads(name):
    """expected.json was written by torch (fixtures/make.py); half precision comes as float32."""
    expected = json.loads((FIXTURES / "expected.json").read_text())
    found = read_checkpoint(FIXTURES / name)
    assert list(found.tensors) == list(expected)
    for key, (shape, kind, values) in expected.items():
        got = found.tensors[key]
        assert list(got.shape) == shape, key
        assert got.dtype == ("float32" if kind in ("float16", "bfloat16") else kind), key
        assert [float(v).hex() for v in got.astype(np.float64).ravel()] == values, key
        assert got.flags.c_contiguous, key
        assert got.flags.writeable, key  # so it is no view of the file


def test_where_the_tensors_were_is_reported():
    plain, nested = (read_checkpoint(FIXTURES / name) for name in ("state_dict.zip.pt", "checkpoint.legacy.pt"))
    assert (plain.format, plain.under, plain.prefix) == ("torch zip", None, "")
    assert (nested.format, nested.under, nested.prefix) == ("torch legacy", "state_dict", "module.")
    assert str(nested) == "19 tensors under 'state_dict' (torch legacy), without the prefix 'module.'"


def test_tensors_that_share_all_their_memory_are_read_once():
    tensors = read_tensors(FIXTURES / "state_dict.zip.pt")
    assert tensors["conv.tied"] is tensors["conv.weight"]


def test_reading_imports_neither_torch_nor_pickle_code(tmp_path):
    # numpy itself may import pickle, so what is there after numpy does not count.
    code = (
        "import sys, numpy; before = set(sys.modules);"
        "from eyespot.weights.checkpoint import read_tensors; read_tensors(sys.argv[1]);"
        "bad = {'torch', 'pickle', 'pickletools', 'onnxruntime', 'h5py'} & (set(sys.modules) - before);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code, str(FIXTURES / "checkpoint.legacy.pt")], check=True)


@pytest.mark.parametrize("format", make.FORMATS)
@pytest.mark.parametrize(
    ("shape", "stride", "offset", "want"),
    [
        ((2, 3), (3, 1), 0, [[0, 1, 2], [3, 4, 5]]),
        ((3, 2), (1, 3), 0, [[0, 3], [1, 4], [2, 5]]),
        ((2,), (2,), 3, [3, 5]),
        ((), (), 4, 4),
        ((2, 0), (9, 9), 0, [[], []]),
        ((2, 2), (0, 1), 1, [[1, 2], [1, 2]]),
    ],
)
def test_views(tmp_path, format, shape, stride, offset, want):
    body = make.dictionary(a=make.tensor(make.storage("0", 6), shape, stride, offset))
    path = tmp_path / "view.pt"
    path.write_bytes(make.FORMATS[format](make.program(body), {"0": FLOATS}))
    np.testing.assert_array_equal(read_tensors(path)["a"], np.array(want, np.float32).reshape(shape))


def test_big_endian_zip(tmp_path):
    path = tmp_path / "big.pt"
    body = make.program(make.dictionary(a=make.tensor(make.storage("0", 2))))
    path.write_bytes(make.zipped(body, {"0": struct.pack(">2f", 1.5, -2)}, order=b"big"))
    got = read_tensors(path)["a"]
    assert got.tolist() == [1.5, -2]
    assert got.dtype.isnative


def test_a_part_of_a_storage_as_torch_0_3_wrote_it(tmp_path):
    stored = make.tuple_of(
        make.text("storage"), make.name("torch.FloatStorage"), make.text("0"), make.text("cpu"), make.integer(6),
        make.tuple_of(make.text("1"), make.integer(2), make.integer(3)),
    )  # fmt: skip
    body = make.dictionary(a=make.tensor(stored + b"Q", (2,), (1,), 1))
    path = tmp_path / "old.pt"
    path.write_bytes(make.legacy(make.program(body), {"0": FLOATS}))
    assert read_tensors(path)["a"].tolist() == [3, 4]


@pytest.mark.parametrize(
    ("entries", "under"),
    [
        ({"model": "a", "state_dict": "b"}, "state_dict"),
        ({"state_dict": "a", "state_dict_ema": "b"}, "state_dict_ema"),
        ({"epoch": None, "net": "b"}, "net"),
    ],
)
def test_the_best_of_several_dictionaries_is_taken(tmp_path, entries, under):
    bodies = {
        key: b"N" if inner is None else make.dictionary(**{inner: make.tensor(make.storage("0", 2))})
        for key, inner in entries.items()
    }
    path = tmp_path / "many.pt"
    path.write_bytes(make.zipped(make.program(make.dictionary(**bodies)), {"0": FLOATS[:8]}))
    found = read_checkpoint(path)
    assert found.under == under
    assert list(found.tensors) == ["b"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (make.dictionary(epoch=b"K\x03", lr=b"N"), r"holds epoch, lr, but no dictionary of tensors by itself or under"),
        (b"]", "holds a list, not a dictionary of tensors"),
        (b"}", "holds nothing, but no dictionary"),
        (
            make.dictionary(a=make.dictionary(w=MATRIX), b=make.dictionary(w=MATRIX, extra=b"N")),
            "holds 2 dictionaries of tensors, under a, b; save the one",
        ),
    ],
)
def test_files_without_one_dictionary_of_tensors(tmp_path, body, message):
    path = tmp_path / "odd.pt"
    path.write_bytes(make.zipped(make.program(body), {"0": FLOATS[:8]}))
    with pytest.raises(WeightsError, match=message):
        read_tensors(path)


def test_real_files(assets):
    folder = assets / "weights" / "torch"
    net = read_checkpoint(folder / "mobilenet_v2-b0353104.pth")
    assert (len(net.tensors), net.format, net.under) == (314, "torch legacy", None)
    assert net.tensors["classifier.1.weight"].shape == (1000, 1280)
    assert net.tensors["features.0.1.num_batches_tracked"].shape == ()
    for name, count in (("resnet20-12fca82f.th", 97), ("resnet32-d509ac18.th", 157)):
        net = read_checkpoint(folder / name)
        assert (len(net.tensors), net.under, net.prefix) == (count, "state_dict", "module.")
        assert "conv1.weight" in net.tensors


def test_real_files_as_torch_reads_them(assets):
    torch = pytest.importorskip("torch")
    for path in sorted((assets / "weights" / "torch").iterdir()):
        want = torch.load(path, map_location="cpu", weights_only=True)
        want = want.get("state_dict", want)
        got = read_tensors(path)
        assert list(got) == [name.removeprefix("module.") for name in want]
        for ours, theirs in zip(got.values(), want.values(), strict=True):
            np.testing.assert_array_equal(ours, theirs.numpy())
