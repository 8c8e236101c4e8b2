"""Where the results of a long job go: JSON lines, CSV or Parquet, so that a killed job goes on where it was.

Records are appended as they come. What a kill cut off in the middle is cut away at the next start, and the pictures
whose records are whole are not classified again. Memory: eight bytes per picture that was already done.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from eyespot.errors import EyespotError, MissingExtra, UsageError

Record = Mapping[str, Any]
SUFFIXES = (".jsonl", ".csv", ".parquet")
_BATCH = 8192


class Done:
    """The pictures that already have a record; one that was given twice is done when it has two records."""

    def __init__(self, hashes: Sequence[int]) -> None:
        self._hashes, self._left = np.unique(np.asarray(hashes, np.uint64), return_counts=True)
        self.count = len(hashes)

    def take(self, image: str) -> bool:
        """Whether a record of this picture is there; each record answers once."""
        if not len(self._hashes):
            return False
        key = np.uint64(_hash(image))
        at = int(np.searchsorted(self._hashes, key))
        if at == len(self._hashes) or self._hashes[at] != key or not self._left[at]:
            return False
        self._left[at] -= 1
        return True


class Sink:
    """An output file that records are appended to. A context manager; ``done`` and ``failed`` tell of earlier runs.

    certain: whether the records say if their answers are certain, since the model's card has a threshold.
    """

    def __init__(self, path: Path, *, model: str, top: int, certain: bool = False) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"--out {path}: the name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
        if not path.parent.is_dir():
            raise UsageError(f"--out {path}: the folder {path.parent} does not exist; make it first")
        if path.is_dir():
            raise UsageError(f"--out {path} is a folder; name a file in it")
        self.path, self.model, self.top = path, model, top
        self._format = path.suffix.lower()
        self._journal = path.with_name(path.name + ".partial.jsonl") if self._format == ".parquet" else path
        self._certain = certain
        self._columns = _columns(top, certain=certain)
        self.failed = 0
        try:
            self._file = self._lock(self._journal)
            try:
                self.done = Done(self._recover())
            except BaseException:
                self._abandon()
                raise
        except OSError as error:
            raise UsageError(f"--out {path} cannot be written: {error.strerror or error}") from None

    def write(self, record: Record) -> None:
        """Appends a record; it is in the file, whole, when this returns."""
        try:
            self._file.write(self._encode(record))
            self._file.flush()
        except OSError as error:
            raise SinkError(self.path, error) from None
        self.failed += "error" in record

    def close(self, *, finished: bool = True) -> None:
        """Closes the file; a finished Parquet job becomes its file only now."""
        try:
            if self._format == ".parquet" and finished:
                self._to_parquet()
                self._journal.unlink()
        except OSError as error:
            raise SinkError(self.path, error) from None
        finally:
            self._file.close()

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        self.close(finished=kind is None)

    def _lock(self, path: Path) -> IO[bytes]:
        if self._format == ".parquet":
            _pyarrow()
        file = path.open("ab+")
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # Windows: two jobs with one --out are the user's own lookout
        except OSError:
            file.close()
            raise UsageError(f"--out {self.path}: another eyespot is writing this file; wait for it") from None
        return file

    def _abandon(self) -> None:
        """Leaves nothing behind where there was nothing."""
        if self._journal != self.path and not os.fstat(self._file.fileno()).st_size:
            self._journal.unlink()
        self._file.close()

    def _recover(self) -> array[int]:
        """Cuts off a half-written record and hashes the pictures of the whole ones."""
        hashes = array("Q")
        if self._format == ".parquet" and self.path.exists() and not os.fstat(self._file.fileno()).st_size:
            for record in self._from_parquet():
                self._file.write(_json_line(record))
        self._file.seek(0)
        end = 0
        reader = self._csv_records if self._format == ".csv" else self._json_records
        for found, end in reader():  # noqa: B007 - the last end is wanted
            if found is not None:
                self._check(found)
                hashes.append(_hash(found["image"]))
                self.failed += "error" in found
        self._file.truncate(end)
        self._file.seek(0, os.SEEK_END)
        if self._format == ".csv" and end == 0:
            self._file.write(_csv_line(self._columns))
            self._file.flush()
        return hashes

    def _json_records(self) -> Iterator[tuple[dict[str, Any] | None, int]]:
        end = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                record = json.loads(line)
                if not isinstance(record, dict) or not isinstance(record.get("image"), str):
                    raise ValueError("no image")
            except ValueError:
                raise UsageError(self._foreign(number)) from None
            yield record, end

    def _csv_records(self) -> Iterator[tuple[dict[str, Any] | None, int]]:
        consumed, whole = 0, True

        def lines() -> Iterator[str]:
            nonlocal consumed, whole
            for line in self._file:
                consumed += len(line)
                whole = line.endswith(b"\n")
                yield line.decode("utf-8", "surrogateescape")

        rows = csv.reader(lines(), strict=True)
        try:
            for number, row in enumerate(rows, 1):
                if not whole:
                    return
                if number == 1:
                    if row != self._columns:
                        raise UsageError(self._foreign(1))
                    yield None, consumed
                    continue
                if len(row) != len(self._columns):
                    raise UsageError(self._foreign(number))
                error = {"error": row[2]} if row[2] else {}
                yield {"image": row[0], "model": row[1], **error}, consumed
        except csv.Error:
            return  # the end of the file lies inside quotes: cut off from the last whole row

    def _check(self, record: Record) -> None:
        found = record.get("model") or self.model
        if found != self.model:
            raise UsageError(f"--out {self.path} holds results of {found}, not of {self.model}; choose another file")
        top = record.get("top")
        if isinstance(top, list) and len(top) != self.top:
            raise UsageError(f"--out {self.path} was begun with --top {len(top)}, not {self.top}; choose another file")

    def _foreign(self, line: int) -> str:
        return f"--out {self.path}: line {line} is not a result of eyespot with --top {self.top}; choose another file"

    def _encode(self, record: Record) -> bytes:
        if self._format == ".csv":
            return _csv_line(_csv_row(record, len(self._columns), certain=self._certain))
        return _json_line(record)

    def _to_parquet(self) -> None:
        pa, pq = _pyarrow()
        schema = _parquet_schema(pa, certain=self._certain)
        staging = self.path.with_name(f".{self.path.name}.staging")
        try:
            self._file.seek(0)
            with pq.ParquetWriter(staging, schema, compression="zstd") as writer:
                for batch in _batches(json.loads(line) for line in self._file):
                    writer.write_table(pa.Table.from_pylist([_parquet_row(r, self.model) for r in batch], schema))
            staging.replace(self.path)
        finally:
            staging.unlink(missing_ok=True)

    def _from_parquet(self) -> Iterator[dict[str, Any]]:
        pa, pq = _pyarrow()
        try:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(_BATCH):
                    for row in batch.to_pylist():
                        yield {k: v for k, v in row.items() if v is not None}
        except pa.ArrowInvalid:
            raise UsageError(f"--out {self.path} exists and is not Parquet; choose another file") from None


class SinkError(EyespotError):
    """The output file can no longer be written; what is in it stays."""

    def __init__(self, path: Path, error: OSError) -> None:
        cause = error.strerror or str(error)
        super().__init__(f"{path} cannot be written: {cause}; what is in it stays: mend it and run the same command")


def _hash(image: str) -> int:
    data = image.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _json_line(record: Record) -> bytes:
    return json_text(record).encode() + b"\n"


def json_text(record: Record) -> str:
    """A record as one line of JSON; bytes of a file name that are no Unicode survive as escapes."""
    text = json.dumps(record, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(record)
    return text


def _columns(top: int, *, certain: bool) -> list[str]:
    ranks = (f"{field}_{rank}" for rank in range(1, top + 1) for field in ("label", "probability", "id", "index"))
    return ["image", "model", "error", *(["certain"] if certain else []), *ranks]


def _csv_row(record: Record, columns: int, *, certain: bool) -> list[Any]:
    row = [record["image"], record.get("model", ""), record.get("error", "")]
    if certain:
        row.append(json.dumps(record["certain"]) if "certain" in record else "")
    for p in record.get("top", ()):
        row += [p["label"], p["probability"], p["id"], p["index"]]
    return row + [""] * (columns - len(row))


def _csv_line(row: Sequence[Any]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _parquet_row(record: Record, model: str) -> dict[str, Any]:
    image = record["image"].encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # Parquet holds Unicode only
    row = {key: record.get(key) for key in ("error", "certain", "top")}
    return {"image": image, "model": model, **row}


def _parquet_schema(pa: Any, *, certain: bool) -> Any:
    prediction = pa.struct(
        [("index", pa.int32()), ("id", pa.string()), ("label", pa.string()), ("probability", pa.float64())]
    )
    texts = [(name, pa.string()) for name in ("image", "model", "error")]
    flag = [("certain", pa.bool_())] if certain else []
    return pa.schema([*texts, *flag, ("top", pa.list_(prediction))])


def _batches(records: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for record in records:
        batch.append(record)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("--out with .parquet", "parquet") from None
    return pyarrow, pyarrow.parquet
