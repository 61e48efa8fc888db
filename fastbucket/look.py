"""How a finished image looks, in 18 bytes: what `suspects` goes by, kept in meta/."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .kernels import look as kernel


class Look(NamedTuple):
    """A perceptual hash and a few shares in thousandths; docs/format.md says how each is made."""

    phash: int
    """64 bits: signs of the lowest frequencies of luma. Near copies differ in a few of them."""
    luma_range: int
    """Levels of 255 between the darkest and the brightest hundredth of the pixels."""
    modal_share: int
    """Of the pixels, those in the eight neighbouring levels of luma with most of them."""
    bimodal_share: int
    """The same with the commonest eight levels elsewhere: paper and ink."""
    edge_share: int
    """Of neighbours in a row, those with a step of 32 levels or more between them."""
    border_share: int
    """Of the area, that of plain borders, which end in a straight line."""


DTYPE = np.dtype([(name, "<u8" if name == "phash" else "<i2") for name in Look._fields])
"""A look as it stands in a record and in columns: 18 bytes."""

MISSING = Look(0, -1, -1, -1, -1, -1)
"""Of a sample that was dropped: there was no image to look at."""


def look(rgbx: np.ndarray) -> Look:
    """How an image looks: RGBX uint8 (h, w, 4), contiguous, h and w from 1. X is not looked at.

    Exact integers, the same on every CPU. Raises ValueError for an array without pixels.
    """
    phash, *shares = kernel.look(rgbx)
    return Look(phash & 0xFFFF_FFFF_FFFF_FFFF, *shares)
