"""A file of results as Parquet, which can only be written whole: the old rows and the new ones, then a rename."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from eyespot.core.whole import whole
from eyespot.errors import MissingExtra
from eyespot.run.records import DamagedRecord, Entry, Record

_ROWS = 8192  # of a batch
_ADDED = ("folder", "model_version")  # columns that an earlier eyespot did not write
_TEXTS = ("string", "large_string", "null")


def require_pyarrow() -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet; MissingExtra where they are not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("--out with .parquet", "parquet") from None
    return pyarrow, pyarrow.parquet


def unicode_name(image: str) -> str:
    """An image's name as Parquet can hold it: bytes that are no Unicode as ``\\xff``."""
    return image.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read_entries(path: Path, *, certain: bool) -> Iterator[Entry]:
    """What the rows of an earlier file say. DamagedRecord when it is not Parquet, or not as eyespot writes it."""
    for batch in _batches(path, certain=certain):
        tops = batch["top"].to_pylist() if batch["top"].null_count < len(batch) else [None] * len(batch)
        columns = [batch[name].to_pylist() for name in ("image", "error", "model", "model_version", "folder")]
        for image, error, model, version, folder, top in zip(*columns, tops, strict=True):
            yield Entry(image, error, model or "", version or "", None if top is None else len(top), folder or "")


def merge(path: Path, records: Iterable[Record], *, certain: bool, is_replaced: Callable[[str, str], bool]) -> None:
    """Writes ``path`` anew: its rows but those whose image, in its folder, ``is_replaced``, then ``records``."""
    pa, pq = require_pyarrow()
    schema = _schema(pa, certain=certain)
    records = iter(records)
    with whole(path) as staging, pq.ParquetWriter(staging, schema, compression="zstd") as writer:
        if path.exists():
            for batch in _batches(path, certain=certain):
                names = zip(batch["image"].to_pylist(), batch["folder"].to_pylist(), strict=True)
                writer.write_table(batch.filter([not is_replaced(image, folder or "") for image, folder in names]))
        while rows := [_row(record) for record in islice(records, _ROWS)]:
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _batches(path: Path, *, certain: bool) -> Iterator[Any]:
    """The rows as tables of the schema; a column that an earlier eyespot did not write is null."""
    pa, pq = require_pyarrow()
    schema = _schema(pa, certain=certain)
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            is_text = [str(file.schema_arrow.field(name).type) in _TEXTS for name in names if name in schema.names[:5]]
            old = [name for name in schema.names if name not in _ADDED]
            if names not in (schema.names, old) or not all(is_text):
                raise DamagedRecord(1)
            for batch in file.iter_batches(_ROWS):
                table = pa.Table.from_batches([batch])
                for name in set(schema.names) - set(names):
                    table = table.append_column(name, pa.nulls(len(table), pa.string()))
                yield table.select(schema.names).cast(schema)
    except (pa.ArrowException, OSError):
        raise DamagedRecord(1) from None


def _row(record: Record) -> dict[str, Any]:
    names = {key: unicode_name(record[key]) if key in record else None for key in ("image", "folder")}
    return names | {key: record.get(key) for key in ("model", "model_version", "error", "certain", "top")}


def _schema(pa: Any, *, certain: bool) -> Any:
    prediction = pa.struct(
        [("index", pa.int32()), ("id", pa.string()), ("label", pa.string()), ("probability", pa.float64())]
    )
    texts = [(name, pa.string()) for name in ("image", "folder", "model", "model_version", "error")]
    flag = [("certain", pa.bool_())] if certain else []
    return pa.schema([*texts, *flag, ("top", pa.list_(prediction))])
