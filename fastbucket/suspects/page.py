"""suspects.html: a contact sheet with tick boxes, whole in one file, which saves a list of keys."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from .. import commit
from ..stored import Place
from ..thumbnails import data_uri, thumbnails

if TYPE_CHECKING:
    from .find import Suspect

SHOWN = 1500
"""Suspects on the page: some 10 MB, which a browser opens in a second."""

OF_A_CLUSTER = 24
"""Members of a cluster on the page; its boxes tick the others as well, up to LISTED."""

LISTED = 20_000
"""Keys of suspects that stand in the page unseen, because a cluster's boxes name them."""

TITLES = {
    "blank": "Blank and nearly flat",
    "text": "Text and drawings",
    "border": "Heavy borders",
    "copy": "Copies",
}


def write(out: Path, path: Path, found: Sequence[Suspect], samples: int) -> int:
    """Write the page. Returns the number of suspects with a thumbnail on it."""
    groups = list(_chosen(found))
    shown = [suspect for _, _, some in groups for suspect in some]
    places = [Place(s.bucket_id, s.shard, s.position, s.key) for s in shown]
    images = {
        place.key: data_uri(made.jpeg)
        for place, made in zip(places, thumbnails(out, places), strict=True)
    }
    script = files(__package__).joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    sections = [_section(title, hidden, some, images) for title, hidden, some in groups]
    page = (
        files(__package__)
        .joinpath("page.html")
        .read_text(encoding="utf-8")
        .replace("{{style}}", files(__package__).joinpath("page.css").read_text(encoding="utf-8"))
        .replace("{{script}}", script)
        .replace("{{digest}}", digest)
        .replace("{{name}}", html.escape(out.resolve().name))
        .replace("{{about}}", _about(len(shown), len(found), samples))
        .replace("{{sections}}", "\n".join(sections))
    )
    commit.write_text(path, page)
    return len(shown)


def _about(shown: int, suspects: int, samples: int) -> str:
    some = "all of them" if shown == suspects else (
        f"{shown:,} of them: the largest clusters, up to {OF_A_CLUSTER} of each, and the surest "
        "of every kind; suspects.jsonl has all"
    )  # fmt: skip
    return f"{suspects:,} suspects among {samples:,} samples. Shown: {some}."


def _chosen(found: Sequence[Suspect]) -> Iterator[tuple[str, list[str], list[Suspect]]]:
    """(title, keys that are not shown, suspects shown), within the bounds. Half of the page is for
    clusters, where both kinds are many."""
    in_clusters = [s for s in found if s.cluster >= 0]
    others = [s for s in found if s.cluster < 0]
    room = SHOWN - min(len(others), SHOWN // 2)
    listed = 0
    for _, members in groupby(in_clusters, key=lambda s: s.cluster):
        those = list(members)
        some = those[: min(OF_A_CLUSTER, room)]
        if not some:
            break
        hidden = [s.key for s in those[len(some) :]][: LISTED - listed]
        listed += len(hidden)
        room -= len(some)
        what = "" if some[0].kind == "copy" else f", {TITLES[some[0].kind].lower()}"
        yield f"{some[0].cluster_size:,} near-identical{what}", hidden, some
    share = max((SHOWN // 2) // len(TITLES), 1)
    for kind, title in TITLES.items():
        some = [s for s in others if s.kind == kind][:share]
        if some:
            yield title, [], some


def _section(
    title: str, hidden: Sequence[str], some: Sequence[Suspect], images: dict[str, str]
) -> str:
    cluster = some[0].cluster >= 0
    cards = "".join(_card(suspect, images[suspect.key]) for suspect in some)
    more = f" <small>{len(hidden):,} more are ticked with all</small>" if hidden else ""
    boxes = '<label><input type="checkbox" class="all">all</label>'
    if cluster:
        boxes += '<label><input type="checkbox" class="rest">all but the first</label>'
    return (
        f'<section data-hidden="{html.escape(json.dumps(list(hidden)))}">'
        f"<h2>{html.escape(title)}{more} {boxes}</h2><div>{cards}</div></section>"
    )


def _card(suspect: Suspect, image: str) -> str:
    name = html.escape(suspect.image_id, quote=True)
    picture = f'<img loading="lazy" src="{image}" alt="">' if image else "<i>cannot be decoded</i>"
    return (
        f'<label class="card" title="{name}">'
        f'<input type="checkbox" value="{html.escape(suspect.key)}">{picture}<span>{name}</span>'
        f"<small>{html.escape(suspect.bucket_id)} &middot; {suspect.kind} {suspect.score:.2f}"
        "</small></label>"
    )
