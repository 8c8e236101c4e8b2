"""Writes the corpus anew: a few small inputs for each reader. `python tests/fuzz/seeds.py`"""

import io
import json
import struct
import sys
import tarfile
from pathlib import Path

import h5py
import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "weights")]

import torch_files as make  # noqa: E402

from eyespot.core.card import Card  # noqa: E402
from eyespot.core.pixels import torchvision_preprocess  # noqa: E402
from eyespot.core.recipe import Recipe  # noqa: E402
from eyespot.core.sketch import Sketch  # noqa: E402
from eyespot.lower.onnx import to_onnx  # noqa: E402
from eyespot.lower.tensors import random_weights  # noqa: E402


def write(reader: str, **files: bytes) -> None:
    folder = HERE / "corpus" / reader
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def main() -> None:
    s = Sketch((3, 32, 32))
    x = s.act("a", s.norm("n", s.conv("c", s.input, 8, kernel=3, stride=2)), "relu")
    graph = s.graph(s.linear("l", s.flatten("f", s.global_pool("p", s.sum("s", x, s.depthwise("d", x, kernel=3)))), 4))
    card = Card("tiny.test", "tiny", {}, graph, torchvision_preprocess(32, 32), files={"labels.txt": "0" * 64})
    write("card", tiny=card.to_text().encode())
    write("graph", tiny=json.dumps(graph.to_json()).encode())
    tensors = make.dictionary(a=make.tensor(make.storage("0", 2)), b=make.tensor(make.storage("1", 1)))
    pickled, raw = make.program(tensors), {"0": bytes(8), "1": bytes(4)}
    write("torch", zip=make.zipped(pickled, raw), legacy=make.legacy(pickled, raw))
    write("recipe", whole=Recipe().to_toml().encode(), short=b"kind = 'probe'\n[augment]\narea = [0.5, 1.0]\n")
    write("csv", plain=b"file,label,split\na.jpg,cat,train\nb.jpg,dog,val\n", other=b"a.jpg;1\r\nb.jpg;2\r\n")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("cat/a.jpg", "dog/b.jpg", "dog/ü" + "x" * 120 + ".jpg"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"\xff\xd8\xff"))
    write("tar", two=file.getvalue()[:8192])
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        opened.attrs["layer_names"] = np.array([b"dense"])
        group = opened.create_group("dense")
        group.attrs["weight_names"] = np.array([b"dense/kernel:0"])
        group.create_dataset("dense/kernel:0", data=np.ones((2, 3), np.float32))
    write("h5", dense=file.getvalue())
    layer = {"class_name": "Dense", "config": {"name": "dense", "units": 3, "activation": "softmax"}}
    model = {"class_name": "Sequential", "config": {"name": "m", "layers": [layer]}}
    write("keras_config", dense=json.dumps(model).encode())
    write("onnx", tiny=to_onnx(graph, random_weights(graph)))
    cfg = b"[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=7\nsize=1\n[yolo]\nanchors=1,2\nnum=1\nclasses=2\n"
    write("darknet", tiny=cfg + b"\0" + struct.pack("<3iQ28f", 0, 2, 5, 0, *[0.5] * 28))
    box = {"image_id": 1, "category_id": 3, "bbox": [2, 2, 5, 5]}
    instances = {"images": [{"id": 1}], "categories": [{"id": 3, "name": "dog"}], "annotations": [box]}
    write("coco", one=json.dumps(instances).encode() + b"\0" + json.dumps([{**box, "score": 0.9}]).encode())


if __name__ == "__main__":
    main()
