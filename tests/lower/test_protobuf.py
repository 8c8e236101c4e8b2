"""The wire format, byte by byte: the examples of protobuf.dev/programming-guides/encoding."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto, TensorProto

from eyespot.lower.protobuf import Message, varint


@pytest.mark.parametrize(
    ("value", "wire"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (150, "9601"), (-2, "feffffffffffffffff01"),
     (2**63 - 1, "ffffffffffffffff7f")],
)  # fmt: skip
def test_varint(value, wire):
    assert varint(value).hex() == wire


def test_fields():
    assert Message().integer(1, 150).to_bytes().hex() == "089601"
    assert Message().text(2, "testing").to_bytes().hex() == "120774657374696e67"
    assert Message().message(3, Message().integer(1, 150)).to_bytes().hex() == "1a03089601"
    assert Message().integers(6, [3, 270, 86942]).to_bytes().hex() == "3206038e029ea705"
    assert Message().real(1, 1.0).to_bytes().hex() == "0d0000803f"
    assert Message().text(1, "é").to_bytes().hex() == "0a02c3a9"


def test_a_message_inside_is_measured_with_all_that_is_in_it():
    inner = Message().message(1, Message().data(9, b"x" * 300)).integer(20, 1)
    wire = Message().message(5, inner).to_bytes()
    length = len(inner.to_bytes())
    assert wire == b"\x2a" + varint(length) + inner.to_bytes()


def test_googles_parser_reads_it_back():
    tensor = Message().integers(1, [2, 3]).integer(2, TensorProto.FLOAT).text(8, "naïve")
    values = np.arange(6, dtype="<f4")
    read = TensorProto.FromString(tensor.data(9, values.view(np.uint8).data).to_bytes())
    assert (list(read.dims), read.data_type, read.name) == ([2, 3], TensorProto.FLOAT, "naïve")
    assert read.raw_data == values.tobytes()
    node = NodeProto.FromString(Message().text(1, "a").text(1, "").text(1, "b").text(4, "Add").to_bytes())
    assert (list(node.input), node.op_type) == (["a", "", "b"], "Add")


def test_a_tensor_is_not_copied_before_the_end():
    values = np.zeros(4, np.uint8)
    message = Message().data(9, values.data)
    values[:] = 7
    assert message.to_bytes().endswith(b"\x07\x07\x07\x07")
