"""What the design demands (issue 3), how it is read from the figures, and what bounds it.

`must` and `aim` are the design's; everything else on the page comes from the figures. `bound` is
asked where the aim is missed, and answers with what was measured, never with an opinion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import bounds
from .contenders import contender
from .exports import exporter
from .record import Record, number, times
from .runs.captions import APPLY, IMPORT, IN_MEMORY, LOOP
from .runs.memory import LARGE, MANY
from .runs.totals import FINISH, PAGE
from .stages.scan import TARFILE

Measured = Callable[[Record], float | None]


@dataclass(frozen=True)
class Target:
    """more: whether more is better. bound: see above."""

    what: str
    must: float
    aim: float
    measured: Measured
    show: Callable[[float | None], str]
    bound: Callable[[Record], str]
    more: bool = True

    def verdict(self, record: Record) -> str:
        value = self.measured(record)
        if value is None:
            return "not measured"
        for limit, word in ((self.aim, "aim reached"), (self.must, "must reached")):
            if value >= limit if self.more else value <= limit:
                return word
        return "**missed**"

    def reached_aim(self, record: Record) -> bool:
        return self.verdict(record) == "aim reached"


def _unit(unit: str) -> Callable[[float | None], str]:
    return lambda value: "" if value is None else f"{number(value)} {unit}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _faster(bench: str, name: str) -> Measured:
    """How many times our time the time of a contender is."""
    ours = contender("ours").NAME
    return lambda r: r.paired(bench, contender(name).NAME, ours)


def _floor(bench: str) -> Measured:
    ours, floor = contender("ours").NAME, contender("floor").NAME
    return lambda r: r.paired(bench, floor, ours)


def _value(bench: str, name: str, metric: str) -> Measured:
    return lambda r: r.value(bench, name, metric)


def _ratio(bench: str, metric: str, over: str, under: str) -> Measured:
    return lambda r: r.ratio((bench, over, metric), (bench, under, metric))


def _against_tarfile(record: Record) -> float | None:
    """Our members a second over those of tarfile, round by round."""
    return record.paired("scan", "warm", TARFILE, "rate")


def _growth(record: Record) -> float | None:
    """Growth of a worker between its second quarter and its last, as a share of its peak."""
    return record.ratio(("memory", MANY, "growth"), ("memory", MANY, "peak"))


def _of_corpus(kind: str, label: str) -> list[Target]:
    bench = f"transcode/{kind}"

    def against(what: str, name: str, must: float, aim: float) -> Target:
        bound = bounds.contender(bench, contender(name).NAME)
        measured = _faster(bench, name)
        return Target(f"{label}: bytes to bytes against {what}", must, aim, measured, times, bound)

    resize = f"resize/{kind}"
    return [
        against("the torch float stage", "torch_float", 3.0, 3.5),
        against("Pillow-SIMD", "pillow_simd", 1.15, 1.3),
        Target(
            f"{label}: against the floor (floor time / our time)",
            0.75,
            0.88,
            _floor(bench),
            _share,
            bounds.floor(bench, resize),
        ),
        Target(
            f"{label}: resize + crop alone against torch uint8",
            1.5,
            2.5,
            _faster(resize, "torch_uint8"),
            times,
            bounds.resize(resize),
        ),
    ]


TARGETS: tuple[Target, ...] = (
    *_of_corpus("imagenet", "as in ImageNet"),
    *_of_corpus("photos", "photos as they are"),
    # `.decode("pil")` decodes every image; a loop that looks at the size first is on the page too.
    Target(
        "export end to end, 9 % fit, against a loop of webdataset + Pillow + torch + TarWriter",
        4.0,
        6.0,
        _ratio("export", "seconds", exporter("replaced_decode_all").NAME, exporter("ours").NAME),
        times,
        bounds.export,
    ),
    Target(
        "two workers against one, export of 2,000+ fitting images",
        1.9,
        1.97,
        _ratio("workers", "seconds", "1 worker", "2 workers"),
        times,
        bounds.workers,
    ),
    Target(
        "share of a sample's time around the pixels (read, hash, JSON, write)",
        0.10,
        0.10,
        _value("export", "stage", "share around the pixels"),
        _share,
        bounds.around,
        more=False,
    ),
    Target(
        "scan, warm page cache, fresh mapping, one core",
        1e6,
        3e6,
        _value("scan", "warm", "rate"),
        _unit("members/s"),
        bounds.scan,
    ),
    # The same two rates over the 47,000 that the design found tarfile to list.
    Target(
        "the same against Python's tarfile, which lists the headers and does no more",
        21,
        64,
        _against_tarfile,
        times,
        bounds.scan,
    ),
    Target(
        "memory of a worker over 20,000 samples as in ImageNet",
        300,
        200,
        _value("memory", MANY, "peak"),
        _unit("MB"),
        bounds.memory,
        more=False,
    ),
    Target(
        "memory of a worker on the photos as they are",
        300,
        200,
        _value("memory", LARGE, "peak"),
        _unit("MB"),
        bounds.memory,
        more=False,
    ),
    Target(
        "growth over the 20,000 from the second quarter to the last, as a share of the peak",
        0.05,
        0.05,
        _growth,
        _share,
        bounds.memory,
        more=False,
    ),
    Target(
        "plan of 14 million catalogue rows, time",
        60,
        15,
        _value("plan", "plan", "seconds"),
        _unit("s"),
        bounds.plan,
        more=False,
    ),
    Target(
        "plan of 14 million catalogue rows, peak memory",
        3000,
        2000,
        _value("plan", "plan", "peak"),
        _unit("MB"),
        bounds.plan_memory,
        more=False,
    ),
    Target(
        "meta/, card and manifest of the same rows, peak memory",
        3000,
        2000,
        _value("totals", FINISH, "peak"),
        _unit("MB"),
        bounds.totals(FINISH),
        more=False,
    ),
    Target(
        "page of their report, peak memory",
        3000,
        2000,
        _value("totals", PAGE, "peak"),
        _unit("MB"),
        bounds.totals(PAGE),
        more=False,
    ),
    Target(
        "captions applied to 100,000 samples, one core, on the disk of this machine",
        500,
        1000,
        _value("captions", APPLY, "rate"),
        _unit("MB/s"),
        bounds.captions(""),
    ),
    Target(
        "captions applied, one core, in /dev/shm",
        500,
        1000,
        _value("captions", APPLY + IN_MEMORY, "rate"),
        _unit("MB/s"),
        bounds.captions(IN_MEMORY),
    ),
    Target(
        "the same on one core against a loop of webdataset and TarWriter, processor time",
        10.0,
        15.0,
        _ratio("captions", "cpu", APPLY + IN_MEMORY, LOOP + IN_MEMORY),
        times,
        bounds.captions(IN_MEMORY),
    ),
    Target(
        "the same on all cores, against the loop, which runs on one; wall time",
        10.0,
        15.0,
        _ratio("captions", "rate", f"{APPLY}, all cores{IN_MEMORY}", LOOP + IN_MEMORY),
        times,
        bounds.captions(IN_MEMORY),
    ),
    Target(
        "import of a million captions",
        60,
        20,
        _value("captions", IMPORT, "seconds"),
        _unit("s"),
        bounds.captions_import,
        more=False,
    ),
    Target(
        "start: `fastbucket --help`",
        0.3,
        0.15,
        _value("startup", "fastbucket --help", "seconds"),
        _unit("s"),
        bounds.start,
        more=False,
    ),
    Target(
        "start: export of 10 images, warm",
        2.0,
        1.0,
        _value("startup", "export of 10 images", "seconds"),
        _unit("s"),
        bounds.start,
        more=False,
    ),
)
