"""The stage that is replaced: Pillow decode, torch's antialiased bicubic on floats, Pillow encode.

It decodes in full whatever the scale, as that stage did.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from ..corpus import Plan
from . import pillow_bicubic

NAME = "torch float bicubic + Pillow codecs"
DISTRIBUTIONS = ("torch", "pillow")
versions = pillow_bicubic.versions


def available() -> str | None:
    missing = [name for name in ("torch", "PIL") if not find_spec(name)]
    return f"{' and '.join(missing)} not installed" if missing else None


def transcode(data: bytes, plan: Plan) -> bytes:
    from PIL import Image

    small = resize(decode(data, plan), plan)
    return pillow_bicubic.encode(Image.fromarray(small.numpy()), plan)


def decode(data: bytes, plan: Plan) -> Any:
    """uint8 RGB (h, w, 3)."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    image = pillow_bicubic.decode(data, replace(plan, shrink=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of memory that torch may not write to, and does not
        return torch.from_numpy(np.asarray(image))


def resize(image: Any, plan: Plan) -> Any:
    """uint8 RGB (H, W, 3), clamped and rounded once."""
    import torch

    planes = image.permute(2, 0, 1)[None].to(torch.float32, memory_format=torch.contiguous_format)
    width, height = plan.resized
    large = torch.nn.functional.interpolate(
        planes, (height, width), mode="bicubic", align_corners=False, antialias=True
    )
    left, top = plan.crop
    crop = large[0, :, top : top + plan.target[1], left : left + plan.target[0]]
    return crop.clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()


def pixels(data: bytes, plan: Plan) -> Any:
    return resize(decode(data, plan), plan).numpy()
