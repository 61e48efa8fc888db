"""The sections of the page, each from the facts to HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..buckets import FAMILIES, buckets
from ..errors import RunError
from ..recipe import Recipe
from . import charts, html
from .charts import Bar
from .contact import Shown
from .dropped import PICTURED
from .facts import SCALE_BINS, MetaFacts
from .regions import regions

REASONS = {
    "too_small": "Would have needed upsampling to its bucket.",
    "duplicate": "The same source bytes as an earlier sample.",
    "excluded": "Listed for exclusion.",
    "no_image": "No member of the sample is an image.",
    "unreadable": "No image header that can be read.",
    "too_many_pixels": "More pixels than max_pixels allows.",
    "no_caption": "Without a caption, and missing_caption_policy is drop.",
    "undecodable": "Pixels cut short or damaged, or too costly to decode.",
    "decoder_crash": "Ended or stalled its process three times, twice of it alone.",
}


@dataclass
class Facts:
    """All that the page is made of. meta, run, coverage: None where the export has none."""

    name: str
    manifest: dict[str, Any]
    meta: MetaFacts | None
    run: dict[str, Any] | None
    coverage: list[dict[str, Any]] | None
    shown: dict[str, list[Shown]]
    pictures: Mapping[tuple[str, str], bytes]
    no_pictures: str  # why some are missing
    wrong: list[str]  # what could not be shown
    seed: int

    @property
    def buckets(self) -> list[dict[str, Any]]:
        return list(self.manifest["buckets"])

    @property
    def exported(self) -> int:
        return int(self.manifest["counts"]["exported"])

    @property
    def scanned(self) -> int:
        return int(self.manifest["source"]["samples"])

    @property
    def bytes(self) -> int:
        return sum(shard["bytes"] for bucket in self.buckets for shard in bucket["shards"])

    @property
    def pixels(self) -> int:
        return sum(b["count"] * b["target_w"] * b["target_h"] for b in self.buckets)

    @property
    def captions(self) -> int:
        return sum(source["count"] for source in self.manifest["caption_sources"])

    @property
    def cards(self) -> int:
        return sum(len(cards) for cards in self.shown.values())

    @property
    def copied(self) -> bool:
        """Whether images are the source's own, of any size."""
        return bool(self.manifest["image_codec"]["mode"] == "passthrough_jpeg")


def totals(facts: Facts) -> str:
    """The figures at the top."""
    dropped = facts.scanned - facts.exported
    shards = sum(len(bucket["shards"]) for bucket in facts.buckets)
    tiles = [
        html.tile(html.number(facts.exported), "samples",
                  f"{html.share(facts.exported, facts.scanned)} of "
                  f"{html.number(facts.scanned)} scanned"),
        html.tile(html.number(dropped), "dropped",
                  f"{len(facts.manifest['counts']['dropped'])} reasons"),
        html.tile(html.number(len(facts.buckets)), "buckets",
                  f"base {facts.manifest['base_resolution']}, "
                  f"divisible by {facts.manifest['divisible']}"),
        html.tile(html.size(facts.bytes), "on disk", f"{html.number(shards)} shards"),
        html.tile(html.share(facts.captions, facts.exported), "captioned",
                  f"{html.number(facts.captions)} captions"),
    ]  # fmt: skip
    if facts.run is not None:
        took = sum(facts.run["phases"].values())
        tiles.append(
            html.tile(html.seconds(took), "the run", f"{html.number(facts.run['workers'])} workers")
        )
    return f'<div class="tiles">{"".join(tiles)}</div>' + "".join(
        html.absent(html.text(wrong, 600)) for wrong in facts.wrong
    )


