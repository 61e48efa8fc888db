"""Hostile files end as a drop with a reason or as a normal sample: exit 0, bounded time and memory.

The bounds: below 500 MB a worker, and 10 s for any one file (on one core of 2020s hardware the
slowest of all takes less than 1).
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import exported
import hostile as corpus
import pyarrow.parquet as pq
import pytest
from conftest import shared_folder
from PIL import Image

import fastbucket
from fastbucket import Recipe, RunError
from fastbucket.errors import SampleError
from fastbucket.format import DROP_REASONS
from fastbucket.transcode import Transcoder

pytestmark = pytest.mark.processes

MEMORY = 500
"""MB (10^6) a worker may take at its peak."""

SECONDS = 10
"""Of CPU time, for one file: a busy machine is no hostile file."""

RECIPE = Recipe(base_resolution=64, divisible=8, shard_size=64)
"""Small buckets, so that small files are decoded and not dropped as too small."""

# Ends as the command does, and tells the peak of its processes: they are its only children. Of many
# sources one that is refused by name is left out, and the rest is exported: one start of a worker
# for all of them.
EXPORT = """
import json, resource, shutil, sys
import fastbucket
from fastbucket.errors import RunError

out, sources, recipe = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
recipe = fastbucket.Recipe.from_json(recipe)
messages = {}
while sources:
    code, message = 0, ""
    try:
        fastbucket.export(sources, out, recipe, fastbucket.Resources(workers=1))
        break
    except RunError as error:
        code, message = 1, str(error)
    named = [source for source in sources if source in message]
    if len(sources) == 1 or not named:
        break
    messages[named[0]] = message
    sources.remove(named[0])
    shutil.rmtree(out, ignore_errors=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([code, message, peak * 1024 // 1_000_000, messages]))
"""


class Run(NamedTuple):
    """An export in processes of its own. peak: MB of the largest worker; refused: source -> why."""

    out: Path
    code: int
    message: str
    peak: int
    rows: dict[str, dict[str, Any]]
    refused: dict[str, str]


def run(sources: Iterable[Path], out: Path, timeout: float = 120) -> Run:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            EXPORT,
            str(out),
            json.dumps([os.fspath(source) for source in sources]),
            json.dumps(RECIPE.to_json()),
        ],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=out.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    code, message, peak, refused = json.loads(done.stdout.splitlines()[-1])
    rows = {}
    if code == 0:
        rows = {row["image_id"]: row for row in pq.read_table(out / "meta").to_pylist()}
    return Run(out, code, message, peak, rows, refused)


def check(done: Run) -> None:
    """A run that went through: everything has its row and its reason, and the rest is sound."""
    assert (done.code, done.message) == (0, "")
    assert done.peak < MEMORY
    for row in done.rows.values():
        assert row["reason"] in DROP_REASONS
        assert row["detail"] or row["reason"] not in ("unreadable", "undecodable")
        assert len(row["detail"]) < 1000
        assert row["detail"].isprintable()
    found = fastbucket.verify(done.out, workers=1)
    assert found.ok, found.problems[:5]
    facts = exported.manifest(done.out)
    kept = sum(not row["reason"] for row in done.rows.values())
    assert facts["counts"]["exported"] == kept
    assert facts["source"]["samples"] == len(done.rows)


def written(folder: Path, files: Iterable[corpus.Hostile]) -> Path:
    folder.mkdir()
    for file in files:
        (folder / f"{file.name}.{file.suffix}").write_bytes(file.data)
    return folder


CHEAP = re.compile(r"damaged|.*-(cut|length|size|spectral|scan-of|precision|factors|table)-?")


@pytest.fixture(scope="module", params=[25, pytest.param(1, marks=pytest.mark.soak)])
def images(request) -> list[corpus.Hostile]:
    """What costs time or memory, and of the many small ones every 25th; all, with -m soak."""
    made = corpus.images()
    assert len(made) > 1000
    small = [file for file in made if CHEAP.match(file.name)]
    large = [file for file in made if not CHEAP.match(file.name)]
    assert len(small) > 1000 > len(large)
    return [*small[:: request.param], *large]


# Images


@pytest.fixture(scope="module")
def everything(images, tmp_path_factory) -> Run:
    """The export of all of them as one folder."""
    folder = tmp_path_factory.mktemp("hostile")
    return run([written(folder / "images", images)], folder / "out")


def test_all_of_them_in_one_run(everything, images):
    check(everything)
    assert len(everything.rows) == len(images)


def of(done: Run, start: str) -> dict[str, tuple[str, str]]:
    found = {k: (r["reason"], r["detail"]) for k, r in done.rows.items() if k.startswith(start)}
    assert found
    return found


def test_fates_that_must_be(everything):
    for name, (reason, detail) in of(everything, "progressive-scans").items():
        assert reason == "undecodable", name
        # Small ones are not counted: the decoder refuses a scan that repeats another.
        assert re.search("more than the 100 that are allowed|Inconsistent progression", detail)
    for name in ("progressive-large-scans-5000", "png-claims-2-31", "gif-frame-outside"):
        assert everything.rows[name]["reason"] in ("undecodable", "too_many_pixels", "unreadable")
    for name in ("png-interlaced-16", "tiff-planes", "png-wide"):
        reason, detail = of(everything, name)[name]
        assert reason == "undecodable", (name, reason, detail)
        assert re.search(r"MB, more than the \d+ MB granted", detail), name
    # Large, but honest, and read line by line.
    for name in ("png-13000", "png-16-bit", "png-high", "tiff-one-strip", "tiff-16-bit"):
        assert of(everything, name)[name] == ("", ""), name
    # Whatever stands around the pixels does not matter to them.
    for name in ("exif-of-30-mb", "icc-200", "icc-one-number", "exif-loop", "baseline-comments"):
        assert everything.rows[name]["reason"] in ("", "duplicate"), name
    for name, (reason, detail) in of(everything, "stranger").items():
        assert reason == "unreadable", name
        assert "no" in detail


def test_no_file_takes_long(images):
    """One after the other in this process: the export above does not tell which one was slow."""
    transcoder, slow, strange = Transcoder(RECIPE), [], []
    for file in images:
        start = time.process_time()
        try:
            done = transcoder.transcode(file.data, file.name)
        except SampleError as error:
            if error.reason not in DROP_REASONS or not error.detail:
                strange.append((file.name, str(error)))
        else:
            with Image.open(io.BytesIO(done.jpeg)) as image:
                image.load()
                if image.size != done.bucket.target:
                    strange.append((file.name, str(image.size)))
        if time.process_time() - start > SECONDS:
            slow.append(file.name)
    assert not strange
    assert not slow


@pytest.mark.parametrize(
    ("side", "data"),
    [
        (7500, corpus.png(7500, 7500, interlaced=1, content=corpus.zeros(1000))),
        (6500, corpus.gif(6500, 6500, 1, (6500, 6500))),
        (6500, corpus.tiff(6500, 6500, corpus.zeros(6500 * 6500), planar=2)),
    ],
    ids=["png", "gif", "tiff"],
)
def test_memory_is_refused_before_it_is_taken(side, data):
    with pytest.raises(SampleError, match=rf"decoding {side}x{side} .* MB, more than the 166 MB"):
        Transcoder(Recipe()).transcode(data, "x")


def test_large_images_that_are_read_by_line_are_halved_on_the_way():
    """Above decode.LARGE other formats shrink as JPEGs do; all that differs is some rounding."""
    import numpy as np

    wide = corpus.drawing(1200, 900).resize((4200, 3150), Image.Resampling.BICUBIC)
    recipes = Recipe(), Recipe(fidelity="exact")
    data = corpus.encoded("PNG", wide, compress_level=1)
    made = [Transcoder(recipe).transcode(data, "x").jpeg for recipe in recipes]
    assert made[0] != made[1]
    pixels = [np.asarray(Image.open(io.BytesIO(jpeg))).astype(int) for jpeg in made]
    assert abs(pixels[0] - pixels[1]).mean() < 2


@pytest.mark.parametrize("progressive", [False, True])
def test_honest_large_jpegs_pass(progressive):
    data = corpus.encoded(
        "JPEG", Image.new("RGB", (8000, 6000), (9, 90, 200)), progressive=progressive
    )
    done = Transcoder(Recipe()).transcode(data, "x")
    assert done.source == (8000, 6000)


def test_twelve_scans_are_no_hundred():
    base = corpus.encoded("JPEG", corpus.drawing(2000, 1100), progressive=True)
    count = base.count(b"\xff\xda")
    assert count < 100
    assert Transcoder(Recipe()).transcode(base, "x").jpeg
    with pytest.raises(SampleError, match="101 scans"):
        Transcoder(Recipe()).transcode(corpus.many_scans(base, 102 - count), "x")


# libvips and the shell


def test_untrusted_loaders_are_blocked():
    """SVG, PDF, Magick, Matlab and more: whoever asks libvips in this process does not get them."""
    from fastbucket.decode import library

    pyvips = library.vips()
    svg = next(file.data for file in corpus.others() if file.name == "stranger-svg")
    for data in (svg, b"%PDF-1.4", b"P6 2 2 255\n" + bytes(12)):
        with pytest.raises(pyvips.Error):
            pyvips.Image.new_from_buffer(data, "").avg()
    assert set(library.LOADERS.values()) == {
        f"{kind}load_buffer" for kind in ("jpeg", "png", "gif", "webp", "tiff", "heif")
    }


def test_no_process_is_started_with_a_shell():
    package = Path(fastbucket.__file__).parent
    for path in package.rglob("*.py"):
        if path == package / "sources" / "command.py":
            continue  # pipe:COMMAND, which is refused without --allow-pipe
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"shell\s*=\s*True|os\.system|os\.popen|\bpickle\.load|\beval\(", text
        ), path


# Tars


@pytest.fixture(scope="module")
def tars() -> dict[str, bytes]:
    return dict(corpus.tars(corpus.encoded("JPEG", corpus.drawing(160, 120))))


CLASH = {"duplicate-names", "member-twice"}
"""Two samples of one key: refused before anything is written, by names."""


def test_hostile_tars_in_one_run(tars, tmp_path):
    """Every one keeps at least what stands before the harm, or is broken at a named byte."""
    folder = tmp_path / "tars"
    folder.mkdir()
    for name, data in tars.items():
        if name not in CLASH:
            (folder / f"{name}.tar").write_bytes(data)
    first = {path.name for path in tmp_path.iterdir()}
    done = run(sorted(folder.glob("*.tar")), tmp_path / "out")
    check(done)
    # Not even a first header: no tar at all.
    assert set(done.refused) == {str(folder / name) for name in ("cut-1.tar", "cut-511.tar")}
    assert all("not a tar" in message for message in done.refused.values())
    left = [path for path in sorted(folder.glob("*.tar")) if str(path) not in done.refused]
    broken = {
        entry["archive"]: entry["why"] for entry in exported.manifest(done.out)["source"]["broken"]
    }
    for path in left:
        name = path.stem
        cut = name.startswith("cut-") and int(name[4:]) < len(corpus.drawing().tobytes()) // 10
        if not cut:
            assert f"{name}/first" in done.rows, name
        swallowed = name in ("long-name-only", "pax-nested")  # the harm renames what follows
        assert f"{name}/last" in done.rows or name in broken or swallowed, name
        assert "at byte" in broken.get(name, "at byte") or "end-of-archive" in broken[name], name
    # Names of members are text in meta/ and JSON, and nothing else.
    assert {path.name for path in tmp_path.iterdir()} == {*first, "out"}
    for path in (*tmp_path.rglob("*"),):
        relative = path.relative_to(tmp_path).as_posix()
        assert re.fullmatch(
            r"tars(/[\w-]+\.tar)?|out(/(manifest\.json|README\.md|run\.json|meta(/samples-\d+\.parquet)?"
            r"|buckets(/p\d+x\d+(/shard-\d+\.tar)?)?"
            r"|index(/wids\.json|/webshart(/p\d+x\d+(/shard-\d+\.json)?)?)?))?",
            relative,
        ), relative
    assert not Path("/tmp/up.jpg").exists()
    members = {s.json["source_member"] for s in exported.samples(done.out)}
    assert {"../../../../tmp/up.jpg", "/etc/passwd.jpg", "$(touch pwned);`id`|x.jpg"} <= members
    assert any("\\xff" in member for member in members)
    for path in exported.shards(done.out):
        with tarfile.open(path, "r:") as tar:
            assert all(
                re.fullmatch(r"[0-9a-f]{64}\.(jpg|txt|json)", name) for name in tar.getnames()
            )


@pytest.mark.parametrize("name", sorted(CLASH))
def test_two_of_one_name_are_refused_by_name(tars, name, tmp_path):
    path = tmp_path / f"{name}.tar"
    path.write_bytes(tars[name])
    with pytest.raises(RunError, match="two samples of one key"):
        fastbucket.export([path], tmp_path / "out", RECIPE, fastbucket.Resources(workers=1))


# Sidecars


def test_hostile_sidecars(tmp_path):
    """Whatever stands beside a sound image, it is exported: with what can be read of the rest."""
    beside = corpus.sidecars()
    names = sorted(beside)
    members = []
    for n, name in enumerate(names):
        image = corpus.encoded("JPEG", corpus.drawing(160 + n, 120))
        members += [(f"{name}.jpg", image), (f"{name}.json", beside[name])]
        if name != "100-mb":
            members.append((f"{name}.txt", b"\xff caption\0\x1b[31m of " + name.encode()))
    members += [
        ("text-20-mb.jpg", corpus.encoded("JPEG", corpus.drawing(200, 120))),
        ("text-20-mb.txt", b"word " * (4 << 20)),
        ("class-huge.jpg", corpus.encoded("JPEG", corpus.drawing(201, 120))),
        ("class-huge.cls", b"9" * 100_000),
    ]
    source = tmp_path / "beside.tar"
    source.write_bytes(corpus.tar_of(members))
    done = run([source], tmp_path / "out")
    check(done)
    samples = {s.json["image_id"].partition("/")[2]: s for s in exported.samples(done.out)}
    assert set(samples) == {*names, "text-20-mb", "class-huge"}
    labels = {name: sample.json["label"] for name, sample in samples.items()}
    for name in ("15-mb", "lone-surrogate", "bom", "twice", "control"):
        assert labels[name] == 7, name
    for name in ("deep-lists", "deep-objects", "100-mb", "nan", "huge-int", "not-utf8", "null"):
        assert labels[name] == -1, name
    assert samples["class-huge"].json["class_id"] == -1
    # Beyond sidecar.SIDECAR_LIMIT a member counts as absent (docs/format.md).
    assert samples["text-20-mb"].txt == b"\n"
    assert samples["15-mb"].txt.startswith("\ufffd caption".encode())


# What others collected


def shared_images(folder: Path) -> list[Path]:
    """All files but tars: a folder of both is refused, as it may be meant either way."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if path.suffix.lower() != ".tar")


def test_a_part_of_the_collected_images(hostile, tmp_path):
    """Every 20th; `test_all_that_was_collected` takes the rest."""
    (tmp_path / "images").mkdir()
    for n, path in enumerate(shared_images(hostile / "images")[::20]):
        (tmp_path / "images" / f"{n}-{path.name}").symlink_to(path)
    check(run([tmp_path / "images"], tmp_path / "out"))


@pytest.mark.soak
@pytest.mark.parametrize("name", ["hostile/images", "hard"])
def test_all_that_was_collected(name, tmp_path):
    files = shared_images(shared_folder(name))
    (tmp_path / "images").mkdir()
    for n, path in enumerate(files):
        (tmp_path / "images" / f"{n}-{path.name}").symlink_to(path)
    done = run([tmp_path / "images"], tmp_path / "out", timeout=600)
    check(done)
    assert len(done.rows) > 0.7 * len(files)  # the rest is neither an image nor named like one


def collected_tars(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.soak), 20])
def test_collected_tars_in_one_run(hostile, tmp_path, step):
    """Every one is read as far as it goes, or refused with a message that names it."""
    linked = {}
    for n, path in enumerate(collected_tars(hostile / "tars")[::step]):
        link = tmp_path / "tars" / f"{n:04d}-{path.name}"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(path)
        linked[str(link)] = path
    done = run(map(Path, linked), tmp_path / "out", timeout=300)
    check(done)
    assert 0 < len(done.refused) < len(linked)
    for link, message in done.refused.items():
        assert "Traceback" not in message, linked[link]
