"""fastbucket: `Transcoder.transcode`, which also reads the header and chooses the bucket."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ..corpus import Plan

NAME = "fastbucket"
DISTRIBUTIONS = ("fastbucket", "simplejpeg", "pillow", "numba", "numpy")


def available() -> str | None:
    return None


def transcode(data: bytes, plan: Plan) -> bytes:
    jpeg: bytes = _transcoder().transcode(data, plan.name).jpeg
    return jpeg


def decode(data: bytes, plan: Plan) -> Any:
    """What the transcoder hands to its resizer, caught on the way and left undone."""
    transcoder = _transcoder()
    real = transcoder._resizer
    transcoder._resizer = _Catch()
    try:
        transcoder.transcode(data, plan.name)
    except _Caught as caught:
        return caught.args
    finally:
        transcoder._resizer = real
    raise RuntimeError("the transcoder no longer calls its resizer: mend benchmarks")


def resize(pixels: Any, plan: Plan) -> Any:
    return _transcoder()._resizer(*pixels)


def target(data: bytes, plan: Plan) -> Any:
    """RGBX uint8 (h, w, 4), as it goes into the JPEG encoder; a copy."""
    from fastbucket import transcode as room

    seen: list[Any] = []
    real = room.encode

    def encode(image: Any, *arguments: Any) -> bytes:
        seen.append(image.copy())
        return real(image, *arguments)

    room.encode = encode
    try:
        transcode(data, plan)
    finally:
        room.encode = real
    return seen[0]


def pixels(data: bytes, plan: Plan) -> Any:
    return target(data, plan)[..., :3]


@lru_cache(1)
def _transcoder() -> Any:
    from fastbucket import Recipe, Transcoder

    return Transcoder(Recipe())


class _Caught(Exception):
    """Carries the arguments of a call."""


class _Catch:
    def __call__(self, *arguments: Any) -> Any:
        raise _Caught(*arguments)
