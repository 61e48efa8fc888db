"""Shards made in this process, by the package's own machinery but without worker processes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from fastbucket import Recipe, catalogue, planfile, planning
from fastbucket.format import STATE
from fastbucket.records import Record
from fastbucket.sources import KINDS
from fastbucket.sources.locate import archives
from fastbucket.state import State
from fastbucket.task import ShardTask


class Unheard:
    """A reporter that tells nobody."""

    careful = False

    def __call__(self, n: int) -> None: ...

    def at(self, position: int | None) -> None: ...


class Planned:
    """An export that is scanned and planned; `make` makes its shards."""

    def __init__(self, sources: list[Path], out: Path, recipe: Recipe) -> None:
        found = archives(sources)
        self.out, self.recipe = out, recipe
        self.tables: list[pa.Table] = []
        with State(out) as state:
            state.claim("test", recipe, [])
            for number, archive in enumerate(found):
                path = out / STATE / "catalogue" / f"{number}.arrow"
                KINDS[archive.kind].scan(archive).write(path, "test")
                self.tables.append(catalogue.read(path, "test"))
            self.plan = planning.make(found, self.tables, recipe)
            planfile.write(self.plan, self.tables, out / STATE)
        self.setup = {"out": str(out), "recipe": recipe.to_json()}
        self.task = ShardTask(self.setup)

    def make(self, number: int) -> Record:
        return self.task((number,), Unheard())[0]

    def rows(self, number: int) -> list[dict]:
        """The catalogue's rows of a shard's samples."""
        shard = self.plan.shards[number]
        table = pa.concat_tables(self.tables)
        return table.take(pa.array(self.plan.order[shard.start : shard.stop])).to_pylist()
