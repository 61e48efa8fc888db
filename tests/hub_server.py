"""As much of the Hub's HTTP as an upload needs, on loopback: one server, any number of dataset
repositories, their branch main.

It keeps to what huggingface_hub sends and expects: repositories made, the question how a file is to
come (preupload), large files by the LFS protocol, commits as lines of JSON, the tree. Large files
are refused where their SHA-256 is not what was announced, as are commits of what never came. It
knows nothing of Xet, by which the real one takes large files from newer clients.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Repository:
    """files: path -> bytes. large: those that came by LFS. commits: paths added, paths removed."""

    private: bool
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.tar lfs\n"})
    large: set[str] = field(default_factory=set)
    commits: list[tuple[list[str], list[str]]] = field(default_factory=list)


class HubServer:
    """is_large: whether a file is to come by LFS. script: a status for a request, 0 for none, by
    (method, path, how often this was asked)."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.is_large: Callable[[str], bool] = lambda path: path.endswith((".tar", ".parquet"))
        self.script: Callable[[str, str, int], int] = lambda method, path, attempt: 0
        self.asked: list[tuple[str, str]] = []
        self._blobs: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        path = urlsplit(target).path
        with self._lock:
            self.asked.append((method, path))
            status = self.script(method, path, self.asked.count((method, path)))
            if status:
                return status, {"error": "so it is"}
            if path == "/api/repos/create":
                return self._create(json.loads(body))
            if path == "/api/validate-yaml":  # of a card; the real one knows what is valid
                assert json.loads(body)["repoType"] == "dataset"
                return 200, {"errors": [], "warnings": []}
            if path.startswith("/lfs/"):
                return self._store(path.removeprefix("/lfs/"), body)
            if path.endswith(".git/info/lfs/objects/batch"):
                return self._batch(json.loads(body))
            words = path.removeprefix("/api/datasets/").split("/")
            name = "/".join(words[:2])
            repository = self.repositories.get(name)
            if repository is None:
                return 404, {"error": "Repository not found"}
            if words[2:] == ["preupload", "main"]:
                return self._modes(json.loads(body))
            if words[2:] == ["commit", "main"]:
                return self._commit(
                    name, repository, [json.loads(line) for line in body.splitlines()]
                )
            if words[2:] == ["tree", "main"]:
                return 200, [_entry(repository, name) for name in repository.files]
            return 404, {"error": f"no {method} {path} here"}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"{asked['organization']}/{asked['name']}"
        assert asked["type"] == "dataset"
        there = name in self.repositories
        if not there:
            private = asked.get("private") or asked.get("visibility") == "private"
            self.repositories[name] = Repository(bool(private))
        return 409 if there else 200, {"url": f"{self.url}/datasets/{name}"}

    def _modes(self, asked: dict[str, Any]) -> tuple[int, Any]:
        return 200, {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if self.is_large(file["path"]) else "regular",
                    "shouldIgnore": False,
                }
                for file in asked["files"]
            ]
        }

    def _batch(self, asked: dict[str, Any]) -> tuple[int, Any]:
        found = []
        for entry in asked["objects"]:
            item = {"oid": entry["oid"], "size": entry["size"]}
            if entry["oid"] not in self._blobs:
                item["actions"] = {"upload": {"href": f"{self.url}/lfs/{entry['oid']}"}}
            found.append(item)
        return 200, {"transfer": "basic", "objects": found}

    def _store(self, oid: str, body: bytes) -> tuple[int, Any]:
        if hashlib.sha256(body).hexdigest() != oid:
            return 400, {"error": "other bytes"}
        self._blobs[oid] = body
        return 200, {}

    def _commit(self, name: str, repository: Repository, lines: list[Any]) -> tuple[int, Any]:
        added, removed = [], []
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
                repository.large.discard(value["path"])
                added.append(value["path"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self._blobs:
                    return 400, {"error": f"{value['path']} never came"}
                repository.files[value["path"]] = self._blobs[value["oid"]]
                repository.large.add(value["path"])
                added.append(value["path"])
            elif line["key"] == "deletedFile":
                del repository.files[value["path"]]
                removed.append(value["path"])
            else:
                assert line["key"] == "header", line["key"]
        repository.commits.append((added, removed))
        oid = f"{len(repository.commits):040x}"
        url = f"{self.url}/datasets/{name}/commit/{oid}"
        return 200, {"success": True, "commitOid": oid, "commitUrl": url}


def _entry(repository: Repository, path: str) -> dict[str, Any]:
    content = repository.files[path]
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
    stored = content
    if path in repository.large:
        oid = hashlib.sha256(content).hexdigest()
        stored = (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
        ).encode()
        entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": len(stored)}
    entry["oid"] = hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()
    return entry


def _handler(server: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, payload = server.answer(self.command, self.path, body)
            content = json.dumps(payload).encode()
            lines = [f"HTTP/1.1 {status} so", f"Content-Length: {len(content)}"]
            lines += ["Content-Type: application/json", 'ETag: "it"']
            if status == 404:
                lines.append("X-Error-Code: RepoNotFound")
            self.wfile.write("\r\n".join([*lines, "", ""]).encode() + content)

        do_GET = do_POST = do_PUT = serve

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
