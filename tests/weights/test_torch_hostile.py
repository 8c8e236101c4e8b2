"""Hostile and damaged torch files: whatever they hold, nothing runs, memory stays small, and the error is one line."""

import os
import pickle
import random
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch_files as make

from eyespot.errors import UnsafeFile, WeightsError
from eyespot.weights.checkpoint import read_tensors

FIXTURES = Path(__file__).parent / "fixtures"
FORMATS = sorted(make.FORMATS)


def refused(path: Path, data: bytes, match: str, kind=WeightsError) -> None:
    path.write_bytes(data)
    with pytest.raises(kind, match=match) as caught:
        read_tensors(path)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400, text


# --- programs ---


class Reduces:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def payloads(canary: str):
    """Names of what each payload would run, and the opcodes that would create ``canary`` in Python's unpickler."""
    command = make.text(f"touch {canary}")
    code = make.text(f"open({canary!r}, 'w')")
    yield "os.system", make.call("os.system", command)
    yield "posix.system", make.call("posix.system", command)
    yield "builtins.eval", make.call("builtins.eval", code)
    yield "__builtin__.exec", make.call("__builtin__.exec", code)
    yield "torch.load", make.call("torch.load", make.text(canary))
    yield "torch._utils.os.system", make.call("torch._utils.os.system", command)
    yield "numpy.load", make.call("numpy.load", make.text(canary))
    # STACK_GLOBAL, its two texts by way of the memo
    yield (
        "os.system",
        make.text("os") + b"q\x01" + make.text("system") + b"q\x0200h\x01h\x02\x93" + make.tuple_of(command) + b"R",
    )
    # a name in the memo, called later
    yield "os.system", make.name("os.system") + b"q\x070h\x07" + make.tuple_of(command) + b"R"
    # INST: ( arguments i module \n name \n
    yield "os.system", b"(" + command + b"ios\nsystem\n"
    # OBJ: ( class arguments o
    yield "builtins.open", b"(" + make.name("builtins.open") + make.text(canary) + make.text("w") + b"o"
    # a name that means nothing leads to one that does
    yield "os.system", make.call("builtins.getattr", make.name("os.system"), make.text("__call__"))
    yield "os.system", make.name("collections.OrderedDict") + make.tuple_of(make.name("os.system")) + b"\x81"
    for opcode, argument in ((b"\x82", b"\x01"), (b"\x83", b"\x01\x00"), (b"\x84", b"\x01\x00\x00\x00")):
        yield "opcode EXT", opcode + argument
    yield "opcode NEXT_BUFFER", b"\x97"
    # BUILD on what is not a dictionary, with a state or a slot state
    yield "opcode BUILD", make.name("torch.FloatStorage") + make.dictionary(name=make.text("x")) + b"b"
    yield "opcode BUILD", make.call("collections.OrderedDict") + make.tuple_of(b"N", b"}") + b"b"
    # calls of what is not a function, and of a function's result
    yield "calls a StorageType", make.call("torch.FloatStorage", make.integer(1 << 40))
    yield "calls a str", make.text("os.system") + make.tuple_of(command) + b"R"
    yield "calls a dict", make.call("collections.OrderedDict") + b")R"
    # persistent ids
    yield "outside its pickle", make.text("storage") + b"Q"
    yield "outside its pickle", make.tuple_of(make.text("module"), *[make.text("os")] * 4) + b"Q"
    yield "names os.system", b"Pos.system\n"
    texts = [make.text(word) for word in ("storage", "os", "0", "cpu")]
    yield "type is not one of torch's", make.tuple_of(*texts, b"K\x01") + b"Q"


