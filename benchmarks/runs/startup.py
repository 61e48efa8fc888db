"""How long until something happens: `fastbucket --help`, and an export of 10 images, warm."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

from .. import corpora, process
from ..figures import Bench, versions
from ..options import Options, parse

IMAGES = 10
IMPORTS_SHOWN = 8


def main() -> None:
    options = parse(__doc__)
    bench = Bench("startup", options.quick, versions(["fastbucket", "click"]))
    rounds = options.rounds + 1  # the first is the warm-up: file cache and compiled kernels
    cli = ["-m", "fastbucket"]
    seconds = [process.run([*cli, "--help"], pinned=False).wall for _ in range(rounds)]
    bench.show("fastbucket --help", "seconds", seconds[1:], "s")
    bench.show("python -c pass", "seconds", _python(rounds)[1:], "s")
    source = _ten(options)
    seconds = []
    for _ in range(rounds):
        out = corpora.scratch(options, "startup")
        seconds.append(process.run([*cli, "export", source, out, "-q"], pinned=False).wall)
    bench.show(f"export of {IMAGES} images", "seconds", seconds[1:], "s")
    for package, share in _imports():
        bench.show(package, "import", share, "s", "in the worker process of that export")


def _python(rounds: int) -> list[float]:
    return [process.run(["-c", "pass"], pinned=False).wall for _ in range(rounds)]


def _ten(options: Options) -> Path:
    """A tar of ten images that fit."""
    images = list(corpora.imagenet(options).images())
    path = corpora.scratch(options, "startup-source") / "ten.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(IMAGES):
            data = images[number % len(images)][0] + bytes(number)  # no duplicates
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def _imports() -> list[tuple[str, float]]:
    """Seconds of import by top-level package, without what each imports in turn."""
    code = "import fastbucket.task, fastbucket.kernels.resample"
    found: dict[str, float] = {}
    for line in process.stderr([sys.executable, "-X", "importtime", "-c", code]).splitlines():
        fields = line.removeprefix("import time:").split("|")
        if len(fields) == 3 and fields[0].strip().isdigit():
            package = fields[2].strip().partition(".")[0]
            found[package] = found.get(package, 0.0) + int(fields[0]) / 1e6
    return sorted(found.items(), key=lambda row: -row[1])[:IMPORTS_SHOWN]


if __name__ == "__main__":
    main()
