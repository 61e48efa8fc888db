"""The schema of captions.sqlite, once; docs/captions.md says the same in prose."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..errors import RunError
from ..format import CAPTION_SOURCE

VERSION = 1
"""PRAGMA user_version, and schema_version in the table meta."""

APPLICATION = 0x46424350
"""PRAGMA application_id: FBCP."""

STATUSES = ("ok", "empty", "refused", "error")
"""What became of asking for a caption; only ok is one."""

SCHEMA = f"""
CREATE TABLE meta (               -- facts of the file itself
  name  TEXT PRIMARY KEY,         -- schema_version, export
  value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE samples (
  id        INTEGER PRIMARY KEY,  -- ours; never given to another sample
  key       TEXT NOT NULL,        -- 64 hex digits
  image_id  TEXT NOT NULL,
  bucket_id TEXT NOT NULL,        -- "" where the export has it no more
  shard     INTEGER NOT NULL,     -- number within the bucket; -1 where the export has it no more
  position  INTEGER NOT NULL      -- index within the shard; -1
);
CREATE UNIQUE INDEX samples_key ON samples (key);
CREATE INDEX samples_place ON samples (bucket_id, shard, position);

CREATE TABLE sources (
  id            INTEGER PRIMARY KEY,   -- caption_source_id of the samples' JSON; 1: the source's
  variant       TEXT NOT NULL UNIQUE,
  model         TEXT NOT NULL,         -- "" unknown
  prompt_sha256 TEXT NOT NULL          -- of the prompt file's bytes; "" none
);

CREATE TABLE captions (
  source_id INTEGER NOT NULL REFERENCES sources (id),
  sample_id INTEGER NOT NULL REFERENCES samples (id),
  status    TEXT NOT NULL CHECK (status IN {STATUSES}),
  text      TEXT NOT NULL,             -- without a newline at its end; "" unless ok
  detail    TEXT NOT NULL,             -- why there is none: a refusal's words, an error
  PRIMARY KEY (source_id, sample_id)
) WITHOUT ROWID;
"""

_CACHE_KIB = 256 << 10
"""Of pages; SQLite's own 2 MiB make nearly every lookup by key a read."""


def make(connection: sqlite3.Connection) -> None:
    """The tables of a new file, within a transaction."""
    for statement in SCHEMA.split(";\n"):
        connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", (str(VERSION),))
    connection.execute("INSERT INTO sources VALUES (1, ?, '', '')", (CAPTION_SOURCE,))
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raises RunError where the file is none of ours, or of another version."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if (application, version) != (APPLICATION, VERSION):
        raise RunError(
            f"{path}: schema {version} of application {application:#x}, this version of "
            f"fastbucket knows {VERSION} of {APPLICATION:#x}"
        )


def connect(path: Path) -> sqlite3.Connection:
    """The file, open as all of ours are. Raises RunError."""
    try:
        connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # WAL: a crash loses no order
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except sqlite3.Error as error:
        raise RunError(f"{path}: {error}") from None
    return connection
