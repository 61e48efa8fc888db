"""sharp in Node: libvips behind another door, with its own shrink-on-load; bicubic.

A Node process is fed through its standard input; the time is by Node's clock, without the pipe.
"""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import environments
from ..corpus import Plan

NAME = "sharp in Node, bicubic"

_last: dict[str, Any] = {}


def available() -> str | None:
    if shutil.which("node") is None:
        return "node is not installed"
    return environments.why_absent(environments.SHARP)


def transcode(data: bytes, plan: Plan) -> bytes:
    return _ask(data, plan, raw=False)


def pixels(data: bytes, plan: Plan) -> Any:
    import numpy as np

    width, height = plan.target
    return np.frombuffer(_ask(data, plan, raw=True), np.uint8).reshape(height, width, 3)


def seconds() -> float:
    """Of the last call, by Node's clock."""
    return float(_last["seconds"])


def versions() -> dict[str, str]:
    return dict(_last["versions"])


def _ask(data: bytes, plan: Plan, raw: bool) -> bytes:
    """One line of JSON with the length of what follows, both ways; see sharp_node.mjs."""
    node = _node()
    ask = {"length": len(data), "raw": raw, **vars(plan)}
    node.stdin.write(json.dumps(ask).encode() + b"\n" + data)
    node.stdin.flush()
    line = node.stdout.readline()
    if not line:
        raise RuntimeError(f"node ended with exit code {node.wait()}")
    _last.update(json.loads(line))
    return bytes(node.stdout.read(_last["length"]))


@lru_cache(1)
def _node() -> Any:
    script = Path(__file__).with_suffix(".mjs")
    packages = environments.folder(environments.SHARP) / "package.json"
    node = subprocess.Popen(
        ["node", script, packages], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    atexit.register(node.kill)
    return node