def stand_ins(canary: str):
    """What lies beside weights, and calls that would create ``canary`` if anything were called."""
    code = make.text(f"open({canary!r}, 'w')")
    yield make.call("pathlib.PosixPath", make.text("/"))
    yield make.call("argparse.Namespace") + make.dictionary(model=make.text("x")) + b"b"
    yield make.name("argparse.Namespace") + b")\x81" + make.dictionary(out=make.call("pathlib.Path")) + b"b"
    yield make.name("argparse.Namespace") + b")}\x92"
    yield make.call("numpy.core.multiarray.scalar", make.call("numpy.dtype", make.text("f8")), make.text("x"))
    yield make.call("builtins.getattr", make.name("train.Mode"), make.text("FAST"))
    yield make.call("evil.run", code) + make.tuple_of(code) + b"R"
    yield make.name("evil.run") + make.tuple_of(code) + b"\x81(" + make.text("a") + code + b"u"
    yield make.call("evil.List") + b"(" + code + b"e"
    yield make.call("evil.Set") + b"(" + code + b"\x90"
    yield make.call("collections.OrderedDict.__reduce__", code)
    yield make.name("collections.OrderedDict") + b")\x81"
    yield make.call("collections.defaultdict", make.name("builtins.list")) + make.text("a") + b"Ns"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("number", range(len(list(stand_ins("")))))
def test_what_lies_beside_the_weights_is_passed_over_and_never_called(tmp_path, format, protocol, number):
    canary = tmp_path / "canary"
    body = list(stand_ins(str(canary)))[number]
    weights = make.dictionary(**{"conv.weight": make.tensor(make.storage("0", 2))})
    pickled = make.program(make.dictionary(args=body, state_dict=weights, after=body))
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(make.FORMATS[format](pickled.replace(b"\x80\x02", bytes([0x80, protocol]), 1), {"0": bytes(8)}))
    assert read_tensors(path)["conv.weight"].tolist() == [0, 0]
    assert not canary.exists()


@pytest.mark.parametrize(
    "name",
    ["runpy.run_path", "ctypes.CDLL", "importlib.import_module", "shutil.rmtree", "builtins.eval", "torch.load",
     "socket.create_connection", "pickle.loads", "numpy.testing.os.system"],
)  # fmt: skip
def test_names_that_run_programs_are_refused_beside_weights_too(tmp_path, name):
    weights = make.dictionary(**{"conv.weight": make.tensor(make.storage("0", 2))})
    body = make.program(make.dictionary(state_dict=weights, extra=make.name(name)))
    refused(tmp_path / "evil.pt", make.zipped(body, {"0": bytes(8)}), f"names {name}, which is", UnsafeFile)


@pytest.mark.parametrize(
    "name", ["mine.profile.Config", "torch.multiprocessing.Value", "builtins.slice", "net.code.Block"]
)
def test_names_that_only_sound_like_programs_are_passed_over(tmp_path, name):
    weights = make.dictionary(**{"conv.weight": make.tensor(make.storage("0", 2))})
    body = make.program(make.dictionary(state_dict=weights, extra=make.call(name)))
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(make.zipped(body, {"0": bytes(8)}))
    assert list(read_tensors(path)) == ["conv.weight"]


CANARY = "CANARY"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("number", range(len(list(payloads(CANARY)))))
def test_nothing_is_ever_called(tmp_path, format, number):
    canary = tmp_path / "canary"
    what, body = list(payloads(str(canary)))[number]
    data = make.FORMATS[format](make.program(make.dictionary(a=body)))
    refused(tmp_path / "evil.pt", data, what.replace(".", r"\."), UnsafeFile)
    assert not canary.exists()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_pickle_itself_would_run_is_refused_by_name(tmp_path, format, protocol):
    canary = tmp_path / "canary"
    evil = {"state_dict": {}, "x": Reduces(os.system, (f"touch {canary}",))}
    pickled = pickle.dumps(evil, protocol=protocol)
    refused(
        tmp_path / "evil.pt",
        make.FORMATS[format](pickled),
        r"names (posix|nt)\.system, which is not a tensor",
        UnsafeFile,
    )
    assert not canary.exists()
    pickle.loads(pickled)  # the payload is a real one
    assert canary.exists()


