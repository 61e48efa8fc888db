"""tools/make_source.py: what it packed, read with tarfile and judged with Pillow."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import random
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps
from reference import fit, targets

from fastbucket.draw import draw
from fastbucket.geometry import Size

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "make_source.py"
PHOTOS = Path(__file__).parents[2] / "shared" / "photos"


def loaded():
    spec = importlib.util.spec_from_file_location("make_source", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


tool = loaded()


def run(*arguments) -> dict[str, int]:
    result = CliRunner().invoke(tool.make_source, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def read(directory: Path) -> dict[str, dict[str, bytes]]:
    """Key -> suffix -> bytes, over all tars, in order."""
    samples: dict[str, dict[str, bytes]] = {}
    for path in sorted(directory.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, suffix = member.name.split(".")
                assert suffix not in samples.setdefault(key, {}), "a key occurs twice"
                samples[key][suffix] = tar.extractfile(member).read()
    return samples


def images(directory: Path) -> dict[str, bytes]:
    return {
        key: next(sample[suffix] for suffix in sample if suffix not in ("cls", "json"))
        for key, sample in read(directory).items()
    }


def digests(directory: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Nine images that fit, a small one, a page under .jpg, and a file that is not packed."""
    folder = tmp_path_factory.mktemp("folder")
    for name in ("n01440764", "tabby cats"):
        (folder / name).mkdir()
    for n in range(3):
        Image.fromarray(draw(600, 450, n)).save(folder / "n01440764" / f"{n}.JPEG", quality=90)
        Image.fromarray(draw(450, 600, 9 + n)).save(folder / "tabby cats" / f"a.b{n}.jpg")
    Image.fromarray(draw(640, 480, 20)).save(folder / "hemlock_1.jpg", exif=exif(6))
    Image.fromarray(draw(512, 512, 21)).save(folder / "hemlock_2.png")
    Image.fromarray(draw(700, 500, 22)).save(folder / "n02084071_77.webp")
    Image.fromarray(draw(320, 240, 23)).save(folder / "little.jpg")
    (folder / "page.jpg").write_bytes(b"<html></html>")
    (folder / "notes.txt").write_text("no image")
    return folder


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def test_originals_are_stored_as_they_are(folder, tmp_path):
    summary = run(folder, tmp_path, "--small-share", 0, "--per-tar", 4)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        f"imagenet22k-train-000{n}.tar" for n in range(3)
    ]
    assert summary == {
        "samples": 11, "small": 1, "duplicates": 0, "tars": 3,
        "bytes": sum(path.stat().st_size for path in tmp_path.iterdir()),
    }  # fmt: skip
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".txt"]
    assert sorted(images(tmp_path).values()) == sorted(path.read_bytes() for path in files)


def test_json_class_and_suffix(folder, tmp_path):
    run(folder, tmp_path, "--small-share", 0)
    by_file = {}
    for key, sample in read(tmp_path).items():
        facts = json.loads(sample["json"])
        assert list(facts) == [
            "label", "label_12k", "class_name", "width", "height", "filename"
        ]  # fmt: skip
        assert int(sample["cls"]) == facts["label"]
        assert list(sample) == sorted(sample)
        by_file[facts["filename"]] = (key, facts, sample)
        if facts["filename"] == "page.jpg":
            assert (facts["width"], facts["height"]) == (-1, -1)
            continue
        suffix = Path(facts["filename"]).suffix.lower()[1:]
        image = Image.open(io.BytesIO(sample[suffix]))
        assert image.size == (facts["width"], facts["height"])
    wnids = {name: key.split("_")[0] for name, (key, _, _) in by_file.items()}
    assert wnids["0.JPEG"] == wnids["2.JPEG"] == "n01440764"
    assert wnids["n02084071_77.webp"] == "n02084071"
    assert wnids["a.b0.jpg"] == wnids["a.b2.jpg"]  # of one folder
    assert wnids["hemlock_1.jpg"] == wnids["hemlock_2.png"]  # of one name but for the number
    assert len(set(wnids.values())) == 6
    labels = {facts["class_name"]: facts["label"] for _, facts, _ in by_file.values()}
    assert [wnid for wnid, _ in sorted(labels.items(), key=lambda item: item[1])] == sorted(labels)


def test_copies_differ_in_bytes_and_not_in_pixels(folder, tmp_path):
    result = CliRunner().invoke(
        tool.make_source, [str(folder), str(tmp_path), "--copies", "3", "--small-share", "0"]
    )
    assert "not copied, neither JPEG nor PNG: 2 of 11" in result.stderr
    assert json.loads(result.stdout)["samples"] == 11 + 3 * 9
    packed = images(tmp_path)
    assert len(set(packed.values())) == len(packed)
    pixels = Counter()
    for image in packed.values():
        if image != b"<html></html>":
            pixels[hashlib.sha256(Image.open(io.BytesIO(image)).tobytes()).hexdigest()] += 1
    assert sorted(pixels.values()) == [1] + 9 * [4]


