"""The sections of the page, each from the facts to HTML; those of sizes and drops have files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..format import bases
from ..recipe import Recipe
from . import charts, html
from .charts import Bar
from .gathered import Facts


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
                  f"base {html.text(', '.join(map(str, bases(facts.manifest))))}, "
                  f"divisible by {html.text(facts.manifest['divisible'])}"),
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
        html.table(("field", "value", "what it does"), rows, 3, "settings"),
        html.panel("Software", html.table(("", ""), software, 1, "plain")),
    )  # fmt: skip
