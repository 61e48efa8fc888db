"""Charts as inline SVG. Colours are the page's, by class, so that they follow light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .facts import LOWEST, OCTAVE, OCTAVES
from .html import number, text

_LEVELS = 6
"""Shades of the size map, by the logarithm of the count."""


@dataclass(frozen=True)
class Bar:
    """One bar. label: below or before it; title: shown when pointed at. of: the class."""

    label: str
    value: float
    title: str
    of: str = "kept"


@dataclass(frozen=True)
class Region:
    """Sizes that fall into a bucket, as corners (width, height) in pixels, and its target."""

    name: str
    corners: list[tuple[float, float]]
    target: tuple[int, int]
    count: int


def _svg(width: int, height: int, label: str, *parts: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(label)}">'
        f"{''.join(parts)}</svg>"
    )


def _nice(top: float) -> float:
    """The smallest of 1, 2, 2.5, 5 x 10**n that four steps reach `top` with."""
    step = top / 4 or 1
    power = 10.0 ** np.floor(np.log10(step))
    return float(next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= step * 0.999))


def _short(value: float) -> str:
    """A count on an axis: 250, 10k, 1.5M."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"


def columns(
    bars: Sequence[Bar],
    label: str,
    width: int = 460,
    height: int = 180,
    every: int = 1,
    upright: bool = False,
) -> str:
    """Bars that stand, with a scale at the left, in the units of a text of 12. every: which labels
    are written; upright: turned, for long ones."""
    left, below = 46, 74 if upright else 26
    top = max((bar.value for bar in bars), default=0) or 1
    step = _nice(top)
    full = step * np.ceil(top / step)
    floor = height - below
    parts = []
    for n in range(round(full / step) + 1):
        y = floor - (floor - 10) * n * step / full
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{width}"/>')
        parts.append(f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}">{_short(n * step)}</text>')
    room = (width - left) / max(len(bars), 1)
    wide = min(room * 0.72, 60)
    for i, bar in enumerate(bars):
        x, tall = left + room * (i + 0.5), (floor - 10) * bar.value / full
        if bar.value:
            tall = max(tall, 1.5)
            parts.append(
                f'<rect class="{bar.of}" x="{x - wide / 2:.1f}" y="{floor - tall:.1f}" '
                f'width="{wide:.1f}" height="{tall:.1f}" rx="1.5"/>'
            )
        if i % every == 0 and bar.label:
            at, how = floor + 18, 'class="name"'
            if upright:
                at = floor + 14
                how = f'class="end" transform="rotate(-60 {x:.1f} {at})"'
            parts.append(f'<text x="{x:.1f}" y="{at}" {how}>{text(bar.label)}</text>')
        parts.append(  # all of the height can be pointed at, a low bar cannot
            f'<rect class="touch" x="{x - room / 2:.1f}" y="0" width="{room:.1f}" '
            f'height="{floor}"><title>{text(bar.title)}</title></rect>'
        )
    return _svg(width, height, label, *parts)


def rows(bars: Sequence[Bar], label: str, whole: float) -> str:
    """Bars that lie, each with its label before and its title behind, as HTML. whole: what a bar
    over all of the width stands for."""
    top = max(whole, 1e-9)
    lines = "".join(
        f'<div class="row"><span>{text(bar.label)}</span>'
        f'<i><b class="{bar.of}" style="width:{max(100 * bar.value / top, 0.4):.1f}%"></b></i>'
        f"<em>{text(bar.title)}</em></div>"
        for bar in bars
    )
    return f'<div class="rows" role="img" aria-label="{text(label)}">{lines}</div>'


def shape(width: int, height: int) -> str:
    """The outline of a bucket, as small as a letter."""
    k = 20 / max(width, height)
    w, h = width * k, height * k
    return (
        f'<svg class="shape" viewBox="0 0 22 22"><rect x="{11 - w / 2:.1f}" y="{11 - h / 2:.1f}" '
        f'width="{w:.1f}" height="{h:.1f}" rx="1"/></svg>'
    )


