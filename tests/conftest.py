"""Sources and exports that many tests look at, each made once a session and changed by none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import crashes
import exported
import hypothesis
import pytest

import fastbucket
from fastbucket import Recipe, Report, Resources
from fastbucket.drawn_source import DrawnSource, drawn_source
from fastbucket.engines.local import Local

# Read by huggingface_hub when it is imported, whichever test does that first.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

# In the background of a shell, and under nohup, these are not heard, and that is inherited.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        ours = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, ours)

# The same examples every time, however slow the machine; nothing is kept between runs.
hypothesis.settings.register_profile("seeded", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("seeded")


def long(*values: Any) -> list[Any]:
    """Parameters of a test that are left to `pytest -m long`: more of what others show."""
    return [pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=pytest.mark.long)
            for v in values]  # fmt: skip


def _here_or_worker(cls: type[Local], workers: int, *arguments: Any, **options: Any) -> Any:
    if workers == 1:
        return crashes.InProcess(workers, *arguments, **options)
    return object.__new__(cls)


@pytest.fixture(scope="session", autouse=True)
def one_worker_works_here() -> Iterator[None]:
    """Where there is one worker its tasks are done in this process, which has imported all that a
    worker would import, three seconds long, for every one of a thousand exports."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Local, "__new__", _here_or_worker)
        yield


@pytest.fixture(scope="module", autouse=True)
def processes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Files marked so are about worker processes, and have them, their fixtures too."""
    with pytest.MonkeyPatch.context() as patched:
        if request.node.get_closest_marker("processes"):
            patched.setattr(Local, "__new__", lambda cls, *rest, **more: object.__new__(cls))
        yield


FEW_BUCKETS = ("p1152x832", "p832x1152")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def shared_folder(name: str) -> Path:
    """A folder of files that are no part of the project; the test is skipped where it is absent."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: it lies beside the repository, not in it")
    return folder


@dataclass(frozen=True)
class Export:
    """A finished export, its report, and the tars that it was made of."""

    out: Path
    report: Report
    sources: tuple[Path, ...]

    @cached_property
    def samples(self) -> list[exported.Sample]:
        return list(exported.samples(self.out))

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return exported.manifest(self.out)

    @cached_property
    def source(self) -> dict[str, dict[str, bytes]]:
        """image_id -> suffix -> bytes."""
        return exported.source_members(self.sources)


@pytest.fixture(scope="session")
def photos() -> Path:
    return shared_folder("photos")


@pytest.fixture(scope="session")
def hard() -> Path:
    return shared_folder("hard")


@pytest.fixture(scope="session")
def hostile() -> Path:
    return shared_folder("hostile")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DrawnSource:
    """The drawn source: 60 samples in three tars, everything in it that an export must face."""
    return drawn_source(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def drawn_export(drawn: DrawnSource, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Its export in shards of two: most buckets have one or two, and the damaged leave gaps."""
    out = tmp_path_factory.mktemp("drawn-export") / "out"
    report = fastbucket.export(drawn.paths, out, Recipe(shard_size=2), Resources(workers=2))
    return Export(out, report, drawn.paths)


@pytest.fixture(scope="session")
def few_export(drawn_export: Export, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """An export of few files, of the drawn source's samples in two buckets."""
    folder = tmp_path_factory.mktemp("few")
    kept = [s.json for s in drawn_export.samples if s.json["bucket_id"] in FEW_BUCKETS]
    members = []
    for number, facts in enumerate(sorted(kept, key=lambda facts: facts["image_id"])):
        for suffix, content in drawn_export.source[facts["image_id"]].items():
            members.append((f"{number:03d}.{suffix}", content))
    source = exported.write_tar(folder / "few.tar", members)
    report = fastbucket.export(source, folder / "out", Recipe(shard_size=4), Resources(workers=1))
    assert report.exported == len(kept) > 8
    return Export(folder / "out", report, (source,))


@pytest.fixture(scope="session")
def photo_source(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """The photos as tars: with six exact duplicates and enough shrunken ones to be a third."""
    folder = tmp_path_factory.mktemp("photos")
    subprocess.run(
        [
            sys.executable,
            ROOT / "tools" / "make_source.py",
            photos,
            folder,
            "--small-share",
            "0.33",
            "--duplicates",
            "6",
            "--per-tar",
            "100",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
    )
    return tuple(sorted(folder.glob("*.tar")))


@pytest.fixture(scope="session")
def photo_export(
    photo_source: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory
) -> Export:
    """The export of the photos with the recipe of the format."""
    out = tmp_path_factory.mktemp("photo-export") / "out"
    report = fastbucket.export([photo_source[0].parent], out, Recipe(), Resources(workers=2))
    return Export(out, report, photo_source)


@pytest.fixture(params=["drawn_export", "photo_export"])
def any_export(request: pytest.FixtureRequest) -> Export:
    """Each of the two exports in turn."""
    export: Export = request.getfixturevalue(request.param)
    return export
