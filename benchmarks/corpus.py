"""A corpus: images, what is to become of each, and how the reference renders it.

    <corpus>/images/0007.jpg      the source
             reference/0007.npy   pixels of the slow float reference, before JPEG
             plans.json           a list of Plan

Standard library alone; `corpora` makes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Plan:
    """The job: one image, its bucket, and how it gets there. Sizes are (width, height)."""

    name: str
    source: tuple[int, int]
    target: tuple[int, int]
    scale: float
    resized: tuple[int, int]
    crop: tuple[int, int]  # left and top edge of the target in the resized image
    shrink: int  # that the JPEG decoder may divide by: it leaves a factor of 2 to the resize
    quality: int
    subsampling: str  # 4:4:4 or 4:2:0

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The crop in pixels of the image decoded at 1/shrink: left, top, right, bottom."""
        x = self.source[0] / self.shrink / self.resized[0]
        y = self.source[1] / self.shrink / self.resized[1]
        left, top = self.crop
        width, height = self.target
        return left * x, top * y, (left + width) * x, (top + height) * y


@dataclass(frozen=True)
class Corpus:
    """A folder as above."""

    folder: Path

    def plans(self) -> list[Plan]:
        rows = json.loads((self.folder / "plans.json").read_text())
        return [Plan(**{k: _tuple(v) for k, v in row.items()}) for row in rows]

    def images(self) -> Iterator[tuple[bytes, Plan]]:
        for plan in self.plans():
            yield (self.folder / "images" / plan.name).read_bytes(), plan

    def reference(self, plan: Plan) -> Path:
        return (self.folder / "reference" / plan.name).with_suffix(".npy")

    def write_plans(self, plans: list[Plan]) -> None:
        """The last file to be written: its presence means that the corpus is whole."""
        temporary = self.folder / "plans.json.tmp"
        temporary.write_text(json.dumps([asdict(plan) for plan in plans]))
        temporary.replace(self.folder / "plans.json")


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
