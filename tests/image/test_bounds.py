"""What a small file may cost: bounds on the whole of its work and memory, beside those on its parts."""

import io
import struct
import time
import zlib

import pytest
from PIL import Image

from eyespot.core.memory import available_memory
from eyespot.errors import PictureError
from eyespot.image import decode as decoding
from eyespot.image.decode import decode

SECONDS = 2.0  # of the processor; each of these took minutes


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    data = file.getvalue()
    return data[:33] + b"".join(chunks) + data[33:]


def jpeg(scans, size=(3000, 3000)):
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + data[-2:]


def webp(width, height):
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return (
        b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + sides + b"VP8L\0\0\0\0"
    )


def test_text_and_profiles_of_a_png_cost_little():
    zeros = zlib.compress(bytes(1 << 20))
    for one in (
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zeros),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros),
        chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 24))),
    ):
        data, start = png(*[one] * 1000), time.process_time()
        assert decode(data).size == (8, 8)
        assert time.process_time() - start < SECONDS


def test_the_orientation_is_found_behind_other_texts():
    xmp = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    others = [chunk(b"tEXt", b"Comment\0" + b"x" * 50)] * 100
    data = png(*others, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    assert decoding.open_picture(data).orientation == 6


def test_many_scans_of_many_pixels_are_refused():
    start = time.process_time()
    with pytest.raises(PictureError, match=r"a JPEG of 190 scans came, at most 55 are decoded"):
        decode(jpeg(180))
    assert time.process_time() - start < SECONDS
    assert decode(jpeg(40, (64, 64))).size == (64, 64)  # small ones may have more


def test_a_worker_takes_its_share_of_the_memory_and_no_more(monkeypatch):
    monkeypatch.setattr(decoding, "cores", lambda: 4)
    monkeypatch.setattr(decoding, "available_memory", lambda: 8 << 30)
    with pytest.raises(
        PictureError, match=r"WebP of 13377×13377 pixels came, which may take 2730 MB; each worker has 1024 MB"
    ):
        decode(webp(13377, 13377))
    monkeypatch.setattr(decoding, "available_memory", lambda: 0)
    assert decode(jpeg(0)).size == (3000, 3000)  # of what every machine has, nobody is asked
    monkeypatch.setattr(decoding, "available_memory", lambda: None)
    with pytest.raises(PictureError, match="damaged or of a kind not read"):
        decode(webp(13377, 13377))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:  2048 kB\n"}, 2048 << 10),
        (
            {
                "proc/meminfo": "MemAvailable: 2048 kB\n", "proc/self/cgroup": "0::/\n",
                "proc/self/mountinfo": "1 2 0:3 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
                "sys/fs/cgroup/memory.max": "1000000\n", "sys/fs/cgroup/memory.current": "400000\n",
            },
            600_000,
        ),
        ({"proc/meminfo": "MemAvailable: 2048 kB\n", "sys/fs/cgroup/memory.max": "max\n"}, 2048 << 10),
        ({f"sys/fs/cgroup/memory/memory.{k}_in_bytes": v for k, v in (("limit", "500"), ("usage", "700"))}, 0),
    ],
)  # fmt: skip
def test_memory_that_is_left(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_memory(tmp_path) == expected
