"""Reference of the policy in docs/format.md (sections 3 to 6 and 9): slow, to be obviously right.

It shares no code with the package, so that an agreement of the two means something: sizes are exact
fractions, the resample is two dense matrices of float64, pixels are decoded by Pillow and colour is
Pillow's littleCMS. Where the specification leaves a choice, the choice stands in the docstring.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile

PROTO_BASE = 1024  # px, the base resolution that the protos are written at
MAX_PIXELS = 178_000_000  # px; Pillow's own error is at 178,956,970
ALLOWED_CORNERS = (2, 3)  # bottom-left, bottom-right
THRESHOLD = 0.85  # scale below which chroma stays whole
SRGB_TOLERANCE = 2  # of 255; real sRGB profiles move a value by 0 or 1, the nearest other by 64

# (width, height), sorted. The SDXL paper lists (height, width): 1344x704 is here, 704x1344 is not.
PROTOS: tuple[tuple[int, int], ...] = (
    (512, 1856), (512, 1920), (512, 1984), (512, 2048), (576, 1664), (576, 1728), (576, 1792),
    (640, 1536), (640, 1600), (704, 1408), (704, 1472), (768, 1280), (768, 1344), (832, 1152),
    (832, 1216), (896, 1088), (896, 1152), (960, 1024), (960, 1088), (1024, 960), (1024, 1024),
    (1088, 896), (1088, 960), (1152, 832), (1152, 896), (1216, 832), (1280, 768), (1344, 704),
    (1344, 768), (1408, 704), (1472, 704), (1536, 640), (1600, 640), (1664, 576), (1728, 576),
    (1792, 576), (1856, 512), (1920, 512), (1984, 512), (2048, 512),
)  # fmt: skip


# Buckets


class Bucket(NamedTuple):
    """A bucket and its target size in px."""

    bucket_id: str
    w: int
    h: int


class Fit(NamedTuple):
    """Where a sample goes; sizes in px, scale = target / source of the axis that is tighter."""

    bucket: Bucket
    scale: float
    resized_w: int
    resized_h: int


def round_half_up(x: Fraction) -> int:
    """The nearest integer, halves up, exactly."""
    return (x + Fraction(1, 2)).__floor__()


def targets(base: int = 512, divisible: int = 32) -> list[Bucket]:
    """The buckets at `base`, in list order; of protos on one target the first keeps it."""
    found: dict[tuple[int, int], Bucket] = {}
    for proto_w, proto_h in PROTOS:
        w, h = (
            divisible * round_half_up(Fraction(side * base, PROTO_BASE * divisible))
            for side in (proto_w, proto_h)
        )
        if w < 1 or h < 1:
            raise ValueError(f"base {base} rounds {proto_w}x{proto_h} to {w}x{h} at {divisible}")
        found.setdefault((w, h), Bucket(f"p{proto_w}x{proto_h}", w, h))
    return list(found.values())


def short_long(w: int, h: int, bucket: Bucket) -> Fraction | None:
    """|short/long - Short/Long|, or None for a bucket of the other orientation.

    A square image is landscape; a square target belongs to both orientations.
    """
    if (bucket.w < bucket.h) if w >= h else (bucket.w > bucket.h):
        return None
    return abs(
        Fraction(min(w, h), max(w, h)) - Fraction(min(bucket.w, bucket.h), max(bucket.w, bucket.h))
    )


def log_ratio(w: int, h: int, bucket: Bucket) -> Fraction:
    """exp |ln(w/h) - ln(W/H)|: in the order of the logarithm, and exact."""
    ratio = Fraction(w * bucket.h, h * bucket.w)
    return max(ratio, 1 / ratio)


def min_crop(w: int, h: int, bucket: Bucket) -> Fraction:
    """Source px outside the crop window when the target is covered, before any rounding.

    Its order is that of `log_ratio`: the share that is kept is exp(-|ln(w/h) - ln(W/H)|).
    """
    scale = max(Fraction(bucket.w, w), Fraction(bucket.h, h))
    return w * h - (bucket.w / scale) * (bucket.h / scale)


RULES: dict[str, Callable[[int, int, Bucket], Fraction | None]] = {
    "short_long": short_long,
    "log_ratio": log_ratio,
    "min_crop": min_crop,
}


def choose(
    w: int, h: int, rule: str = "short_long", buckets: Sequence[Bucket] | None = None
) -> Bucket:
    """The nearest bucket by its target's shape; a tie goes to the first in list order."""
    best: tuple[Fraction, Bucket] | None = None
    for bucket in targets() if buckets is None else buckets:
        distance = RULES[rule](w, h, bucket)
        if distance is not None and (best is None or distance < best[0]):
            best = distance, bucket
    if best is None:
        raise ValueError(f"no bucket has the orientation of {w}x{h}")
    return best[1]


