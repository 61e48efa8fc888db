"""`fastbucket report`: an export as one page that people look at, with nothing to load beside it.

    manifest, meta/, run.json, captions.sqlite ──facts──▶ numbers ──charts──┐
    buckets/*/*.tar ──selection, contact──▶ samples and their thumbnails ───┼─sections──▶ page
    the sources, where at hand ──dropped──▶ thumbnails of what was dropped ─┘

Numbers are of all samples; pictures are of a seeded selection, so that the page has a bounded size.
"""

from __future__ import annotations
