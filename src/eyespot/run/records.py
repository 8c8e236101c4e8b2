"""One result as a line of JSON or a row of CSV: written, read back, and told from one that a kill cut off.

A file of results is only ever cut at its end, where the last record is unfinished. Whatever else cannot be read is
damage, which is named by its line and left alone.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple, Protocol

Record = Mapping[str, Any]
_ADDED = ("model_version", "folder")  # what an earlier eyespot did not write


class Entry(NamedTuple):
    """What a job must know of a record that is in its file already.

    error: why the image has no result; None when it has one. model, version: what computed it; "" where the record does
    not say. top: how many labels it holds; None where that cannot be told. folder: what a relative path is relative to,
    itself relative to the file's own folder; "" where the record does not say.
    """

    image: str
    error: str | None
    model: str = ""
    version: str = ""
    top: int | None = None
    folder: str = ""


class DamagedRecord(ValueError):
    """A record that cannot be read, at a line (counted from 1) where no kill can have cut it off."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line}")
        self.line = line


class TextFormat(Protocol):
    """How records stand in a text file."""

    header: bytes

    def encode(self, record: Record) -> bytes:
        """A record as it stands in the file, its line end included."""
        ...

    def read(self, file: IO[bytes]) -> Iterator[tuple[Entry | None, bytes]]:
        """The whole records from the beginning, with the bytes they take; None for the header.

        An unfinished last record is not among them. A last one that only lacks its line end is, with that line end.
        Raises DamagedRecord for anything else that is no record.
        """
        ...


class JsonLines:
    """A JSON object per line."""

    header = b""

    def encode(self, record: Record) -> bytes:
        return json_text(record).encode() + b"\n"

    def read(self, file: IO[bytes]) -> Iterator[tuple[Entry | None, bytes]]:
        for number, line in enumerate(file, 1):
            is_whole = line.endswith(b"\n")
            try:
                entry = entry_of(json.loads(line))
            except (ValueError, RecursionError):
                if not is_whole and _is_begun(line):
                    return
                raise DamagedRecord(number) from None
            yield entry, line if is_whole else line + b"\n"


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")  # an apostrophe too, so that reading gives what was written


class Csv:
    """A row per record under a header; the best labels side by side.

    A file that an earlier eyespot began, whose header has not all of these columns, is continued with its own.
    escape_formulas: cells that a spreadsheet would compute get an apostrophe before them, which ``read`` takes away.
    """

    def __init__(self, top: int, *, certain: bool, escape_formulas: bool = False) -> None:
        self._escape = escape_formulas
        ranks = [f"{name}_{rank}" for rank in range(1, top + 1) for name in ("label", "probability", "id", "index")]
        self._top = top
        self._columns = [
            "image",
            "folder",
            "model",
            "model_version",
            "error",
            *(["certain"] if certain else []),
            *ranks,
        ]
        self.header = _csv_line(self._columns)

    def encode(self, record: Record) -> bytes:
        values = {key: record.get(key, "") for key in ("image", "folder", "model", "model_version", "error")}
        if "certain" in record:
            values["certain"] = json.dumps(record["certain"])
        for rank, prediction in enumerate(record.get("top", ()), 1):
            values |= {f"{key}_{rank}": value for key, value in prediction.items()}
        cells = [values.get(column, "") for column in self._columns]
        if self._escape:
            cells = [f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in cells]
        return _csv_line(cells)

    def read(self, file: IO[bytes]) -> Iterator[tuple[Entry | None, bytes]]:
        lines: list[bytes] = []  # of the row that is being read
        start, is_exhausted = 1, False

        def texts() -> Iterator[str]:
            nonlocal is_exhausted
            for line in file:
                lines.append(line)
                text = line.decode("utf-8", "surrogateescape")
                yield text.removeprefix("\ufeff") if start == len(lines) == 1 else text
            is_exhausted = True

        rows = csv.reader(texts(), strict=True)
        while True:
            try:
                row = next(rows, None)
            except csv.Error:
                if is_exhausted and not any(self._is_record(line) for line in lines[1:]):
                    return  # the end of the file lies inside the quotes of its last record
                raise DamagedRecord(start) from None
            if row is None or not lines[-1].endswith(b"\n"):
                if start == 1 and lines and not self._is_begun_header(lines[0]):
                    raise DamagedRecord(1)
                return
            if start == 1:
                self._check_header(row)
            yield None if start == 1 else self._entry(row, start), b"".join(lines)
            start += len(lines)
            lines.clear()

    def _is_begun_header(self, line: bytes) -> bool:
        old = _csv_line([column for column in self._columns if column not in _ADDED])
        return self.header.startswith(line) or old.startswith(line) or not line.strip(b"\0")

    def _check_header(self, row: list[str]) -> None:
        if row == [column for column in self._columns if column not in _ADDED]:
            self._columns = row
        elif row != self._columns:
            raise DamagedRecord(1)

    def _entry(self, row: list[str], line: int) -> Entry:
        if len(row) != len(self._columns):
            raise DamagedRecord(line)
        if self._escape:
            row = [cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell for cell in row]
        values = dict(zip(self._columns, row, strict=True))
        version, folder = (values.get(column, "") for column in _ADDED)
        return Entry(values["image"], values["error"] or None, values["model"], version, self._top, folder)

    def _is_record(self, line: bytes) -> bool:
        """Whether a line is a row of its own, though it seems to lie inside the quotes of another."""
        try:
            return any(len(row) == len(self._columns) for row in csv.reader([line.decode("utf-8", "surrogateescape")]))
        except csv.Error:
            return False


def _is_begun(line: bytes) -> bool:
    """Whether a line may be the beginning of a record, or what a power cut leaves of one."""
    begin = b'{"image": "'
    return line.startswith(begin[: len(line)]) or not line.strip(b"\0")


def entry_of(record: Any) -> Entry:
    """What a record of JSON says; ValueError when it is none."""
    if not isinstance(record, dict) or not isinstance(record.get("image"), str):
        raise ValueError("no image")
    texts = {key: record.get(key) or "" for key in ("error", "model", *_ADDED)}
    top = record.get("top")
    if not all(isinstance(text, str) for text in texts.values()) or not isinstance(top, list | None):
        raise ValueError("not as eyespot writes it")
    length = None if top is None else len(top)
    version, folder = (texts[key] for key in _ADDED)
    return Entry(record["image"], texts["error"] or None, texts["model"], version, length, folder)


def json_text(record: Record) -> str:
    """A record as one line of JSON; bytes of a file name that are no Unicode survive as escapes."""
    text = json.dumps(record, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(record)
    return text


def _csv_line(row: Sequence[Any]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(row)  # what ends lines is quoted, so \r is in every Python
    return text.getvalue().removesuffix("\r\n").encode("utf-8", "surrogateescape") + b"\n"
