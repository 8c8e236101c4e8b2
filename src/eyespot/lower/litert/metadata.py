"""What travels in a LiteRT file beside the network: Google's model metadata, and files that any unzip can read.

The metadata is a flatbuffer of its own (metadata_schema.fbs 1.1.0 of tflite-support, identifier M001) in a buffer that
is called TFLITE_METADATA; Android's Task Library takes the labels from it. Its associated files are appended as a zip
archive: a LiteRT file with them opens as both.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

ENTRY = "TFLITE_METADATA"
LABELS, PREPROCESS = "labels.txt", "preprocess.json"
_IDENTIFIER = b"M001"
_IMAGE_PROPERTIES, _RGB, _AXIS_LABELS, _DESCRIPTIONS = 2, 1, 2, 1
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in the archive: the same network gives the same bytes


def with_files(model: bytes, files: Mapping[str, str]) -> bytes:
    """The model with files appended, stored and not compressed, as Google's tools do."""
    if not files:
        return model
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text.encode())
    return stream.getvalue()


def model_metadata(
    *, name: str, licence: str, size: tuple[int, int], pixels: str, outputs: Sequence[str], labelled: bool
) -> bytes:
    """The flatbuffer. size: (height, width) of the input ``pixels``; labelled: ``labels.txt`` is among the files."""
    from flatbuffers import Builder

    writer = _Tables(Builder(1024))
    image = writer.table({0: ("int8", _RGB), 1: writer.table({0: ("uint32", size[1]), 1: ("uint32", size[0])})})
    content = writer.table({0: ("uint8", _IMAGE_PROPERTIES), 1: image})
    what = writer.text("A prepared picture: uint8, RGB. Means and deviations are inside the network.")
    read = writer.table({0: writer.text(pixels), 1: what, 3: content})
    given = []
    for output in outputs:
        fields: dict[int, Any] = {0: writer.text(output), 1: writer.text("What the network says of each label.")}
        if labelled:
            fields[6] = writer.vector([writer.file(LABELS, "A line per output.", _AXIS_LABELS)])
        given.append(writer.table(fields))
    contract = writer.file(PREPROCESS, "How a picture is prepared (eyespot's Preprocess).", _DESCRIPTIONS)
    subgraph = writer.table({2: writer.vector([read]), 3: writer.vector(given), 4: writer.vector([contract])})
    root = {0: writer.text(name), 3: writer.vector([subgraph]), 5: writer.text(licence), 7: writer.text("1.1.0")}
    return writer.finish(root)


class _Tables:
    """Tables by the numbers of their fields: a place in the buffer, or (type, number)."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def text(self, value: str) -> int:
        place: int = self._builder.CreateString(value)
        return place

    def vector(self, places: Sequence[int]) -> int:
        self._builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            self._builder.PrependUOffsetTRelative(place)
        made: int = self._builder.EndVector()
        return made

    def table(self, fields: Mapping[int, int | tuple[str, int]]) -> int:
        builder = self._builder
        builder.StartObject(max(fields) + 1)
        for slot, value in fields.items():
            if isinstance(value, int):
                builder.PrependUOffsetTRelativeSlot(slot, value, 0)
            else:
                write = {
                    "int8": builder.PrependInt8Slot,
                    "uint8": builder.PrependUint8Slot,
                    "uint32": builder.PrependUint32Slot,
                }
                write[value[0]](slot, value[1], 0)
        made: int = builder.EndObject()
        return made

    def file(self, name: str, description: str, kind: int) -> int:
        return self.table({0: self.text(name), 1: self.text(description), 2: ("int8", kind)})

    def finish(self, root: Mapping[int, int | tuple[str, int]]) -> bytes:
        self._builder.Finish(self.table(root), _IDENTIFIER)
        return bytes(self._builder.Output())