def fit(
    w: int,
    h: int,
    rule: str = "short_long",
    buckets: Sequence[Bucket] | None = None,
) -> Fit | Literal["too_small"]:
    """Bucket, scale and resized size of an oriented w x h source, or the reason of its drop."""
    bucket = choose(w, h, rule, buckets)
    scale = max(Fraction(bucket.w, w), Fraction(bucket.h, h))
    if scale > 1:
        return "too_small"
    resized_w = max(bucket.w, round_half_up(w * scale))
    resized_h = max(bucket.h, round_half_up(h * scale))
    return Fit(bucket, float(scale), resized_w, resized_h)


# Key, crop, chroma


def key(image_id: str) -> str:
    """64 hex digits of SHA-256."""
    return hashlib.sha256(image_id.encode("utf-8")).hexdigest()


def corner(key: str, allowed: Sequence[int] = ALLOWED_CORNERS) -> int:
    """0 top-left, 1 top-right, 2 bottom-left, 3 bottom-right."""
    return allowed[int(key[:16], 16) % len(allowed)]


def crop(
    strategy: str,
    resized: tuple[int, int],
    target: tuple[int, int],
    key: str = "",
    allowed: Sequence[int] = ALLOWED_CORNERS,
) -> tuple[int, int]:
    """(crop_x, crop_y) of the target in the resized image, px; strategy `corner` or `center`."""
    spare_x, spare_y = resized[0] - target[0], resized[1] - target[1]
    if strategy == "center":
        return spare_x // 2, spare_y // 2
    if strategy != "corner":
        raise ValueError(f"the reference knows corner and center, not {strategy}")
    return {0: (0, 0), 1: (spare_x, 0), 2: (0, spare_y), 3: (spare_x, spare_y)}[
        corner(key, allowed)
    ]


def subsampling(scale: float, threshold: float = THRESHOLD) -> str:
    """Policy `adaptive_scale`."""
    return "4:4:4" if scale < threshold else "4:2:0"


# Resample


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Catmull-Rom kernel: Keys' cubic with a = -0.5, zero from |x| = 2 on."""
    a, x = -0.5, np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    result: NDArray[np.float64] = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return result


def weights(source: int, resized: int) -> NDArray[np.float64]:
    """(resized, source) matrix of the antialiased cubic; every row sums to one.

    Each axis has its own ratio source / resized, and pixel centres lie at + 1/2. Downscaling widens
    the kernel by the ratio. At a border the taps outside fall away and the rest is normalised,
    as in Pillow's precompute_coeffs and torch's antialias=True.
    """
    ratio = source / resized
    centre = (np.arange(resized)[:, None] + 0.5) * ratio
    taps = np.arange(source)[None, :] + 0.5
    matrix = cubic((taps - centre) / max(ratio, 1.0))
    matrix /= matrix.sum(axis=1, keepdims=True)
    return matrix


def resample(
    rgb: NDArray[np.uint8], resized_w: int, resized_h: int, box: tuple[int, int, int, int]
) -> NDArray[np.float64]:
    """(h, w, 3) float64 of the box (x, y, w, h) of the notional resized image; not clamped."""
    x, y, w, h = box
    rows = weights(rgb.shape[0], resized_h)[y : y + h]
    columns = weights(rgb.shape[1], resized_w)[x : x + w]
    planes = [rows @ rgb[..., c].astype(np.float64) @ columns.T for c in range(3)]
    return np.stack(planes, axis=-1)


