"""fastbucket: large photo collections into pre-bucketed, captioned training sets.

    import fastbucket

    report = fastbucket.export(["photos/train-{0000..0099}.tar"], "out")
    fastbucket.verify("out")

Importing the package loads nothing heavy; each name below is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .errors import RunError, SampleError
    from .jobarray import export_part, merge
    from .loader import Loader
    from .pruning import prune
    from .recipe import Recipe
    from .report import Report
    from .resources import Resources
    from .run import export, plan
    from .sinks import push
    from .stage import webdataset_stage
    from .transcode import Transcoded, Transcoder
    from .verification import verify

__all__ = [
    "Loader",
    "Recipe",
    "Report",
    "Resources",
    "RunError",
    "SampleError",
    "Transcoded",
    "Transcoder",
    "export",
    "export_part",
    "merge",
    "plan",
    "prune",
    "push",
    "verify",
    "webdataset_stage",
]

# No module is called as a function in it is: importing fastbucket.export as a module would
# replace the function fastbucket.export.
_HOMES = {
    "Loader": "loader",
    "Recipe": "recipe",
    "Report": "report",
    "Resources": "resources",
    "RunError": "errors",
    "SampleError": "errors",
    "Transcoded": "transcode",
    "Transcoder": "transcode",
    "export": "run",
    "export_part": "jobarray",
    "merge": "jobarray",
    "plan": "run",
    "prune": "pruning",
    "push": "sinks",
    "verify": "verification",
    "webdataset_stage": "stage",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