def of_buckets(facts: Facts) -> str:
    """Chart and table."""
    bars = [
        Bar(
            b["bucket_id"],
            b["count"],
            f"{b['bucket_id']} → {b['target_w']}×{b['target_h']}: {html.number(b['count'])} "
            f"samples, {html.share(b['count'], facts.exported)}",
        )
        for b in sorted(facts.buckets, key=_ratio)
    ]
    rows = []
    for b in sorted(facts.buckets, key=_ratio):
        w, h, count = b["target_w"], b["target_h"], b["count"]
        stored = sum(shard["bytes"] for shard in b["shards"])
        scale = facts.meta.scale_of.get(b["bucket_id"]) if facts.meta else None
        rows.append(
            [
                f'{charts.shape(w, h)}<a href="#sheet-{html.text(b["bucket_id"])}">'
                f"{html.text(b['bucket_id'])}</a>",
                f"{w}×{h}",
                f"{w / h:.3f}",
                html.number(count),
                html.share(count, facts.exported),
                html.number(len(b["shards"])),
                html.size(stored),
                html.size(stored / count if count else 0),
                html.NONE if facts.copied else f"{8 * stored / max(count * w * h, 1):.2f}",
                html.NONE if scale is None or not count else f"{scale / count:.3f}",
            ]
        )
    head = ("bucket", "target", "w/h", "samples", "share", "shards", "size", "a sample",
            "bits/pixel", "mean scale")  # fmt: skip
    return html.section(
        "buckets", "Buckets",
        "From tall to wide. Images are the source's own, of any size: the target is what they are "
        "grouped for." if facts.copied
        else "From tall to wide; all images of a bucket have its target's size.",
        html.panel("Samples by bucket", '<div class="wide">',
                   charts.columns(bars, "Samples by bucket", 1000, 300, upright=len(bars) > 8),
                   "</div>"),
        html.table(head, rows, 1, "sortable"),
    )  # fmt: skip


def _ratio(bucket: Mapping[str, Any]) -> float:
    return float(bucket["target_w"] / bucket["target_h"])


