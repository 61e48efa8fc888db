"""manifest.json, held against the format, against its own recipe and against its own sums."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from .. import __version__
from ..buckets import Bucket
from ..errors import RunError
from ..format import (
    DROP_REASONS,
    FORMAT,
    FORMAT_V2,
    FORMATS,
    MANIFEST,
    MANIFEST_FIELDS,
    MANIFEST_FIELDS_V2,
    shard_path,
)
from ..recipe import Recipe
from .findings import flaws, no_constant, one_of_each, order_flaws
from .shard import ListedShard

# What does not follow from the recipe, in the shapes of findings.flaws (format.md, section 7).
_SHAPES: dict[str, Any] = {
    "created_at": str,
    "export_id": str,
    "caption_priority": [{"variant": str}],
    "export_settings": {"shard_size": int, "workers": int},
    "source": {
        "archives": int,
        "samples": int,
        "splits": {str: int},
        "excluded": int,
        "broken": [{"archive": str, "why": str}],
        "carried": [{"source": str, "name": str, "type": str}],
    },
    "counts": {"exported": int, "dropped": {str: int}},
    "buckets": [
        {
            "bucket_id": str,
            "target_w": int,
            "target_h": int,
            "count": int,
            "shards": [{"path": str, "count": int, "bytes": int, "sha256": str}],
        }
    ],
    "caption_sources": [
        {"id": int, "variant": str, "model": str, "prompt_sha256": str, "count": int}
    ],
    "software": {str: str},
}
_SHAPES_V2: dict[str, Any] = {
    **_SHAPES,
    "counts": {"exported": int, "images": int, "dropped": {str: int}},
    "buckets": [{"bucket_id": str, "base_resolution": int, **_SHAPES["buckets"][0]}],
}
_HEX = frozenset("0123456789abcdef")


class ManifestFacts(NamedTuple):
    """What the manifest says, as far as it could be read; None and empty where it could not."""

    recipe: Recipe | None
    shards: list[ListedShard]
    caption_priority: list[str]
    missing_caption_policy: Any
    caption_sources: list[dict[str, Any]]
    source: dict[str, Any] | None
    counts: dict[str, Any] | None


def load(out: Path) -> dict[str, Any]:
    """The manifest of an export. Raises RunError where there is none, or of another format."""
    path = out / MANIFEST
    if not out.is_dir():
        raise RunError(f"{out} is no folder")
    try:
        text = path.read_bytes().decode()
        facts = json.loads(text, object_pairs_hook=one_of_each, parse_constant=no_constant)
    except FileNotFoundError:
        raise RunError(
            f"{out}: no {MANIFEST}: the export is not complete, run the same export command again"
        ) from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is no JSON: {error}; export again with --overwrite") from None
    if not isinstance(facts, dict) or facts.get("format") not in FORMATS:
        of = facts.get("format") if isinstance(facts, dict) else None
        raise RunError(f"{path} is no manifest of {' or '.join(FORMATS)}: its format is {of!r}")
    return facts


def check(manifest: dict[str, Any], note: Callable[[str], None]) -> ManifestFacts:
    """Note all that is off in the manifest, and return what can be held against the files."""
    several = manifest["format"] == FORMAT_V2
    names = MANIFEST_FIELDS_V2 if several else MANIFEST_FIELDS
    for text in order_flaws(list(manifest), list(names), ""):
        note(text)
    sound: dict[str, Any] = {}
    for name, shape in (_SHAPES_V2 if several else _SHAPES).items():
        if name in manifest:
            value = _unpruned(manifest[name]) if name == "counts" else manifest[name]
            wrong = flaws(value, shape, name)
            for text in wrong:
                note(text)
            if not wrong:
                sound[name] = manifest[name]
    recipe = _recipe(manifest, note)
    if recipe is not None:
        for text in _recipe_flaws(manifest, recipe):
            note(text)
    for text in _sum_flaws(sound, recipe):
        note(text)
    shards: list[ListedShard] = []
    if recipe is not None:
        shards = _shards(sound.get("buckets", []), recipe, note)
    return ManifestFacts(
        recipe,
        shards,
        [entry["variant"] for entry in sound.get("caption_priority", [])],
        manifest.get("missing_caption_policy"),
        sound.get("caption_sources", []),
        sound.get("source"),
        sound.get("counts"),
    )


def _unpruned(counts: Any) -> Any:
    """The counts of an export from which nothing was pruned: the number of those that were is there
    only where there are some."""
    if type(counts) is not dict or list(counts)[-1:] != ["pruned"]:
        return counts
    pruned = counts["pruned"]
    dropped = counts.get("dropped")
    excluded = dropped.get("excluded", 0) if type(dropped) is dict else 0
    if type(pruned) is not int or type(excluded) is not int or not 0 < pruned <= excluded:
        return counts  # then it does not belong there
    return {name: value for name, value in counts.items() if name != "pruned"}


def _recipe(manifest: dict[str, Any], note: Callable[[str], None]) -> Recipe | None:
    """The recipe; None, and a note of why, where it is none.

    An older version knew fewer fields: what it did not know has its default, and so has what this
    one leaves out.
    """
    values = manifest.get("recipe")
    if type(values) is not dict:
        note(flaws(values, {}, "recipe")[0])
        return None
    software = manifest.get("software")
    ours = not isinstance(software, dict) or software.get("fastbucket") == __version__
    names = [
        field.name
        for field in fields(Recipe)
        if field.name in values or (ours and not field.metadata["later"])
    ]
    for text in order_flaws(list(values), names, "recipe"):
        note(text)
    known = {name: values[name] for name in names if name in values}
    wrong: list[str] = []
    for field in fields(Recipe):
        if field.name in known:
            shape: Any = type(field.default)
            if isinstance(field.default, tuple):
                item = type(field.default[0]) if field.default else field.metadata["item"]
                shape = [item]
            elif shape is float and type(known[field.name]) is int:
                shape = int  # 1 for 1.0
            wrong += flaws(known[field.name], shape, f"recipe.{field.name}")
    if not wrong:
        try:
            return Recipe.from_json(known)
        except RunError as error:
            wrong = [f"recipe: {error}"]
    for text in wrong:
        note(text)
    return None


"""Type of the items of the recipe's lists; of the others text."""


