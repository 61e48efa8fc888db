"""Gaps that only the pixels gave away, filled: every shard of a bucket but its last is full.

A sample whose pixels turn out to be damaged leaves a gap in its shard. The gaps of a bucket are
filled, in order, with the bucket's last samples: their blocks are copied from tar to tar, nothing
is decoded again, and shards without a gap stay as they are. What goes where follows from the
damaged samples alone, so it does not depend on who found them when. With several bases the samples
of a larger one come first (`gaps`): a sample then stands at the same place at every base.

New shards are staged in the state folder; a journal, written when all of a bucket are there,
commits them; the renames behind it can be repeated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from . import commit, gaps
from .errors import RunError
from .format import shard_path
from .records import Record, short_path
from .shard import ShardFile


class Final(NamedTuple):
    """A shard as it stands in the finished export."""

    number: int
    samples: int
    bytes: int
    sha256: str


class Place(NamedTuple):
    """A kept sample: number of the shard that made it, and its index among that shard's samples."""

    shard: int
    at: int


def layout(
    records: Sequence[Record], shard_size: int, larger: Sequence[Sequence[Record]] = ()
) -> list[list[Place]]:
    """The final shards of a bucket, from the records of its tasks. larger: those of the same bucket
    at the larger bases, the largest first. What takes which place: `gaps.order`."""
    survivors: dict[int, Place] = {}
    gone: list[int] = []
    for record in records:
        first = record.number * shard_size
        for index, position in enumerate(record.kept):
            survivors[first + position] = Place(record.number, index)
        gone += [first + drop.position for drop in record.drops]
    planned = [sum(len(r.kept) + len(r.drops) for r in those) for those in (*larger, records)]
    order = [survivors[position] for position in gaps.order(planned, gone).tolist()]
    return [order[first : first + shard_size] for first in range(0, len(order), shard_size)]


def fill(
    out: Path,
    state: Path,
    records: Sequence[Record],
    shard_size: int,
    larger: Sequence[Sequence[Record]] = (),
) -> list[Final]:
    """Fill the gaps of one bucket and return its final shards. Can be repeated after any crash.

    larger: as for `layout`.
    """
    if not any(record.drops for record in records):
        finals = [Final(r.number, r.samples, r.bytes, r.sha256) for r in records]
    else:
        journal = journal_path(state, records[0].bucket_id)
        if not journal.is_file():
            finals, changed = _stage(out, state, records, layout(records, shard_size, larger))
            facts = {"finals": finals, "changed": changed, "planned": len(records)}
            commit.write_text(journal, json.dumps(facts))
        try:
            finals = _carry_out(out, state, records, json.loads(journal.read_text()))
        except OSError as error:
            raise commit.output_error(Path(error.filename or out), error) from None
    _check(out, state, records[0].bucket_id, finals)
    return finals


def _carry_out(
    out: Path, state: Path, records: Sequence[Record], facts: dict[str, Any]
) -> list[Final]:
    """What the journal says: move the staged shards to their places, remove what has served."""
    bucket_id = records[0].bucket_id
    finals = [Final(*final) for final in facts["finals"]]
    for number in facts["changed"]:
        staged, final_path = _staged(state, bucket_id, number), out / shard_path(bucket_id, number)
        if staged.exists():
            commit.make_folder(final_path.parent)
            commit.move(staged, final_path)
    folder = (out / shard_path(bucket_id, 0)).parent
    for number in range(len(finals), facts["planned"]):
        (out / shard_path(bucket_id, number)).unlink(missing_ok=True)
    with suppress(FileNotFoundError):  # no shard of it was ever whole
        commit.fsync_directory(folder)  # what is removed here stays so, or a power cut undoes it
    for record in records:
        short_path(state, bucket_id, record.number).unlink(missing_ok=True)
    if not finals:
        with suppress(OSError):  # not there, or somebody's file in it
            folder.rmdir()
    return finals


def _check(out: Path, state: Path, bucket_id: str, finals: Sequence[Final]) -> None:
    """What the manifest will list is there in its full size.

    If it is not, the journal goes: the records then stand alone, and a shard that is not as its
    record says is made again. (A shard that filling has changed is shorter than its record.)
    """
    for final in finals:
        path = out / shard_path(bucket_id, final.number)
        if not path.is_file() or path.stat().st_size != final.bytes:
            undo(out, state, bucket_id)
            raise RunError(
                f"{path} was removed or changed while the export ran; the same export makes it "
                "again, and of job arrays the parts that fastbucket merge then names"
            )


def undo(out: Path, state: Path, bucket_id: str) -> None:
    """Forget that a bucket was filled. What the filling changed goes with it: a shard that holds
    other samples than its record says may be of the same size."""
    journal = journal_path(state, bucket_id)
    if journal.is_file():
        for number in json.loads(journal.read_text())["changed"]:
            (out / shard_path(bucket_id, number)).unlink(missing_ok=True)
        journal.unlink()


def journal_path(state: Path, bucket_id: str) -> Path:
    """The file whose presence commits the filling of a bucket."""
    return state / "fill" / f"{bucket_id}.json"


def is_there(out: Path, state: Path, record: Record) -> bool:
    """Whether the tar of a record exists in its full size, or has gone into a filled bucket."""
    if journal_path(state, record.bucket_id).is_file():
        return True
    path = out / shard_path(record.bucket_id, record.number)
    if record.drops:
        path = short_path(state, record.bucket_id, record.number)
    return path.is_file() and path.stat().st_size == record.bytes


def _staged(state: Path, bucket_id: str, number: int) -> Path:
    return state / "fill" / f"{bucket_id}-{number:06d}.tar"


def _stage(
    out: Path, state: Path, records: Sequence[Record], shards: Sequence[Sequence[Place]]
) -> tuple[list[Final], list[int]]:
    """Write the shards that change; returns all final shards and the numbers of the written."""
    by_number = {record.number: record for record in records}
    finals: list[Final] = []
    changed: list[int] = []
    for number, places in enumerate(shards):
        record = by_number[number]
        if not record.drops and places == [Place(number, i) for i in range(record.samples)]:
            finals.append(Final(number, record.samples, record.bytes, record.sha256))
            continue
        with ShardFile(_staged(state, record.bucket_id, number)) as shard:
            for place in places:
                shard.add([_block(out, state, by_number[place.shard], place.at)])
            sha256 = shard.commit()
            finals.append(Final(number, len(places), shard.bytes, sha256))
        changed.append(number)
    return finals, changed


def _block(out: Path, state: Path, record: Record, index: int) -> bytes:
    """The tar blocks of one sample, from the shard that its task wrote."""
    path = out / shard_path(record.bucket_id, record.number)
    if record.drops:
        path = short_path(state, record.bucket_id, record.number)
    start = record.ends[index - 1] if index else 0
    size = record.ends[index] - start
    try:
        with open(path, "rb") as file:
            file.seek(start)
            block = file.read(size)
    except OSError as error:
        raise RunError(
            f"cannot read {path} back: {error.strerror}; remove it, and the same command makes it "
            "again"
        ) from None
    if len(block) != size:
        raise RunError(f"{path} is shorter than it was written; the same command makes it again")
    return block
