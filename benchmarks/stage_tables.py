"""Sections of the page below the comparison of bytes to bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .exports import exporter
from .figures import ABSENT
from .record import Record, count, number, percent, spread, table, times
from .runs.pipeline import FLOOR, OURS, PILLOW, SOURCES
from .stages.scan import TARFILE


def export(record: Record) -> list[str]:
    """End to end, with the phases and the stages of ours."""
    names = record.names("export", "seconds")
    if not names:
        return []
    ours = ("export", exporter("ours").NAME, "seconds")
    rows = [
        (
            name,
            number(record.value("export", name, "seconds")),
            spread(record.figure("export", name, "seconds")),
            times(record.ratio(("export", name, "seconds"), ours)),
        )
        for name in names
    ]
    samples, exported = (record.value("export", "source", m) for m in ("samples", "exported"))
    size = record.value("export", "source", "bytes") or 0
    lines = ["## End to end: tars to tars, one core", ""]
    lines += [
        f"{count(samples)} samples, {count(exported)} of which fit, {number(size / 1e6)} MB, in "
        "the page cache. Ours is timed from the start of the interpreter, the others from after "
        "their imports.",
        "",
    ]
    lines += table(("", "seconds", "rounds", "against ours"), rows)
    phases = record.metrics("export", "phase")
    lines += _row(record, "export", "phase", phases, "our phases, seconds")
    stages = [m for m in record.metrics("export", "stage") if not m.startswith("share")]
    return lines + _row(record, "export", "stage", stages, "our stages, ms a sample")


def workers(record: Record) -> list[str]:
    """Two workers against one."""
    names = record.names("workers", "seconds")
    if not names:
        return []
    phases = [m for m in record.metrics("workers", names[0]) if m.startswith("phase")]
    rows = [
        (
            name,
            number(record.value("workers", name, "seconds")),
            spread(record.figure("workers", name, "seconds")),
            *(number(record.value("workers", name, phase)) for phase in phases),
            number(record.value("workers", name, "ms")),
        )
        for name in names
    ]
    samples = record.value("workers", "source", "samples")
    headers = ("", "seconds", "rounds", *phases, "ms a sample in a worker")
    lines = [f"## Workers: export of {count(samples)} images that all fit", ""]
    return [*lines, *table(headers, rows)]


def scan(record: Record) -> list[str]:
    """The scan: warm rate, bytes from a cold disk, and where its time goes."""
    rate = record.figure("scan", "warm", "rate")
    if rate is None:
        return []
    members = record.value("scan", "source", "members")
    faults, system = (record.value("scan", "warm", m) for m in ("faults", "system"))
    rounds = f" ({spread(rate)})" if spread(rate) else ""
    lines = [
        "## Scan",
        "",
        f"{count(members)} members, in the page cache, each tar mapped anew: {count(rate.value)} "
        f"members/s on one core{rounds}, {number(faults)} page faults a member, "
        f"{percent(system)} of the time in the kernel.",
        "",
    ]
    listed = record.value("scan", TARFILE, "rate")
    if listed:
        lines += [f"Python's tarfile, in turn, lists {count(listed)} members/s of them.", ""]
    read, size, needed = (record.value("scan", "cold", m) for m in ("read", "bytes", "needed"))
    if read is not None and size and needed:
        lines += [
            f"From a cold disk it read {number(read / 1e6)} MB of {number(size / 1e6)} MB "
            f"({percent(read / size)}; the pages with headers are {number(needed / 1e6)} MB), at "
            f"{number(record.value('scan', 'cold', 'rate'))} members/s.",
            "",
        ]
    return [*lines, *_profile(record, "scan")]


def memory(record: Record) -> list[str]:
    """Memory of a worker."""
    names = record.names("memory", "peak")
    if not names:
        return []
    metrics = [m for m in record.metrics("memory", names[0]) if m not in ("samples", ABSENT)]
    rows = [
        (
            name,
            count(record.value("memory", name, "samples")),
            *(number(record.value("memory", name, metric)) for metric in metrics),
        )
        for name in names
    ]
    lines = ["## Memory of a worker, MB", ""]
    lines += ["Quarters of the run (medians) and growth are without mapped files.", ""]
    return [*lines, *table(("", "samples", *metrics), rows)]


def plan(record: Record) -> list[str]:
    """The plan of a large source."""
    if record.value("plan", "plan", "seconds") is None:
        return []
    rows, kept = (record.value("plan", "source", metric) for metric in ("rows", "kept"))
    parts = {m: number(record.value("plan", "plan", m)) for m in ("read", "make", "write")}
    listed = ", ".join(f"{name} {value}" for name, value in parts.items())
    peak, own = (record.value("plan", "plan", m) for m in ("peak", "peak without mapped files"))
    return [
        "## Plan",
        "",
        f"{count(rows)} catalogue rows, {count(kept)} of them kept: "
        f"{number(record.value('plan', 'plan', 'seconds'))} s ({listed}), peak {number(peak)} MB, "
        f"of which {number(own)} MB are no mapped files.",
        "",
        *_profile(record, "plan"),
    ]


def scale(record: Record) -> list[str]:
    """A catalogue of full size to its manifest and page, and a large source interrupted."""
    lines: list[str] = []
    if names := record.names("totals", "seconds"):
        rows = [
            (
                name,
                number(record.value("totals", name, "seconds")),
                number(record.value("totals", name, "peak")),
                number(record.value("totals", name, "own")),
                number((record.value("totals", name, "bytes") or 0) / 1e6 or None),
            )
            for name in names
        ]
        total = count(record.value("totals", names[0], "rows"))
        lines += [f"## {total} rows to their manifest and page", ""]
        headers = ("", "seconds", "peak MB", "without mapped files", "MB written")
        lines += table(headers, rows)
    if record.value("large", "source", "samples") is None:
        return lines
    samples, exported, size, workers = (
        record.value("large", "source", m) for m in ("samples", "exported", "bytes", "workers")
    )
    lines += [
        f"## {count(samples)} samples, interrupted halfway",
        "",
        f"{number((size or 0) / 1e9)} GB, {count(exported)} samples fit; {count(workers)} workers. "
        f"Of the shards {count(record.value('large', 'resumed', 'shards'))} were there when the "
        f"run went on; every byte was verified. Largest process: "
        f"{number(record.value('large', 'largest process', 'peak'))} MB.",
        "",
    ]
    rows = [
        (name, number(record.value("large", name, "seconds")))
        for name in record.names("large", "seconds")
    ]
    return [*lines, *table(("", "seconds"), rows)]


def captions(record: Record) -> list[str]:
    """Captions applied and imported."""
    names = record.names("captions", "rate")
    if not names:
        return []
    rows = [
        (
            name,
            number(record.value("captions", name, "rate")),
            spread(record.figure("captions", name, "rate")),
            number(record.value("captions", name, "cpu")),
            percent(record.value("captions", name, "system")),
            count(record.value("captions", name, "samples")),
        )
        for name in names
    ]
    samples, size = (record.value("captions", "source", m) for m in ("samples", "bytes"))
    held = record.value("captions", "source, tmpfs", "samples")
    return [
        "## Captions",
        "",
        f"{count(samples)} samples, {number((size or 0) / 1e9)} GB (in /dev/shm {count(held)}), in "
        "the page cache, on one core but where it says otherwise; what stands alone is MB of a "
        "second of processor time.",
        "",
        *table(("", "MB/s", "rounds", "MB a CPU second", "in the kernel", "samples/s"), rows),
    ]


def pipeline(record: Record) -> list[str]:
    """The transcoding step of a short script, replaced."""
    if not record.names("pipeline", "ms"):
        return []
    rows = []
    for source in SOURCES:
        ours = ("pipeline", f"{OURS}, {source}", "ms")
        kept, samples = (record.value("pipeline", source, m) for m in ("kept", "samples"))
        rows += [
            (
                name if name != OURS else f"**{name}**",
                f"{source}: {count(kept)} of {count(samples)}",
                number(record.value("pipeline", f"{name}, {source}", "ms")),
                spread(record.figure("pipeline", f"{name}, {source}", "ms")),
                times(record.ratio(("pipeline", f"{name}, {source}", "ms"), ours)),
            )
            for name in (OURS, PILLOW, FLOOR)
        ]
    lines = ["## In somebody else's pipeline: the transcoding step alone replaced, one core", ""]
    lines += [
        "A webdataset script of fifteen lines with Pillow in it, and the same with "
        "`fastbucket.webdataset_stage` in its place (benchmarks/runs/pipeline.py). CPU time.",
        "",
    ]
    return lines + table(("", "source", "ms a sample", "rounds", "against ours"), rows)


def startup(record: Record) -> list[str]:
    """How long until something happens."""
    names = record.names("startup", "seconds")
    if not names:
        return []
    rows = [
        (
            name,
            number(record.value("startup", name, "seconds")),
            spread(record.figure("startup", name, "seconds")),
        )
        for name in names
    ]
    imports = record.names("startup", "import")
    lines = ["## Start", "", *table(("", "seconds", "rounds"), rows)]
    loaded = [(name, number(record.value("startup", name, "import"))) for name in imports]
    return lines + (table(("imports of a worker", "seconds"), loaded) if loaded else [])


def decode(record: Record) -> list[str]:
    """Both decoders by size class."""
    bench = "stage/decode"
    names = record.names(bench, "turbo")
    rows = [
        (
            name,
            count(record.value(bench, name, "images")),
            number(record.value(bench, name, "megapixels")),
            percent(record.value(bench, name, "shrunk")),
            number(record.value(bench, name, "turbo")),
            number(record.value(bench, name, "vips")),
            times(record.ratio((bench, name, "vips"), (bench, name, "turbo"))),
        )
        for name in names
    ]
    headers = ("photos", "images", "mean MP", "shrunk", "libjpeg-turbo, ms", "libvips, ms", "ratio")
    return ["## Decode, by size", "", *table(headers, rows)] if rows else []


def chroma(record: Record) -> list[str]:
    """The policies: bytes saved, quality lost."""
    lines: list[str] = []
    for bench in record.benches("stage/chroma/"):
        full = (bench, "444", "bytes")
        rows = []
        for name in record.names(bench, "bytes"):
            share = record.ratio((bench, name, "bytes"), full)
            best, here = record.value(bench, "444", "db"), record.value(bench, name, "db")
            lost = best - here if best is not None and here is not None else None
            rows.append(
                (
                    f"`{name}`",
                    percent(record.value(bench, name, "share_444")),
                    number((record.value(bench, name, "bytes") or 0) / 1e3),
                    percent(1 - share) if share else "",
                    f"{here:.2f}" if here is not None else "",
                    f"{lost:.2f}" if lost is not None else "",
                    number(record.value(bench, name, "ms")),
                )
            )
        headers = ("policy", "4:4:4", "KB an image", "bytes saved", "dB", "dB lost", "ms to decide")
        lines += [f"## Chroma policies, corpus `{bench.rpartition('/')[2]}`", ""]
        lines += table(headers, rows)
    return lines


def parts(record: Record) -> list[str]:
    """What is measured alone: read, header, encode, and everything around the pixels."""
    rows = [
        (name, number(record.value(bench, name, "ms")), spread(record.figure(bench, name, "ms")))
        for bench in ("stage/read", "stage/encode", "stage/around")
        for name in record.names(bench, "ms")
    ]
    return ["## Stages alone", "", *table(("", "ms", "rounds"), rows)] if rows else []


def others(record: Record) -> list[str]:
    """Every benchmark that has no section of its own, as it was printed."""
    lines: list[str] = []
    for bench in record.benches(""):
        if bench.startswith(_TOLD):
            continue
        figures = [f for f in record.figures if f.bench == bench]
        rows = [(f.name, f.metric, number(f.value), f.unit, spread(f), f.note) for f in figures]
        lines += [f"## `{bench}`", ""]
        lines += table(("", "metric", "value", "unit", "rounds", "note"), rows)
    return lines


_TOLD = (
    "transcode/", "resize/", "export", "workers", "scan", "memory", "plan", "totals", "large",
    "captions", "pipeline", "startup", "stage/read", "stage/encode", "stage/around",
    "stage/decode", "stage/chroma/",
)  # fmt: skip
"""Benchmarks that other sections of the page show, by the start of their names."""


def _row(record: Record, bench: str, name: str, metrics: Sequence[str], title: str) -> list[str]:
    """One row of metrics, side by side."""
    if not metrics:
        return []
    values = [number(record.value(bench, name, metric)) for metric in metrics]
    return table((title, *metrics), [("", *values)])


def _profile(record: Record, bench: str) -> list[str]:
    rows = [
        (f"`{name}`", percent(record.value(bench, name, "profile")))
        for name in record.names(bench, "profile")
    ]
    return table(("function", "its own share of the time"), rows) if rows else []


SECTIONS: tuple[Callable[[Record], list[str]], ...] = (
    export,
    workers,
    scan,
    memory,
    plan,
    scale,
    captions,
    pipeline,
    startup,
    decode,
    chroma,
    parts,
    others,
)
