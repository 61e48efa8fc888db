"""`captions import`: a file of captions into the workspace, matched by key or by image_id."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import RunError
from ..format import sample_key
from ..sidecar import SIDECAR_LIMIT
from .store import Store
from .text import clean

KEY_COLUMNS = ("key", "__key__")
ID_COLUMNS = ("image_id",)
TEXT_COLUMNS = ("caption", "text", "txt")
"""Names that are looked for in a file, in this order; keys before image_ids."""

KEY_DIGITS = 64

_CHUNK = 256 << 20
"""Bytes of memory, about, for the rows that are matched and sorted at a time."""

_ROW = 400
"""Bytes of a row beside its caption."""

_BATCH = 10_000
_HEX = frozenset("0123456789abcdef")


class Line(NamedTuple):
    """A row of the file. number: of the row, from 1; name: a key or an image_id, as it stands."""

    number: int
    name: str
    text: str


@dataclass
class ImportReport:
    """What became of the rows: rows = stored + repeated + unmatched + empty. rejected: the file
    that lists the latter two, "" where there are none."""

    source_id: int
    variant: str
    rows: int = 0
    stored: int = 0
    repeated: int = 0  # a later row of the same sample took its place
    unmatched: int = 0  # no sample of the export
    empty: int = 0
    rejected: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def take(
    out: Path,
    file: Path,
    variant: str,
    model: str = "",
    prompt: bytes = b"",
    id_column: str = "",
    text_column: str = "",
    replace: bool = False,
) -> ImportReport:
    """Read the captions of `file` (.jsonl, .csv, .parquet) into the workspace of `out`.

    All of it is noted, or nothing. Raises RunError for what cannot be read, with the row, and for
    a variant that is known with another model or prompt, unless `replace`.
    """
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise RunError(f"{file}: the name ends in none of {', '.join(READERS)}")
    rejects = _Rejects(file.with_name(f"{file.stem}.rejected.jsonl"))
    with Store.open(out) as store, rejects:
        samples = Samples(store)
        seen = np.zeros(len(samples), np.bool_)
        lines = reader(file, _Columns(file, id_column, text_column))
        with store.transaction() as connection:
            report = ImportReport(store.source(variant, model, prompt, replace), variant)
            for rows in _chunks(file, lines):
                found = samples.find([key for _, _, key, _ in rows])
                here = np.array([bool(words) for *_, words in rows], np.bool_) & (found >= 0)
                for at in np.flatnonzero(~here).tolist():
                    rejects.add(rows[at], found[at] < 0)
                # In the order of the ids, so that pages are filled one after the other; of several
                # rows of one sample the last comes last.
                order = np.flatnonzero(here)
                order = order[np.argsort(samples.ids[found[order]], kind="stable")]
                ids = samples.ids[found[order]].tolist()
                texts = [rows[at][3] for at in order.tolist()]
                connection.executemany(_NOTE, zip(repeat(report.source_id), ids, texts))
                report.rows += len(rows)
                report.repeated += len(order)
                seen[found[order]] = True
        report.stored = int(seen.sum())
        report.repeated -= report.stored
    report.unmatched, report.empty, report.rejected = rejects.unmatched, rejects.empty, rejects.path
    return report


_NOTE = """
INSERT INTO captions (source_id, sample_id, status, text, detail) VALUES (?, ?, 'ok', ?, '')
ON CONFLICT (source_id, sample_id) DO UPDATE SET status = 'ok', text = excluded.text, detail = ''
"""

_Row = tuple[int, str, str, str]
"""Number, name, key and caption of a row."""


def _chunks(file: Path, lines: Iterator[tuple[Line, bool]]) -> Iterator[list[_Row]]:
    """The rows, cleaned, as many at a time as there is room for. Raises RunError, naming the row,
    for text that no caption may hold."""
    rows: list[_Row] = []
    room = _CHUNK
    for (number, name, text), is_key in lines:
        try:
            words = clean(text)
            key = name if is_key else sample_key(name)
        except ValueError as error:  # UnicodeEncodeError of an image_id is one
            raise RunError(f"{file}: row {number} ({name!a:.100}): {error}") from None
        rows.append((number, name, key, words))
        room -= len(words) + _ROW
        if room <= 0:
            yield rows
            rows, room = [], _CHUNK
    yield rows


class Samples:
    """The samples of an export, found by key. ids: int64 (n,)."""

    def __init__(self, store: Store) -> None:
        rows = store.query("SELECT id, key FROM samples WHERE shard >= 0 ORDER BY key")
        self.ids = np.array([row[0] for row in rows], np.int64)
        self._keys = np.array([row[1] for row in rows], f"S{KEY_DIGITS}")

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, keys: list[str]) -> NDArray[np.int64]:
        """Index of each key, -1 for one that is none of a sample."""
        if not len(self) or not keys:
            return np.full(len(keys), -1, np.int64)
        plain = [key if len(key) == KEY_DIGITS and key.isascii() else "" for key in keys]
        wanted = np.array(plain, f"S{KEY_DIGITS}")
        at = np.searchsorted(self._keys, wanted).clip(max=len(self) - 1)
        return np.where(self._keys[at] == wanted, at, -1).astype(np.int64)


class _Rejects:
    """The file of the rows that were not taken; there only if there are any."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None
        self.unmatched = self.empty = 0

    @property
    def path(self) -> str:
        return str(self._path) if self.unmatched or self.empty else ""

    def __enter__(self) -> None:
        self._path.unlink(missing_ok=True)  # of an earlier import

    def __exit__(self, kind: object, *error: object) -> None:
        if self._file is not None:
            self._file.close()
            if kind is not None:  # nothing was taken, and why is told
                self._path.unlink(missing_ok=True)

    def add(self, row: _Row, unmatched: bool) -> None:
        number, name, _, text = row
        if unmatched:
            self.unmatched += 1
        else:
            self.empty += 1
        facts = {"row": number, "why": "unmatched" if unmatched else "empty"}
        facts |= {"name": name, "caption": text}
        try:
            if self._file is None:
                self._file = open(self._path, "w", encoding="utf-8")  # noqa: SIM115
            self._file.write(json.dumps(facts, ensure_ascii=False) + "\n")
        except OSError as error:
            raise RunError(f"cannot write {self._path}: {error.strerror}") from None


