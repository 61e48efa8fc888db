"""The benchmarks run, their lines are whole, and the page is made of them and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from fastbucket import Recipe, Transcoder
from fastbucket.errors import SampleError

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # benchmarks are no part of the package

from benchmarks import record, report, summary  # noqa: E402
from benchmarks.contenders import CONTENDERS, contender  # noqa: E402
from benchmarks.contenders.__main__ import WARM_UP, parted  # noqa: E402
from benchmarks.corpus import Plan  # noqa: E402
from benchmarks.exports import EXPORTS, exporter  # noqa: E402
from benchmarks.exports.replaced import choose  # noqa: E402
from benchmarks.figures import ABSENT, WRITTEN, Figure, commit, read  # noqa: E402
from benchmarks.sof import frame  # noqa: E402
from benchmarks.targets import TARGETS, Target  # noqa: E402


def run(module: str, work: Path, *arguments: str | Path) -> str:
    """The output of a quick run on drawn images, without the environments of other contenders."""
    options = ["--quick", "--draw", "--work", work]
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, options), *map(str, arguments)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
    ).stdout


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmarks")


@pytest.fixture(scope="module")
def figures(work: Path) -> list[Figure]:
    """Of a comparison of three contenders, one of which cannot take part."""
    chosen = ["--corpus", "imagenet", "--contender", "floor", "ours", "pillow_simd"]
    lines = run("benchmarks.runs.transcode", work, *chosen).splitlines()
    return [Figure.read(line) for line in lines]


def test_lines_have_the_fields(figures: list[Figure]) -> None:
    for figure in figures:
        assert figure.bench in ("transcode/imagenet", "resize/imagenet")
        assert figure.quick
        assert figure.at
        assert {"cpu", "cores", "memory_gb", "system", "load"} <= set(figure.machine)
        if figure.metric == ABSENT:
            assert figure.note
        else:
            assert figure.value == np.median(figure.rounds)
    found = {(f.name, f.metric): f for f in figures if f.bench == "transcode/imagenet"}
    for name in ("floor", "ours"):
        timed = found[contender(name).NAME, "ms"]
        assert timed.value
        assert timed.value > 0
        assert {"python", "simplejpeg"} <= set(timed.versions)
    assert found[contender("ours").NAME, "db"].value > 50
    assert "not built" in found[contender("pillow_simd").NAME, ABSENT].note


def test_the_largest_image_warms_up_and_is_not_measured() -> None:
    def image(number: int) -> tuple[bytes, Plan]:
        size = 600 + 7 * number % 20, 600
        return b"", Plan(f"{number}", size, (512, 512), 1.0, size, (0, 0), 1, 95, "4:4:4")

    images = [image(number) for number in range(2 * WARM_UP + 1)]
    warm_up, rest = parted(images)
    assert len(warm_up) == 3
    assert warm_up[0] == max(images, key=lambda one: one[1].source)
    assert rest == [one for one in images if one not in warm_up]
    assert parted(images[:1]) == (images[:1], images[:1])


def test_only_what_a_run_writes_itself_leaves_its_commit_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)  # of a hook, say: of another repository
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def git(*words: str) -> str:
        name = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=0"]
        return subprocess.run(
            ["git", *name, *words], cwd=tmp_path, check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()

    assert commit(tmp_path) == commit(tmp_path / "nowhere") == ""
    git("init", "-q")
    for name in ("code.py", *WRITTEN, "benchmarks/x.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    head = git("rev-parse", "--short", "HEAD")
    found = []
    for changed in ((), WRITTEN, ("code.py",)):
        for name in changed:
            (tmp_path / name).write_text("2")
        commit.cache_clear()
        found.append(commit(tmp_path / "benchmarks"))
    commit.cache_clear()
    assert found == [head, head, f"{head}-dirty"]


def test_the_page_is_made_of_the_figures(figures: list[Figure]) -> None:
    page = report.page(record.Record(figures))
    assert "A quick run" in page
    assert "the images are drawn" in page
    assert "not built" in page
    ours = contender("ours").NAME
    at = next(n for n, f in enumerate(figures) if (f.name, f.metric) == (ours, "ms"))
    slower = [*figures[:at], replace(figures[at], value=4321.0), *figures[at + 1 :]]
    changed = report.page(record.Record(slower))
    assert "4,321" not in page
    assert "4,321" in changed
    assert page == report.page(record.Record(figures))


def test_one_command_runs_some_and_keeps_the_rest(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.md"
    kept = Figure("startup", "fastbucket --help", "seconds", 0.125, "s", [0.125])
    old = Figure("stage/encode", "4:4:4", "ms", 99.0, "ms/image", [99.0])
    lines = out.with_suffix(".jsonl")
    lines.write_text(f"{kept.line()}\n{old.line()}\n")
    assert str(out) in run("benchmarks", work, "--only", "encode", "--out", out)
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [f["value"] for f in found if f["bench"] == "startup"] == [0.125]
    assert all(f["value"] != 99.0 for f in found)
    assert any((f["bench"], f["name"]) == ("stage/encode", "4:2:0") for f in found)
    page = out.read_text()
    assert "0.125 s" in page
    assert "| 4:2:0 |" in page


@pytest.mark.parametrize("name", CONTENDERS)
def test_contenders_have_the_same_names(name: str) -> None:
    module = contender(name)
    assert isinstance(module.NAME, str)
    assert isinstance(module.available(), (str, type(None)))
    assert callable(module.transcode)


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_have_the_same_names(name: str) -> None:
    module = exporter(name)
    assert isinstance(module.NAME, str)
    assert isinstance(module.available(), (str, type(None)))
    assert callable(module.export)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.what)
def test_what_was_not_measured_is_said_so(target: Target) -> None:
    empty = record.Record([])
    assert target.verdict(empty) == "not measured"
    assert isinstance(target.bound(empty), str)


def test_verdicts() -> None:
    target = next(t for t in TARGETS if t.what.startswith("start: `fastbucket --help`"))

    def verdict(seconds: float) -> str:
        figure = Figure("startup", "fastbucket --help", "seconds", seconds, "s", [seconds])
        return target.verdict(record.Record([figure]))

    assert [verdict(s) for s in (0.1, 0.2, 0.4)] == ["aim reached", "must reached", "**missed**"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01234, "0.012"), (1.2345, "1.23"), (12.345, "12.3"), (123.4, "123"), (12345.6, "12,346")],
)
def test_numbers(value: float, text: str) -> None:
    assert record.number(value) == text


def test_a_ratio_of_two_in_turn_is_of_their_rounds() -> None:
    """Of a machine that was twice as slow in the second round, and disturbed in the third."""
    ours = Figure("t", "ours", "ms", 10.0, "ms", [5.0, 10.0, 40.0])
    theirs = Figure("t", "theirs", "ms", 12.0, "ms", [6.0, 12.0, 24.0])
    both = record.Record([ours, theirs])
    assert both.paired("t", "theirs", "ours") == pytest.approx(1.2)
    assert both.paired("t", "nobody", "ours") is None
    assert (
        record.Record([ours, replace(theirs, rounds=[6.0])]).paired("t", "theirs", "ours") is None
    )


@pytest.mark.parametrize("chroma", ["444", "422", "420"])
def test_frame(chroma: str) -> None:
    jpeg = simplejpeg.encode_jpeg(np.zeros((24, 40, 3), np.uint8), 90, "RGB", chroma)
    assert frame(jpeg) == ((40, 24), ":".join(chroma))


@pytest.mark.parametrize(
    "size", [(640, 480), (480, 640), (900, 600), (1000, 1000), (1600, 900), (300, 400), (500, 2000)]
)
def test_the_replaced_stage_chooses_as_we_do(size: tuple[int, int]) -> None:
    transcoder = Transcoder(Recipe())
    jpeg = simplejpeg.encode_jpeg(np.zeros((size[1], size[0], 3), np.uint8), 50, "RGB", "420")
    place = choose(*size)
    if place.scale > 1:
        with pytest.raises(SampleError, match="would need upsampling"):
            transcoder.transcode(jpeg, "0")
        return
    done = transcoder.transcode(jpeg, "0")
    assert place == (done.bucket.id, done.bucket.target, done.scale, done.resized)


def test_what_is_published_is_what_was_measured() -> None:
    """docs/performance.md and the README's figures are the program's, from the figures beside."""
    figures = read(ROOT / "docs" / "performance.jsonl")
    measured = record.Record(figures)
    assert (ROOT / "docs" / "performance.md").read_text() == report.page(measured)
    text = (ROOT / "README.md").read_text()
    start, end = text.index(summary.BEGIN) + len(summary.BEGIN), text.index(summary.END)
    assert text[start:end].strip("\n") == summary.quoted(measured)
    assert not any(figure.quick for figure in figures)
