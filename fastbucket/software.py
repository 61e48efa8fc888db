"""Versions of installed packages, for the manifest and for the guard of a resume."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed(package: str) -> str:
    """The version of a distribution, "?" where there is none of that name: libvips may be the
    system's, say, or Pillow another build. Loads nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "?"