def of_sizes(facts: Facts) -> str:
    """Width x height of the sources, scales, chroma, bytes."""
    meta, recipe = facts.meta, facts.manifest["recipe"]
    if meta is None:
        return html.section("sizes", "Sizes", "", html.absent(
            "The sizes of the sources stand in meta/, which this export has not, or not in a form "
            "that can be read."))  # fmt: skip
    counts = {b["bucket_id"]: b["count"] for b in facts.buckets}
    outlines = []
    if recipe.get("family") in FAMILIES:
        family = buckets(recipe["family"], recipe["base_resolution"], recipe["divisible"])
        outlines = regions(family, recipe["choice"], counts)
    legend = (
        '<p class="legend"><i class="kept"></i>exported <i class="dropped"></i>dropped '
        '<i class="region used"></i>region of a bucket <i class="region"></i>of an empty one</p>'
    )
    note = "Both axes are logarithmic; shades are by the logarithm of the count."
    if recipe.get("too_small_policy") == "next_bucket":
        note += " Regions are those of the first choice: next_bucket lets a neighbour take some."
    thumbs = [card for cards in facts.shown.values() for card in cards if card.bytes >= 0]
    return html.section(
        "sizes",
        "Sizes",
        "Width and height of the sources after EXIF orientation. An image whose dot lies in a "
        "region falls into that bucket; below all regions it would have needed upsampling.",
        '<div class="split">',
        html.panel("Source width × height", charts.sizes(meta.kept_map, meta.dropped_map, outlines),
                   legend, note=note),
        '<div class="stack">',
        html.panel("Scale", charts.columns(_scales(meta, facts), "Scale", every=SCALE_BINS // 5),
                   note=f"Target / source of the {html.number(sum(meta.scales))} exported; 1 keeps "
                   "every pixel." + _threshold(recipe)),
        html.panel("Chroma", *_chroma(facts, thumbs)),
        html.panel("Bits a pixel", *_bits(thumbs)),
        html.panel("Bytes", _bytes(facts)),
        "</div></div>",
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
        return {":".join(policy): facts.exported}, True
    if not facts.copied and policy == "adaptive_scale" and facts.meta:
        below = facts.meta.below
        return {"4:4:4": below, "4:2:0": facts.exported - below}, True
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


def of_captions(facts: Facts) -> str:
    """What the shards hold, and what the workspace holds."""
    total = facts.exported
    sources = sorted(facts.manifest["caption_sources"], key=lambda s: -s["count"])
    bars = [
        Bar(s["variant"], s["count"],
            f"{html.number(s['count'])} · {html.share(s['count'], total)}")
        for s in sources
    ]  # fmt: skip
    if without := total - facts.captions:
        bars.append(Bar("without a caption", without,
                        f"{html.number(without)} · {html.share(without, total)}",
                        "dropped"))  # fmt: skip
    parts = [html.panel("In the shards", charts.rows(bars, "Captions in the shards", total))]
    if facts.coverage is None:
        parts.append(html.absent("There is no captions.sqlite beside this export that can be read: "
                                 "what stands in the shards is all there is to show."))  # fmt: skip
    else:
        head = ("variant", "model", "captions", "coverage", "empty", "refused", "error",
                "median length")  # fmt: skip
        rows = [
            [html.text(c["variant"]), html.text(c["model"] or html.NONE), html.number(c["ok"]),
             html.share(c["ok"], total), html.number(c["empty"]), html.number(c["refused"]),
             html.number(c["error"]), html.number(c["median"])]
            for c in facts.coverage
        ]  # fmt: skip
        parts.append(html.panel("In captions.sqlite", html.table(head, rows, 2)))
    priority = " → ".join(html.text(e["variant"]) for e in facts.manifest["caption_priority"])
    return html.section("captions", "Captions", f"Priority: {priority}." if priority else "",
                        *parts)  # fmt: skip


def of_drops(facts: Facts) -> str:
    """Why samples are not there, with some of each reason."""
    from ..thumbnails import data_uri

    counts = facts.manifest["counts"]["dropped"]
    by_count = sorted(counts.items(), key=lambda item: -item[1])
    if not counts:
        return html.section("dropped", "Dropped", "", html.absent("Nothing was dropped."))
    bars = [
        Bar(reason, n, f"{html.number(n)} · {html.share(n, facts.scanned)}", "dropped")
        for reason, n in by_count
    ]
    parts = [
        html.panel("By reason, of all scanned", charts.rows(bars, "Drops by reason", facts.scanned))
    ]
    if facts.meta is None:
        parts.append(html.absent("Which samples those are stands in meta/, which this export has "
                                 "not, or not in a form that can be read."))  # fmt: skip
    elif facts.no_pictures:
        parts.append(html.absent(f"Pictures are of the sources: {html.text(facts.no_pictures)}."))
    for reason, n in by_count:
        cards = []
        for row in facts.meta.dropped if facts.meta else []:
            if row.reason == reason:
                jpeg = facts.pictures.get((row.archive, row.member), b"")
                image = f'<img src="{data_uri(jpeg)}" alt="" decoding="async">'
                size = f"{row.width}×{row.height}" if row.width > 0 else ""
                none = "not shown" if reason in PICTURED else "no picture"
                cards.append(
                    f'<figure class="card">{image if jpeg else f"<div class=none>{none}</div>"}'
                    f"<figcaption><b>{html.text(row.detail or size or html.NONE)}</b>"
                    f'<span title="{html.text(row.image_id)}">'
                    f"{html.text(row.member or row.image_id)}</span>"
                    f"<span>{html.text(row.archive)}</span>"
                    f"{f'<span>{size}</span>' if row.detail and size else ''}</figcaption></figure>"
                )
        what = REASONS.get(reason, "")
        parts.append(
            f"<h3>{html.text(reason)} <small>{html.number(n)}</small></h3>"
            f'<p class="why">{what}</p><div class="sheet">{"".join(cards)}</div>'
        )
    return html.section(
        "dropped", "Dropped",
        "Every scanned sample is exported or dropped for one reason; of each some are shown.",
        *parts,
    )  # fmt: skip


def of_source(facts: Facts) -> str:
    """Where the samples come from."""
    source = facts.manifest["source"]
    rows = [["archives", html.number(source["archives"])],
            ["samples", html.number(facts.scanned)]]  # fmt: skip
    rows += [[f"split {name}" if name else "without a split", html.number(n)]
             for name, n in source["splits"].items()]  # fmt: skip
    parts = [html.panel("Scanned", html.table(("", ""), [[html.text(a), b] for a, b in rows], 1,
                                              "plain"))]  # fmt: skip
    if facts.meta:
        formats = [
            Bar(name or "unknown", n, f"{html.number(n)} · {html.share(n, facts.exported)}")
            for name, n in facts.meta.formats.most_common()
        ]
        note = f"{html.number(facts.meta.turned)} were stored turned (EXIF orientation)."
        chart = charts.rows(formats, "Formats", facts.exported)
        parts.append(html.panel("Formats of the exported", chart, note=note))
    broken = [[html.text(b["archive"]), html.text(b["why"])] for b in source["broken"][:100]]
    if broken:
        parts.append(html.panel("Archives that end early",
                                html.table(("archive", "why"), broken, 2)))  # fmt: skip
    return html.section("source", "Source", "", '<div class="pair">', *parts, "</div>")


def of_run(facts: Facts) -> str:
    """How fast it was."""
    run = facts.run
    if run is None:
        return html.section("run", "Speed", "", html.absent(
            "How long the run took stands in run.json, which this export has not: an earlier "
            "version made it, or the file was removed."))  # fmt: skip
    phases = [Bar(k, v, html.seconds(v)) for k, v in run["phases"].items()]
    total = sum(run["stages"].values())
    stages = [
        Bar(k, v, f"{html.seconds(v)} · {html.share(v, total)}") for k, v in run["stages"].items()
    ]
    own = run["exported"] - run["resumed_samples"]
    took, all_took = run["phases"].get("export", 0), sum(run["phases"].values())
    rows = [
        ["samples a second, in the export", f"{own / took:,.0f}" if took else html.NONE],
        ["scanned samples a second, all phases",
         f"{run['scanned'] / all_took:,.0f}" if all_took else html.NONE],
        ["source images read in the export",
         f"{html.size(run['bytes_in'] / took)}/s" if took and own == run["exported"]
         else html.NONE],
        ["milliseconds of work a sample",
         f"{1000 * total / run['exported']:.2f}" if run["exported"] else html.NONE],
        ["workers", html.number(run["workers"])],
        ["CPUs", f"{html.number(run['cpus'])}, {html.text(run['machine'])}"],
        ["ended", html.text(run["finished_at"].replace("T", " ").replace("Z", " UTC"))],
    ]  # fmt: skip
    lead = ""
    if run["resumed_shards"]:
        lead = (
            f"Resumed: {html.number(run['resumed_shards'])} of {html.number(run['shards'])} shards "
            "were there already. Phases are of the last run, stages of all."
        )
    return html.section(
        "run", "Speed", lead,
        '<div class="pair">',
        html.panel("Phases, by the clock", charts.rows(phases, "Phases", all_took),
                   html.table(("", ""), rows, 1, "plain")),
        html.panel("Stages of a sample, all workers", charts.rows(stages, "Stages", total)),
        "</div>",
    )  # fmt: skip


def of_settings(facts: Facts) -> str:
    """The recipe, what differs from the defaults marked, and the versions."""
    defaults = Recipe().to_json()
    helps = {f.name: f.metadata["help"] for f in fields(Recipe)}
    rows = []
    for name, value in facts.manifest["recipe"].items():
        words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        mark = (
            "" if value == defaults.get(name, value) else ' <mark title="not the default">*</mark>'
        )
        rows.append([html.text(name), f"<code>{html.text(words or html.NONE)}</code>{mark}",
                     html.text(helps.get(name, ""))])  # fmt: skip
    software = [[html.text(k), f"<code>{html.text(v)}</code>"]
                for k, v in facts.manifest["software"].items()]  # fmt: skip
    return html.section(
        "settings", "Settings", "The recipe: with the source, it decides every byte of every shard."
        " <code>fastbucket export --recipe manifest.json</code> repeats it. * is not the default.",
        html.table(("field", "value", "what it does"), rows, 3),
        html.panel("Software", html.table(("", ""), software, 1, "plain")),
    )  # fmt: skip


def known_recipe(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the manifest's recipe that this version knows, the others by default."""
    values = manifest.get("recipe")
    names = {field.name for field in fields(Recipe)}
    try:
        known = {k: v for k, v in (values or {}).items() if k in names}
        return Recipe.from_json(known).to_json()
    except (RunError, AttributeError, TypeError):
        return Recipe().to_json()
