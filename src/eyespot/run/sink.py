"""Where the results of a long job go: JSON lines, CSV or Parquet, so that a job that was killed resumes.

Records are appended as they come. What a kill cut off in the middle is cut away at the next start; images that have a
result are not classified again, those that failed are, and their new record replaces the old one. Memory: eight bytes
for each image that has a result.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.lock import take
from eyespot.core.whole import remove_partial, whole
from eyespot.errors import EyespotError, UsageError
from eyespot.run.parquet import merge, read_entries, require_pyarrow, unicode_name
from eyespot.run.pictures import identity, is_url
from eyespot.run.records import Csv, DamagedRecord, Entry, JsonLines, Record, TextFormat

SUFFIXES = (".jsonl", ".csv", ".parquet")
_SEEN = 1 << 20  # images of this run that are held as Python's numbers, before they become eight bytes each


class Sink:
    """An output file that records are appended to, by one job at a time. A context manager.

    results, failures: how many images of earlier runs have one. unversioned: how many of these results do not say which
    version of the model they are of, since an earlier eyespot wrote them. skipped: images that ``left`` left out.
    """

    def __init__(
        self,
        path: Path,
        *,
        model: str,
        version: str,
        top: int,
        certain: bool = False,
        escape_formulas: bool = False,
    ) -> None:
        """Opens or begins a file.

        Args:
            path: the file; its suffix is one of SUFFIXES.
            model: the name of the model.
            version: what tells the model from another of that name (``Bundle.version``), and the runtime if it matters.
            top: labels per image.
            certain: whether records say if their answer is certain, since the model's card has a threshold.
            escape_formulas: whether CSV cells that a spreadsheet would compute get an apostrophe before them.

        Raises:
            UsageError: the place cannot be written, holds something else, results of another model or of other
                options, or is being written; what is there is left as it is.
        """
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"--out {path}: the name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
        if not path.parent.is_dir():
            raise UsageError(f"--out {path}: the folder {path.parent} does not exist; make it first")
        if path.exists() and not path.is_file():
            raise UsageError(f"--out {path} is {'a folder' if path.is_dir() else 'no plain file'}; name a file")
        self.path, self.model, self.version, self.top, self._certain = path, model, version, top, certain
        self._name = str(path)  # of what is being read, for messages
        self.results = self.failures = self.unversioned = self.skipped = 0
        self._target = Path(os.path.realpath(path))  # a link stays one when the file is written anew
        self._folder = _seen_from(self._target.parent)
        self._is_parquet = path.suffix.lower() == ".parquet"
        # Parquet cannot be appended to: until the job is finished its new records lie in a journal beside it.
        self._journal = self._target.with_name(f"{self._target.name}.partial.jsonl") if self._is_parquet else None
        is_csv = path.suffix.lower() == ".csv"
        if escape_formulas and not is_csv:
            raise UsageError(f"--escape-formulas is for spreadsheets, --out {path} is none; leave it out")
        self._format: TextFormat = Csv(top, certain=certain, escape_formulas=escape_formulas) if is_csv else JsonLines()
        self._failed: dict[int, str] = {}  # the errors of earlier runs, by image
        self._done = np.empty(0, np.uint64)  # sorted
        self._has_replaced = False
        if self._is_parquet:
            require_pyarrow()
        self._is_temporary = not (self._journal or self._target).exists()
        try:
            self._file = self._open_locked(self._journal or self._target)
            try:
                self._recover()
            except BaseException:
                self._let_go()
                raise
        except OSError as error:
            raise UsageError(f"--out {path} cannot be written: {error.strerror or error}") from None

    def left(self, images: Iterable[str]) -> Iterator[str]:
        """Those of ``images`` that have no result yet, each once, however often and in whatever spelling it comes."""
        seen: set[int] = set()
        for image in images:
            key = _key(image)
            if key in seen or _contains(self._done, key):
                self.skipped += 1
                continue
            seen.add(key)
            if len(seen) == _SEEN:
                self._done = np.union1d(self._done, np.fromiter(seen, np.uint64))
                seen.clear()
            yield image

    def write(self, record: Record) -> None:
        """Appends a record; it is in the file, whole, when this returns."""
        key = _key(record["image"])
        if key in self._failed:
            if record.get("error") == self._failed[key]:
                return  # as the record that is there says
            del self._failed[key]
            self._has_replaced = True
        image = record["image"]
        folder = {} if is_url(image) or os.path.isabs(image) else {"folder": self._folder}  # noqa: PTH117
        model = {} if "error" in record else {"model": self.model, "model_version": self.version}
        record = {"image": image, **folder, **model, **record}
        self._append(self._format.encode(record))
        self._is_temporary = False

    def close(self, *, finished: bool = True) -> None:
        """Closes the file; replaces the records of failures that were tried again, and makes Parquet of a journal."""
        try:
            if finished and self._is_parquet:
                self._to_parquet()
            elif finished and self._has_replaced:
                self._drop_replaced()
        except (OSError, DamagedRecord) as error:
            raise SinkError(self.path, error) from None
        finally:
            self._let_go()

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        self.close(finished=kind is None)

    def _open_locked(self, path: Path) -> io.FileIO:
        """The file, which nobody else writes; not one that somebody has just replaced or removed."""
        while True:
            file = path.open("ab+", buffering=0)
            if not take(file, wait=False):
                file.close()
                raise UsageError(f"--out {self.path}: another eyespot is writing this file; wait for it")
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
            file.close()

    def _let_go(self) -> None:
        """Closes the file, and leaves none behind that this job made and put nothing into."""
        with self._file:
            if self._is_temporary:
                (self._journal or self._target).unlink(missing_ok=True)

    def _append(self, data: bytes) -> None:
        start = os.fstat(self._file.fileno()).st_size
        written = 0
        try:
            while written < len(data):
                written += self._file.write(data[written:])
        except OSError as error:
            self._file.truncate(start)
            raise SinkError(self.path, error) from None

    def _recover(self) -> None:
        """Cuts off an unfinished record and takes up what the whole ones say."""
        size = os.fstat(self._file.fileno()).st_size
        self._is_temporary |= self._is_parquet and not size
        remove_partial(self._target)
        done = array("Q")
        if self._is_parquet and self._target.exists():
            for row in self._entries_of_parquet():
                self._take_up(row, done)
        if self._journal is not None:
            self._name = f"{self.path} (the unfinished records in {self._journal.name})"
        end = 0
        for entry, raw in self._entries():
            end += len(raw)
            if entry is not None:
                self._take_up(entry, done)
        self._done = np.unique(np.asarray(done, np.uint64))
        self.results, self.failures = len(self._done), len(self._failed)
        if end > size:  # the last record lacks its line end
            self._append(b"\n")
        elif end < size:
            self._file.truncate(end)
        if not end:
            self._append(self._format.header)

    def _take_up(self, entry: Entry, done: array[int]) -> None:
        self._check(entry)
        key = self._key_of(entry.image, entry.folder)
        self._has_replaced |= self._failed.pop(key, None) is not None
        if entry.error is not None:
            self._failed[key] = entry.error
        else:
            done.append(key)
            self.unversioned += not entry.version

    def _entries(self) -> Iterator[tuple[Entry | None, bytes]]:
        """The whole records of the file, or of the journal."""
        self._file.seek(0)
        reader = io.BufferedReader(self._file)
        try:
            yield from self._format.read(reader)
        except DamagedRecord as error:
            columns = "; a CSV's columns depend on --top, and on whether the model has a threshold"
            raise UsageError(
                f"--out {self._name}: line {error.line} is not a result of eyespot with --top {self.top}"
                f"{columns if error.line == 1 and self._format.header else ''}; nothing was changed: mend the line, or "
                "choose another file"
            ) from None
        finally:
            reader.detach()

    def _entries_of_parquet(self) -> Iterator[Entry]:
        try:
            yield from read_entries(self._target, certain=self._certain)
        except DamagedRecord:
            raise UsageError(
                f"--out {self.path} exists and is not Parquet of eyespot's results; choose another file"
            ) from None

    def _check(self, entry: Entry) -> None:
        model = entry.model or self.model
        if model != self.model:
            raise UsageError(f"--out {self._name} holds results of {model}, not of {self.model}; choose another file")
        version = entry.version or self.version
        if version != self.version:
            raise UsageError(
                f"--out {self._name} holds results of another version of {model} ({version}, this one is "
                f"{self.version}): it was made anew since, or runs elsewhere; choose another file"
            )
        if entry.top is not None and entry.error is None and entry.top != self.top:
            raise UsageError(
                f"--out {self._name} was begun with --top {entry.top}, not {self.top}; choose another file"
            )

    def _key_of(self, image: str, folder: str) -> int:
        """The key of a record's image."""
        return _key(os.path.join(self._target.parent, folder, image) if folder else image)  # noqa: PTH118

    def _drop_replaced(self) -> None:
        replaced = self._replaced()
        with whole(self._target) as file:
            for number, (_, raw) in enumerate(self._entries()):
                if number not in replaced:
                    file.write(raw)

    def _replaced(self) -> set[int]:
        """The numbers of the records of failures that a later record of the same image replaces."""
        failures: dict[int, int] = {}
        replaced = set()
        for number, (entry, _) in enumerate(self._entries()):
            if entry is not None:
                key = self._key_of(entry.image, entry.folder)
                if key in failures:
                    replaced.add(failures.pop(key))
                if entry.error is not None:
                    failures[key] = number
        return replaced

    def _to_parquet(self) -> None:
        found = array("Q", (self._key_of(e.image, e.folder) for e, _ in self._entries() if e is not None))
        keys = np.unique(np.asarray(found, np.uint64))
        if len(keys):
            replaced = self._replaced()
            records = (json.loads(raw) for number, (_, raw) in enumerate(self._entries()) if number not in replaced)

            def is_replaced(image: str, folder: str) -> bool:
                return _contains(keys, self._key_of(image, folder))

            merge(self._target, records, certain=self._certain, is_replaced=is_replaced)
        self._is_temporary = True


class SinkError(EyespotError):
    """The output file can no longer be written; what is in it stays."""

    def __init__(self, path: Path, error: OSError | DamagedRecord) -> None:
        cause = getattr(error, "strerror", None) or error
        super().__init__(
            f"{path} cannot be written: {cause}; the results written so far are kept: fix the problem and run the "
            "command again"
        )


def _seen_from(folder: Path) -> str:
    """What relative paths are relative to, seen from the output's folder, so that both may move."""
    here = os.path.realpath(os.getcwd())  # noqa: PTH109
    try:
        return os.path.relpath(here, folder)
    except ValueError:  # on another drive of Windows
        return here


def _contains(keys: NDArray[np.uint64], key: int) -> bool:
    """Whether sorted keys hold one."""
    at = int(np.searchsorted(keys, np.uint64(key)))
    return at < len(keys) and int(keys[at]) == key


def _key(image: str) -> int:
    data = unicode_name(identity(image)).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
