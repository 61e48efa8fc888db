"""The section of sizes: of the sources, of the scales, of the stored images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import charts, html
from .charts import Bar
from .contact import Shown
from .facts import SCALE_BINS, MetaFacts
from .gathered import Facts, understood
from .regions import regions


def of_sizes(facts: Facts) -> str:
    """Width x height of the sources, scales, chroma, bytes."""
    meta, recipe = facts.meta, facts.manifest["recipe"]
    if meta is None:
        return html.section("sizes", "Sizes", "", html.absent(
            "The sizes of the sources stand in meta/, which this export has not, or not in a form "
            "that can be read."))  # fmt: skip
    counts = {b["bucket_id"]: b["count"] for b in facts.buckets}  # of several bases the largest's
    outlines = []
    known = understood(facts.manifest)
    if known is not None:  # else of a later version, with another family perhaps
        outlines = regions(known.buckets(), known.choice, counts)
    legend = (
        '<p class="legend"><i class="kept"></i>exported <i class="dropped"></i>dropped '
        '<i class="region used"></i>region of a bucket <i class="region"></i>of an empty one</p>'
    )
    note = "Both axes are logarithmic; shades are by the logarithm of the count."
    if recipe.get("too_small_policy") == "next_bucket":
        note += " Regions are those of the first choice: next_bucket lets a neighbour take some."
    if recipe.get("min_bucket"):
        note += f" Buckets of fewer than {recipe['min_bucket']} samples were rare, and are empty."
    thumbs = [card for cards in facts.shown.values() for card in cards if card.bytes >= 0]
    return html.section(
        "sizes",
        "Sizes",
        "Width and height of the sources after EXIF orientation. An image whose dot lies in a "
        "region falls into that bucket; below all regions it would have needed upsampling.",
        '<div class="split"><div>',
        html.panel("Source width × height", charts.sizes(meta.kept_map, meta.dropped_map, outlines),
                   legend, note=note),
        "</div><div>",
        html.panel("Scale", charts.columns(_scales(meta, facts), "Scale", every=SCALE_BINS // 5),
                   note=f"Target / source of the {html.number(sum(meta.scales))} exported; 1 keeps "
                   "every pixel." + _threshold(recipe)),
        html.panel("Chroma", *_chroma(facts, thumbs)),
        html.panel("Bits a pixel", *_bits(thumbs)),
        "</div></div>",
        html.panel("Bytes", _bytes(facts)),
    )  # fmt: skip


def _threshold(recipe: Mapping[str, Any]) -> str:
    if recipe.get("subsampling_policy") != "adaptive_scale":
        return ""
    return f" Paler: at or above {recipe['adaptive_scale_threshold']:g}, stored as 4:2:0."


def _scales(meta: MetaFacts, facts: Facts) -> list[Bar]:
    recipe = facts.manifest["recipe"]
    by_scale = recipe.get("subsampling_policy") == "adaptive_scale" and not facts.copied
    limit = recipe.get("adaptive_scale_threshold", 1) if by_scale else 2
    bars = []
    for i, count in enumerate(meta.scales.tolist()):
        low, high = i / SCALE_BINS, (i + 1) / SCALE_BINS
        of = "kept light" if low + 1e-9 >= limit else "kept"
        bars.append(Bar(f"{low:g}", count, f"scale {low:g} to {high:g}: {html.number(count)}", of))
    return bars


def chroma(facts: Facts) -> tuple[dict[str, int], bool]:
    """Samples by chroma subsampling; and whether that is of all, or of those shown."""
    recipe = facts.manifest["recipe"]
    policy = recipe.get("subsampling_policy")
    if not facts.copied and policy in ("444", "422", "420"):
        return {":".join(policy): facts.images}, True
    if not facts.copied and policy == "adaptive_scale" and facts.meta:
        below = facts.meta.below
        return {"4:4:4": below, "4:2:0": facts.images - below}, True
    found: dict[str, int] = {}
    for cards in facts.shown.values():
        for card in cards:
            name = str(card.facts.get("subsampling", "")) or "unknown"
            found[name] = found.get(name, 0) + 1
    return found, False


def _chroma(facts: Facts, thumbs: Sequence[Shown]) -> list[str]:
    found, everything = chroma(facts)
    total = sum(found.values())
    bars = [
        Bar(name, n, f"{html.number(n)} · {html.share(n, total)}")
        for name, n in sorted(found.items(), reverse=True)
    ]
    note = "" if everything else f"Of the {html.number(len(thumbs))} samples shown below."
    return [
        charts.rows(bars, "Chroma subsampling", total),
        f'<p class="note">{note}</p>' if note else "",
    ]


def _bits(thumbs: Sequence[Shown]) -> list[str]:
    bits = [
        8 * card.bytes / (card.facts["w"] * card.facts["h"])
        for card in thumbs
        if isinstance(card.facts.get("w"), int) and isinstance(card.facts.get("h"), int)
        if card.facts["w"] > 0 and card.facts["h"] > 0
    ]
    if not bits:
        return [html.absent("No image could be looked at.")]
    top = max(1, int(np.ceil(np.percentile(bits, 99))))
    each = 5 if top <= 8 else 2  # columns for a bit
    counts, edges = np.histogram(np.minimum(bits, top * 0.9999), top * each, (0, top))
    bars = [
        Bar(f"{low:.0f}", n, f"{low:.2f} to {high:.2f} bits a pixel: {html.number(n)}")
        for n, low, high in zip(counts.tolist(), edges[:-1], edges[1:], strict=True)
    ]
    return [
        charts.columns(bars, "Bits a pixel", every=each),
        f'<p class="note">Of the JPEGs of the {html.number(len(bits))} samples shown below; median '
        f"{float(np.median(bits)):.2f}. Larger ones count into the last column.</p>",
    ]


def _bytes(facts: Facts) -> str:
    rows = [["of all shards", html.size(facts.bytes)]]
    if facts.exported:
        rows.append(["a sample, with text, JSON and tar headers",
                     html.size(facts.bytes / facts.exported)])  # fmt: skip
    if facts.meta and facts.meta.source_bytes:
        share = html.share(facts.bytes, facts.meta.source_bytes)
        rows += [["the same images in the source", html.size(facts.meta.source_bytes)],
                 ["shards / source", share]]  # fmt: skip
    if facts.pixels and not facts.copied:
        rows.append(["pixels", f"{facts.pixels / 1e6:,.1f} MP"])
        rows.append(["bits a pixel, all included", f"{8 * facts.bytes / facts.pixels:.2f}"])
    return html.table(("", ""), [[html.text(a), b] for a, b in rows], 1, "plain")