def resample_uint8(
    rgb: NDArray[np.uint8], resized_w: int, resized_h: int, box: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """`resample`, clamped and rounded to nearest (halves up), once."""
    exact = resample(rgb, resized_w, resized_h, box)
    return np.floor(np.clip(exact, 0, 255) + 0.5).astype(np.uint8)


# Pixels


class Picture(NamedTuple):
    """Oriented uint8 RGB pixels (h, w, 3); the flags are reasons for a tolerance of their own."""

    rgb: NDArray[np.uint8]
    has_profile: bool  # an ICC profile is embedded, sRGB or not
    converted: bool  # the numbers went through a profile, or from CMYK by a formula


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Pillow as installed: no limit but ours, truncation is an error, a warning is not."""
    saved = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = saved


def open_image(data: bytes) -> Image.Image:
    """The first frame, not loaded. EPS is left out: it would start Ghostscript."""
    Image.init()
    return Image.open(io.BytesIO(data), formats=[name for name in Image.ID if name != "EPS"])


def orientation(image: Image.Image) -> int:
    """EXIF orientation; 1 where there is none or it cannot be read.

    XMP's tiff:Orientation, which Pillow falls back to, is not EXIF and does not count.
    """
    for name in ("xmp", "XML:com.adobe.xmp"):
        image.info.pop(name, None)
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # noqa: BLE001  broken EXIF raises anything, and is harmless
        return 1


def oriented_size(data: bytes) -> tuple[int, int]:
    """(w, h) after EXIF orientation from the header; (0, 0) if that is unreadable.

    Beyond MAX_PIXELS the size is as stored: reading PNG's EXIF may need the whole file. Pillow
    gives a TIFF's size already turned.
    """
    with strict_pillow():
        try:
            image = open_image(data)
        except Exception:  # noqa: BLE001  whatever Pillow raises is its verdict
            return 0, 0
        w, h = image.size
        known = image.format == "TIFF" or w * h > MAX_PIXELS
        return (w, h) if known or orientation(image) not in range(5, 9) else (h, w)


def decodable(data: bytes) -> bool:
    """Whether Pillow loads every pixel of the first frame."""
    with strict_pillow():
        try:
            open_image(data).load()
        except Exception:  # noqa: BLE001  whatever Pillow raises is its verdict
            return False
    return True


def verdict(data: bytes) -> Literal["ok", "unreadable", "too_many_pixels", "undecodable"]:
    """Pillow's verdict on a file, whatever its size in buckets."""
    w, h = oriented_size(data)
    if w * h < 1:
        return "unreadable"
    if w * h > MAX_PIXELS:
        return "too_many_pixels"
    return "ok" if decodable(data) else "undecodable"


TRANSPOSE: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@lru_cache(maxsize=64)
def transform(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From `mode` numbers under a profile to sRGB, or None if the profile is broken or of other
    channels than the image has. Relative colorimetric, without black point compensation."""
    try:
        return ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(icc)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (OSError, ImageCms.PyCMSError):
        return None


@lru_cache(maxsize=64)
def is_srgb(icc: bytes) -> bool:
    """By behaviour, not by name: no colour of a 16x16x16 grid moves by more than the tolerance."""
    to_srgb = transform(icc, "RGB")
    if to_srgb is None:
        return False
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(64, 64, 3)
    moved = np.asarray(to_srgb.apply(Image.fromarray(grid))).astype(int) - grid
    return int(np.abs(moved).max()) <= SRGB_TOLERANCE


def decode(data: bytes, icc: str = "srgb") -> Picture:
    """Decode by Pillow to oriented RGB (section 5.1); raises what Pillow raises.

    A profile counts where its channels are the image's, else it is as if there were none. Colour
    is converted before alpha is flattened. Deep grey keeps its high byte, as Pillow itself does
    with deep RGB. CMYK without a profile takes Pillow's plain formula.
    """
    with strict_pillow():
        image = open_image(data)
        image.load()
        turn = TRANSPOSE.get(orientation(image), lambda a: a)
    embedded = image.info.get("icc_profile") or b""
    if image.mode.startswith("I"):
        high = np.clip(np.asarray(image).astype(np.int64), 0, 65535) >> 8
        image = Image.fromarray(high.astype(np.uint8))
    grey = image.mode in ("1", "L", "LA", "F")
    alpha = np.ones((1, 1, 1))
    if image.mode != "CMYK":
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))[..., None] / 255
        image = image.getchannel("R") if grey else image.convert("RGB")
    to_srgb = None
    if embedded and icc == "srgb" and not is_srgb(embedded):
        to_srgb = transform(embedded, image.mode)
    converted = to_srgb is not None or image.mode == "CMYK"
    image = image.convert("RGB") if to_srgb is None else to_srgb.apply(image)
    flat = np.floor(np.asarray(image) * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
    return Picture(np.ascontiguousarray(turn(flat)), bool(embedded), converted)


# The whole job


@dataclass(frozen=True)
class Decision:
    """What becomes of a sample: reason is "" if it is kept, and only then is the rest but key set.

    source, target, resized and crop are (x, y) pairs in px; source is set as soon as it is known.
    """

    image_id: str
    reason: str
    key: str
    source: tuple[int, int] = (-1, -1)
    bucket_id: str = ""
    target: tuple[int, int] = (-1, -1)
    scale: float = -1.0
    resized: tuple[int, int] = (-1, -1)
    crop: tuple[int, int] = (-1, -1)
    subsampling: str = ""


def reference_export(
    samples: Iterable[tuple[str, bytes | None]],
    strategy: str = "corner",
    place: Callable[[int, int], Fit | Literal["too_small"]] = fit,
) -> list[Decision]:
    """A decision for every sample, in order; data None is a sample without an image member.

    Precedence of reasons: no_image, unreadable, too_many_pixels, too_small, duplicate, undecodable.
    So the second copy of a damaged file is a duplicate, and of a small one too_small again.
    """
    decisions: dict[str, Decision] = {}
    digests: set[bytes] = set()  # SHA-256 of the samples that fit
    for image_id, data in samples:
        if image_id in decisions:
            raise ValueError(f"image_id {image_id} occurs twice")
        decisions[image_id] = decide(image_id, data, digests, strategy, place)
    return list(decisions.values())


def decide(
    image_id: str,
    data: bytes | None,
    digests: set[bytes],
    strategy: str,
    place: Callable[[int, int], Fit | Literal["too_small"]],
) -> Decision:
    """One sample; `digests` holds those that fitted before it, and is added to."""
    name = key(image_id)
    if data is None:
        return Decision(image_id, "no_image", name)
    w, h = size = oriented_size(data)
    if w * h < 1:
        return Decision(image_id, "unreadable", name)
    if w * h > MAX_PIXELS:
        return Decision(image_id, "too_many_pixels", name, size)
    found = place(w, h)
    if found == "too_small":
        return Decision(image_id, "too_small", name, size)
    digest = hashlib.sha256(data).digest()
    if digest in digests:
        return Decision(image_id, "duplicate", name, size)
    digests.add(digest)
    if not decodable(data):
        return Decision(image_id, "undecodable", name, size)
    target, resized = (found.bucket.w, found.bucket.h), (found.resized_w, found.resized_h)
    return Decision(
        image_id=image_id,
        reason="",
        key=name,
        source=size,
        bucket_id=found.bucket.bucket_id,
        target=target,
        scale=found.scale,
        resized=resized,
        crop=crop(strategy, resized, target, name),
        subsampling=subsampling(found.scale),
    )


def render(data: bytes, decision: Decision) -> NDArray[np.uint8]:
    """The pixels of a kept sample before the JPEG encoder, uint8 (target h, target w, 3)."""
    return resample_uint8(decode(data).rgb, *decision.resized, (*decision.crop, *decision.target))
