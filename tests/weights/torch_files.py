"""Builds torch files by hand, honest and hostile, for the tests of the reader; torch is not needed."""

import io
import pickle
import struct
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C


def dumps(value) -> bytes:
    return pickle.dumps(value, protocol=2)


def legacy(pickled: bytes, storages: dict[str, bytes] | None = None, width: int = 4) -> bytes:
    """A file of torch before 1.6 around a pickle."""
    storages = storages or {}
    head = dumps(MAGIC) + dumps(1001) + dumps({"little_endian": True})
    raw = b"".join(struct.pack("<q", len(data) // width) + data for data in storages.values())
    return head + pickled + dumps(list(storages)) + raw


def zipped(
    pickled: bytes,
    storages: dict[str, bytes] | None = None,
    *,
    method: int = zipfile.ZIP_STORED,
    order: bytes = b"little",
) -> bytes:
    """A file of torch since 1.6 around a pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", order)
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", b"3\n")
    return out.getvalue()


FORMATS = {"zip": zipped, "legacy": legacy}

# --- opcodes, protocol 2 ---


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value: int) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(20, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def name(dotted: str) -> bytes:
    module, attribute = dotted.rsplit(".", 1)
    return f"c{module}\n{attribute}\n".encode()


def call(dotted: str, *arguments: bytes) -> bytes:
    return name(dotted) + tuple_of(*arguments) + b"R"


def storage(key: str, count: int, kind: str = "torch.FloatStorage") -> bytes:
    return tuple_of(text("storage"), name(kind), text(key), text("cpu"), integer(count)) + b"Q"


def tensor(stored: bytes, shape=(2,), stride=(1,), offset=0) -> bytes:
    return call(
        "torch._utils._rebuild_tensor_v2",
        stored, integer(offset), tuple_of(*map(integer, shape)), tuple_of(*map(integer, stride)), b"\x89",
        call("collections.OrderedDict"),
    )  # fmt: skip


def program(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def dictionary(**entries: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"
