"""The page: facts gathered, sections put together, one file written."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from .. import __version__, commit
from ..errors import RunError
from ..format import CAPTIONS, REPORT, UNFINISHED
from ..progress import Progress, Silent
from ..sources.address import is_remote
from ..verification.manifest import load
from . import contact, dropped, html, sections, sheets
from .drops import of_drops
from .facts import meta_facts, run_facts
from .gathered import Facts, known_recipe
from .sizes import of_sizes

SAMPLES = 960
"""Samples shown, of all buckets together: a page of some 9 MB. One takes at most 30 kB."""

_NAVIGATION = (
    ("buckets", "Buckets"), ("sizes", "Sizes"), ("captions", "Captions"), ("dropped", "Dropped"),
    ("source", "Source"), ("run", "Speed"), ("settings", "Settings"), ("samples", "Samples"),
)  # fmt: skip


class Written(NamedTuple):
    """What was written. bytes: of the file; samples, dropped: those that it shows."""

    path: str
    bytes: int
    samples: int
    dropped: int
    seconds: float
    absent: list[str]  # what the export does not have, or could not be read


def write(
    out: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    sources: Sequence[str] = (),
    samples: int = SAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Written:
    """Write the page of the export in `out`, whole or not at all, to `path` (out/report.html).

    sources: as named for the export, for thumbnails of what was dropped; by default where run.json
    says. samples: thumbnails of exported samples, spread evenly over the buckets. seed: of their
    choice. Raises RunError where there is no export, or the page cannot be written.
    """
    start = time.monotonic()
    root = Path(out)
    target = Path(path) if path is not None else root / REPORT
    manifest = load(root)
    try:
        facts = gather(root, manifest, sources, samples, seed, progress or Silent())
        text = page(facts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{root}: manifest.json is not what the format says ({type(error).__name__}: {error}); "
            "fastbucket verify says more"
        ) from error
    commit.write_text(target, text)
    absent = [*facts.wrong, *([facts.no_pictures] if facts.no_pictures else [])]
    for name, value in (("meta/", facts.meta), ("run.json", facts.run), (CAPTIONS, facts.coverage)):
        if value is None:
            absent.append(f"{name} is absent, or cannot be read")
    return Written(
        str(target), len(text.encode()), facts.cards, len(facts.pictures),
        time.monotonic() - start, absent,
    )  # fmt: skip


def gather(
    out: Path,
    manifest: dict[str, Any],
    sources: Sequence[str],
    samples: int,
    seed: int,
    progress: Progress,
) -> Facts:
    """All that the page says."""
    manifest = {**manifest, "recipe": {**known_recipe(manifest), **manifest["recipe"]}}
    meta = meta_facts(out, manifest, seed)
    run = run_facts(out)
    shown, wrong = contact.shown(out, manifest, samples, seed, progress)
    for marker, (work, command) in UNFINISHED.items():
        if (out / marker).is_file():
            wrong.insert(0, f"{work.capitalize()}: the manifest does not hold until then. "
                         f"Run fastbucket {command} again, and then this.")  # fmt: skip
    # Pictures of what was dropped are not worth fetching terabytes again.
    near = [source for source in run["sources"] if not is_remote(source)] if run else []
    known = [os.path.join(out, source) for source in near]
    pictures, why = dropped.pictures(
        out, known_recipe(manifest), meta.dropped if meta else (),
        list(sources) or known, progress,
    )  # fmt: skip
    return Facts(
        out.resolve().name, manifest, meta, run, _coverage(out), shown, pictures, why, wrong, seed
    )


def _coverage(out: Path) -> list[dict[str, Any]] | None:
    """The variants of captions.sqlite; None where there is none that can be read."""
    if not (out / CAPTIONS).is_file():
        return None
    from ..captions.survey import variants

    try:
        return [entry._asdict() for entry in variants(out)]
    except RunError:
        return None


def page(facts: Facts) -> str:
    """The file's text. Nothing is loaded: its policy forbids it, and allows but its own script."""
    style, script = (
        files(__package__).joinpath(name).read_text(encoding="utf-8")
        for name in ("page.css", "page.js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
        f"form-action 'none'; script-src 'sha256-{digest}'"
    )
    manifest = facts.manifest
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title in _NAVIGATION)
    made = str(manifest["created_at"]).replace("T", " ").replace("Z", " UTC")
    name = html.text(facts.name)
    parts = (
        sections.totals(facts),
        sections.of_buckets(facts),
        of_sizes(facts),
        sections.of_captions(facts),
        of_drops(facts),
        sections.of_source(facts),
        sections.of_run(facts),
        sections.of_settings(facts),
        sheets.sheets(facts),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{name} · fastbucket</title><style>{style}</style></head><body>"
        f'<nav><div><a class="home" href="#top">{name}</a>{links}'
        '<button id="theme" type="button" aria-label="Light or dark">◐</button></div></nav>'
        f'<main id="top"><header><h1>{name}</h1><p class="lead">{html.text(manifest["format"])} · '
        f"export <code>{html.text(manifest['export_id'])}</code> · {html.text(made)}</p></header>"
        f"{''.join(parts)}</main>"
        f"<footer>fastbucket {html.text(__version__)} · samples are a selection by seed "
        f"{facts.seed}; numbers are of all.</footer>"
        '<dialog id="detail"><form method="dialog"><button aria-label="Close">×</button></form>'
        '<div id="detail-body"></div></dialog>'
        f'<script type="application/json" id="details">{sheets.details(facts)}</script>'
        f"<script>{script}</script></body></html>\n"
    )
