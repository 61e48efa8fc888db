"""JPEGs of one size into a batch: webdataset's image specs, two of them decoded faster.

| spec        | a batch of n images of w x h                                             |
|-------------|--------------------------------------------------------------------------|
| `rgb8`      | numpy uint8 (n, h, w, 3)                                                 |
| `torchrgb8` | torch uint8 (n, 3, h, w), channels last in memory                        |
| `bytes`     | a list of the JPEGs                                                      |
| others      | of webdataset: `pil` a list, `rgb`, `torchrgb` and so on stacked         |

`rgb8` and `torchrgb8` are decoded by libjpeg-turbo into the batch itself; the others by webdataset,
which takes Pillow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import simplejpeg

from ..errors import RunError
from .samples import Sample

Decoder = Callable[[Sequence[Sample], tuple[int, int]], Any]
"""Called with samples and their (width, height)."""


def decoder(spec: str) -> Decoder:
    """The decoder of a spec. Raises RunError for one that there is not, or that needs torch."""
    if spec in _DECODERS:
        made = _DECODERS[spec]
    else:
        from webdataset.autodecode import ImageHandler, imagespecs

        if spec not in imagespecs:
            known = ", ".join(sorted({*_DECODERS, *imagespecs}))
            raise RunError(f"images: {spec!r} is none of {known}")
        made = _Webdatasets(spec, ImageHandler(spec))
    if spec.startswith("torch"):
        try:
            import torch  # noqa: F401
        except ImportError:
            raise RunError(f"images: {spec!r} needs torch; 'rgb8' does without") from None
    return made


def rgb8(samples: Sequence[Sample], size: tuple[int, int]) -> np.ndarray:
    """uint8 (n, h, w, 3). Strict: damage is an error and never a grey image."""
    width, height = size
    batch = np.empty((len(samples), height, width, 3), np.uint8)
    for sample, into in zip(samples, batch, strict=True):
        try:
            found = simplejpeg.decode_jpeg(sample.jpg, "RGB", buffer=into, strict=True)
            if found.shape != into.shape:
                raise ValueError(f"is of {found.shape[1]}x{found.shape[0]} pixels")
        except (ValueError, RuntimeError) as error:
            raise RunError(
                f"{sample.url}: {sample.key}.jpg: {error}; its bucket is of {width}x{height}. "
                "Copied JPEGs (image_mode passthrough_jpeg) keep their own size: load them as 'pil'"
            ) from None
    return batch


def torchrgb8(samples: Sequence[Sample], size: tuple[int, int]) -> Any:
    """torch uint8 (n, 3, h, w): the pixels of `rgb8`, not copied."""
    import torch

    return torch.from_numpy(rgb8(samples, size)).permute(0, 3, 1, 2)


def jpegs(samples: Sequence[Sample], size: tuple[int, int]) -> list[bytes]:
    """The JPEGs as they are stored."""
    return [bytes(sample.jpg) for sample in samples]


class _Webdatasets:
    """A decoder of webdataset's."""

    def __init__(self, spec: str, handler: Callable[[str, bytes], Any]) -> None:
        self._spec, self._handler = spec, handler

    def __call__(self, samples: Sequence[Sample], size: tuple[int, int]) -> Any:
        found = [self._handler("jpg", bytes(sample.jpg)) for sample in samples]
        if self._spec.startswith("pil"):
            return found
        if self._spec.startswith("torch"):
            import torch

            return torch.stack(found)
        return np.stack(found)


_DECODERS: dict[str, Decoder] = {"rgb8": rgb8, "torchrgb8": torchrgb8, "bytes": jpegs}
