"""Sources in object stores: moto's S3 server, and a Hub as far as it can be had on loopback.

Both are asked from processes of their own, as users do. The measure is the export of the same tars
from the local disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from s3_server import S3Server
from test_resume import start
from test_streams import RECIPE, tree


def exported(sources, out: Path) -> str:
    """An export in a process of its own; what it says where it fails."""
    process = start(sources, out, RECIPE)
    _, words = process.communicate(timeout=240)
    assert (process.returncode == 0) == (out / "manifest.json").is_file(), words
    return words.strip().splitlines()[-1] if process.returncode else ""


@pytest.fixture(scope="module")
def bucket(drawn):
    """The drawn tars in one, named tars."""
    for library in ("s3fs", "moto", "flask", "flask_cors", "boto3"):
        pytest.importorskip(library, reason=f"{library} is absent: pip install s3fs 'moto[server]'")
    with S3Server() as server, pytest.MonkeyPatch.context() as patch:
        client = server.client()
        client.create_bucket(Bucket="tars")
        for path in drawn.paths:
            client.put_object(Bucket="tars", Key=f"in/{path.name}", Body=path.read_bytes())
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


def test_from_s3_by_braces(bucket, drawn, drawn_export, tmp_path):
    names = ",".join(path.name for path in drawn.paths)
    assert not exported([f"s3://tars/in/{{{names}}}"], tmp_path / "out")
    assert tree(tmp_path / "out") == tree(drawn_export.out)


def test_from_s3_by_pattern_and_folder(bucket, drawn, drawn_export, tmp_path):
    """What they name, without an export."""
    code = (
        "import json, sys; from fastbucket.sources.locate import archives;"
        "print(json.dumps([[a.path, a.name, a.size] for a in archives(sys.argv[1:])]))"
    )
    for named in ("s3://tars/in/*.tar", "s3://tars/in", "s3://tars/"):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, named],
            stdout=subprocess.PIPE,
            check=True,
            timeout=240,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        assert json.loads(done.stdout) == [
            [f"s3://tars/in/{path.name}", path.stem, path.stat().st_size] for path in drawn.paths
        ]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("s3://tars/in/none.tar", "s3://tars/in/none.tar does not exist"),
        ("s3://tars/none-*.tar", "s3://tars/none-*.tar matches nothing"),
        ("s3://nowhere/a.tar", "source s3://nowhere/a.tar"),
    ],
)
def test_what_is_not_in_s3(bucket, tmp_path, source, words):
    assert words in exported([source], tmp_path / "out")


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub's API as reading a dataset takes. files: by path; asked: requests."""

    files: dict[str, bytes]
    asked: list[str]
    protocol_version = "HTTP/1.1"

    def log_message(self, *words) -> None:
        """Nothing."""

    def _facts(self, path: str) -> dict:
        data = self.files[path]
        digest = hashlib.sha256(data).hexdigest()
        return {
            "type": "file",
            "path": path,
            "size": len(data),
            "oid": digest[:40],
            "lfs": {"oid": digest, "size": len(data), "pointerSize": 134},
        }

    def _send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, body: object) -> None:
        self._send(json.dumps(body).encode(), Content_Type="application/json")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        repo = "datasets/some/tars"
        commit = "0" * 40
        if path.startswith(f"/api/{repo}/tree/"):
            self._json([self._facts(name) for name in sorted(self.files)])
        elif path.startswith(f"/api/{repo}"):
            self._json({"id": "some/tars", "sha": commit, "siblings": [], "private": False})
        elif path.startswith(f"/{repo}/resolve/"):
            data = self.files[path.rpartition("/")[2]]
            first, _, last = self.headers.get("Range", "bytes=0-")[6:].partition("-")
            start, end = int(first), min(int(last or len(data)) + 1, len(data))
            self._send(
                data[start:end],
                206,
                Content_Range=f"bytes {start}-{end - 1}/{len(data)}",
                ETag='"' + hashlib.sha256(data).hexdigest() + '"',
                X_Repo_Commit=commit,
            )
        else:
            self._send(b"{}", 404)

    def do_POST(self) -> None:
        self.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        is_form = "form" in self.headers.get("Content-Type", "")  # by the version of the library
        asked = urllib.parse.parse_qs(body) if is_form else json.loads(body or "{}")
        self._json([self._facts(path) for path in asked["paths"] if path in self.files])


def test_from_a_hub_on_loopback(drawn, drawn_export, tmp_path, monkeypatch):
    """huggingface_hub's own file system, with HF_ENDPOINT. What the real Hub does beyond that
    (tokens, Xet, its CDN) is not to be had here."""
    pytest.importorskip("fsspec", reason="the extra `remote` is absent")
    Hub.files = {path.name: path.read_bytes() for path in drawn.paths}
    Hub.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        names = ",".join(path.name for path in drawn.paths)
        words = exported([f"hf://datasets/some/tars/{{{names}}}"], tmp_path / "out")
        server.shutdown()
        thread.join()
    assert not words
    assert any("/resolve/" in path for path in Hub.asked)
    assert tree(tmp_path / "out") == tree(drawn_export.out)
