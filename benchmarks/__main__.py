"""Run all benchmarks, or some, and draw the page from their figures.

    python -m benchmarks                               everything: an hour or two
    python -m benchmarks --quick --out /tmp/page.md    small and once: does it work?
    python -m benchmarks --only transcode scan         these; the others' figures stay

The figures stand beside the page, as JSON lines: docs/performance.jsonl.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from . import environments, process
from .figures import Figure, read
from .options import ROOT, Options, chosen, parser

PROGRAMS = (
    "runs.transcode",
    "runs.export",
    "runs.workers",
    "runs.memory",
    "runs.plan",
    "runs.totals",
    "runs.large",
    "runs.captions",
    "runs.loading",
    "runs.pipeline",
    "runs.startup",
    "stages.scan",
    "stages.read",
    "stages.decode",
    "stages.resample",
    "stages.chroma",
    "stages.encode",
    "stages.around",
    "stages.suspects",
    "stages.parquet",
)
"""In the order in which they run; the comparison comes first, while the machine is fresh."""

PUBLISHED = ROOT / "docs" / "performance.md"
"""The page of the repository; the README quotes it."""


def main() -> None:
    made = parser(__doc__)
    names = [program.partition(".")[2] for program in PROGRAMS]
    made.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    made.add_argument("--out", type=Path, default=PUBLISHED)
    made.add_argument(
        "--no-build",
        action="store_true",
        help="take Pillow-SIMD and sharp only if they are there (so does --quick)",
    )
    arguments = made.parse_args()
    options = chosen(arguments)
    if not (arguments.no_build or options.quick):
        environments.build_all()
    lines = arguments.out.with_suffix(".jsonl")
    failed = []
    for program, name in zip(PROGRAMS, names, strict=True):
        if arguments.only and name not in arguments.only:
            continue
        if find_spec(f"{__package__}.{program}") is None:
            print(f"{program} is not there", file=sys.stderr)
            continue
        print(f"-- {program}", file=sys.stderr)
        try:
            _keep(lines, _run(program, options))
        except subprocess.CalledProcessError as error:
            print(f"{program} failed: {error}", file=sys.stderr)
            failed.append(program)
    if not lines.is_file():
        raise SystemExit("no figures")
    quotable = arguments.out == PUBLISHED and not options.quick and options.photos is not None
    readme = [ROOT / "README.md"] if quotable else []
    process.run(["-m", f"{__package__}.report", lines, arguments.out, *readme], pinned=False)
    print(arguments.out)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; their earlier figures stay on the page")


def _run(program: str, options: Options) -> list[Figure]:
    done = process.run(["-m", f"{__package__}.{program}", *options.arguments()], pinned=False)
    return [Figure.read(line) for line in done.output.splitlines()]


def _keep(path: Path, found: list[Figure]) -> None:
    """Put figures into the file, in place of those of the same benchmarks."""
    benches = {figure.bench for figure in found}
    old = [f for f in read(path) if f.bench not in benches] if path.is_file() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("".join(f"{figure.line()}\n" for figure in [*old, *found]))
    temporary.replace(path)


if __name__ == "__main__":
    main()
