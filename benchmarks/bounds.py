"""What bounds a figure that misses its aim, in words made of other figures."""

from __future__ import annotations

from collections.abc import Callable

from .contenders import contender as _contender
from .exports import exporter
from .record import Record, number, percent, times
from .runs.captions import APPLY, COPY, HASH, LOOP, PAIR

Bound = Callable[[Record], str]

OURS = _contender("ours").NAME
FLOOR = _contender("floor").NAME


def contender(bench: str, name: str) -> Bound:
    """A ratio of bytes to bytes: what it would be if there were nothing but the codec."""

    def words(record: Record) -> str:
        ours, floor = record.value(bench, OURS, "ms"), record.value(bench, FLOOR, "ms")
        most = record.paired(bench, name, FLOOR)
        if not (ours and floor and most):
            return "its parts were not measured"
        return (
            f"libjpeg-turbo's decode and encode alone take {number(floor)} ms, all of ours "
            f"{number(ours)}; for them alone the ratio would be {times(most)}"
        )

    return words


def floor(bench: str, resize_bench: str) -> Bound:
    """The share of the floor: what stands between decode and encode."""

    def words(record: Record) -> str:
        ours, alone = record.value(bench, OURS, "ms"), record.value(bench, FLOOR, "ms")
        resized = record.value(resize_bench, OURS, "ms")
        again = record.value(resize_bench, OURS, "ms_again")
        if not (ours and alone and resized and again):
            return "its parts were not measured"
        return (
            f"of {number(ours)} ms an image decode and encode take {number(alone)}, resize and "
            f"crop {number(resized)} ({number(again)} where the weights are known), all the rest "
            f"{number(ours - alone - resized)}"
        )

    return words


def resize(bench: str) -> Bound:
    """The kernel: what its weights cost."""

    def words(record: Record) -> str:
        torch = _contender("torch_uint8").NAME
        first, again = record.value(bench, OURS, "ms"), record.value(bench, OURS, "ms_again")
        ratio = record.paired(bench, torch, OURS, "ms_again")
        if not (first and again):
            return "its parts were not measured"
        return (
            f"{number(first)} ms where most sizes are new, {number(again)} ms where their weights "
            f"are known; there the ratio is {times(ratio)}"
        )

    return words


def export(record: Record) -> str:
    """End to end: phases, and the stages of a sample."""
    seconds = record.value("export", exporter("ours").NAME, "seconds")
    phases = _parts(record, "export", "phase")
    if not (seconds and phases):
        return "its parts were not measured"
    listed = ", ".join(f"{name} {number(value)}" for name, value in phases.items())
    stages = {n: v for n, v in _parts(record, "export", "stage").items() if "share" not in n}
    per_sample = ", ".join(f"{name} {number(value)}" for name, value in stages.items())
    return (
        f"of {number(seconds)} s: {listed}, start and end of processes "
        f"{number(seconds - sum(phases.values()))} s; a sample in ms: {per_sample}"
    )


def workers(record: Record) -> str:
    """Two workers: what is not shared, and what a sample costs when both are busy."""
    one, two = ("workers", "1 worker"), ("workers", "2 workers")
    ratio = record.ratio((*one, "phase export"), (*two, "phase export"))
    total, exporting = record.value(*two, "seconds"), record.value(*two, "phase export")
    alone, both = record.value(*one, "ms"), record.value(*two, "ms")
    if not (ratio and total and exporting and alone and both):
        return "its parts were not measured"
    return (
        f"in the export itself the ratio is {times(ratio)}; {number(total - exporting)} of "
        f"{number(total)} s are before and after it; a sample takes {number(alone)} ms of a worker "
        f"alone and {number(both)} ms where both are busy"
    )


def around(record: Record) -> str:
    """Around the pixels: each part."""
    stages = {n: v for n, v in _parts(record, "export", "stage").items() if "share" not in n}
    listed = ", ".join(f"{name} {number(value)}" for name, value in stages.items())
    return f"ms a sample within the export: {listed}"


