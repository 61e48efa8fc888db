"""The YAML in front of a card: it makes `datasets.load_dataset(<dir>)` and the Hub's viewer load
the tars and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..format import BUCKETS, CAPTION_FIELDS, SAMPLE_FIELDS
from ..sidecar import Carried
from .fields import Fields
from .licences import LICENCES

_DTYPES = {str: "string", int: "int64", float: "float64", "str": "string", "int": "int64",
           "float": "float64"}  # fmt: skip


def front_matter(
    manifest: Mapping[str, Any], carried: Sequence[Carried], fields: Fields
) -> list[str]:
    total = manifest["counts"]["exported"]
    lines = ["---"]
    if fields.title:
        lines.append(f"pretty_name: {_quoted(fields.title)}")
    if fields.licence:
        known = fields.licence in LICENCES
        lines.append(f"license: {fields.licence if known else _quoted(fields.licence)}")
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
    configs = _configs(manifest)
    for name, files in configs:
        lines += [f"- config_name: {name}", "  data_files:", "  - split: train"]
        lines.append(f"    path: {files}")
        if name == configs[0][0]:
            lines.append("  default: true")
    lines.append("dataset_info:")
    for name, _ in configs:
        lines.append(f"- config_name: {name}")
        if name == configs[0][0]:  # the others repeat it by reference
            lines.append("  features: &features")
            lines += [f"  {line}" for line in _features(carried)]
        else:
            lines.append("  features: *features")
    lines.append("---")
    return lines


def _configs(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Configs and the files of each, the default one first, as YAML.

    With several bases it is that of the smallest, which has every sample, each once; then the other
    bases, and then the buckets.
    """
    each = [(b["bucket_id"], f"{BUCKETS}/{b['bucket_id']}/*.tar") for b in manifest["buckets"]]
    several = manifest.get("base_resolutions")
    if not several:
        return [("default", f"{BUCKETS}/*/*.tar"), *each]
    # In quotes: a name is text, also one of digits.
    return [(f'"{base}"', f"{BUCKETS}/{base}-*/*.tar") for base in several] + each


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