def _recipe_flaws(manifest: dict[str, Any], recipe: Recipe) -> Iterator[str]:
    """Fields that the recipe decides and that say something else."""
    settings = manifest.get("export_settings")
    workers = settings.get("workers") if isinstance(settings, dict) else None
    expected: dict[str, Any] = {
        "format": FORMAT_V2 if recipe.base_resolutions else FORMAT,
        "base_resolution": recipe.base_resolution,
        "base_resolutions": list(recipe.bases),
        "divisible": recipe.divisible,
        "image_codec": {
            "name": "jpeg",
            "mode": recipe.image_mode,
            "quality": recipe.quality,
            "subsampling_policy": recipe.subsampling_policy,
            "adaptive_scale_threshold": recipe.adaptive_scale_threshold,
        },
        "crop": {
            "strategy": recipe.crop_strategy,
            "allowed_corners": list(recipe.allowed_corners),
        },
        "missing_caption_policy": _missing_caption_policy(manifest, recipe),
        "too_small_policy": recipe.too_small_policy,
        "export_settings": {"shard_size": recipe.shard_size, "workers": workers},
        "proto_buckets_1024": [{"width": w, "height": h} for w, h in recipe.protos()],
    }
    for name, value in expected.items():
        # Compared as text: true is not 1, and the order of keys counts.
        if name in manifest and json.dumps(manifest[name]) != json.dumps(value):
            yield f"{name} is {manifest[name]!r:.120}, the recipe says {value!r:.120}"


def _missing_caption_policy(manifest: dict[str, Any], recipe: Recipe) -> Any:
    """The recipe's, or the other of the two: captions may have been applied after the export."""
    policy = manifest.get("missing_caption_policy")
    return policy if policy in ("keep", "drop") else recipe.missing_caption_policy