def scan(record: Record) -> str:
    """The scan: page faults, the kernel's share, the functions on top."""
    faults = record.value("scan", "warm", "faults")
    system = record.value("scan", "warm", "system")
    return (
        f"{number(faults)} page faults a member, {percent(system)} of the time in the kernel; "
        f"by function: {_profile(record, 'scan')}"
    )


def memory(record: Record) -> str:
    """A worker: what of it are mapped files, and its quarters."""
    told = []
    for name in record.names("memory", "peak"):
        own = record.value("memory", name, "peak without mapped files")
        quarters = [number(record.value("memory", name, f"quarter {n}")) for n in range(1, 5)]
        told.append(
            f"{name}: {number(record.value('memory', name, 'peak'))} MB, at most {number(own)} MB "
            f"without mapped files; median of each quarter without them {', '.join(quarters)} MB"
        )
    return "; ".join(told)


def plan(record: Record) -> str:
    """The plan: parts, and the functions on top."""
    parts = [f"{p} {number(record.value('plan', 'plan', p))}" for p in ("read", "make", "write")]
    return f"seconds: {', '.join(parts)}; by function: {_profile(record, 'plan')}"


def plan_memory(record: Record) -> str:
    """The plan's memory: what of it is mapped catalogues."""
    own = record.value("plan", "plan", "peak without mapped files")
    return f"{number(own)} MB of it are its own, the rest are mapped catalogue files"


def totals(part: str) -> Bound:
    """What follows the plan: what of its memory is mapped files."""

    def words(record: Record) -> str:
        own = record.value("totals", part, "own")
        return f"{number(own)} MB of it are its own, the rest are mapped catalogue and other files"

    return words


def captions(where: str) -> Bound:
    """Applying captions: the hash that the manifest wants, and the copy. where: IN_MEMORY or ""."""

    def words(record: Record) -> str:
        def rate(name: str, metric: str = "rate") -> float | None:
            return record.value("captions", name + where, metric)

        hashed, copied = rate(f"{PAIR} alone") or rate(f"{HASH} alone"), rate(f"{COPY} alone")
        ours, loop = rate(APPLY, "cpu"), rate(LOOP, "cpu")
        if not (hashed and copied and ours and loop):
            return "its parts were not measured"
        limit = 1 / (1 / hashed + 1 / copied)
        return (
            f"MB of a second of processor time: SHA-256 alone {number(hashed)}, read, write and "
            f"free page cache alone {number(copied)}, both {number(limit)} "
            f"({times(limit / loop)} the loop, which does not hash); of ours, {number(ours)}, the "
            f"hash is {percent(ours / hashed)}, the page cache {percent(ours / copied)}, the rest "
            f"(Python, SQLite, start) {percent(1 - ours / limit)}"
        )

    return words


def captions_import(record: Record) -> str:
    """The import: rows a second."""
    rows = record.value("captions", "import of a million rows", "rows")
    seconds = record.value("captions", "import of a million rows", "seconds")
    return f"{number(rows / seconds if rows and seconds else None)} rows/s"


def start(record: Record) -> str:
    """The start: the interpreter itself, and imports by package."""
    bare = record.value("startup", "python -c pass", "seconds")
    imports = {name: record.value("startup", name, "import") for name in _imports(record)}
    listed = ", ".join(f"{name} {number(value)}" for name, value in imports.items())
    return f"the interpreter alone takes {number(bare)} s; imports of a worker in s: {listed}"


def _imports(record: Record) -> list[str]:
    return record.names("startup", "import")


def _parts(record: Record, bench: str, name: str) -> dict[str, float]:
    found = {metric: record.value(bench, name, metric) for metric in record.metrics(bench, name)}
    return {metric: value for metric, value in found.items() if value is not None}


def _profile(record: Record, bench: str) -> str:
    names = record.names(bench, "profile")
    return ", ".join(f"`{n}` {percent(record.value(bench, n, 'profile'))}" for n in names)
