"""What decides the bytes, and what must not: `Recipe` and `Resources`.

The command line makes one option of every field here, with its help, its default and its choices.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .buckets import CHOICES, FAMILIES
from .crop import CROPS
from .errors import RunError
from .format import CAPTION_SOURCE, IMAGE_MODES
from .subsampling import POLICIES


def _option(default: Any, help: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a byte of the output. It is JSON and stands in the manifest.

    Raises RunError where a value makes no sense.
    """

    base_resolution: int = _option(512, "Base resolution in pixels: buckets have about its square.")
    divisible: int = _option(32, "Target sides are multiples of this many pixels.")
    family: str = _option("sdxl", "Family of proto buckets.", tuple(FAMILIES))
    choice: str = _option("short_long", "Rule that chooses the bucket.", tuple(CHOICES))
    too_small_policy: str = _option(
        "drop", "What becomes of a sample that would need upsampling.", ("drop", "next_bucket")
    )
    next_bucket_max_crop: float = _option(
        0.25, "With next_bucket: largest share of the source's area that may be cropped."
    )
    max_pixels: int = _option(178_000_000, "Samples with more pixels than this are dropped.")
    image_mode: str = _option("reencode_jpeg", "Transcode, or store source JPEGs.", IMAGE_MODES)
    fidelity: str = _option(
        "fast", "fast: shrink-on-load where it leaves 2x to the resize.", ("fast", "exact")
    )
    decoder: str = _option(
        "auto", "Decoder of plain JPEGs; all else is libvips'.", ("auto", "turbo", "vips")
    )
    icc: str = _option(
        "srgb", "Convert foreign colour profiles, or keep the numbers.", ("srgb", "ignore")
    )
    quality: int = _option(95, "JPEG quality, 1 to 100.")
    subsampling_policy: str = _option("adaptive_scale", "Chroma policy.", tuple(POLICIES))
    adaptive_scale_threshold: float = _option(
        0.85, "adaptive_scale: 4:4:4 below this scale; adaptive_source: the same for 4:2:0 sources."
    )
    adaptive_content_threshold: float = _option(
        1.0, "adaptive_content: 4:2:0 below this loss of chroma, RMS in levels of 255."
    )
    crop_strategy: str = _option("corner", "Where the crop lies.", tuple(CROPS))
    allowed_corners: tuple[int, ...] = _option(
        (2, 3), "Corners: 0 top-left, 1 top-right, 2 bottom-left, 3 bottom-right."
    )
    jitter: int = _option(16, "corner_jitter: largest move inwards, in pixels an axis.")
    shard_size: int = _option(1024, "Samples in every shard of a bucket but its last.")
    carry: tuple[str, ...] = _option(
        ("auto",), "Fields of the source JSON to carry: auto, none, or their names."
    )
    caption_field: str = _option(
        "", "Field of the source JSON that holds the caption, where there is no .txt."
    )
    caption_priority: tuple[str, ...] = _option(
        (CAPTION_SOURCE,), "Caption variants, the first that a sample has is its caption."
    )
    missing_caption_policy: str = _option(
        "keep", "What becomes of a sample without a caption.", ("keep", "drop")
    )
    duplicates: str = _option("drop", "What becomes of exact duplicates.", ("drop", "keep"))
    mtime: int = _option(
        0, "Time stamp of tar members in seconds, by default SOURCE_DATE_EPOCH or 0."
    )
    base_resolutions: tuple[int, ...] = _option(
        (), "Several base resolutions, of which base_resolution is the largest: one decode for all."
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
        defaults = {f.name: f.default for f in fields(self) if f.name in LATER}
        return {
            k: list(v) if isinstance(v, tuple) else v
            for k, v in asdict(self).items()
            if k not in defaults or v != defaults[k]
        }

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
        mine, theirs = (
            {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(recipe).items()}
            for recipe in (self, other)
        )
        return [f"{k}: {mine[k]} -> {theirs[k]}" for k in mine if mine[k] != theirs[k]]


LATER = ("base_resolutions",)
"""Fields that earlier versions did not have. They are left out of the JSON where they have their
default, so that a recipe that does not use them keeps its bytes, and its export its export_id."""

_MOST_BASES = 16
"""A task has a shard open for each, and a plan counts buckets of all of them in 16 bits."""

_ONE_BASE: int = Recipe.base_resolution
"""The default: whoever names several bases has not named this one."""

_RANGES: tuple[tuple[str, float, float], ...] = (
    ("base_resolution", 32, 8192),
    ("divisible", 1, 512),
    ("next_bucket_max_crop", 0.0, 1.0),
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


def available_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Resources:
    """What a run may use. None of it changes a byte of the output."""

    workers: int = _option(0, "Worker processes; 0: one for every available CPU.")
    max_errors: int = _option(
        -1, "Stop after this many unreadable or undecodable samples; -1: never."
    )
    sample_timeout: float = _option(
        60.0, "Seconds a worker may spend on one sample before that is dropped; 0: any time."
    )
    engine: str = _option("local", "Where the tasks run.", ("local",))

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise RunError(f"workers: {self.workers} is negative")
        if not self.sample_timeout >= 0:
            raise RunError(f"sample_timeout: {self.sample_timeout} seconds are no time")
        if self.engine not in ("local",):
            raise RunError(f"engine: {self.engine!r} is not local")

    @property
    def worker_count(self) -> int:
        return self.workers or available_cpus()