class _Columns:
    """Which columns of a file are meant."""

    def __init__(self, file: Path, id_column: str, text_column: str) -> None:
        self._file = file
        self._ids = (id_column,) if id_column else (*KEY_COLUMNS, *ID_COLUMNS)
        self._texts = (text_column,) if text_column else TEXT_COLUMNS
        self._named = bool(id_column)

    def choose(self, names: Any, row: int) -> tuple[str, str]:
        """The columns of the name and of the text. Raises RunError where there is none."""
        chosen = []
        for what, wanted in (("key or image_id", self._ids), ("caption", self._texts)):
            found = next((name for name in wanted if name in names), None)
            if found is None:
                raise RunError(
                    f"{self._file}: row {row}: no column for the {what}: looked for "
                    f"{', '.join(wanted)}, there are {', '.join(map(str, names))}"
                )
            chosen.append(found)
        return chosen[0], chosen[1]

    def line(self, number: int, column: str, name: Any, text: Any) -> tuple[Line, bool]:
        """A row. Raises RunError where a value is no text; null is an empty caption."""
        if not isinstance(name, str) or not isinstance(text, (str, type(None))):
            raise RunError(
                f"{self._file}: row {number}: {column} is {name!r:.60} and the caption "
                f"{text!r:.60}, where text belongs"
            )
        is_key = column in KEY_COLUMNS and not self._named
        if self._named:  # nothing says which it is
            is_key = len(name) == KEY_DIGITS and not set(name) - _HEX
        return Line(number, name, text or ""), is_key


def _jsonl(file: Path, columns: _Columns) -> Iterator[tuple[Line, bool]]:
    try:
        with open(file, "rb") as lines:
            for number, raw in enumerate(lines, 1):
                raw = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
                if not raw.strip():
                    continue
                try:
                    value = json.loads(raw.decode())
                except (ValueError, RecursionError) as error:
                    raise RunError(f"{file}: row {number}: {error}") from None
                if not isinstance(value, dict):
                    raise RunError(f"{file}: row {number} is no JSON object")
                name, text = columns.choose(value, number)
                yield columns.line(number, name, value[name], value[text])
    except OSError as error:
        raise RunError(f"{file}: cannot be read: {error.strerror}") from None


def _csv(file: Path, columns: _Columns) -> Iterator[tuple[Line, bool]]:
    csv.field_size_limit(SIDECAR_LIMIT)
    number = 0
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            rows = csv.reader(lines, strict=True)
            head = next(rows, [])
            name, text = columns.choose(head, 0)
            name_at, text_at = head.index(name), head.index(text)
            for number, row in enumerate(rows, 1):
                if not row:
                    continue
                if len(row) != len(head):
                    raise RunError(
                        f"{file}: row {number} has {len(row)} fields, the head {len(head)}"
                    )
                yield columns.line(number, name, row[name_at], row[text_at])
    except (csv.Error, UnicodeDecodeError) as error:
        raise RunError(f"{file}: row {number + 1} or soon after: {error}") from None
    except OSError as error:
        raise RunError(f"{file}: cannot be read: {error.strerror}") from None


def _parquet(file: Path, columns: _Columns) -> Iterator[tuple[Line, bool]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(file) as rows:
            names = rows.schema_arrow.names
            name, text = columns.choose(names, 0)
            for column in (name, text):
                if names.count(column) > 1:
                    raise RunError(f"{file}: {names.count(column)} columns are called {column}")
            for batch in rows.iter_batches(_BATCH, columns=[name, text]):
                values = batch[name].to_pylist(), batch[text].to_pylist()
                for one, words in zip(*values, strict=True):
                    number += 1
                    yield columns.line(number, name, one, words)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise RunError(f"{file}: after row {number}: {error}") from None
    except OSError as error:
        raise RunError(f"{file}: cannot be read: {error}") from None


READERS = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
"""Readers by suffix; a reader yields (row, whether its name is a key)."""
