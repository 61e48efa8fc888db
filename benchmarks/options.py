"""The options that every program here has."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT.parent / "shared" / "photos"
WORK = "~/.cache/fastbucket-benchmarks"
WORK_VARIABLE = "FASTBUCKET_BENCHMARKS"

ROUNDS = 7
QUICK_ROUNDS = 1


@dataclass(frozen=True)
class Options:
    """What a program is told. photos: None where there are none, and images are drawn."""

    photos: Path | None
    work: Path  # environments, corpora and sources, kept between runs
    rounds: int
    quick: bool

    def arguments(self) -> list[str]:
        """The same options for another program."""
        photos = ["--photos", str(self.photos)] if self.photos else ["--draw"]
        quick = ["--quick"] if self.quick else []
        return [*photos, "--work", str(self.work), "--rounds", str(self.rounds), *quick]


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that all programs share."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--photos", type=Path, help=f"folder of photos (default: {PHOTOS}; without it: drawn ones)"
    )
    made.add_argument("--draw", action="store_true", help="draw images, whatever photos there are")
    made.add_argument(
        "--work",
        type=Path,
        default=os.environ.get(WORK_VARIABLE, WORK),
        help=f"folder for environments, corpora and sources (default: {WORK})",
    )
    made.add_argument(
        "--rounds", type=int, help=f"rounds (default: {ROUNDS}; with --quick: {QUICK_ROUNDS})"
    )
    made.add_argument(
        "--quick", action="store_true", help="small and once: shows that it works, not how fast"
    )
    return made


def chosen(arguments: argparse.Namespace) -> Options:
    """The options that were given, with the defaults for the rest."""
    photos = arguments.photos
    if photos is not None and not photos.is_dir():
        raise SystemExit(f"{photos} is no folder")
    if photos is None and PHOTOS.is_dir():
        photos = PHOTOS
    rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
    work = Path(arguments.work).expanduser().resolve()
    os.environ[WORK_VARIABLE] = str(work)  # contenders look for their environments there
    return Options(None if arguments.draw else photos, work, rounds, arguments.quick)


def parse(description: str | None) -> Options:
    """The options of a program that has no others."""
    return chosen(parser(description).parse_args())
