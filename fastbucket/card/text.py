"""The text of a card, from the manifest and what the user adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..format import CAPTION_FIELDS, SAMPLE_FIELDS
from ..sidecar import Carried
from .fields import NOTES, NOTES_END, Fields
from .front import front_matter

TITLE = "Bucketed training set"
"""The heading where the user gave no title."""

_DROPS = {
    "excluded": "listed for exclusion",
    "no_image": "without an image",
    "unreadable": "no image header that can be read",
    "too_many_pixels": "more pixels than allowed",
    "too_small": "would have needed upsampling",
    "no_caption": "without a caption",
    "duplicate": "exact duplicates of an earlier sample",
    "undecodable": "pixels truncated or damaged",
    "decoder_crash": "crashed the decoder",
    "rare_bucket": "of a bucket with too few samples",
    "no_plain_jpeg": "no JPEG that could be stored as it is",
    "no_bucket": "of an orientation without a bucket",
}

_SETTINGS = (
    "base_resolution", "base_resolutions", "divisible", "family", "sizes", "grid_step",
    "grid_min_side", "grid_max_side", "choice", "too_small_policy", "min_bucket",
    "rare_bucket_policy", "duplicates", "image_mode", "passthrough_other", "fidelity", "icc",
    "quality", "subsampling_policy",
    "adaptive_scale_threshold", "crop_strategy", "allowed_corners", "shard_size",
)  # fmt: skip
"""Fields of the recipe that a reader of the card wants to know."""

_MEANINGS = {
    "image_id": "archive and member key in the source",
    "w": "size of the stored JPEG in pixels",
    "h": "",
    "image_mode": "`reencode_jpeg`, or `passthrough_jpeg`: the source's bytes",
    "jpeg": "`quality` and chroma `subsampling` of the stored JPEG",
    "bucket_id": "the bucket, by its size at base 1024",
    "target_w": "size of the bucket in pixels",
    "target_h": "",
    "scale": "target / source, the larger of both axes; at most 1",
    "crop_x": "the crop window in the resized image",
    "crop_y": "",
    "resized_w": "size after the resize, before the crop",
    "resized_h": "",
    "source_split": "split of the source",
    "source_archive": "archive of the source",
    "source_member": "member of that archive",
    "source_w": "size of the source image, upright",
    "source_h": "",
    "source_bytes": "bytes of the source image",
    "source_sha256": "their SHA-256",
    "class_id": "the source's `.cls`",
    "label": "of the source's JSON",
    "label_12k": "of the source's JSON",
    "class_name": "of the source's JSON",
    "caption_variant": "which caption the `.txt` holds",
    "caption_selector_index": "its place in the priority of variants",
    "caption_source_id": "its id in the manifest's `caption_sources`",
}


def card(manifest: Mapping[str, Any], fields: Fields) -> str:
    """The text of README.md."""
    carried = [Carried(**entry) for entry in manifest["source"]["carried"]]
    lines = [*front_matter(manifest, carried, fields), "", *_prose(manifest, carried, fields)]
    return "\n".join(lines) + "\n"


def _prose(manifest: Mapping[str, Any], carried: Sequence[Carried], fields: Fields) -> list[str]:
    counts = manifest["counts"]
    shards = sum(len(b["shards"]) for b in manifest["buckets"])
    size = sum(shard["bytes"] for b in manifest["buckets"] for shard in b["shards"])
    sections = {
        "Source": _source(manifest, fields),
        "Filtering": _filtering(counts),
        "Processing": _processing(manifest),
        "Settings": _settings(manifest),
        "Buckets": [
            "| bucket | width | height | samples | shards |",
            "|---|---:|---:|---:|---:|",
            *(
                f"| {b['bucket_id']} | {b['target_w']} | {b['target_h']} | {b['count']:,} | "
                f"{len(b['shards'])} |"
                for b in manifest["buckets"]
            ),
        ],
        "Captions": _captions(manifest),
        "Format": _format(manifest, carried),
        "Loading": loading(manifest, "path/to/this/folder").splitlines(),
        "Licence": [f"`{fields.licence}`"] if fields.licence else [],
    }
    lines = [
        f"# {fields.title or TITLE}",
        "",
        f"{_images(manifest)} "
        f"{shards:,} WebDataset shards, {size:,} bytes. Format `{manifest['format']}`, written by "
        f"fastbucket {manifest['software']['fastbucket']}.",
        "",
    ]
    if fields.notes:
        lines += [NOTES, *fields.notes.split("\n"), NOTES_END, ""]
    for name, text in sections.items():
        if text:
            lines += [f"## {name}", "", *text, ""]
    return lines[:-1]


def _images(manifest: Mapping[str, Any]) -> str:
    """How many images there are, and of which size, up to the comma."""
    counts, buckets = manifest["counts"], manifest["buckets"]
    if not (several := manifest.get("base_resolutions")):
        base = manifest["base_resolution"]
        return (
            f"{counts['exported']:,} images in {len(buckets)} aspect-ratio buckets around "
            f"{base}x{base} pixels,"
        )
    at = ", ".join(
        f"{sum(b['count'] for b in buckets if b['base_resolution'] == base):,} around {base}x{base}"
        for base in several
    )
    return (
        f"{counts['exported']:,} samples in {counts['images']:,} images, each sample once at every "
        f"base resolution that it fits without upsampling ({at} pixels), in {len(buckets)} "
        "aspect-ratio buckets,"
    )


def _source(manifest: Mapping[str, Any], fields: Fields) -> list[str]:
    source, counts = manifest["source"], manifest["counts"]
    splits = [f"{name or 'none'} {n:,}" for name, n in source["splits"].items()]
    lines = [f"Source: <{fields.source_url}>", ""] if fields.source_url else []
    lines.append(
        f"{source['samples']:,} samples of {source['archives']:,} archives were scanned, "
        f"{counts['exported']:,} kept. `meta/` has a row for each of them."
    )
    if any(source["splits"]):
        lines += ["", f"By split of the source, before filtering: {', '.join(splits)}."]
    if source["broken"]:
        names = ", ".join(f"`{entry['archive']}`" for entry in source["broken"])
        lines += ["", f"Archives that end early, read up to there: {names}."]
    return lines


def _filtering(counts: Mapping[str, Any]) -> list[str]:
    if not counts["dropped"]:
        return ["No sample was dropped."]
    lines = [
        "| dropped | samples |",
        "|---|---:|",
        *(f"| {_DROPS[reason]} (`{reason}`) | {n:,} |" for reason, n in counts["dropped"].items()),
    ]
    if counts.get("pruned"):
        lines += ["", f"{counts['pruned']:,} of the `excluded` were taken out after the export."]
    return lines


def _processing(manifest: Mapping[str, Any]) -> list[str]:
    codec, recipe = manifest["image_codec"], manifest["recipe"]
    copied = ""
    if codec["mode"] == "passthrough_jpeg":
        copied = (
            "Plain JPEGs are stored as they are in the source, in their own size, with their EXIF "
            "and colour profile: who ignores the EXIF orientation sees some of them turned."
        )
        if recipe.get("passthrough_other") == "drop":
            return [f"{copied} Nothing else is kept. `manifest.json` holds the whole recipe."]
        copied += " Of all others: "
    return [
        f"{copied}EXIF orientation applied, sRGB, 8 bit; antialiased bicubic resize that covers "
        f"the target of the bucket, crop ({recipe['crop_strategy']}), never upsampled; JPEG "
        f"quality {codec['quality']}, chroma {codec['subsampling_policy']}"
        + (
            f" (4:4:4 below scale {codec['adaptive_scale_threshold']}, else 4:2:0)"
            if codec["subsampling_policy"] == "adaptive_scale"
            else ""
        )
        + ". `manifest.json` holds the whole recipe."
    ]


def _settings(manifest: Mapping[str, Any]) -> list[str]:
    recipe, software = manifest["recipe"], manifest["software"]
    values = {name: recipe[name] for name in _SETTINGS if name in recipe}
    shown = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in values.items()
    }
    versions = ", ".join(f"{name} {software[name]}" for name in _VERSIONS if name in software)
    return [
        "| setting | value |",
        "|---|---|",
        *(f"| `{name}` | {value} |" for name, value in shown.items()),
        "",
        f"Made with {versions}.",
    ]


_VERSIONS = ("libvips", "libjpeg-turbo", "pillow", "python")


def _captions(manifest: Mapping[str, Any]) -> list[str]:
    sources = manifest["caption_sources"]
    captions = sum(c["count"] for c in sources)
    variants = [f"{c['variant']}: {c['count']:,}" for c in sources]
    lines = [
        f"{captions:,} samples have a caption"
        + (f" ({', '.join(variants)})" if variants else "")
        + "; the `.txt` of the others is empty."
    ]
    if models := [c for c in sources if c["model"]]:
        lines += ["", "| variant | model |", "|---|---|"]
        lines += [f"| {c['variant']} | {c['model']} |" for c in models]
    return lines


def _format(manifest: Mapping[str, Any], carried: Sequence[Carried]) -> list[str]:
    size = manifest["export_settings"]["shard_size"]
    meanings = {
        **{name: _MEANINGS[name] for name in SAMPLE_FIELDS},
        **{field.name: "carried from the source's JSON" for field in carried},
        **{name: _MEANINGS[name] for name in CAPTION_FIELDS},
    }
    return [
        "`buckets/<bucket_id>/shard-000000.tar`: uncompressed tars of up to "
        f"{size:,} samples. A sample is three members, `<key>.jpg`, `<key>.txt` (the caption) and "
        '`<key>.json`; the key is the SHA-256 of its `image_id`. Missing text is "", a missing '
        "number -1.",
        "",
        "| field of the JSON | |",
        "|---|---|",
        *(f"| `{_cell(name)}` | {meaning} |" for name, meaning in meanings.items()),
    ]


def _cell(name: str) -> str:
    """A name from a source, fit for a table."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in name)
    return shown.replace("|", "\\|").replace("`", "'")


