"""The stage that is replaced; it decodes all images before their size decides: `.decode("pil")`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import replaced

NAME = "webdataset + Pillow + torch float + TarWriter"
DISTRIBUTIONS = replaced.DISTRIBUTIONS
available, load = replaced.available, replaced.load


def export(tars: Sequence[Path], out: Path) -> dict[str, Any]:
    return replaced.export(tars, out, lambda image: image.load())