def sizes(kept: np.ndarray, dropped: np.ndarray, regions: Sequence[Region]) -> str:
    """Source width x height, both logarithmic, with the regions of the buckets behind.

    kept, dropped: the maps of `facts`, int64 (height, width).
    """
    low, high = _extent(kept + dropped, regions)
    side, left, below = 760, 52, 34
    unit = (side - left) / (high - low)  # pixels of the chart for a cell of the map

    def x(pixels: float) -> float:
        return float(left + unit * ((np.log2(pixels) - LOWEST) * OCTAVE - low))

    def y(pixels: float) -> float:
        return float(side - below - unit * ((np.log2(pixels) - LOWEST) * OCTAVE - low))

    bottom = side - below
    frame = f'x="{left}" y="{bottom - unit * (high - low):.1f}" width="{side - left}" '
    frame += f'height="{side - left}"'
    parts = []
    for power in range(LOWEST, LOWEST + OCTAVES):
        at = unit * ((power - LOWEST) * OCTAVE - low)
        if 0 <= at <= side - left:
            x0, y0 = left + at, bottom - at
            name = str(2**power) if power < 10 else f"{2 ** (power - 10)}k"
            parts.append(
                f'<path class="grid" d="M{x0:.1f} {bottom - side + left}V{bottom}M{left} '
                f'{y0:.1f}H{side}"/><text class="name" x="{x0:.1f}" y="{bottom + 18}">{name}</text>'
                f'<text class="tick" x="{left - 8}" y="{y0 + 4:.1f}">{name}</text>'
            )
    parts.append(f'<clipPath id="frame"><rect {frame}/></clipPath><g clip-path="url(#frame)">')
    for i, region in enumerate(regions):
        path = "L".join(f"{x(w):.1f} {y(h):.1f}" for w, h in region.corners)
        hint = f"{region.name}: {region.target[0]}×{region.target[1]}, {number(region.count)}"
        kind = "region used" if region.count else "region"
        parts.append(
            f'<path class="{kind} r{i % 2}" d="M{path}Z"><title>{text(hint)} samples</title></path>'
        )
    for counts, name in ((dropped, "dropped"), (kept, "kept")):
        parts += _shaded(counts, name, low, high, left, bottom, unit)
    parts.append("</g>")
    top = bottom - (side - left)
    view = f'viewBox="0 {top} {side + 12} {side - top}"'
    return f'<svg class="plot" {view} role="img" aria-label="Source sizes">{"".join(parts)}</svg>'


def _extent(counts: np.ndarray, regions: Sequence[Region]) -> tuple[int, int]:
    """First and last cell shown, of both axes: all samples and all targets, in whole octaves."""
    met = np.flatnonzero(counts.any(axis=0) | counts.any(axis=1))
    sides = [side for region in regions for side in region.target]
    ends = [(np.log2(side) - LOWEST) * OCTAVE for side in (min(sides), max(sides))] if sides else []
    low = min([*met[:1], *ends], default=0)
    high = max([*met[-1:] + 1, *ends], default=OCTAVES * OCTAVE)
    octave = OCTAVE // 2
    return int(low // octave * octave), int(-(-(high + 2) // octave) * octave)


def _shaded(
    counts: np.ndarray, name: str, low: int, high: int, left: int, bottom: int, unit: float
) -> list[str]:
    """One path for each shade."""
    top = np.log1p(counts.max()) or 1
    shade = np.ceil(np.log1p(counts) / top * _LEVELS).astype(int)
    if counts.max() == 1:
        shade = np.minimum(shade, _LEVELS // 2 + 1)
    parts = []
    for level in range(1, _LEVELS + 1):
        ys, xs = np.nonzero(shade == level)
        inside = (xs >= low) & (xs < high) & (ys >= low) & (ys < high)
        cells = "".join(
            f"M{left + unit * (cx - low):.1f} {bottom - unit * (cy - low + 1):.1f}"
            f"h{unit:.1f}v{unit:.1f}h-{unit:.1f}z"
            for cx, cy in zip(xs[inside].tolist(), ys[inside].tolist(), strict=True)
        )
        if cells:
            parts.append(f'<path class="{name} s{level}" d="{cells}"/>')
    return parts
