"""What takes the place of samples that are gone: all shards of a bucket but its last stay full.

A sample keeps its position p among the bucket's n if p is below the number N of those that stay; a
gap below N takes the next one that stays from N on. So shards without a gap stay as they are, and
the result follows from who is gone alone, however often the work was interrupted.

With several bases the samples of the largest come first, then what the next one has beside them,
and so on. The rule goes from base to base, the largest first: what it has settled for one base
stays, and the places that are free behind that are filled from what the next base has beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray


def order(counts: Sequence[int], gone: Collection[int]) -> NDArray[np.int64]:
    """The old position of the sample at each new one.

    counts: samples at every base, the largest base first, ascending; of one base alone, its n.
    gone: positions below the last of them. The first N of the result are those of a base of which
    N stay.
    """
    stays = np.ones(counts[-1], np.bool_)
    stays[np.fromiter(gone, np.int64, len(gone))] = False
    taken = np.empty(0, np.int64)
    before = 0
    for count in counts:
        total = int(stays[:count].sum())
        new = np.arange(total)
        new[: len(taken)] = taken
        free = ~stays[:total]
        free[:before] = True  # of what stands there all has been placed
        free[: len(taken)] = False
        spare = max(total, before)
        new[free] = spare + np.flatnonzero(stays[spare:count])
        taken, before = new, count
    return taken
