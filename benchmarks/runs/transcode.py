"""Bytes in memory to JPEG bytes in memory, one core: all contenders on the same images.

Every round has a fresh process for everyone, all on one core, and they take turns of a few images
(`turns.py`), so that what the machine does meanwhile meets all of them. `ms` is of the first pass
over the images, `ms_again` of the second. Also the resize and crop alone, where a contender has
that as a part, and the quality.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from typing import Any

from .. import corpora, process, turns
from ..contenders import CONTENDERS, contender
from ..corpus import Corpus
from ..figures import Bench
from ..options import Options, chosen, parser

PHOTO_ROUNDS = 5
"""Rounds on the photos as they are, which take five times as long as the others."""


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--corpus", choices=tuple(corpora.CORPORA), nargs="+")
    made.add_argument("--contender", choices=CONTENDERS, nargs="+", default=CONTENDERS)
    arguments = made.parse_args()
    options = chosen(arguments)
    for kind in arguments.corpus or corpora.CORPORA:
        _compare(kind, options, arguments.contender)


def _compare(kind: str, options: Options, names: list[str]) -> None:
    corpus = corpora.CORPORA[kind](options)
    rounds = options.rounds if kind == "imagenet" else min(options.rounds, PHOTO_ROUNDS)
    whole = Bench(f"transcode/{kind}", options.quick)
    alone = Bench(f"resize/{kind}", options.quick)
    present = []
    for name in names:
        if (why := contender(name).available()) is None:
            present.append(name)
        else:
            whole.absent(contender(name).NAME, why)
    parts = [name for name in present if hasattr(contender(name), "resize")]
    _rounds(whole, corpus, present, "speed", rounds)
    _rounds(alone, corpus, parts, "resize", rounds)
    for name in present:
        _quality(whole, corpus, name)
    plans = corpus.plans()
    counts = {
        "images": len(plans),
        "megapixels": sum(p.source[0] * p.source[1] for p in plans) / 1e6 / len(plans),
        "scale": sum(p.scale for p in plans) / len(plans),
        "bytes": sum(len(data) for data, _ in corpus.images()) / len(plans),
        "shrunk": sum(p.shrink > 1 for p in plans) / len(plans),
        "444": sum(p.subsampling == "4:4:4" for p in plans) / len(plans),
    }
    for metric, value in counts.items():
        note = "drawn" if options.photos is None else ""
        whole.show("corpus", metric, value, "", note)


def _rounds(bench: Bench, corpus: Corpus, names: list[str], what: str, rounds: int) -> None:
    commands = {name: _command(corpus, name, what) for name in names}
    found: dict[str, list[turns.Passes]] = defaultdict(list)
    for number in range(rounds):
        print(f"{bench.bench}: round {number + 1} of {rounds}", file=sys.stderr)
        for name, result in turns.passes(commands).items():
            found[name].append(result)
    for name, results in found.items():
        for metric in ("ms", "ms_again"):
            values = [getattr(result, metric) for result in results]
            bench.show(_title(name), metric, values, "ms/image", "", results[0].versions)
        if hasattr(contender(name), "seconds"):
            continue  # it works in another process, and this one has nothing to wait for
        values = [result.waited for result in results]
        bench.show(_title(name), "waited", values, "share of the time waiting for the core")


def _quality(bench: Bench, corpus: Corpus, name: str) -> None:
    python, arguments = _command(corpus, name, "quality")
    found: dict[str, Any] = json.loads(process.run(arguments, python).output)
    units = {"db": "dB", "db_worst": "dB", "db_jpeg": "dB", "bytes": "bytes/image"}
    for metric, unit in units.items():
        if found[metric] is not None:
            bench.show(_title(name), metric, found[metric], unit, "", found["versions"])


def _title(name: str) -> str:
    title: str = contender(name).NAME
    return title


def _command(corpus: Corpus, name: str, what: str) -> tuple[str, list[str]]:
    """The interpreter of a contender's environment, and its arguments."""
    python = str(getattr(contender(name), "PYTHON", sys.executable))
    return python, ["-m", "benchmarks.contenders", name, str(corpus.folder), what]


if __name__ == "__main__":
    main()
