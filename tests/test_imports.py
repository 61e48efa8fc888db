"""Who imports whom: rooms in one order, native things in one room each, nothing heavy at first."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fastbucket"

# A module imports only from rooms above its own, at its top or inside a function; a room is a
# file or a folder. What is imported for type checkers alone does not count.
ORDER = (
    "errors", "public", "commit", "software", "progress", "engines",
    "geometry", "buffers", "buckets", "crop", "subsampling", "format",
    "option", "recipe", "resources",
    "report", "stopwatch", "threads",
    "catalogue", "sidecar", "kernels", "decode", "sources", "dedup", "shardlist", "sourcerows",
    "planning", "planfile",
    "resize", "encode", "orientation", "look", "transcode",
    "digest", "tar", "shard", "walked", "index", "records", "sample", "growing", "task",
    "gaps", "fill", "meta", "manifest", "lock", "clearing", "refusal", "state",
    "stage", "parts", "card", "outcome",
    "stored", "thumbnails",
    "spool", "scan", "job", "making", "run", "jobarray", "sinks",
    "repack", "captions", "pruning", "suspects", "verification",
    "loader", "overview",
    "draw", "segments", "timm_tars", "drawn_source", "bench",
    "cli", "__main__",
)  # fmt: skip

FREE = ("__init__",)  # the public face: everything may import its __version__

# Library -> the only rooms, or modules of a room, that may import it.
NATIVE = {
    "numba": {"kernels"},
    "pyvips": {"decode", "drawn_source"},
    "simplejpeg": {
        "decode",
        "drawn_source",
        "verification.jpeg",
        "manifest",
        "bench",
        "loader.images",
    },
    "click": {"cli"},
    "httpx": {"captions.client"},
    "fsspec": {"sinks.objects", "sources.store"},
    "huggingface_hub": {"sinks.hub"},
    "rich": {"cli", "progress"},
    "multiprocessing": {"engines"},
    "ray": {"engines.ray"},
    "webdataset": {"loader"},
    "yaml": {"card"},
    "PIL": {"encode", "thumbnails"},
    "torch": {"loader"},
}

HEAVY = (
    "numba", "numpy", "pyvips", "simplejpeg", "pyarrow", "rich", "webdataset", "PIL", "torch",
    "datasets", "httpx", "fsspec", "huggingface_hub", "yaml", "multiprocessing", "llvmlite", "cffi",
    "ray",
)  # fmt: skip


class Import(NamedTuple):
    """module imports target, both with dots and without the package's name before them."""

    module: str
    target: str
    line: int
    ours: bool


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(module: str) -> list[Import]:
    """All imports of a module but those under `if TYPE_CHECKING`."""
    path = MODULES[module]
    inside = module.split(".") if module != "__init__" else []
    folder = inside if path.name == "__init__.py" else inside[:-1]
    found: list[Import] = []

    def ours(names: list[str], node: ast.ImportFrom) -> None:
        for alias in node.names:
            whole = ".".join([*names, alias.name])
            target = whole if whole in MODULES else ".".join(names) or "__init__"
            found.append(Import(module, target, node.lineno, True))

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                for alias in child.names:
                    first, _, rest = alias.name.partition(".")
                    mine = first == "fastbucket"
                    target = (rest or "__init__") if mine else alias.name
                    found.append(Import(module, target, child.lineno, mine))
            elif isinstance(child, ast.ImportFrom):
                name = child.module or ""
                if child.level:
                    base = folder[: len(folder) - child.level + 1]
                    ours([*base, *filter(None, name.split("."))], child)
                elif name.split(".")[0] == "fastbucket":
                    ours(name.split(".")[1:], child)
                else:
                    found.append(Import(module, name, child.lineno, False))
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def room(module: str) -> str:
    return module.split(".")[0]


def test_every_room_stands_in_the_order_once():
    assert len(set(ORDER)) == len(ORDER)
    assert {room(module) for module in MODULES} == {*ORDER, *FREE}


