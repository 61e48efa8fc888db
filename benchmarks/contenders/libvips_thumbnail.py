"""libvips' own `thumbnail`, with its own shrink-on-load and its default kernel, Lanczos."""

from __future__ import annotations

from typing import Any

from ..corpus import Plan

NAME = "libvips thumbnail (Lanczos)"
DISTRIBUTIONS = ("pyvips", "pyvips-binary")


def available() -> str | None:
    return None


def transcode(data: bytes, plan: Plan) -> bytes:
    mode = "off" if plan.subsampling == "4:4:4" else "on"
    jpeg = _target(data, plan).jpegsave_buffer(Q=plan.quality, subsample_mode=mode, keep="none")
    return bytes(jpeg)


def pixels(data: bytes, plan: Plan) -> Any:
    return _target(data, plan).numpy()[..., :3]


def _target(data: bytes, plan: Plan) -> Any:
    import pyvips

    pyvips.cache_set_max(0)  # else the second pass over the images would find them done
    width, height = plan.resized
    large = pyvips.Image.thumbnail_buffer(data, width, height=height, size="force", no_rotate=True)
    return large.crop(*plan.crop, *plan.target)


def versions() -> dict[str, str]:
    import pyvips

    return {"libvips": ".".join(str(pyvips.version(part)) for part in range(3))}
