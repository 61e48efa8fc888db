"""Pillow: decode, bicubic resize of the crop's box alone, encode."""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import Any

from ..corpus import Plan

NAME = "Pillow, bicubic"
DISTRIBUTIONS = ("pillow",)
SUBSAMPLING = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}


def available() -> str | None:
    return None if find_spec("PIL") else "pillow is not installed"


def transcode(data: bytes, plan: Plan) -> bytes:
    return encode(resize(decode(data, plan), plan), plan)


def decode(data: bytes, plan: Plan) -> Any:
    """An image, RGB, its pixels loaded."""
    from PIL import Image

    image = Image.open(io.BytesIO(data))
    if plan.shrink > 1:
        image.draft("RGB", (plan.source[0] // plan.shrink, plan.source[1] // plan.shrink))
    if image.mode != "RGB":
        return image.convert("RGB")
    image.load()
    return image


def resize(image: Any, plan: Plan) -> Any:
    """Through `box`, Pillow's own way to compute the crop and nothing else; the same pixels."""
    from PIL import Image

    left, top, right, bottom = plan.box
    box = (left, top, min(right, image.width), min(bottom, image.height))
    return image.resize(plan.target, Image.Resampling.BICUBIC, box=box)


def encode(image: Any, plan: Plan) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=plan.quality, subsampling=SUBSAMPLING[plan.subsampling])
    return out.getvalue()


def pixels(data: bytes, plan: Plan) -> Any:
    import numpy as np

    return np.asarray(resize(decode(data, plan), plan))


def versions() -> dict[str, str]:
    from PIL import features

    return {"libjpeg-turbo of Pillow": str(features.version("libjpeg_turbo"))}
