"""All that the page is made of, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import RunError
from ..recipe import Recipe
from .contact import Shown
from .facts import MetaFacts


@dataclass
class Facts:
    """All that the page is made of. meta, run, coverage: None where the export has none."""

    name: str
    manifest: dict[str, Any]
    meta: MetaFacts | None
    run: dict[str, Any] | None
    coverage: list[dict[str, Any]] | None
    shown: dict[str, list[Shown]]
    pictures: Mapping[tuple[str, str], bytes]
    no_pictures: str  # why some are missing
    wrong: list[str]  # what could not be shown
    seed: int

    @property
    def buckets(self) -> list[dict[str, Any]]:
        return list(self.manifest["buckets"])

    @property
    def exported(self) -> int:
        return int(self.manifest["counts"]["exported"])

    @property
    def images(self) -> int:
        """As many as samples, or with several bases one of each at every base that it went to."""
        return int(self.manifest["counts"].get("images", self.exported))

    @property
    def scanned(self) -> int:
        return int(self.manifest["source"]["samples"])

    @property
    def bytes(self) -> int:
        return sum(shard["bytes"] for bucket in self.buckets for shard in bucket["shards"])

    @property
    def pixels(self) -> int:
        return sum(b["count"] * b["target_w"] * b["target_h"] for b in self.buckets)

    @property
    def captions(self) -> int:
        return sum(source["count"] for source in self.manifest["caption_sources"])

    @property
    def cards(self) -> int:
        return sum(len(cards) for cards in self.shown.values())

    @property
    def copied(self) -> bool:
        """Whether images are the source's own, of any size."""
        return bool(self.manifest["image_codec"]["mode"] == "passthrough_jpeg")


def understood(manifest: Mapping[str, Any]) -> Recipe | None:
    """The manifest's recipe by the fields that this version knows; None where one of them has a
    value that it does not."""
    values = manifest.get("recipe")
    names = {field.name for field in fields(Recipe)}
    try:
        return Recipe.from_json({k: v for k, v in (values or {}).items() if k in names})
    except (RunError, AttributeError, TypeError):
        return None


def known_recipe(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the manifest's recipe that this version knows, the others by default."""
    return (understood(manifest) or Recipe()).to_json()
