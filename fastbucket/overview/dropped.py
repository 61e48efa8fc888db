"""Thumbnails of samples that were dropped, out of their sources, where those are at hand.

Nobody has decoded these images before, or whoever did has found them harmful. So it is done in a
worker process, which an image may end or stall without harm, and what is known for damage is not
tried at all.
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..engines.local import Local
from ..errors import RunError, SampleError
from ..progress import Progress, Reporter
from .contact import JPEG_LIMIT, SIDE
from .facts import Dropped

PICTURED = (
    "excluded", "too_small", "no_caption", "duplicate", "rare_bucket", "no_plain_jpeg", "no_bucket",
)  # fmt: skip
"""Reasons that say nothing against the image."""

SIZE_LIMIT = 64 << 20
"""Bytes of a source image that is still looked at."""

_PATIENCE = 10.0
"""Seconds for one image."""


_CHANGED = (
    RunError, OSError, tarfile.TarError, ValueError, OverflowError, IndexError, RecursionError,
)  # fmt: skip


class Task(NamedTuple):
    """Images wanted of one archive."""

    kind: str
    path: str
    name: str
    members: tuple[str, ...]


class Thumbnails:
    """A job: member -> thumbnail of those that are there and can be decoded."""

    def __init__(self, setup: dict[str, Any]) -> None:
        from ..decode import Decoder
        from ..recipe import Recipe

        self._decoder = Decoder(Recipe.from_json(setup["recipe"]))

    def __call__(self, task: Task, report: Reporter) -> dict[str, bytes]:
        from ..verification.origins import contents

        found: dict[str, bytes] = {}
        wanted = {member: number for number, member in enumerate(task.members)}
        try:
            for member, size, opened in contents(task.kind, task.path, wanted):
                number = wanted.pop(member)
                if size <= SIZE_LIMIT:
                    try:
                        data = opened.read()
                        report.at(number)
                        found[member] = self._small(data)
                    except SampleError:
                        pass  # the page shows that there is none
                    report.at(None)
                if not wanted:
                    break
        except _CHANGED:
            pass  # a source that has changed since: what was found until then is shown
        return found

    def _small(self, data: bytes) -> bytes:
        from ..sources.probe import probe
        from ..thumbnails import of_pixels

        source = probe(data)
        scale = SIDE / max(source.stored)
        shrink = self._decoder.shrink(source.kind, scale, source.stored)
        pixels = self._decoder.decode(
            data, source.kind, source.profile, source.stored, shrink, source.progressive
        )
        return of_pixels(pixels.rgbx, source.orientation, SIDE, limit=JPEG_LIMIT)


def pictures(
    out: Path,
    recipe: dict[str, Any],
    dropped: Sequence[Dropped],
    sources: Sequence[str],
    progress: Progress,
) -> tuple[dict[tuple[str, str], bytes], str]:
    """(archive, member) -> thumbnail, and why there are none; "" where the sources were found.

    sources: as named for the export, or relative to `out` as run.json has them.
    """
    wanted: dict[str, dict[str, None]] = {}
    for row in dropped:
        if row.reason in PICTURED and row.member and row.size <= SIZE_LIMIT:
            wanted.setdefault(row.archive, {})[row.member] = None
    if not wanted:
        return {}, ""
    if not sources:
        return {}, "no source is named: --source shows where they are"
    from ..sources.locate import archives

    try:
        there = {a.name: a for a in archives(sources) if a.kind in ("tar", "folder", "parquet")}
    except (RunError, OSError) as error:
        return {}, f"the sources are not at hand: {error}"
    tasks = [
        Task(there[name].kind, there[name].path, name, tuple(members))
        for name, members in wanted.items()
        if name in there
    ]
    progress.phase("sources", len(tasks), "archives")
    found: dict[tuple[str, str], bytes] = {}
    try:
        with Local(1, {"recipe": recipe}, _PATIENCE) as engine:
            for task, made in engine.map("fastbucket.overview.dropped:Thumbnails", tasks):
                found.update({(task.name, member): jpeg for member, jpeg in made.items()})
                progress.advance(1)
    except RunError as error:  # a worker that dies whatever it does: the page has the rest
        return found, str(error)
    missing = sorted(set(wanted) - set(there))
    return found, f"{len(missing)} archives are not at hand, {missing[0]} first" if missing else ""