LOADING = """```python
import glob, webdataset as wds
shards = sorted(glob.glob("{path}/buckets/*/*.tar"))
dataset = wds.WebDataset(shards, shardshuffle=False).decode("pil")
for image, caption, facts in dataset.to_tuple("jpg", "txt", "json"):
    ...

from datasets import load_dataset
dataset = load_dataset("{path}", split="train", streaming=True)
```

A batch has one image size only if it comes from one bucket. One bucket alone:

```python
import glob, webdataset as wds
from datasets import load_dataset
shards = sorted(glob.glob("{path}/buckets/{bucket}/*.tar"))
dataset = wds.WebDataset(shards, shardshuffle=False).decode("pil")
dataset = load_dataset("{path}", "{bucket}", split="train")
```

For training, `fastbucket.Loader("{path}", batch_size=16)` mixes batches of all buckets, each of
one, for any number of ranks and workers."""
"""The loading snippets of the card and of `fastbucket demo`; path, and the id of some bucket."""


def loading(manifest: Mapping[str, Any], path: str) -> str:
    """The loading snippets of an export in the folder `path`; "" where it has no samples."""
    if not manifest["buckets"]:
        return ""
    text = LOADING.format(path=path, bucket=manifest["buckets"][0]["bucket_id"])
    if not (several := manifest.get("base_resolutions")):
        return text
    text = text.replace("/buckets/*/*.tar", f"/buckets/{several[0]}-*/*.tar")
    return text + SEVERAL.format(path=path, bases=several, base=several[-1])


SEVERAL = """

The folders of a base resolution have its number before them, and so have the configs: of {bases}
the smallest has every sample. A sample stands in the shard of one number, at one place in it, at
all bases that it went to.

```python
large = load_dataset("{path}", "{base}", split="train")
shards = sorted(glob.glob("{path}/buckets/{base}-*/*.tar"))
```

`fastbucket.Loader("{path}", batch_size=16, bases=[{base}])` takes one of them."""
"""What the card adds for several base resolutions."""
