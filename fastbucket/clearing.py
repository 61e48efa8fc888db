"""What of an output folder is ours, and taking it away."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from . import commit
from .commit import TEMPORARY
from .format import (
    BUCKETS,
    CARD,
    EARLIER,
    FORMATS,
    INDEX,
    MANIFEST,
    META,
    REPORT,
    RUN,
    SPOOL,
    STATE,
    SUSPECTS,
    WRITTEN_CARD,
)

SHARDS = f"{BUCKETS}/*p*x*/shard-*.tar"
"""Pattern of the shards in an output folder."""

FENCE = "fence"

CLEARING = {"export_id": "", "recipe": {}, "stamps": {}}
"""run.json of a folder that is being cleared: of no export, so that none goes on there."""


def is_ours(out: Path) -> bool:
    """Whether there is an export here, finished or not; a README.md is in many a folder."""
    if (out / STATE / "run.json").is_file() or (out / EARLIER).is_file():
        return True
    try:
        facts = json.loads((out / MANIFEST).read_text())
    except (OSError, ValueError):  # none, or damaged: then the shards have to speak for it
        return any(out.glob(SHARDS))
    return isinstance(facts, dict) and facts.get("format") in FORMATS


def clear(out: Path, keep: tuple[str, ...] = ()) -> None:
    """Remove what is ours but for the lock and what is to be kept of the state.

    First run.json says so: whoever is killed in between leaves a folder that is known as ours,
    and in which no run goes on with half of a state. Then the manifest: without it nothing
    looks complete; it waits in the state, for the card: that stays, with what its user added,
    until the next one is written. run.json last.
    """
    state = out / STATE
    run = state / "run.json"
    commit.write_text(run, json.dumps(CLEARING))
    manifest, earlier = out / MANIFEST, out / EARLIER
    if manifest.is_file():
        commit.rename(manifest, earlier)
    elif not earlier.is_file():
        commit.write_text(earlier, "null\n")
    for name in (RUN, REPORT, *SUSPECTS):
        (out / name).unlink(missing_ok=True)
    commit.fsync_directory(out)
    cut_off(out)
    for folder in (state / "shards", *(out / name for name in (INDEX, META, BUCKETS))):
        if folder.is_symlink():  # to a larger disk, say: that is emptied, and the link stays
            for inside in folder.iterdir():
                shutil.rmtree(inside) if inside.is_dir() else inside.unlink()
        elif folder.is_dir():
            shutil.rmtree(folder)
    if SPOOL not in keep:
        remove_spool(state)
    for inside in state.iterdir():
        if inside.name not in ("lock", run.name, earlier.name, Path(WRITTEN_CARD).name, *keep):
            shutil.rmtree(inside) if inside.is_dir() else inside.unlink()
    run.unlink()


def cut_off(out: Path) -> None:
    """From now on nobody else makes anything visible here, on whichever machine. Raises OSError."""
    (out / STATE / FENCE).unlink(missing_ok=True)
    sweep(out)


def sweep(out: Path) -> None:
    """Remove what dead runs left half-written."""
    for name in (MANIFEST, CARD, RUN, REPORT, *SUSPECTS):
        for path in out.glob(f".{name}*{TEMPORARY}"):
            path.unlink(missing_ok=True)
    for folder in (out / INDEX, out / META, out / BUCKETS, out / STATE):
        for path in folder.rglob(f".*{TEMPORARY}"):
            path.unlink(missing_ok=True)


def remove_spool(state: Path) -> None:
    """What a link leads to, and then the link: --spool may have put it on another disk."""
    spool = state / SPOOL
    if spool.is_symlink():
        shutil.rmtree(spool.resolve(), ignore_errors=True)
        spool.unlink()


def shard_files(out: Path) -> Iterator[tuple[str, int, Path]]:
    """(bucket_id, number, path) of every shard there is, in the order of their paths."""
    for path in sorted((out / BUCKETS).glob("*/shard-*.tar")):
        digits = path.stem.removeprefix("shard-")
        if digits.isdecimal():
            yield path.parent.name, int(digits), path