@pytest.mark.parametrize("name", ORDER)
def test_a_room_imports_only_from_above(name):
    place = {room: number for number, room in enumerate(ORDER)}
    wrong = [
        f"{i.module}:{i.line} imports {i.target}"
        for module in MODULES
        if room(module) == name
        for i in imports(module)
        if i.ours and room(i.target) not in (name, *FREE)
        if place[room(i.target)] >= place[name]
    ]
    assert not wrong


def test_imports_are_found():
    """Else the tests above pass for want of anything to look at."""
    assert any(i.target == "kernels.fit" for i in imports("planning"))
    assert any(i.target == "transcode" for i in imports("sample"))
    assert any(i.target == "geometry" for i in imports("sources.probe"))
    assert any(i.target == "click" for i in imports("cli.export"))
    assert not any(i.target == "run" for i in imports("__init__"))  # for type checkers alone


@pytest.mark.parametrize("library", NATIVE)
def test_one_room_knows_each_native_thing(library):
    users = {
        module
        for module in MODULES
        for i in imports(module)
        if not i.ours and i.target.split(".")[0] == library
    }
    allowed = NATIVE[library]
    strangers = {u for u in users if room(u) not in allowed and u not in allowed}
    assert not strangers
    assert all(any(u == a or room(u) == a for u in users) for a in allowed), "a stale permission"


def loaded(code: str) -> set[str]:
    """The heavy modules that a fresh interpreter has loaded after `code`."""
    code += (
        f"\nimport json, sys\nprint('\\n' + json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_package_loads_nothing_heavy():
    assert not loaded("import fastbucket; fastbucket.__version__; dir(fastbucket)")
    assert not loaded("from fastbucket import Recipe, Resources, Report, RunError; Recipe()")


def test_who_waits_for_workers_loads_no_kernels():
    """Half a second before the first of them begins, which loads its own."""
    assert "numba" not in loaded("import fastbucket.captions.application")


ASKED = """
import os, sys

class Recorder:
    def find_spec(self, name, path=None, target=None):
        if name in ("pandas", "pyarrow.compute", "numba"):
            with open(os.environ["ASKED"], "a") as log:
                log.write(f"{name} in {sys.argv[0]}\\n")

sys.meta_path.insert(0, Recorder())
"""
"""sitecustomize.py: who asks for what, installed or not."""


def test_an_export_leaves_out_what_pyarrow_would_load(drawn, tmp_path):
    """pandas, where it is installed, took a quarter of the time of a small export, and 39 MB of
    every worker that scans; the compute functions 9 MB."""
    (tmp_path / "sitecustomize.py").write_text(ASKED)
    log = tmp_path / "asked"
    log.touch()
    command = ["export", str(drawn.paths[0]), str(tmp_path / "out"), "--workers", "1", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "fastbucket", *command],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)]),
            "ASKED": str(log),
        },
    )
    assert done.returncode == 0, done.stderr
    asked = set(log.read_text().splitlines())
    assert "numba in -c" in asked  # the recorder is there, and "-c" is a worker
    assert "pandas" not in {line.split()[0] for line in asked}
    assert "pyarrow.compute in -c" not in asked


RUN = """
import runpy, sys
sys.argv = ["fastbucket", *{words}]
try:
    runpy.run_module("fastbucket", run_name="__main__", alter_sys=False)
except SystemExit as end:
    assert not end.code, end.code
"""


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["export", "--help"]])
def test_help_loads_nothing_heavy(words):
    assert not loaded(RUN.format(words=words))


def test_what_is_named_is_there():
    import fastbucket

    for name in fastbucket.__all__:
        assert getattr(fastbucket, name).__name__ == name
    assert dir(fastbucket) == sorted(fastbucket.__all__)
    with pytest.raises(AttributeError, match="no attribute 'decode_all'"):
        fastbucket.decode_all  # noqa: B018
    assert fastbucket.export.__module__ == "fastbucket.run"
    assert (PACKAGE / "py.typed").exists()
