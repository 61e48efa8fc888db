"""`fastbucket bench`: its figures are what they say; how large they are is not promised."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import simplejpeg
from click.testing import CliRunner
from exported import image_of, source_members, write_tar
from shardtasks import Planned, Unheard

import fastbucket.bench.scaling
from fastbucket import Recipe, RunError, transcode
from fastbucket.bench import SAMPLES, SECONDS, Bench, bench, run
from fastbucket.bench import excerpt as excerpts
from fastbucket.bench.excerpt import SHARD, excerpt
from fastbucket.bench.plot import plot
from fastbucket.bench.scaling import Pace, worker_counts
from fastbucket.bench.visits import VisitTask
from fastbucket.cli import cli
from fastbucket.draw import draw
from fastbucket.drawn_source import DrawnSource, photo_jpeg
from fastbucket.progress import Silent
from fastbucket.resize import weights
from fastbucket.sources.locate import archives
from fastbucket.stopwatch import STAGES

pytestmark = pytest.mark.processes

SMALL = Recipe(base_resolution=256)

BENCH_FIELDS = {
    "source", "images", "visits", "damaged", "megapixels", "bytes_in", "bytes_out", "stages",
    "total", "of_a_core", "floor", "floor_reached", "floor_reached_pixels", "peak_memory",
    "scaling", "recipe", "machine", "software", "seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> SimpleNamespace:
    """What the command says and writes: without a source, with two workers and little time."""
    file = tmp_path_factory.mktemp("bench") / "bench.json"
    options = ["--seconds", "3", "--samples", "8", "--workers", "2", "--base-resolution", "256"]
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "fastbucket", "bench", *options, "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    waited = time.monotonic() - start
    facts = json.loads(file.read_text())
    return SimpleNamespace(out=done.stdout, err=done.stderr, json=facts, waited=waited)


@pytest.fixture(scope="module")
def found(drawn: DrawnSource) -> Bench:
    """A bench of the drawn source, in which not everything is a plain JPEG, or whole."""
    kept = run.excerpt

    def patient(archives, recipe, samples, seconds, *rest):
        return kept(archives, recipe, samples, 60.0, *rest)  # a slow machine scans one tar in 0.1 s

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run, "excerpt", patient)
        return bench(drawn.paths, SMALL, seconds=0.5, samples=16, workers=1)


def test_the_json_has_every_field(shown):
    assert set(shown.json) == BENCH_FIELDS
    assert set(shown.json["stages"]) == {*STAGES, "header"}
    assert list(shown.json["stages"])[:3] == ["read", "header", "decode"]
    assert set(shown.json["floor"]) == {"decode", "encode", "total"}
    assert shown.json["source"].keys() == {"drawn", "archives", "samples", "kept", "seconds"}
    assert shown.json["machine"].keys() == {"cpu", "cpus", "architecture", "system"}
    assert {"libjpeg-turbo", "libvips", "numba", "python"} <= set(shown.json["software"])
    assert shown.json["recipe"]["base_resolution"] == 256
    assert shown.json["recipe"]["duplicates"] == "drop"  # as it was asked for
    assert [scale["workers"] for scale in shown.json["scaling"]] == [1, 2]
    for scale in shown.json["scaling"]:
        assert scale.keys() == {
            "workers", "images", "rounds", "images_per_second", "efficiency"
        }  # fmt: skip


def test_the_figures_agree_with_each_other(shown):
    facts = shown.json
    stages, total, floor = facts["stages"], facts["total"], facts["floor"]
    rates = [*stages.values(), total, *floor.values()]
    for rate in rates:
        assert rate["ms"] > 0
        assert rate["images_per_second"] == pytest.approx(1000 / rate["ms"])
        a_second = rate["images_per_second"] * facts["megapixels"]
        assert rate["megapixels_per_second"] == pytest.approx(a_second)
        assert rate["share"] == pytest.approx(rate["ms"] / total["ms"])
    # Medians of parts do not add up to the median of the whole, on a busy machine least of all.
    assert 0.3 < sum(rate["share"] for rate in stages.values()) < 1.5
    assert total["share"] == 1
    assert floor["total"]["ms"] == pytest.approx(floor["decode"]["ms"] + floor["encode"]["ms"])
    pixels = sum(stages[name]["ms"] for name in ("decode", "resize", "chroma", "encode"))
    assert facts["floor_reached"] == pytest.approx(floor["total"]["ms"] / total["ms"])
    assert facts["floor_reached_pixels"] == pytest.approx(floor["total"]["ms"] / pixels)
    assert 0.05 < facts["floor_reached"] < 1.05
    assert 0 < facts["of_a_core"] < 1.3
    assert facts["scaling"][0]["efficiency"] == 1
    one, two = facts["scaling"]
    expected = two["images_per_second"] / one["images_per_second"] / 2
    assert two["efficiency"] == pytest.approx(expected)
    assert two["images"] >= one["images"]


def test_the_figures_are_of_the_right_size(shown):
    facts = shown.json
    assert facts["source"]["drawn"]
    assert facts["source"]["kept"] == facts["source"]["samples"] == 36
    assert facts["images"] == 8
    assert facts["damaged"] == 0
    assert facts["visits"] >= 3
    assert 0.1 < facts["megapixels"] < 0.2
    assert 5_000 < facts["bytes_out"] < facts["bytes_in"] < 100_000
    assert 50e6 < facts["peak_memory"] < 600e6
    assert 3 < facts["seconds"] < shown.waited  # what it says it took, by a clock outside of it


def test_people_are_shown_the_same(shown):
    for name in (*STAGES, "header", "all"):
        assert f"\n {name} " in shown.out
    assert f"{shown.json['total']['ms']:.3f}" in shown.out
    assert f"{shown.json['floor_reached']:.0%} with all stages" in shown.out
    assert "efficiency" in shown.out
    assert "libjpeg-turbo 3" in shown.out
    assert "scaling: " in shown.err
    assert "\n " not in shown.err.strip()  # progress alone, no table


def test_any_source_will_do(found, drawn):
    """PNG, CMYK, orientations, broken ones: what is damaged is counted, and counts nowhere else."""
    fates = list(drawn.fates.values())
    assert not found.source["drawn"]
    assert found.source["samples"] == drawn.samples
    assert found.source["archives"] == len(drawn.paths)
    unseen = ("", "duplicate", "undecodable", "too_small")  # half of the size: all of these fit
    assert found.source["kept"] <= sum(fate in unseen for fate in fates)
    assert found.source["kept"] >= drawn.kept
    assert found.images + found.damaged == 16
    assert [scale.workers for scale in found.scaling] == [1]
    assert json.dumps(found.to_json())


def test_nothing_is_left_and_the_source_is_untouched(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = [(path.stat().st_mtime_ns, path.stat().st_nlink) for path in drawn.paths]
    with pytest.raises(RunError, match="none of 60 samples in 3 archives fits"):
        bench(drawn.paths, Recipe(base_resolution=4096), seconds=0.1)
    assert not list(tmp_path.iterdir())
    assert before == [(path.stat().st_mtime_ns, path.stat().st_nlink) for path in drawn.paths]


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"samples": 0}, {"workers": -1}])
def test_impossible_wishes_are_refused(wrong):
    with pytest.raises(RunError, match="cannot bench"):
        bench((), SMALL, **wrong)


def test_an_excerpt_is_the_source_byte_for_byte(drawn, tmp_path):
    recipe = Recipe(base_resolution=256, duplicates="keep")
    some = excerpt(archives(drawn.paths), recipe, 24, 60, tmp_path, Silent())
    made = source_members([some.path])
    assert len(made) == some.samples <= 24
    assert some.bytes == sum(len(image_of(members)) for members in made.values())

    def content(members: dict[str, bytes]) -> tuple[bytes | None, ...]:
        return image_of(members), *map(members.get, ("cls", "json", "txt"))

    source = {content(members) for members in source_members(drawn.paths).values()}
    assert {content(members) for members in made.values()} <= source
    again = excerpt(archives(drawn.paths), recipe, 24, 60, tmp_path, Silent())
    assert source_members([again.path]) == made


def test_an_excerpt_is_of_the_commonest_buckets(tmp_path):
    wide, high = (photo_jpeg(draw(*size, 1)) for size in ((300, 240), (240, 300)))
    members = [(f"{n:03d}.jpg", high if n % 8 == 3 else wide) for n in range(8 * SHARD)]
    path = write_tar(tmp_path / "train-0000.tar", members)
    recipe = Recipe(base_resolution=256, duplicates="keep")
    some = excerpt(archives([path]), recipe, SHARD, 60, tmp_path, Silent())
    assert {m["jpg"] for m in source_members([some.path]).values()} == {wide}
    assert some.samples == SHARD
    assert some.scanned.kept == some.scanned.samples == 8 * SHARD
    more = excerpt(archives([path]), recipe, 2 * SHARD, 60, tmp_path, Silent())
    images = [m["jpg"] for m in source_members([more.path]).values()]
    assert images.count(wide) == images.count(high) == SHARD
    copies = more.copies(tmp_path / "copies", 3)
    assert len({path.stat().st_ino for path in copies}) == 1
    assert len(archives(copies)) == 3


def test_what_is_drawn_fits_the_recipe(tmp_path):
    for base in (200, 700):
        paths = excerpts.drawn(tmp_path / str(base), Recipe(base_resolution=base))
        recipe = Recipe(base_resolution=base, duplicates="keep")
        some = excerpt(archives(paths), recipe, 8, 60, tmp_path, Silent())
        assert some.scanned.kept == some.scanned.samples >= 12


def test_the_floor_does_our_decoding_and_encoding_and_no_more(tmp_path, monkeypatch):
    """The same shrink, size, quality and chroma as in the shard, for each image once."""
    jpegs = [photo_jpeg(draw(*size, 3)) for size in ((1300, 975), (340, 260), (1300, 970))]
    path = write_tar(
        tmp_path / "train-0000.tar", [(f"{n}.jpg", jpeg) for n, jpeg in enumerate(jpegs)]
    )
    planned = Planned([path], tmp_path / "out", Recipe(base_resolution=256, quality=80))
    task = VisitTask(planned.setup)
    decode, encode = simplejpeg.decode_jpeg, simplejpeg.encode_jpeg
    our_encode = transcode.encode
    decoded, encoded = [], []

    def decoding(data, *args, **kwargs):
        pixels = decode(data, *args, **kwargs)
        decoded.append((bytes(data), pixels.shape))
        return pixels

    def encoding(pixels, **kwargs):
        encoded.append((pixels.shape, kwargs["quality"], kwargs["colorsubsampling"]))
        return encode(pixels, **kwargs)

    def our_encoding(pixels, quality, subsampling):
        encoded.append((pixels.shape, quality, subsampling.replace(":", "")))
        return our_encode(pixels, quality, subsampling)

    monkeypatch.setattr(simplejpeg, "decode_jpeg", decoding)
    monkeypatch.setattr(simplejpeg, "encode_jpeg", encoding)
    monkeypatch.setattr(transcode, "encode", our_encoding)
    assert len(planned.plan.shards) == 1
    ours = task((0, False, True), Unheard())
    assert ours.floor == (0, 0)
    # Of one visit, where no medians are in between, the stages are the time.
    assert 0.75 < sum(ours.stages.values()) / ours.nanoseconds <= 1
    shapes, settings = list(decoded), list(encoded)
    assert [data for data, _ in shapes] == jpegs
    assert len({shape for _, shape in shapes}) == 3
    decoded.clear()
    encoded.clear()
    both = task((0, True, False), Unheard())
    assert both.floor.decode > 0
    assert both.floor.encode > 0
    assert both.bytes == ours.bytes
    assert decoded[:3] == shapes
    assert decoded[3::2] == shapes  # between them our own JPEGs, which the clock does not see
    assert encoded[:3] == encoded[3:] == settings


def test_each_pass_begins_without_weights(drawn, tmp_path):
    """As a worker meets new sizes: else a second pass would find all of them in the cache."""
    planned = Planned(list(drawn.paths[:1]), tmp_path / "out", SMALL)
    task = VisitTask(planned.setup)
    task((0, False, True), Unheard())
    misses = weights.cache_info().misses
    assert misses
    task((0, False, False), Unheard())
    assert weights.cache_info().misses == misses
    before = weights.cache_info().hits
    task((0, False, True), Unheard())
    assert weights.cache_info().hits < before  # counted anew
    assert weights.cache_info().misses == misses


def test_the_floor_of_what_passes_through_is_its_check(drawn, tmp_path):
    recipe = Recipe(base_resolution=256, image_mode="passthrough_jpeg", duplicates="keep")
    planned = Planned(list(drawn.paths), tmp_path / "out", recipe)
    task = VisitTask(planned.setup)
    visits = [task((number, True, False), Unheard()) for number in range(len(planned.plan.shards))]
    images = sum(visit.images for visit in visits)
    undecodable = sum(fate == "undecodable" for fate in drawn.fates.values())
    assert images == planned.plan.order.size - undecodable
    assert sum(visit.floor.decode for visit in visits) > 0


def test_worker_counts_double_up_to_the_most():
    assert worker_counts(1) == [1]
    assert worker_counts(2) == [1, 2]
    assert worker_counts(6) == [1, 2, 4, 6]
    assert worker_counts(8) == [1, 2, 4, 8]


def test_the_pace_is_that_of_the_middle(monkeypatch):
    """10 a second, after a start of five seconds and before a tail of five."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        fastbucket.bench.scaling, "time", SimpleNamespace(monotonic=lambda: clock.now)
    )
    pace = Pace()
    pace.phase("scan", 5, "archives")
    pace.advance(5)
    pace.phase("export", 100, "samples")
    clock.now = 5.0
    for _ in range(9):
        clock.now += 1
        pace.advance(10)
    clock.now += 5
    pace.advance(10)
    pace.phase("files", 1, "files")
    pace.advance(1)
    assert pace.rate() == pytest.approx(10)


