"""Runs one export in this process; prints one JSON object.

    python -m benchmarks.exports replaced OUT TAR...

`runs.export` is the other end.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from ..figures import versions
from . import exporter


def main() -> None:
    name, out, *tars = sys.argv[1:]
    module = exporter(name)
    if hasattr(module, "load"):
        module.load()
    start = time.perf_counter()
    found = module.export([Path(tar) for tar in tars], Path(out))
    found["seconds"] = time.perf_counter() - start
    found["versions"] = versions(getattr(module, "DISTRIBUTIONS", ()))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
