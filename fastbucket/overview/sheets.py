"""The contact sheets: cards by bucket, with the fields that the page's script filters by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..thumbnails import data_uri
from . import charts, html
from .contact import CAPTION_LIMIT, Shown
from .gathered import Facts

_PAGE = 1198
"""Pixels of a row of cards on a wide screen."""

_TALLEST = 240
"""Pixels that the style sheet lets a picture be high."""


def sheets(facts: Facts) -> str:
    """A bar to search and filter with, and a sheet for each bucket."""
    options = "".join(
        f'<option value="{html.text(b["bucket_id"])}">{html.text(b["bucket_id"])} · '
        f"{html.number(b['count'])}</option>"
        for b in facts.buckets
    )
    bar = (
        '<form class="filter" id="filter" role="search">'
        '<input type="search" id="words" placeholder="Search captions, keys, sources" '
        'aria-label="Search captions, keys, sources" autocomplete="off" spellcheck="false">'
        f'<select id="bucket" aria-label="Bucket"><option value="">all buckets</option>{options}'
        '</select><select id="caption" aria-label="Captions"><option value="">any caption</option>'
        '<option value="1">with a caption</option><option value="0">without</option></select>'
        f'<output id="found">{html.number(facts.cards)} shown</output></form>'
    )
    parts = []
    number = 0
    for bucket in facts.buckets:
        cards = facts.shown.get(bucket["bucket_id"], [])
        parts.append(_sheet(bucket, cards, number))
        number += len(cards)
    return html.section(
        "samples",
        "Samples",
        f"{html.number(facts.cards)} of {html.number(facts.exported)} samples: a selection by seed "
        f"{facts.seed}, as many of each bucket. A click shows what is known of one.",
        bar,
        *parts,
        '<p class="absent" id="nothing" hidden>No sample that is shown here fits.</p>',
    )


def _sheet(bucket: dict[str, Any], cards: Sequence[Shown], first: int) -> str:
    name = html.text(bucket["bucket_id"])
    w, h = bucket["target_w"], bucket["target_h"]
    figures = "".join(_figure(card, first + i, w, h) for i, card in enumerate(cards))
    wide = max(104, min(200, round(160 * (w / h) ** 0.5)))
    # What the browser takes for the height until the sheet comes into view.
    tall = 60 + -(-len(cards) // (_PAGE // (wide + 14))) * (min(wide * h // w, _TALLEST) + 100)
    return (
        f'<div class="bucket" id="sheet-{name}" data-bucket="{name}" '
        f'style="contain-intrinsic-size:auto {tall}px"><h3>'
        f"{charts.shape(w, h)}{name} <small>{w}×{h} · {html.number(len(cards))} of "
        f'{html.number(bucket["count"])}</small></h3><div class="sheet" style="--w:{wide}px">'
        f"{figures}</div></div>"
    )


def _figure(card: Shown, number: int, w: int, h: int) -> str:
    image = (
        f'<img src="{data_uri(card.jpeg)}" alt="" decoding="async" style="aspect-ratio:{w}/{h}">'
        if card.jpeg
        else f'<div class="none" style="aspect-ratio:{w}/{h}">cannot be decoded</div>'
    )
    caption = html.text(card.caption, CAPTION_LIMIT)
    words = f"<b>{caption}</b>" if card.caption else '<b class="no">no caption</b>'
    return (
        f'<figure class="card" tabindex="0" data-n="{number}" data-c="{int(bool(card.caption))}">'
        f'{image}<figcaption>{words}<span title="{html.text(card.image_id)}">'
        f"{html.text(card.member)}</span><span>{html.text(card.archive)}</span>"
        f'<span class="key" title="{html.text(card.key)}">{html.text(card.key)}</span>'
        "</figcaption></figure>"
    )


def details(facts: Facts) -> str:
    """What the page's script shows of a card, as JSON that fits into a script element."""
    rows = [
        {
            "key": card.key,
            "image_id": card.image_id,
            "source_archive": card.archive,
            "source_member": card.member,
            "shard": f"buckets/{card.place.bucket_id}/shard-{card.place.shard:06d}.tar",
            "position": card.place.position,
            "bytes": card.bytes,
            **card.facts,
        }
        for cards in (facts.shown.get(b["bucket_id"], []) for b in facts.buckets)
        for card in cards
    ]
    # Within a script nothing is escaped but by JSON: no < may stand there, nor the two ends of
    # lines that JSON allows and old scripts do not.
    text = json.dumps(rows, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
