"""What the statistics of an image say about it, one threshold after the other.

docs/suspects.md has the thresholds that were tried, and what each finds and what it takes for it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

KINDS = ("blank", "text", "border", "copy")
"""In the order of preference: a sample that is several things is called the first."""


class Thresholds(NamedTuple):
    """Levels of 255 and thousandths, see `look.Look`."""

    blank_range: int = 16
    """luma_range up to which an image is blank: a photo of fog has 40."""
    blank_modal: int = 985
    """modal_share from which it is blank, whatever small thing stands in it."""
    text_bimodal: int = 900
    """bimodal_share from which it is paper and ink: text, or a drawing."""
    text_edges: int = 4
    """edge_share that it must have then: letters, no silhouette."""
    border: int = 250
    """border_share from which a border is heavy."""


def kinds(
    looks: NDArray[np.void], limits: Thresholds | None = None
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Index into KINDS, -1 where nothing is said (copies are not told by this), and a score from
    0 to 1, how far beyond doubt it is. looks: look.DTYPE (n,)."""
    t = limits or Thresholds()
    wide, modal = looks["luma_range"].astype(int), looks["modal_share"].astype(int)
    both, edges = looks["bimodal_share"].astype(int), looks["edge_share"].astype(int)
    border = looks["border_share"].astype(int)
    blank = (wide <= t.blank_range) | (modal >= t.blank_modal)
    text = ~blank & (both >= t.text_bimodal) & (edges >= t.text_edges)
    framed = border >= t.border
    kind = np.select([blank, text, framed], [0, 1, 2], -1).astype(np.int8)
    score = np.select([blank, text, framed], [modal / 1000, both / 1000, border / 1000], 0.0)
    return kind, score