def test_too_few_marks_count_as_a_whole(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        fastbucket.bench.scaling, "time", SimpleNamespace(monotonic=lambda: clock.now)
    )
    pace = Pace()
    pace.phase("export", 8, "samples")
    clock.now = 2.0
    pace.advance(8)
    assert pace.rate() == pytest.approx(4)


def test_a_plot_without_matplotlib_is_refused_before_anything_is_measured(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("fastbucket.bench.bench", lambda *a, **k: pytest.fail("it was measured"))
    done = CliRunner().invoke(cli, ["bench", "--plot", str(tmp_path / "x.png")])
    assert isinstance(done.exception, RunError)
    assert "pip install 'fastbucket[bench]'" in str(done.exception)


def test_a_plot_has_a_bar_for_a_stage_and_a_line_for_scaling(monkeypatch, found, tmp_path):
    matplotlib = MagicMock()
    monkeypatch.setitem(sys.modules, "matplotlib", matplotlib)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", matplotlib.figure)
    figure = matplotlib.figure.Figure.return_value
    bars, lines = MagicMock(), MagicMock()
    figure.subplots.return_value = bars, lines
    plot(found, tmp_path / "x.png")
    names, widths = bars.barh.call_args_list[0].args
    assert dict(zip(names, widths, strict=True)) == {
        name: rate.ms for name, rate in found.stages.items()
    }
    counts, rates = lines.plot.call_args_list[0].args[:2]
    assert counts == [1]
    assert rates == [found.scaling[0].images_per_second]
    figure.savefig.assert_called_once_with(tmp_path / "x.png")
    figure.savefig.side_effect = ValueError("Format 'xyz' is not supported")
    with pytest.raises(RunError, match="xyz"):
        plot(found, tmp_path / "x.xyz")


def test_a_plot_is_an_image(found, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra `bench` is not installed")
    plot(found, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_is_not_there_is_known_at_once(tmp_path):
    for option in ("--json", "--plot"):
        done = CliRunner().invoke(cli, ["bench", option, str(tmp_path / "no" / "file")])
        assert done.exit_code == 2
        assert "there is no folder" in done.output


def test_the_defaults_of_the_command_are_those_of_the_library():
    command = cli.get_command(None, "bench")
    defaults = {option.name: option.default for option in command.params}
    assert (defaults["seconds"], defaults["samples"], defaults["workers"]) == (SECONDS, SAMPLES, 0)
