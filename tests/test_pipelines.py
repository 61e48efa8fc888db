"""The programs of docs/pipelines.md, run as they stand there, beside the libraries they are for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import exported
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastbucket import Recipe, SampleError, Transcoder
from fastbucket.draw import draw
from fastbucket.drawn_source import photo_jpeg

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"^```python (\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

SIZES = ((640, 480), (480, 640), (300, 200), (700, 700))


@pytest.fixture
def photos(tmp_path) -> dict[str, bytes]:
    """Photos in the folder, as tars, and as Parquet: name -> JPEG. The third does not fit."""
    made = {f"{i}": photo_jpeg(draw(*size, i)) for i, size in enumerate(SIZES)}
    (tmp_path / "photos").mkdir()
    for name, jpeg in made.items():
        (tmp_path / "photos" / f"{name}.jpg").write_bytes(jpeg)
    for number in range(2):
        members = [(f"{name}.jpg", made[name]) for name in ("01", "23")[number]]
        exported.write_tar(tmp_path / f"photos-{number:03d}.tar", members)
    images = pa.array([{"bytes": jpeg, "path": None} for jpeg in made.values()])
    pq.write_table(pa.table({"image": images}), tmp_path / "photos.parquet")
    return made


def run(name: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAMS[name]],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
            "HF_DATASETS_CACHE": str(folder / "cache"),
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def expected(photos: dict[str, bytes], image_id: str) -> dict[str, bytes]:
    """image_id -> JPEG of those that fit; image_id: a pattern of name and number."""
    transcoder, found = Transcoder(Recipe()), {}
    for name, jpeg in photos.items():
        full = image_id.format(name=name, pair=int(name) // 2)
        try:
            found[full] = transcoder.transcode(jpeg, full).jpeg
        except SampleError as error:
            assert error.reason == "too_small"
    assert len(found) == 3
    return found


def test_the_page_has_these_programs():
    assert set(PROGRAMS) == {"webdataset", "ray", "datasets"}


def test_webdataset(photos, tmp_path):
    said = run("webdataset", tmp_path)
    assert "{'too_small': 1}" in said
    assert "too_small: 300x200 would need upsampling" in said
    (shard,) = tmp_path.glob("bucketed-*.tar")
    found = {
        json.loads(members["json"])["image_id"]: members["jpg"]
        for members in exported.source_members([shard]).values()
    }
    assert found == expected(photos, "photos-{pair:03d}/{name}")


@pytest.mark.long  # a Ray of its own; test_ray has one already
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_ray(photos, tmp_path):
    run("ray", tmp_path)
    rows = pq.read_table(tmp_path / "bucketed").to_pylist()
    assert sorted(row["dropped"] for row in rows) == ["", "", "", "too_small"]
    for row in rows:
        if row["dropped"]:
            assert row["jpg"] == b""
            continue
        done = Transcoder(Recipe()).transcode(photos[Path(row["path"]).stem], row["path"])
        assert (row["jpg"], row["bucket"]) == (done.jpeg, done.bucket.id)


def test_datasets(photos, tmp_path):
    script = PROGRAMS["datasets"] + (
        "\nfor row in dataset.cast_column('image', Image(decode=False)):"
        "\n    open(f'{row[\"number\"]}.out', 'wb').write(row['image']['bytes'])"
        "\nprint(dataset[0]['image'].size)\n"
    )
    PROGRAMS["datasets, written out"] = script
    said = run("datasets, written out", tmp_path)
    assert "2 too_small: 300x200" in said
    assert "(576, 416)" in said
    found = {f"photos/{path.stem}": path.read_bytes() for path in tmp_path.glob("*.out")}
    assert found == expected(photos, "photos/{name}")