@pytest.mark.parametrize("place", ["magic", "version", "system", "keys"])
def test_no_part_of_a_legacy_file_is_trusted(tmp_path, place):
    canary = tmp_path / "canary"
    evil = make.program(make.call("os.system", make.text(f"touch {canary}")))
    parts = {
        "magic": make.dumps(make.MAGIC), "version": make.dumps(1001), "system": make.dumps({}),
        "objects": make.dumps({}), "keys": make.dumps([]),
    }  # fmt: skip
    data = b"".join((parts | {place: evil}).values())
    refused(tmp_path / "evil.pt", data, r"names os\.system", UnsafeFile)
    assert not canary.exists()


def test_a_plain_pickle_of_another_program(tmp_path):
    refused(tmp_path / "model.pkl", pickle.dumps(Path("/")), "does not begin with torch's magic number")
    refused(tmp_path / "model.pkl", pickle.dumps({"a": 1}), "does not begin with torch's magic number")


def test_names_are_shown_on_one_short_line(tmp_path):
    body = b"\x8c\xffos\x1b[2J" + b"x" * 249 + make.text("y\nz") + b"\x93"
    refused(tmp_path / "evil.pt", make.zipped(make.program(body)), r"os\?\[2Jxxx.*…\.y\?z")
    refused(tmp_path / "evil.pt", make.zipped(make.program(b"cos\nsys\x1b[2J\n")), r"os\.sys\?\[2J", UnsafeFile)


def test_a_torchscript_program_is_refused(tmp_path):
    path = tmp_path / "script.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", make.dumps({}))
        archive.writestr("m/constants.pkl", make.dumps(()))
    refused(path, path.read_bytes(), "TorchScript program", UnsafeFile)


# --- numbers ---

HUGE = [1 << 40, 1 << 62, 1 << 70, -1, -(1 << 62)]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("value", HUGE)
@pytest.mark.parametrize("where", ["shape", "stride", "offset", "count"])
def test_impossible_numbers(tmp_path, format, where, value):
    given = {"shape": (2,), "stride": (1,), "offset": 0, "count": 2}
    given[where] = (value,) if where in ("shape", "stride") else value
    stored = make.storage("0", given.pop("count"))
    data = make.FORMATS[format](make.program(make.dictionary(a=make.tensor(stored, **given))), {"0": b"\0" * 8})
    refused(tmp_path / "odd.pt", data, "impossible|reaches|bytes|ends early")


@pytest.mark.parametrize(
    ("shape", "stride", "message"),
    [
        ((3,), (1,), "reaches element 2 of a storage of 2"),
        ((2, 2), (1, 1), "reaches element 2 of a storage of 2"),
        ((2,), (1, 1), "1 axes with 2 strides"),
        ((1,) * 17, (1,) * 17, "at most 16"),
        ((0, 1 << 40, 1 << 40), (1, 1, 1), "impossible shape"),
        ((1 << 30,), (0,), "unfold to more than"),
        ((1 << 24, 1 << 24), (0, 0), "unfold to more than"),
    ],
)
def test_views_beyond_their_storage(tmp_path, shape, stride, message):
    body = make.dictionary(a=make.tensor(make.storage("0", 2), shape, stride))
    refused(tmp_path / "odd.pt", make.zipped(make.program(body), {"0": b"\0" * 8}), message)


def test_many_views_of_one_storage_cannot_fill_the_memory(tmp_path):
    n = 1 << 18
    entries = {f"t{i}": make.tensor(b"h\x05", (n - i,), (1,), i) for i in range(100)}
    body = make.storage("0", n) + b"q\x050" + make.dictionary(**entries)
    tracemalloc.start()
    refused(tmp_path / "many.pt", make.zipped(make.program(body), {"0": bytes(4 * n)}), "unfold to more than")
    assert tracemalloc.get_traced_memory()[1] < 16 * 4 * n
    tracemalloc.stop()


