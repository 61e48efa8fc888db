"""captions.sqlite: the samples of an export, the sources of captions, and the captions.

Its tables are those of `schema`. A sample keeps its row and its id for as long as the file lives:
after a re-export those that are gone have shard -1, and their captions wait for them, uncounted.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from ..errors import RunError
from ..format import CAPTIONS
from . import schema
from .schema import STATUSES
from .text import clean

_PAGE = 1000
"""Samples fetched at a time, so that captions can be written between them."""


class Sample(NamedTuple):
    """A sample of the export: buckets/<bucket_id>/shard-<shard>.tar, index `position` within."""

    key: str
    image_id: str
    bucket_id: str
    shard: int
    position: int


class Source(NamedTuple):
    """Where captions come from. prompt_sha256: 64 hex digits, or "" without a prompt."""

    id: int
    variant: str
    model: str
    prompt_sha256: str


class Row(NamedTuple):
    """A caption of one sample, or why there is none."""

    key: str
    text: str
    status: str = "ok"
    detail: str = ""


class Store:
    """The workspace of one export, open. Use as a context manager; every error of a
    damaged or busy file is a RunError that names it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection

    @classmethod
    def create(cls, out: Path) -> Store:
        """Open the workspace of the export in `out`, made if need be."""
        path = out / CAPTIONS
        if path.exists():
            return cls.open(out)
        store = cls(path, schema.connect(path))
        with store.transaction() as connection:
            schema.make(connection)
        return store

    @classmethod
    def open(cls, out: Path) -> Store:
        """Open the workspace. Raises RunError where there is none, or one of another version."""
        path = out / CAPTIONS
        if not path.is_file():
            raise RunError(f"{path} is not there; fastbucket captions init {out} makes it")
        store = cls(path, schema.connect(path))
        try:
            with store._named():
                schema.check(store.connection, path)
        except RunError:
            store.close()
            raise
        return store

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise RunError(f"{self.path}: {error}") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written inside stands in the file afterwards, or none of it. One within
        another is a part of that."""
        with self._named():
            if self.connection.in_transaction:
                yield self.connection
                return
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
            except BaseException:
                self.connection.rollback()
                raise
            self.connection.commit()

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a SELECT."""
        with self._named():
            return self.connection.execute(sql, values).fetchall()

    # Samples

    def count(self) -> int:
        """Samples that the export has."""
        with self._named():
            sql = "SELECT count(*) FROM samples WHERE shard >= 0"
            return int(self.connection.execute(sql).fetchone()[0])

    def samples(self, bucket_id: str = "", shard: int = -1) -> Iterator[Sample]:
        """The samples of the export, or of one bucket, or of one shard of it, as they stand there:
        by bucket, shard and position."""
        where, values = "shard >= 0", list[object]()
        for name, value in (("bucket_id", bucket_id or None), ("shard", shard)):
            if value not in (None, -1):
                where += f" AND {name} = ?"
                values.append(value)
        yield from self._pages("samples", where, values)

    def missing(
        self, source_id: int, limit: int | None = None, retry: Sequence[str] = ("error",)
    ) -> Iterator[Sample]:
        """The samples without a caption of this source, at most `limit`, as they stand in the
        shards. One that was asked for before counts if its status is in `retry`: a model that
        refused would refuse again. Captions may be put between two samples of the iterator."""
        marks = ", ".join("?" * len(retry))
        where = (
            "shard >= 0 AND NOT EXISTS (SELECT 1 FROM captions c WHERE c.source_id = ? AND "
            f"c.sample_id = samples.id AND c.status NOT IN ({marks}))"
        )
        for n, sample in enumerate(self._pages("samples", where, [source_id, *retry])):
            if n == limit:
                return
            yield sample

    def _pages(self, table: str, where: str, values: Sequence[object]) -> Iterator[Sample]:
        sql = (
            f"SELECT key, image_id, bucket_id, shard, position FROM {table} WHERE {where} AND "
            "(bucket_id, shard, position) > (?, ?, ?) ORDER BY bucket_id, shard, position LIMIT ?"
        )
        after: tuple[object, ...] = ("", -1, -1)
        while True:
            with self._named():
                rows = self.connection.execute(sql, (*values, *after, _PAGE)).fetchall()
            for row in rows:
                yield Sample(*row)
            if len(rows) < _PAGE:
                return
            after = rows[-1][2:]

    def place(self, samples: Iterable[tuple[str, str, str, int, int]], export: str) -> None:
        """Make `samples` those of the export: new ones are added, those that stood elsewhere are
        moved, the others are marked as gone. samples: (key, image_id, bucket_id, shard, position),
        as those of `samples`. export: what tells this export from another one."""
        with self.transaction() as connection:
            connection.execute("DROP INDEX samples_place")  # made anew it costs a quarter
            connection.execute("UPDATE samples SET bucket_id = '', shard = -1, position = -1")
            connection.executemany(
                "INSERT INTO samples (key, image_id, bucket_id, shard, position) "
                "VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET bucket_id = "
                "excluded.bucket_id, shard = excluded.shard, position = excluded.position",
                samples,
            )
            connection.execute("CREATE INDEX samples_place ON samples (bucket_id, shard, position)")
            connection.execute("REPLACE INTO meta VALUES ('export', ?)", (export,))

    def fact(self, name: str) -> str:
        """A value of the table meta, "" where there is none."""
        rows = self.query("SELECT value FROM meta WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else ""

    # Sources

    def sources(self) -> list[Source]:
        """All sources, by id."""
        rows = self.query("SELECT id, variant, model, prompt_sha256 FROM sources ORDER BY id")
        return [Source(*row) for row in rows]

    def source(
        self, variant: str, model: str = "", prompt: bytes = b"", replace: bool = False
    ) -> int:
        """The id of the source of this variant, made if need be.

        prompt: the bytes of the prompt file; of them the SHA-256 is kept. What is not given ("",
        b"") is as it was. Raises RunError where the variant is known with another model or prompt,
        unless `replace`: then the new ones are noted, and the captions stay.
        """
        if not variant or not variant.isidentifier() or not variant.isascii():
            raise RunError(f"variant {variant!r}: letters, digits and _ make a variant")
        sha256 = hashlib.sha256(prompt).hexdigest() if prompt else ""
        known = {source.variant: source for source in self.sources()}.get(variant)
        with self.transaction() as connection:
            if known is None:
                cursor = connection.execute(
                    "INSERT INTO sources (variant, model, prompt_sha256) VALUES (?, ?, ?)",
                    (variant, model, sha256),
                )
                assert cursor.lastrowid is not None
                return cursor.lastrowid
            for name, had, given in (
                ("model", known.model, model),
                ("prompt", known.prompt_sha256, sha256),
            ):
                if given and had and given != had and not replace:
                    raise RunError(
                        f"{variant} has captions of {name} {had!r}, not {given!r}: choose another "
                        "variant, or --replace"
                    )
            connection.execute(
                "UPDATE sources SET model = ?, prompt_sha256 = ? WHERE id = ?",
                (model or known.model, sha256 or known.prompt_sha256, known.id),
            )
            return known.id

    # Captions

    def put(self, source_id: int, rows: Iterable[Row | tuple[str, str, str, str]]) -> int:
        """Note captions, or why there is none, in one transaction; returns how many were noted.

        rows: (key, text, status, detail). A new caption replaces an old one; a failure never
        replaces a caption. Text is cleaned by `text.clean`; an ok one that comes out empty is
        noted as empty. Raises RunError, and notes nothing, for a key that is unknown, a status
        that is none, and text that no caption may hold.
        """
        noted = 0
        with self.transaction() as connection:
            for key, text, status, detail in rows:
                if status not in STATUSES:
                    raise RunError(f"{key}: status {status!r} is none of {', '.join(STATUSES)}")
                try:
                    words = clean(text) if status == "ok" else ""
                except ValueError as error:
                    raise RunError(f"{key}: a caption with a {error}") from None
                cursor = connection.execute(
                    PUT, (source_id, status if words or status != "ok" else "empty", words, detail,
                          key)
                )  # fmt: skip
                if (
                    not cursor.rowcount
                    and not connection.execute(
                        "SELECT 1 FROM samples WHERE key = ?", (key,)
                    ).fetchone()
                ):
                    raise RunError(f"{key} is the key of no sample in {self.path}")
                noted += cursor.rowcount
        return noted


PUT = """
INSERT INTO captions (source_id, sample_id, status, text, detail)
SELECT ?, id, ?, ?, ? FROM samples WHERE key = ?
ON CONFLICT (source_id, sample_id) DO UPDATE
SET status = excluded.status, text = excluded.text, detail = excluded.detail
WHERE excluded.status = 'ok' OR status <> 'ok'
"""
