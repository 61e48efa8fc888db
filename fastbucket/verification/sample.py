"""One sample: its JSON against the schema, the recipe, its bucket, its caption and its JPEG."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import xxhash

from ..format import CAPTION_FIELDS, CARRIED_TYPES, IMAGE_MODES, SAMPLE_FIELDS, sample_key
from ..geometry import Size
from ..recipe import Recipe
from . import jpeg
from .findings import INT64, flaws, no_constant, one_of_each, order_flaws
from .origins import Origin
from .placement import Placement

_REENCODE = IMAGE_MODES[0]
_FIELDS = {**SAMPLE_FIELDS, **CAPTION_FIELDS}
_NESTED = tuple(name for name, shape in _FIELDS.items() if isinstance(shape, dict))
_SHAPES_REMEMBERED = 1000
_LEAST, _MOST = INT64[0], INT64[-1]
_OF_SOURCE = itemgetter(
    *(f"source_{name}" for name in ("archive", "member", "split", "bytes", "w", "h"))
)
"""What `fingerprint` is of."""

_HEX = frozenset("0123456789abcdef")
_DECODER = json.JSONDecoder(object_pairs_hook=one_of_each, parse_constant=no_constant)


class Traits(NamedTuple):
    """What must be the same in every sample of an export; the parent compares."""

    carried: tuple[tuple[str, str], ...]  # (name, type) of the carried fields, in order
    tables: str  # digest of the JPEG's quantization tables; "" where they are the source's


class SampleFacts(NamedTuple):
    """What the parent needs of a sample; without a JSON that can be read, nothing."""

    fingerprint: int = 0
    caption_source: int = -1
    traits: Traits | None = None
    origin: tuple[str, Origin] | None = None  # source_archive, and what is said of the member


def fingerprint(
    archive: object, member: object, split: object, size: object, width: object, height: object
) -> int:
    """64 bits of what the JSON of a sample and its row in meta/ both say of the source; never 0."""
    facts = ascii((archive, member, split, size, width, height))
    return int(xxhash.xxh3_64_intdigest(facts.encode())) or 1


class SampleCheck:
    """Checks samples of one export. caption_sources: (id, variant) pairs of the manifest."""

    def __init__(
        self,
        recipe: Recipe,
        caption_priority: Sequence[str],
        caption_sources: Iterable[tuple[int, str]],
        fast: bool,
        buckets: Iterable[str] = (),
    ) -> None:
        """buckets: ids of those that the export has."""
        self._recipe = recipe
        self._placement = Placement(recipe, frozenset(buckets))
        self._priority = list(caption_priority)
        self._sources = dict(caption_sources)
        # Captions that are applied later may leave a sample without one, the recipe's must not.
        self._always_captioned = recipe.missing_caption_policy == "drop" and self._priority == list(
            recipe.caption_priority
        )
        self._fast = fast
        self._header = jpeg.Reader()
        self._carried: dict[tuple[Any, Any], tuple[tuple[str, str], ...]] = {}

    def __call__(
        self,
        bucket_id: str,
        key: str,
        members: Mapping[str, bytes],
        note: Callable[[str, str], None],
    ) -> SampleFacts:
        """Check one sample. members: content by suffix, those that could be read."""

        def say(suffix: str, texts: Iterable[str]) -> None:
            for text in texts:
                note(f"{key}.{suffix}", text)

        document: dict[str, Any] | None = None
        carried: tuple[tuple[str, str], ...] = ()
        caption = header = None
        if "json" in members:
            try:
                document, carried = self._document(members["json"])
            except ValueError as error:
                say("json", str(error).splitlines())
        if "txt" in members:
            try:
                caption = _caption(members["txt"])
            except ValueError as error:
                say("txt", [str(error)])
        if "jpg" in members:
            header = self._header(members["jpg"])
            if header is None:
                say("jpg", ["is no JPEG"])
        if document is None:
            return SampleFacts()
        say("json", self._source_flaws(document, key))
        say("json", self._placement.flaws(document, bucket_id, header))
        say("json", self._caption_flaws(document))
        if caption is not None and bool(caption) != bool(document["caption_variant"]):
            variant = document["caption_variant"]
            say("txt", [f"holds {caption!r:.60}, and caption_variant is {variant!r}"])
        tables = ""
        if header is not None:
            say("jpg", self._jpeg_flaws(document, members["jpg"], header))
            if document["image_mode"] == _REENCODE:
                tables = str(xxhash.xxh3_64_hexdigest(header.tables))
        return SampleFacts(
            fingerprint(*_OF_SOURCE(document)),
            document["caption_source_id"] if document["caption_variant"] else -1,
            Traits(carried, tables),
            (
                document["source_archive"],
                Origin(
                    key,
                    document["source_member"],
                    document["source_bytes"],
                    document["source_sha256"],
                ),
            ),
        )

    def _document(self, raw: bytes) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
        """The JSON of a sample and its carried fields. Raises ValueError: a line for each flaw."""
        try:
            text = raw.decode()
            value = _DECODER.decode(text)
        except RecursionError:
            raise ValueError("is nested without end") from None
        if type(value) is not dict:
            raise ValueError("is no JSON object")
        # All samples should be alike: names and types of one shape are looked at once.
        shape = _shape(value)
        carried = self._carried.get(shape)
        if carried is None:
            carried = _carried(value)
            if len(self._carried) < _SHAPES_REMEMBERED:
                self._carried[shape] = carried
        objects = [(name, value[name]) for name in _NESTED]
        wrong = [
            f"{within}{'.' if within else ''}{name} is beyond 64 bits"
            for within, fields in (*objects, ("", value))
            for name, number in fields.items()
            if type(number) is int and not _LEAST <= number <= _MOST
        ]
        if wrong:
            raise ValueError("\n".join(wrong))
        if "\\u" in text:  # half a surrogate pair can be escaped, but it is no text
            json.dumps(value, ensure_ascii=False).encode()
        return value, carried

    def _source_flaws(self, document: dict[str, Any], key: str) -> Iterator[str]:
        name = document["image_id"]
        if sample_key(name) != key:
            yield f"image_id {name!r} has the key {sample_key(name)}, not its member's"
        archive, member = document["source_archive"], document["source_member"]
        stems = name, name.removeprefix(f"{archive}/")
        if not any(member == stem or member.startswith(f"{stem}.") for stem in stems):
            yield f"image_id {name!r} is not that of {member!r} in {archive!r}"
        sha256 = document["source_sha256"]
        if len(sha256) != 64 or set(sha256) - _HEX:
            yield f"source_sha256 is {sha256!r:.80}, not 64 hex digits"
        if document["source_bytes"] <= 0:
            yield f"source_bytes is {document['source_bytes']}"
        pixels = document["source_w"] * document["source_h"]
        if pixels > self._recipe.max_pixels:
            yield f"source of {pixels} pixels, the recipe allows {self._recipe.max_pixels}"

    def _caption_flaws(self, document: dict[str, Any]) -> Iterator[str]:
        variant, index, number = (document[name] for name in CAPTION_FIELDS)
        if not variant:
            if index != -1 or number != -1:
                yield f"no caption_variant, and index {index} and source id {number}, not -1"
            if self._always_captioned:
                yield "has no caption, and missing_caption_policy is drop"
            return
        if variant not in self._priority:
            yield f"caption_variant {variant!r} is none of {', '.join(self._priority)}"
        elif index != self._priority.index(variant):
            at = self._priority.index(variant)
            yield f"caption_selector_index is {index}, {variant} is at {at} of caption_priority"
        if self._sources.get(number) != variant:
            yield f"caption_source_id {number} is no source of {variant!r} in the manifest"

    def _jpeg_flaws(
        self, document: dict[str, Any], data: bytes, header: jpeg.Header
    ) -> Iterator[str]:
        size = Size(document["w"], document["h"])
        wrong: list[str] = []
        if header.size != size:
            width, height = header.size
            wrong.append(f"is of {width}x{height} pixels, the JSON says {size[0]}x{size[1]}")
        if document["image_mode"] == _REENCODE:
            wrong += jpeg.reencoded_flaws(data, header, document["jpeg"]["subsampling"])
        else:
            if len(data) != document["source_bytes"]:
                wrong.append(f"is of {len(data)} bytes, the source {document['source_bytes']}")
            if hashlib.sha256(data).hexdigest() != document["source_sha256"]:
                wrong.append("is not the source's bytes: its SHA-256 is not source_sha256")
            wrong += jpeg.copied_flaws(header, document["jpeg"]["subsampling"])
        # Only what looks right is decoded: lying dimensions would cost memory, not tell more.
        if not wrong and not self._fast:
            wrong += jpeg.pixel_flaws(data, header)
        yield from wrong


def _shape(value: dict[str, Any]) -> tuple[Any, ...]:
    """Names and types of an object and of the objects in it, in order."""
    nested = (value.get(name) for name in _NESTED)
    return (
        *((tuple(inner), *map(type, inner.values())) for inner in nested if type(inner) is dict),
        tuple(value),
        *map(type, value.values()),
    )


def _carried(value: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Name and type of the carried fields. Raises ValueError where a field of ours is off."""
    names, first, last = list(value), list(SAMPLE_FIELDS), list(CAPTION_FIELDS)
    inner = names[len(first) : len(names) - len(last)]
    if names != first + inner + last:
        wrong = order_flaws([name for name in names if name in _FIELDS], first + last, "")
        raise ValueError(
            "\n".join(wrong or ["carried fields stand elsewhere than behind class_name"])
        )
    wrong = [text for name in _FIELDS for text in flaws(value[name], _FIELDS[name], name)]
    carried = tuple((name, type(value[name]).__name__) for name in inner)
    wrong += [f"{name} is of type {t}, no scalar" for name, t in carried if t not in CARRIED_TYPES]
    if wrong:
        raise ValueError("\n".join(wrong))
    return carried


def _caption(raw: bytes) -> str:
    """The caption in a .txt member, without its newline. Raises ValueError where it is none."""
    text = raw.decode()
    if not text.endswith("\n") or text[:-1].endswith(("\n", "\r")):
        raise ValueError(f"ends in {raw[-3:]!r}, not in exactly one newline")
    return text[:-1]