def test_two_descriptions_of_one_storage(tmp_path):
    double = make.storage("0", 2, "torch.DoubleStorage")
    body = make.dictionary(a=make.tensor(make.storage("0", 2)), b=make.tensor(double))
    refused(tmp_path / "odd.pt", make.zipped(make.program(body), {"0": bytes(16)}), "described in two ways")


# --- programs that only take time or memory ---


def test_billion_laughs_cost_nothing(tmp_path):
    """Lists of the list before, thirty deep: 10³⁰ items for whoever walks them."""
    lists = b"]q\x00"
    for i in range(30):
        lists += b"](" + (b"h" + bytes([i])) * 10 + b"e" + b"q" + bytes([i + 1])
    last = b"](" + lists + b"e"
    for body, message in ((last, "holds a list"), (make.dictionary(state_dict=last), "holds state_dict, but no")):
        start = time.monotonic()
        refused(tmp_path / "laughs.pt", make.zipped(make.program(body)), message)
        assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    "body",
    [
        b"]" * 400_000 + b"a" * 399_999,  # a list in a list in a list …
        b")" + b"\x85" * 400_000,
        b"}" + b"0}" * 400_000,
    ],
)
def test_depth_is_no_recursion(tmp_path, body):
    refused(tmp_path / "deep.pt", make.zipped(make.program(body)), "holds a (list|tuple|dict)|holds nothing")


@pytest.mark.parametrize("body", [b"N" + b"2\x86" * 60, b")" + b"\x85" * 100_000, b"]" + b"2a" * 30, b"}2K\x01s"])
@pytest.mark.parametrize("place", range(5))
def test_no_value_is_written_out_in_a_message(tmp_path, body, place):
    """Of 60 tuples, each twice in the next, a text would have 2^60 parts; of a deep one, it would not end well."""
    pickles = [make.dumps(one) for one in (make.MAGIC, 1001, {}, {}, [])]
    pickles[place] = make.program(body)
    start, path = time.process_time(), tmp_path / "dag.pth"
    path.write_bytes(b"".join(pickles))
    with pytest.raises(WeightsError) as refusal:
        read_tensors(path)
    assert len(str(refusal.value)) < 400
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "body",
    [
        b"N0" * 600_000,
        # one long list, made into a set again and again
        b"](" + b"K\x01" * 250_000 + b"eq\x000" + (make.name("builtins.set") + b"h\x00\x85R0") * 100,
        make.text("x" * 400_000)
        + b"q\x000"
        + (make.name("_codecs.encode") + b"h\x00" + make.text("latin1") + b"\x86R0") * 5,
        b"(" + b"\x8f" * 1_100_000 + b"l",
    ],
)
def test_endless_programs_end(tmp_path, body):
    start = time.monotonic()
    refused(tmp_path / "endless.pt", make.zipped(make.program(body)), "takes more than 1000000 steps")
    assert time.monotonic() - start < 20


def test_modules_without_end_end(tmp_path):
    """A module whose children are itself, twice: 2¹⁵⁰ of them within the longest name."""
    inside = make.dictionary(_modules=make.dictionary(a=b"h\x05", b=b"h\x05"))
    module = make.call("net.Net") + b"q\x05" + inside + b"b"
    for body in (module, make.dictionary(model=module, other=b"h\x05")):
        refused(tmp_path / "m.pt", make.zipped(make.program(body)), "holds modules of more than 200000 entries")


def test_no_file_chooses_the_hash_of_a_key(tmp_path):
    """Integers that Python hashes alike, or one deep tuple, become keys that are equal to themselves alone."""
    alike = b"}" + b"".join(make.integer(i * ((1 << 61) - 1)) + b"Ns" for i in range(1, 50_000))
    deep = b"})" + b"\x85" * 100_000 + b"Ns"
    start = time.process_time()
    for body in (alike, deep, b"}]Ns", b"}}Ns"):
        refused(tmp_path / "k.pt", make.zipped(make.program(body)), "holds nothing.* but no dictionary")
    assert time.process_time() - start < 20


