"""Pillow-SIMD: the same calls as Pillow's, in an environment of its own, compiled for AVX2."""

from __future__ import annotations

from .. import environments
from .pillow_bicubic import decode, encode, pixels, resize, transcode, versions

__all__ = ["decode", "encode", "pixels", "resize", "transcode", "versions"]

NAME = "Pillow-SIMD (AVX2), bicubic"
DISTRIBUTIONS = ("pillow-simd",)
PYTHON = environments.python(environments.PILLOW_SIMD)


def available() -> str | None:
    return environments.why_absent(environments.PILLOW_SIMD)
