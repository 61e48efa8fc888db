"""What img2dataset leaves behind is a source: tars, files and Parquet, made by the real one.

It brings sixty packages, and is wanted for this alone: FASTBUCKET_IMG2DATASET may name a Python
that has it, elsewhere than here.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import exported
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_parquet import jpeg

import fastbucket
from fastbucket import Recipe, Resources
from fastbucket.progress import Silent
from fastbucket.sources.locate import archives
from fastbucket.sources.remarks import remarks

IMAGES = 6
ASKED = 9
"""The last three are not on the server."""

RUN = "import sys; from img2dataset import download; download(**{options})"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None: ...


def python_with_img2dataset() -> str:
    if named := os.environ.get("FASTBUCKET_IMG2DATASET"):
        return named
    if find_spec("img2dataset") is None:
        pytest.skip(
            "img2dataset is not installed, and FASTBUCKET_IMG2DATASET names no other Python"
        )
    return sys.executable


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Drawn photos on a loopback HTTP server: its address, and the images by their number."""
    folder = tmp_path_factory.mktemp("www")
    images = {number: jpeg(number, 520 + number) for number in range(IMAGES)}
    for number, image in images.items():
        (folder / f"{number}.jpg").write_bytes(image)
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", images
        running.shutdown()
        thread.join()


def downloaded(kind: str, address: str, folder: Path) -> Path:
    urls = folder / "urls.jsonl"
    rows = [
        {"url": f"{address}/{i}.jpg", "caption": f"photo {i}", "score": i / 10}
        for i in range(ASKED)
    ]
    urls.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {
        "url_list": str(urls),
        "input_format": "jsonl",
        "url_col": "url",
        "caption_col": "caption",
        "output_format": kind,
        "output_folder": str(folder / "out"),
        "processes_count": 1,
        "thread_count": 4,
        "resize_mode": "no",
        "disable_all_reencoding": True,
        "number_sample_per_shard": 5,
        "save_additional_columns": ["score"],
        "compute_hash": "sha256",
        "retries": 1,
    }
    done = subprocess.run(
        [python_with_img2dataset(), "-c", RUN.format(options=options)],
        capture_output=True,
        text=True,
        timeout=240,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.mark.parametrize(
    ("kind", "kinds"),
    [("webdataset", ["tar"] * 2), ("files", ["folder"]), ("parquet", ["parquet"] * 2)],
)
def test_what_img2dataset_wrote(server, tmp_path, kind, kinds):
    address, images = server
    source = downloaded(kind, address, tmp_path)
    found = archives([source])
    assert [archive.kind for archive in found] == kinds
    said = [line for line in remarks(found, "caption") if "img2dataset" in line]
    assert said == [
        f"img2dataset downloaded 6 of {ASKED} images: HTTP Error 404: File not found 3. "
        "What is not there is no sample and no drop of this export"
    ]
    out = tmp_path / "dataset"
    report = fastbucket.export(source, out, Recipe(caption_field="caption"), Resources(workers=1))
    # Only its Parquet has a row for what it could not get.
    assert report.scanned == (ASKED if kind == "parquet" else IMAGES)
    assert report.dropped == ({"no_image": 3} if kind == "parquet" else {})
    samples = list(exported.samples(out))
    assert len(samples) == IMAGES
    for sample in samples:
        number = int(sample.txt.decode().removeprefix("photo "))
        assert sample.json["source_bytes"] == len(images[number])
        assert sample.json["sha256"] == sample.json["source_sha256"]  # the one that it computed
        assert sample.json["url"] == f"{address}/{number}.jpg"
        assert sample.json["score"] == number / 10
        assert sample.json["source_w"] == 520 + number
    assert fastbucket.verify(out, fast=True, workers=1, sources=[source]).ok


# -- the same layout by hand, for where img2dataset is not


@pytest.fixture
def tars(tmp_path) -> Path:
    """As its `webdataset` output: <shard>.tar, <shard>.parquet, <shard>_stats.json."""
    for shard in range(2):
        members = []
        for number in range(2):
            key = f"{shard:05d}{number:04d}"
            fields = {"url": f"u{number}", "key": key, "status": "success", "exif": "{}"}
            members += [
                (f"{key}.jpg", jpeg(number + 2 * shard, 560)),
                (f"{key}.txt", b"words"),
                (f"{key}.json", json.dumps(fields).encode()),
            ]
        exported.write_tar(tmp_path / "out" / f"{shard:05d}.tar", members)
        rows = {"url": ["u0", "u1", "u2"], "status": ["success", "success", "failed_to_download"]}
        pq.write_table(pa.table(rows), tmp_path / "out" / f"{shard:05d}.parquet")
        statuses = {"success": 2, "HTTP Error 404: Not Found": 1}
        stats = {"count": 3, "successes": 2, "failed_to_download": 1, "status_dict": statuses}
        (tmp_path / "out" / f"{shard:05d}_stats.json").write_text(json.dumps(stats))
    return tmp_path / "out"


def test_its_layout_by_hand(tars, tmp_path):
    said: list[str] = []

    class Said(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    report = fastbucket.export(
        tars, tmp_path / "dataset", Recipe(), Resources(workers=1), progress=Said()
    )
    assert (report.scanned, report.exported) == (4, 4)
    samples = list(exported.samples(tmp_path / "dataset"))
    assert {sample.txt for sample in samples} == {b"words\n"}
    assert {sample.json["url"] for sample in samples} == {"u0", "u1"}
    assert any("downloaded 4 of 6 images: HTTP Error 404: Not Found 2." in line for line in said)


def test_broken_notes_are_no_notes(tars):
    (tars / "00000_stats.json").write_text('{"count": "many"')
    (tars / "00001_stats.json").write_text('["count"]')
    assert list(remarks(archives([tars]), "")) == []


def test_a_caption_column_that_is_not_asked_for(tmp_path):
    pq.write_table(pa.table({"image": [jpeg(0)], "text": ["a"]}), tmp_path / "a.parquet")
    found = archives([tmp_path / "a.parquet"])
    (said,) = remarks(found, "")
    assert "a.parquet: column 'text' is carried as a field; --caption-field text makes it" in said
    assert list(remarks(found, "text")) == []
    pq.write_table(
        pa.table({"image": [jpeg(0)], "text": ["a"], "txt": ["b"]}), tmp_path / "a.parquet"
    )
    assert list(remarks(found, "")) == []