# --- containers ---


def good() -> bytes:
    return make.program(make.dictionary(a=make.tensor(make.storage("0", 2))))


def test_compressed_entries_are_refused(tmp_path):
    bomb = make.zipped(good(), {"0": bytes(50_000_000)}, method=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    refused(tmp_path / "bomb.pt", bomb, "is compressed or encrypted")


def test_an_entry_that_lies_about_its_size(tmp_path):
    data = make.zipped(good(), {"0": b"abcdefgh"})
    at = data.rindex(b"archive/data/0") - 46  # its line in the central directory
    for size in (7, 9, 1 << 20, 0xFFFFFFFE):
        line = struct.pack("<II", size, size)
        refused(tmp_path / "lie.pt", data[: at + 20] + line + data[at + 28 :], "damaged|claims|bytes")


def test_a_storage_of_the_wrong_length(tmp_path):
    refused(tmp_path / "short.pt", make.zipped(good(), {"0": b"abcd"}), "storage 0 has 4 bytes, 8 were described")
    refused(tmp_path / "none.pt", make.zipped(good(), {}), "misses archive/data/0")
    refused(tmp_path / "l.pt", make.legacy(good(), {"0": b"abcd"}), "ends early or is damaged at storage 0")
    refused(tmp_path / "l.pt", make.legacy(good(), {}), "1 of its storages are missing")
    refused(tmp_path / "l.pt", make.legacy(good(), {"0": b"abcdefgh", "1": b"abcd"}), "a storage that no tensor uses")


def test_damage_in_a_storage_is_seen_in_a_zip(tmp_path):
    data = make.zipped(good(), {"0": b"abcdefgh"})
    refused(tmp_path / "flip.pt", data.replace(b"abcdefgh", b"abcdefgi"), "is damaged")


def test_names_that_leave_the_archive_lead_nowhere(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(8))
    for key in (str(secret), "../../secret", "../data.pkl", ""):
        body = make.dictionary(a=make.tensor(make.storage(key, 2)))
        refused(tmp_path / "path.pt", make.zipped(make.program(body)), "misses|has|without a key")


def test_a_zip_without_or_with_two_descriptions(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b", b"")
    refused(path, path.read_bytes(), "holds no data.pkl")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", good())
        archive.writestr("b/data.pkl", good())
    refused(path, path.read_bytes(), "holds no data.pkl")


@pytest.mark.parametrize("name", ["state_dict.zip.pt", "state_dict.legacy.pt"])
def test_every_truncation_is_one_clear_line(tmp_path, name):
    whole = (FIXTURES / name).read_bytes()
    path = tmp_path / name
    for length in [*range(64), *range(64, len(whole) - 1, 13)]:
        refused(path, whole[:length], ".")


@pytest.mark.parametrize("name", ["state_dict.zip.pt", "state_dict.legacy.pt", "checkpoint.protocol5.pt"])
def test_mutations_raise_nothing_but_our_own_error(tmp_path, name):
    """Bytes flipped, blocks cut out, doubled and moved; fixed seed."""
    whole = (FIXTURES / name).read_bytes()
    rng = random.Random(name)
    path = tmp_path / name
    outcomes = {"read": 0, "refused": 0}
    for _ in range(1000):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(len(data))
            end = min(len(data), at + rng.randrange(1, 40))
            match rng.randrange(4):
                case 0:
                    data[at] = rng.randrange(256)
                case 1:
                    del data[at:end]
                case 2:
                    data[at:at] = data[at:end]
                case 3:
                    data[at:end] = rng.randbytes(end - at)
        path.write_bytes(data)
        try:
            read_tensors(path)
            said = ""
        except WeightsError as error:
            said = str(error)
        outcomes["refused" if said else "read"] += 1
        assert "\n" not in said
    assert outcomes["refused"] > 400, outcomes
