"""Calls one function in this process, which is a fresh one; prints what it returns as JSON.

    python -m benchmarks.measure benchmarks.stages.encode:measure '{"corpus": "..."}'

`process.call` is the other end.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module


def main() -> None:
    target, arguments = sys.argv[1:]
    module, function = target.split(":")
    print(json.dumps(getattr(import_module(module), function)(**json.loads(arguments))))


if __name__ == "__main__":
    main()
