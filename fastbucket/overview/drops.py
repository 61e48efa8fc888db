"""The section of drops: how many for which reason, and some of each."""

from __future__ import annotations

from ..thumbnails import data_uri
from . import charts, html
from .charts import Bar
from .dropped import PICTURED
from .gathered import Facts

REASONS = {
    "too_small": "Would have needed upsampling to its bucket.",
    "duplicate": "The same source bytes as an earlier sample.",
    "excluded": "Listed for exclusion.",
    "no_image": "No member of the sample is an image.",
    "unreadable": "No image header that can be read.",
    "too_many_pixels": "More pixels than max_pixels allows.",
    "no_caption": "Without a caption, and missing_caption_policy is drop.",
    "undecodable": "Pixels cut short or damaged, or too costly to decode.",
    "rare_bucket": "Its bucket has fewer samples than min_bucket, and no other takes it.",
    "no_plain_jpeg": "No JPEG that could be stored as it is.",
    "no_bucket": "The family has no bucket of its orientation.",
    "decoder_crash": "Ended or stalled its process three times, twice of it alone.",
}


def of_drops(facts: Facts) -> str:
    """Why samples are not there, with some of each reason."""
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