def _sum_flaws(sound: dict[str, Any], recipe: Recipe | None) -> Iterator[str]:
    """What does not add up, and what is no count, name or number of its kind."""
    if len(sound.get("export_id", "0" * 16)) != 16 or set(sound.get("export_id", "")) - _HEX:
        yield f"export_id is {sound['export_id']!r:.40}, not 16 hex digits"
    source, counts = sound.get("source"), sound.get("counts")
    if counts:
        exported, dropped = counts["exported"], counts["dropped"]
        for reason, count in dropped.items():
            if not reason or reason not in DROP_REASONS:
                yield f"counts.dropped: {reason!r} is no reason"
            elif count <= 0:
                yield f"counts.dropped: {count} of {reason}"
        lost = sum(dropped.values())
        if source and source["samples"] != exported + lost:
            yield f"{source['samples']} samples scanned, but {exported} exported + {lost} dropped"
        buckets = sound.get("buckets", [])
        # The smallest base has every sample, each once.
        smallest = recipe.base_resolutions[:1] if recipe is not None else ()
        total = sum(b["count"] for b in buckets if b.get("base_resolution") in (None, *smallest))
        if "buckets" in sound and total != exported:
            yield f"counts.exported is {exported}, the buckets have {total}"
        images = sum(bucket["count"] for bucket in buckets)
        if "buckets" in sound and counts.get("images", images) != images:
            yield f"counts.images is {counts['images']}, the buckets have {images}"
    if source and sum(source["splits"].values()) != source["samples"]:
        yield f"source: {source['samples']} samples, the splits have {source['splits']}"
    captions = sound.get("caption_sources", [])
    if len({entry["id"] for entry in captions}) != len(captions):
        yield "caption_sources: an id stands there twice"
    if any(entry["id"] < 0 or entry["count"] <= 0 or not entry["variant"] for entry in captions):
        yield "caption_sources: a source without id, variant or captions"


def _shards(
    entries: list[dict[str, Any]], recipe: Recipe, note: Callable[[str], None]
) -> list[ListedShard]:
    """The shards of all buckets that the recipe has; the rest is noted."""
    family = {bucket.id: bucket for buckets in recipe.ladder() for bucket in buckets}
    shards: list[ListedShard] = []
    met: set[str] = set()
    for entry in entries:
        name = entry["bucket_id"]
        if name not in family or name in met:
            note(f"buckets: {name!r:.80} stands there twice, or the recipe has no such bucket")
            continue
        met.add(name)
        for text in _bucket_flaws(entry, family[name], recipe.shard_size):
            note(f"bucket {name}: {text}")
        for number, shard in enumerate(entry["shards"]):
            if shard["path"] != shard_path(name, number):
                note(f"bucket {name}: {shard['path']!r:.120}, not {shard_path(name, number)}")
                continue
            shards.append(
                ListedShard(shard["path"], name, shard["count"], shard["bytes"], shard["sha256"])
            )
    return shards


def _bucket_flaws(entry: dict[str, Any], bucket: Bucket, shard_size: int) -> Iterator[str]:
    target = entry["target_w"], entry["target_h"]
    if target != bucket.target:
        yield f"target {target[0]}x{target[1]}, not {bucket.target.width}x{bucket.target.height}"
    if entry.get("base_resolution", 0) != bucket.base:
        yield f"base_resolution is {entry.get('base_resolution')}, not {bucket.base or 'there'}"
    counts = [shard["count"] for shard in entry["shards"]]
    if not entry["count"] or not counts:
        yield "has no samples"
    if sum(counts) != entry["count"]:
        yield f"count is {entry['count']}, its shards have {sum(counts)}"
    for number, count in enumerate(counts):
        if number < len(counts) - 1 and count != shard_size:
            yield f"shard {number} has {count} samples, and is not the last: {shard_size} belong"
        elif not 0 < count <= shard_size:
            yield f"shard {number} has {count} samples, not 1 to {shard_size}"
