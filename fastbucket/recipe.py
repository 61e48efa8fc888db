"""`Recipe`: what decides the bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .buckets import CHOICES, FAMILIES, Bucket, Shape, ladder, protos
from .crop import CROPS
from .errors import RunError
from .format import CAPTION_SOURCE, IMAGE_MODES
from .geometry import Size
from .option import option
from .subsampling import POLICIES


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a byte of the output. It is JSON and stands in the manifest.

    Raises RunError where a value makes no sense.
    """

    base_resolution: int = option(512, "Base resolution in pixels: buckets have about its square.")
    divisible: int = option(32, "Target sides are multiples of this many pixels.")
    family: str = option("sdxl", "Family of proto buckets.", tuple(FAMILIES))
    sizes: tuple[str, ...] = option(
        (),
        "Family list: its sizes in pixels at base_resolution, WxH, the first wins a tie.",
        later=True,
        only_with=("family", "list"),
    )
    grid_step: int = option(
        64,
        "Family grid: sides are multiples of this many pixels at base_resolution.",
        later=True,
        only_with=("family", "grid"),
    )
    grid_min_side: int = option(
        0,
        "Family grid: shortest side in pixels; 0: half of base_resolution.",
        later=True,
        only_with=("family", "grid"),
    )
    grid_max_side: int = option(
        0,
        "Family grid: longest side in pixels; 0: twice base_resolution.",
        later=True,
        only_with=("family", "grid"),
    )
    choice: str = option("short_long", "Rule that chooses the bucket.", tuple(CHOICES))
    too_small_policy: str = option(
        "drop", "What becomes of a sample that would need upsampling.", ("drop", "next_bucket")
    )
    next_bucket_max_crop: float = option(
        0.25,
        "With next_bucket, and for merged samples: largest share of the source's area that may be "
        "cropped.",
    )
    min_bucket: int = option(
        0, "Buckets with fewer planned samples than this are rare; 0: none is.", later=True
    )
    rare_bucket_policy: str = option(
        "merge",
        "Samples of rare buckets go to the nearest other that they fit, or are dropped.",
        ("merge", "drop"),
        later=True,
    )
    max_pixels: int = option(178_000_000, "Samples with more pixels than this are dropped.")
    image_mode: str = option("reencode_jpeg", "Transcode, or store source JPEGs.", IMAGE_MODES)
    passthrough_other: str = option(
        "reencode",
        "With passthrough_jpeg: what becomes of images that are no plain JPEG.",
        ("reencode", "drop"),
        later=True,
    )
    fidelity: str = option(
        "fast", "fast: shrink-on-load where it leaves 2x to the resize.", ("fast", "exact")
    )
    decoder: str = option(
        "auto", "Decoder of plain JPEGs; all else is libvips'.", ("auto", "turbo", "vips")
    )
    icc: str = option(
        "srgb", "Convert foreign colour profiles, or keep the numbers.", ("srgb", "ignore")
    )
    quality: int = option(95, "JPEG quality, 1 to 100.")
    subsampling_policy: str = option("adaptive_scale", "Chroma policy.", tuple(POLICIES))
    adaptive_scale_threshold: float = option(
        0.85, "adaptive_scale: 4:4:4 below this scale; adaptive_source: the same for 4:2:0 sources."
    )
    adaptive_content_threshold: float = option(
        1.0, "adaptive_content: 4:2:0 below this loss of chroma, RMS in levels of 255."
    )
    crop_strategy: str = option("corner", "Where the crop lies.", tuple(CROPS))
    allowed_corners: tuple[int, ...] = option(
        (2, 3), "Corners: 0 top-left, 1 top-right, 2 bottom-left, 3 bottom-right."
    )
    jitter: int = option(16, "corner_jitter: largest move inwards, in pixels an axis.")
    shard_size: int = option(1024, "Samples in every shard of a bucket but its last.")
    carry: tuple[str, ...] = option(
        ("auto",), "Fields of the source JSON to carry: auto, none, or their names."
    )
    caption_field: str = option(
        "", "Field of the source JSON that holds the caption, where there is no .txt."
    )
    caption_priority: tuple[str, ...] = option(
        (CAPTION_SOURCE,), "Caption variants, the first that a sample has is its caption."
    )
    missing_caption_policy: str = option(
        "keep", "What becomes of a sample without a caption.", ("keep", "drop")
    )
    duplicates: str = option("drop", "What becomes of exact duplicates.", ("drop", "keep"))
    mtime: int = option(
        0, "Time stamp of tar members in seconds, by default SOURCE_DATE_EPOCH or 0."
    )
    base_resolutions: tuple[int, ...] = option(
        (),
        "Several base resolutions, of which base_resolution is the largest: one decode for all.",
        later=True,
        item=int,
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            choices = f.metadata["choices"]
            if choices and value not in choices:
                raise RunError(f"{f.name}: {value!r} is none of {', '.join(choices)}")
            if isinstance(f.default, tuple):
                object.__setattr__(self, f.name, tuple(value))
        self._settle_bases()
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise RunError(f"{name}: {value} is not between {low} and {high}")
        if not self.allowed_corners or not set(self.allowed_corners) <= {0, 1, 2, 3}:
            raise RunError(f"allowed_corners: {self.allowed_corners} is no list of 0, 1, 2, 3")
        if len(self.carry) > 1 and {"auto", "none"} & set(self.carry):
            raise RunError(f"carry: auto and none stand alone, not in {', '.join(self.carry)}")
        for f in fields(self):
            other, value = f.metadata["only_with"]
            if other and getattr(self, f.name) != f.default and getattr(self, other) != value:
                raise RunError(f"{f.name}: only with {other} {value}, not {getattr(self, other)}")
        self.protos()

    def protos(self) -> tuple[Size, ...]:
        """The sizes of the family at base 1024, in list order."""
        return protos(
            self.family,
            Shape(
                self.base_resolution,
                self.divisible,
                self.sizes,
                self.grid_step,
                self.grid_min_side,
                self.grid_max_side,
            ),
        )

    def ladder(self) -> tuple[tuple[Bucket, ...], ...]:
        """The buckets in list order, at every base ascending; nearly always at one."""
        return ladder(self.protos(), self.bases, self.divisible)

    def buckets(self) -> tuple[Bucket, ...]:
        """The buckets in list order at base_resolution, the largest of several."""
        return self.ladder()[-1]

    def _settle_bases(self) -> None:
        """base_resolutions ascending, each once, and empty for one alone."""
        if not self.base_resolutions:
            return
        low, high = next((low, high) for name, low, high in _RANGES if name == "base_resolution")
        several = tuple(sorted(set(self.base_resolutions), key=str))
        if not all(type(base) is int and low <= base <= high for base in several):
            raise RunError(f"base_resolutions: {several} are not all between {low} and {high}")
        several = tuple(sorted(several))
        if len(several) > _MOST_BASES:
            raise RunError(f"base_resolutions: {len(several)}, at most {_MOST_BASES} are allowed")
        if self.base_resolution not in (_ONE_BASE, several[-1]):
            raise RunError(
                f"base_resolution: {self.base_resolution} beside base_resolutions "
                f"{', '.join(map(str, several))}, whose largest it is: give these alone"
            )
        object.__setattr__(self, "base_resolution", several[-1])
        object.__setattr__(self, "base_resolutions", several if len(several) > 1 else ())
        if len(several) == 1:
            return
        if self.min_bucket:
            raise RunError("min_bucket: only with one base_resolution, not with several")
        if self.image_mode == IMAGE_MODES[1]:
            raise RunError(
                f"image_mode: {self.image_mode} stores the source's bytes, the same at each of "
                "several base_resolutions: choose one base_resolution"
            )

    @property
    def bases(self) -> tuple[int, ...]:
        """The base resolutions of the export, ascending; nearly always one."""
        return self.base_resolutions or (self.base_resolution,)

    def to_json(self) -> dict[str, Any]:
        """All fields, but for later ones that have their default: a recipe that uses none of those
        is to this version what it was to earlier ones, in its hash and in its manifest."""
        unused = {f.name for f in fields(self) if f.metadata["later"]}
        unused = {name for name in unused if getattr(self, name) == getattr(Recipe, name)}
        return {name: value for name, value in self._values().items() if name not in unused}

    def _values(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        """A recipe from a manifest or from its `recipe`. Raises RunError for an unknown field."""
        if isinstance(values.get("recipe"), Mapping):
            values = values["recipe"]
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise RunError(f"recipe: unknown fields {', '.join(unknown)}")
        made: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        for f in fields(cls):
            expected = (int, float) if isinstance(f.default, float) else type(f.default)
            if f.name in made and not isinstance(made[f.name], expected):
                raise RunError(f"recipe: {f.name}: {made[f.name]!r} has the wrong type")
        return cls(**made)

    def canonical(self) -> bytes:
        """The bytes that are hashed to guard a resume."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":")).encode()

    def difference(self, other: Recipe) -> list[str]:
        """The fields in which `other` differs, one line each: `quality: 95 -> 90`."""
        mine, theirs = self._values(), other._values()
        return [f"{k}: {mine[k]} -> {theirs[k]}" for k in mine if mine[k] != theirs[k]]


_MOST_BASES = 16
"""A task has a shard open for each, and a plan counts buckets of all of them in 16 bits."""

_ONE_BASE: int = Recipe.base_resolution
"""The default: whoever names several bases has not named this one."""

_RANGES: tuple[tuple[str, float, float], ...] = (
    ("base_resolution", 32, 8192),
    ("divisible", 1, 512),
    ("grid_step", 1, 512),
    ("grid_min_side", 0, 65_500),
    ("grid_max_side", 0, 65_500),
    ("next_bucket_max_crop", 0.0, 1.0),
    ("min_bucket", 0, 1 << 40),
    ("max_pixels", 1, 1 << 40),
    ("quality", 1, 100),
    ("adaptive_scale_threshold", 0.0, 1.0),
    ("adaptive_content_threshold", 0.0, 255.0),
    ("jitter", 0, 8192),
    ("shard_size", 1, 1_000_000),
    ("mtime", 0, 0o77777777777),
)


def source_date_epoch() -> int:
    """SOURCE_DATE_EPOCH in seconds, 0 where it is not set (reproducible-builds.org)."""
    value = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not (value.isascii() and value.isdecimal()):
        raise RunError(f"SOURCE_DATE_EPOCH: {value!r} is no whole number of seconds")
    return int(value)
