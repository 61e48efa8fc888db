"""What is installed: versions, for the manifest and for the guard of a resume; and what our own
processes leave out of it."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from typing import Any


def installed(package: str) -> str:
    """The version of a distribution, "?" where there is none of that name: libvips may be the
    system's, say, or Pillow another build. Loads nothing."""
    from importlib.metadata import PackageNotFoundError, version  # not needed to start

    try:
        return version(package)
    except PackageNotFoundError:
        return "?"


class _LeftOut:
    """A finder that is asked before the others, and the loader of what it finds: who asks whether
    there is such a module gets an answer, who imports it an ImportError. (A None in sys.modules,
    which is meant for this, Cython takes for the module.)"""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name == "pandas" else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        raise ModuleNotFoundError(f"{spec.name} is left out of this process", name=spec.name)

    def exec_module(self, module: Any) -> None: ...


def leave_out_pandas() -> None:
    """Let nothing in this process import pandas: for processes that are ours alone, at their start.

    Where it is installed pyarrow imports it at the first array, to tell one of its series from a
    list. Nothing here has a use for it.
    """
    sys.meta_path.insert(0, _LeftOut())