def test_duplicates_are_equal_and_fit(folder, tmp_path):
    summary = run(folder, tmp_path, "--duplicates", 12, "--small-share", 0)
    assert (summary["samples"], summary["duplicates"], summary["small"]) == (23, 12, 1)
    counts = Counter(images(tmp_path).values())
    assert sum(count - 1 for count in counts.values()) == 12
    assert sorted(counts.values()) == [1, 1, *6 * [2], *3 * [3]]  # dealt round the nine that fit
    assert counts[(folder / "little.jpg").read_bytes()] == 1
    assert counts[b"<html></html>"] == 1


@pytest.mark.parametrize("share", [0.5, 0.91])
def test_the_share_of_small_ones(folder, tmp_path, share):
    summary = run(folder, tmp_path, "--small-share", share)
    assert abs(summary["small"] / summary["samples"] - share) <= 1 / summary["samples"]
    small = 0
    for sample in read(tmp_path).values():
        facts = json.loads(sample["json"])
        original = folder_file(folder, facts["filename"]).read_bytes()
        if original in sample.values():
            small += facts["filename"] == "little.jpg"
            continue
        small += 1
        image = Image.open(io.BytesIO(sample["jpg"]))
        assert image.format == "JPEG"
        assert image.size == (facts["width"], facts["height"])
        assert 0x0112 not in image.getexif()
        w, h = image.size
        assert not any(w >= target.w and h >= target.h for target in targets())
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(original))).size
        assert w <= upright[0]
        assert h <= upright[1]
        assert abs(w / h - upright[0] / upright[1]) < 0.01
    assert small == summary["small"]


def folder_file(folder: Path, name: str) -> Path:
    return next(path for path in folder.rglob("*") if path.name == name)


@pytest.mark.parametrize("size", [(640, 480), (5000, 400), (300, 9000), (512, 512), (90, 20)])
def test_shrunken_sizes_cover_no_target(size):
    for seed in range(200):
        w, h = tool.shrunken(Size(*size), random.Random(seed))
        assert 1 <= w <= size[0]
        assert 1 <= h <= size[1]
        assert not any(w >= target.w and h >= target.h for target in targets())


def test_same_arguments_same_bytes(folder, tmp_path):
    options = ["--copies", 1, "--small-share", 0.4, "--duplicates", 2]
    for name in ("one", "two"):
        run(folder, tmp_path / name, *options)
    run(folder, tmp_path / "other", *options, "--seed", 1)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert digests(tmp_path / "one") != digests(tmp_path / "other")
    one, other = read(tmp_path / "one"), read(tmp_path / "other")
    assert list(one) != list(other)  # shuffled
    assert len(one) == len(other)


def test_drawn_ones_fit_and_names_are_as_asked(tmp_path):
    summary = run(
        "--draw", 6, tmp_path, "--small-share", 0, "--prefix", "drawn", "--split", "validation"
    )
    assert (summary["samples"], summary["small"], summary["tars"]) == (6, 0, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["drawn-validation-0000.tar"]
    for key, sample in read(tmp_path).items():
        image = Image.open(io.BytesIO(sample["jpg"]))
        facts = json.loads(sample["json"])
        assert image.size == (facts["width"], facts["height"])
        assert key.startswith(f"{facts['class_name']}_")
        assert 0.15 < len(sample["jpg"]) / image.width / image.height < 0.45


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{out}"], "give one FOLDER"),
        (["--draw", "1", "{folder}", "{out}"], "give one FOLDER"),
        (["{folder}", "{folder}", "{out}"], "give one FOLDER"),
        (["{empty}", "{out}"], "no images under"),
        (["--draw", "1", "{full}"], "already holds imagenet22k-train-*.tar"),
        (["--small-share", "1", "{folder}", "{out}"], "1.0 is not in the range"),
    ],
)
def test_usage_errors(folder, tmp_path, arguments, message):
    places = {name: tmp_path / name for name in ("empty", "full", "out")} | {"folder": folder}
    places["empty"].mkdir()
    places["full"].mkdir()
    (places["full"] / "imagenet22k-train-0007.tar").touch()
    given = [argument.format(**places) for argument in arguments]
    result = CliRunner().invoke(tool.make_source, given)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not places["out"].exists()


def test_runs_as_a_program_and_its_help_has_an_example():
    shown = subprocess.run(
        [sys.executable, str(TOOL), "--help"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout
    assert "python tools/make_source.py photos /tmp/source --copies 20" in shown


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"no real photos at {PHOTOS}")
def test_real_photos(tmp_path):
    """Pillow agrees with libvips on each size, the reference on how many are small."""
    summary = run(PHOTOS, tmp_path, "--small-share", 0, "--duplicates", 3)
    packed = read(tmp_path)
    assert summary["samples"] == len(packed) > 200
    small = 0
    for sample in packed.values():
        facts = json.loads(sample["json"])
        content = next(sample[s] for s in sample if s not in ("cls", "json"))
        image = Image.open(io.BytesIO(content))
        assert image.size == (facts["width"], facts["height"])
        turned = image.getexif().get(0x0112, 1) >= 5
        small += fit(*(image.size[::-1] if turned else image.size)) == "too_small"
    assert small == summary["small"]
