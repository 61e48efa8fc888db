"""README.md of an export: the dataset card, from the manifest alone.

Its YAML makes `datasets.load_dataset(<dir>)` and the Hub's viewer load the tars and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import commit
from .format import BUCKETS, CAPTION_FIELDS, CARD, SAMPLE_FIELDS
from .sidecar import Carried

_DTYPES = {str: "string", int: "int64", float: "float64", "str": "string", "int": "int64",
           "float": "float64"}  # fmt: skip

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
}


def card(manifest: Mapping[str, Any], carried: Sequence[Carried], licence: str = "") -> str:
    """The text of README.md."""
    return "\n".join([*_yaml(manifest, carried, licence), "", *_prose(manifest)]) + "\n"


def _yaml(manifest: Mapping[str, Any], carried: Sequence[Carried], licence: str) -> list[str]:
    total = manifest["counts"]["exported"]
    lines = ["---"]
    if licence:
        lines.append(f"license: {licence}")
    lines += [
        "task_categories:",
        "- text-to-image",
        "tags:",
        "- webdataset",
        f"- {manifest['format']}",
        "size_categories:",
        f"- {_size_category(total)}",
        "configs:",
    ]
    configs = [("default", f"{BUCKETS}/*/*.tar")]
    configs += [(b["bucket_id"], f"{BUCKETS}/{b['bucket_id']}/*.tar") for b in manifest["buckets"]]
    for name, files in configs:
        lines += [f"- config_name: {name}", "  data_files:", "  - split: train"]
        lines.append(f"    path: {files}")
        if name == "default":
            lines.append("  default: true")
    lines.append("dataset_info:")
    for name, _ in configs:
        lines.append(f"- config_name: {name}")
        if name == "default":  # the others repeat it by reference
            lines.append("  features: &features")
            lines += [f"  {line}" for line in _features(carried)]
        else:
            lines.append("  features: *features")
    lines.append("---")
    return lines


def _features(carried: Sequence[Carried]) -> list[str]:
    lines = ["- name: jpg", "  dtype: image", "- name: txt", "  dtype: string", "- name: json"]
    lines.append("  struct:")
    fields = {**SAMPLE_FIELDS, **{f.name: f.type for f in carried}, **CAPTION_FIELDS}
    for name, kind in fields.items():
        lines.append(f"  - name: {_quoted(name)}")
        if isinstance(kind, dict):
            lines.append("    struct:")
            for inner, inner_kind in kind.items():
                lines += [f"    - name: {inner}", f"      dtype: {_DTYPES[inner_kind]}"]
        else:
            lines.append(f"    dtype: {_DTYPES[kind]}")
    for name in ("__key__", "__url__"):
        lines += [f"- name: {name}", "  dtype: string"]
    return lines


def _quoted(name: str) -> str:
    """A YAML scalar: plain for an identifier, else in double quotes."""
    if name.isidentifier() and name.isascii() and name.lower() not in _YAML_WORDS:
        return name
    # YAML's escapes are JSON's, but for surrogate pairs: beyond ASCII it wants whole code points.
    letters = (c if c.isprintable() else f"\\U{ord(c):08x}" for c in name)
    escaped = "".join(f"\\{c}" if c in '"\\' and len(c) == 1 else c for c in letters)
    return f'"{escaped}"'


_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def _size_category(n: int) -> str:
    """The Hub's name for a number of samples."""
    for limit, name in _SIZES:
        if n < limit:
            return name
    return "100M<n<1B"


_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)


def _prose(manifest: Mapping[str, Any]) -> list[str]:
    source, counts, codec = manifest["source"], manifest["counts"], manifest["image_codec"]
    recipe, software = manifest["recipe"], manifest["software"]
    shards = sum(len(b["shards"]) for b in manifest["buckets"])
    size = sum(shard["bytes"] for b in manifest["buckets"] for shard in b["shards"])
    captions = sum(c["count"] for c in manifest["caption_sources"])
    variants = [f"{c['variant']}: {c['count']:,}" for c in manifest["caption_sources"]]
    lines = [
        "# Bucketed training set",
        "",
        f"{counts['exported']:,} images in {len(manifest['buckets'])} aspect-ratio buckets around "
        f"{manifest['base_resolution']}x{manifest['base_resolution']} pixels, "
        f"{shards:,} WebDataset shards, {size:,} bytes. Format `{manifest['format']}`, written by "
        f"fastbucket {software['fastbucket']}.",
        "",
        "## Source and filtering",
        "",
        f"{source['samples']:,} samples of {source['archives']:,} archives were scanned, "
        f"{counts['exported']:,} kept. `meta/` has a row for each of them.",
        "",
        "| dropped | samples |",
        "|---|---:|",
        *(f"| {_DROPS[reason]} (`{reason}`) | {n:,} |" for reason, n in counts["dropped"].items()),
        "",
        "## Processing",
        "",
        "EXIF orientation applied, sRGB, 8 bit; antialiased bicubic resize that covers the target "
        f"of the bucket, crop ({recipe['crop_strategy']}), never upsampled; JPEG quality "
        f"{codec['quality']}, chroma {codec['subsampling_policy']}"
        + (
            f" (4:4:4 below scale {codec['adaptive_scale_threshold']}, else 4:2:0)"
            if codec["subsampling_policy"] == "adaptive_scale"
            else ""
        )
        + ". `manifest.json` holds the whole recipe.",
        "",
        "## Buckets",
        "",
        "| bucket | width | height | samples | shards |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {b['bucket_id']} | {b['target_w']} | {b['target_h']} | {b['count']:,} | "
            f"{len(b['shards'])} |"
            for b in manifest["buckets"]
        ),
        "",
        "## Captions",
        "",
        f"{captions:,} samples have a caption"
        + (f" ({', '.join(variants)})" if variants else "")
        + "; the `.txt` of the others is empty.",
        "",
        "## Loading",
        "",
        *LOADING.format(path="path/to/this/folder").splitlines(),
    ]
    return lines


LOADING = """```python
import glob, webdataset as wds
shards = sorted(glob.glob("{path}/buckets/*/*.tar"))
dataset = wds.WebDataset(shards, shardshuffle=False).decode("pil")
for image, caption, facts in dataset.to_tuple("jpg", "txt", "json"):
    ...

from datasets import load_dataset
dataset = load_dataset("{path}", split="train", streaming=True)
```

A batch has one image size only if it comes from one bucket: make one loader for each
`buckets/<bucket_id>/` and mix the loaders."""
"""The loading snippet of the card and of `fastbucket demo`."""


def write(out: Any, text: str) -> None:
    """Write README.md whole."""
    commit.write_text(out / CARD, text)
