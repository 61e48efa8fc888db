"""The few figures that the README quotes: drawn from the same record as the page, never typed."""

from __future__ import annotations

from pathlib import Path

from .contenders import CONTENDERS, contender
from .exports import exporter
from .record import Record, number, table, times

BEGIN = "<!-- figures of docs/performance.jsonl, written by python -m benchmarks -->"
END = "<!-- end of the figures -->"

BENCH = "transcode/imagenet"


def summary(record: Record) -> list[str]:
    """A table and a sentence."""
    ours, floor = contender("ours").NAME, contender("floor").NAME
    rows = []
    for name in CONTENDERS:
        title = contender(name).NAME
        ratio = record.paired(BENCH, title, ours)
        if title not in (ours, floor) and ratio:
            rows.append((title, times(ratio)))
    mine = ("export", exporter("ours").NAME, "seconds")
    replaced, careful = exporter("replaced_decode_all").NAME, exporter("replaced").NAME
    if whole := record.ratio(("export", replaced, "seconds"), mine):
        rows.append((f"tars to tars, 9 % fit: {replaced}, all images decoded", times(whole)))
    if whole := record.ratio(("export", careful, "seconds"), mine):
        rows.append((careful, times(whole)))
    reached = record.paired(BENCH, floor, ours)
    return [
        *table(("one core, photos as in ImageNet", "fastbucket is faster by"), rows),
        f"That is {number(reached)} of the floor, libjpeg-turbo's decode and encode with nothing "
        "between. How it was measured, on which machine, and what bounds it: "
        "[docs/performance.md](docs/performance.md).",
    ]


def quote(record: Record, readme: Path) -> None:
    """Put the summary between the marks of the README. Raises ValueError where there are none, and
    for figures that are no measurement of photos."""
    if any(figure.quick or figure.note == "drawn" for figure in record.figures):
        raise ValueError("the README quotes neither quick runs nor drawn images")
    text = readme.read_text()
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    readme.write_text(f"{text[:start]}\n{quoted(record)}\n{text[end:]}")


def quoted(record: Record) -> str:
    return "\n".join(summary(record))
