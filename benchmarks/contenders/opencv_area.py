"""OpenCV with INTER_AREA, its antialiased filter: not bicubic."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..corpus import Plan

NAME = "OpenCV, INTER_AREA (not bicubic)"
DISTRIBUTIONS = ("opencv-python-headless",)


def available() -> str | None:
    return None if find_spec("cv2") else "opencv-python-headless is not installed"


def transcode(data: bytes, plan: Plan) -> bytes:
    return encode(resize(decode(data, plan), plan), plan)


def decode(data: bytes, plan: Plan) -> Any:
    """uint8 BGR (h, w, 3)."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    flag = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }[plan.shrink]
    return cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)


def resize(image: Any, plan: Plan) -> Any:
    import cv2

    large = cv2.resize(image, plan.resized, interpolation=cv2.INTER_AREA)
    left, top = plan.crop
    return large[top : top + plan.target[1], left : left + plan.target[0]]


def encode(image: Any, plan: Plan) -> bytes:
    import cv2

    chroma = {
        "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
        "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    }[plan.subsampling]
    options = [cv2.IMWRITE_JPEG_QUALITY, plan.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, chroma]
    return bytes(cv2.imencode(".jpg", image, options)[1])


def pixels(data: bytes, plan: Plan) -> Any:
    return resize(decode(data, plan), plan)[..., ::-1]
