"""torch's antialiased bicubic on uint8, in the memory order it has a vector kernel for."""

from __future__ import annotations

import warnings
from typing import Any

from ..corpus import Plan
from . import pillow_bicubic, torch_float

NAME = "torch uint8 bicubic + Pillow codecs"
DISTRIBUTIONS = torch_float.DISTRIBUTIONS
available = torch_float.available
versions = pillow_bicubic.versions


def transcode(data: bytes, plan: Plan) -> bytes:
    from PIL import Image

    small = resize(decode(data, plan), plan)
    return pillow_bicubic.encode(Image.fromarray(small.numpy()), plan)


def decode(data: bytes, plan: Plan) -> Any:
    """uint8 RGB (h, w, 3)."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    image = pillow_bicubic.decode(data, plan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of memory that torch may not write to, and does not
        return torch.from_numpy(np.asarray(image))


def resize(image: Any, plan: Plan) -> Any:
    """uint8 RGB (H, W, 3)."""
    import torch

    width, height = plan.resized
    large = torch.nn.functional.interpolate(
        image.permute(2, 0, 1)[None],  # (1, 3, h, w) of interleaved pixels: channels_last
        (height, width),
        mode="bicubic",
        align_corners=False,
        antialias=True,
    )
    left, top = plan.crop
    crop = large[0, :, top : top + plan.target[1], left : left + plan.target[0]]
    return crop.permute(1, 2, 0).contiguous()


def pixels(data: bytes, plan: Plan) -> Any:
    return resize(decode(data, plan), plan).numpy()
