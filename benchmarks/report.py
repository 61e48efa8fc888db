"""Draws the page from the figures: JSON lines in, Markdown out.

    python -m benchmarks.report docs/performance.jsonl docs/performance.md [README.md]

With a README, what it quotes is brought up to date too. It measures nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from . import stage_tables
from .contenders import contender
from .contenders.__main__ import IDENTICAL_DB, WARM_UP
from .corpora import LONG_SIDES, QUALITY, SHARE_444
from .figures import read
from .record import Record, count, number, percent, spread, table, times
from .summary import quote
from .targets import TARGETS
from .turns import TURN

OURS = contender("ours").NAME
CORPORA = {"imagenet": "Images as in ImageNet", "photos": "Photos as they are"}


def main() -> None:
    source, out, *readme = sys.argv[1:]
    record = Record(read(Path(source)))
    Path(out).write_text(page(record))
    for path in readme:
        quote(record, Path(path))


def page(record: Record) -> str:
    """The whole page."""
    lines: list[str] = []
    for section in SECTIONS:
        lines += section(record)
    return "\n".join(lines).rstrip("\n") + "\n"


def head(record: Record) -> list[str]:
    """What this page is, and on which machine."""
    lines = [
        "# Performance",
        "",
        "Written by `python -m benchmarks`; every figure here is from its last run, none is typed.",
        "Only ratios carry over to another machine.",
        "",
    ]
    if any(figure.quick for figure in record.figures):
        lines += ["**A quick run: it shows that everything works, and says nothing of speed.**", ""]
    if any(figure.note == "drawn" for figure in record.figures):
        lines += ["**Without photos: the images are drawn.**", ""]
    machines = {
        f"{m['cpu']}, {m['vector']}, {m['cores']} cores, {m['memory_gb']} GB, {m['system']}"
        for m in (figure.machine for figure in record.figures)
        if m
    }
    commits = sorted({figure.commit for figure in record.figures if figure.commit})
    days = sorted({figure.at[:10] for figure in record.figures if figure.at})
    loads = [f.machine["load"] for f in record.figures if f.machine]
    lines += [f"- Machine: {'; '.join(sorted(machines))}"]
    lines += [f"- Measured: {' to '.join(sorted({days[0], days[-1]}))}" if days else ""]
    lines += [f"- Commit: {', '.join(commits)}" if commits else ""]
    if loads:
        lines += [f"- Load average meanwhile: {number(min(loads))} to {number(max(loads))}"]
    return [*lines, ""]


def targets(record: Record) -> list[str]:
    """The table of the design with what was measured, and what bounds what misses its aim."""
    quick = any(figure.quick for figure in record.figures)
    rows = []
    for target in TARGETS:
        verdict = "quick run" if quick else target.verdict(record)
        limits = (target.show(target.must), target.show(target.aim))
        rows.append((target.what, *limits, target.show(target.measured(record)), verdict))
    lines = ["## Targets", ""]
    lines += table(("", "must", "aim", "measured", "verdict"), rows)
    missed = [
        f"- {target.what}: {target.bound(record)}."
        for target in TARGETS
        if target.measured(record) is not None and not target.reached_aim(record)
    ]
    if missed:
        lines += ["What bounds those that miss the aim, by measurement:", "", *missed, ""]
    return lines


def transcode(record: Record) -> list[str]:
    """Bytes to bytes, a table for each corpus."""
    lines: list[str] = []
    for kind, title in CORPORA.items():
        bench = f"transcode/{kind}"
        names = record.names(bench, "ms")
        if not names:
            continue
        lines += [f"## {title}: bytes in memory to JPEG bytes in memory, one core", ""]
        lines += [_corpus(record, bench), ""]
        lines += table(
            (
                "", "ms an image", "rounds", "against ours", "sizes met before",
                "waited for the core", "dB before JPEG", "worst", "dB after JPEG", "KB an image",
            ),
            [_contender(record, bench, name) for name in names],
        )  # fmt: skip
        lines += _resize(record, f"resize/{kind}")
    absent = [f"- {f.name} ({f.bench}): {f.note}" for f in record.absent()]
    return [*lines, *(["Not measured:", "", *absent, ""] if absent else [])]


def _corpus(record: Record, bench: str) -> str:
    facts = {metric: record.value(bench, "corpus", metric) for metric in _FACTS}
    made = ""
    if bench.endswith("imagenet"):
        made = (
            f"The photos shrunk to a long side of {LONG_SIDES[0]} to {LONG_SIDES[1]} pixels at "
            f"quality {QUALITY}, {percent(SHARE_444)} of them 4:4:4. "
        )
    return (
        f"{made}{count(facts['images'])} plain JPEGs that fit a 512 bucket: mean "
        f"{number(facts['megapixels'])} MP, {number((facts['bytes'] or 0) / 1e3)} KB, scale "
        f"{number(facts['scale'])}; {percent(facts['shrunk'])} are large enough for "
        f"shrink-on-load, {percent(facts['444'])} become 4:4:4."
    )


_FACTS = ("images", "megapixels", "bytes", "scale", "shrunk", "444")


def _contender(record: Record, bench: str, name: str) -> tuple[str, ...]:
    ms = (bench, name, "ms")
    size = record.value(bench, name, "bytes")
    return (
        f"**{name}**" if name == OURS else name,
        number(record.value(*ms)),
        spread(record.figure(*ms)),
        times(record.paired(bench, name, OURS)),
        number(record.value(bench, name, "ms_again")),
        percent(record.value(bench, name, "waited")),
        number(record.value(bench, name, "db")),
        number(record.value(bench, name, "db_worst")),
        number(record.value(bench, name, "db_jpeg")),
        number(size / 1e3) if size else "",
    )


def _resize(record: Record, bench: str) -> list[str]:
    names = record.names(bench, "ms")
    if not names:
        return []
    rows = [
        (
            f"**{name}**" if name == OURS else name,
            number(record.value(bench, name, "ms")),
            spread(record.figure(bench, name, "ms")),
            times(record.paired(bench, name, OURS)),
            number(record.value(bench, name, "ms_again")),
        )
        for name in names
    ]
    headers = ("resize + crop alone", "ms an image", "rounds", "against ours")
    return table((*headers, "sizes met before"), rows)


def method(record: Record) -> list[str]:
    """How it was measured, and with what."""
    return [
        "## Method",
        "",
        _turns(record),
        f"- Within a process every {WARM_UP}th image by size warms up, the largest first, and the "
        'others are measured. "ms an image" is of the first pass over them, in which most sizes '
        'are new; "sizes met before" is of the second. A real source lies between.',
        "- Everyone makes the same bucket, size, crop, quality and chroma, which is checked on "
        "every JPEG. The torch float stage decodes in full, as the stage did that it stands for; "
        "the others use the decoder's shrink where we do, libvips and sharp their own.",
        "- The floor is libjpeg-turbo alone: it decodes at the shrink that we use and encodes the "
        "finished target, with nothing between. What we do before it decodes a progressive JPEG "
        "(fastbucket/decode/recode.py) takes us below the floor where there are many of them.",
        "- Quality is the mean PSNR against the slow float reference (tests/reference.py) from a "
        f"full decode; pixels without any difference count as {IDENTICAL_DB:.0f} dB.",
        '- "waited for the core" is the time of its turns in which the process was ready and '
        "something else ran, its own further threads included: near zero, or the machine was busy.",
        "",
        *_versions(record),
    ]


def _turns(record: Record) -> str:
    """How contenders took turns when these figures were measured."""
    fresh = (
        "- Every contender and every round has a fresh process, pinned to one core and told to use "
    )
    measured = [f.at for f in record.figures if f.bench.startswith(("transcode/", "resize/"))]
    if measured and min(measured) < _TURNS_SINCE:
        return (
            f"{fresh}one thread; the rounds are interleaved. A figure is the median of its rounds."
        )
    return (
        f"{fresh}one thread. All of a round are alive together and take turns of {TURN} images: "
        "what the machine does meets everyone. A figure is the median of its rounds, and a "
        "ratio that of the ratios of each round: the machine may have another speed in the next."
    )


_TURNS_SINCE = "2026-11-26"
"""Day from which on contenders take turns within a round. Figures of before stand on the page until
they are measured again."""


def _versions(record: Record) -> list[str]:
    """Of everyone who took part; the same libraries come in several versions."""
    rows = {
        figure.name: ", ".join(f"{name} {version}" for name, version in figure.versions.items())
        for figure in record.figures
        if figure.metric in ("ms", "seconds") and figure.versions
        if figure.bench.startswith(("transcode/", "export"))
    }
    return table(("versions", ""), list(rows.items())) if rows else []


SECTIONS: tuple[Callable[[Record], list[str]], ...] = (
    head,
    targets,
    transcode,
    *stage_tables.SECTIONS,
    method,
)


if __name__ == "__main__":
    main()
