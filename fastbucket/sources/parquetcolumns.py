"""What the columns of a Parquet file are to a sample: image, key, caption, class, fields.

| column                                          | becomes                                       |
|-------------------------------------------------|-----------------------------------------------|
| `Image` by the features that `datasets` wrote;  | the image; of several the one that the source |
| else the only struct with binary `bytes`; else  | names: `train.parquet#column`                 |
| the only binary column                          |                                               |
| `__key__`, else `key` (text)                    | the sample's key, where it is unique in the   |
|                                                 | file and never empty; else that is the row    |
| `txt` (text)                                    | its .txt                                      |
| `cls` (integers); else a `ClassLabel`, `label`  | its .cls; the label's name `class_name` of    |
| before others                                   | its JSON                                      |
| `json` (struct, or text)                        | the fields of its JSON                        |
| the `path` beside the image's `bytes`           | `path` of its JSON                            |
| numbers, texts, true and false, times           | fields of its JSON, under their names         |
| lists, other structs, other binaries            | nothing                                       |

`__key__`, `txt`, `cls`, `json` are the names that the Hub gives to the members of a WebDataset.
Times, within `json` too, are in pyarrow's words: `2024-01-01 12:00:00.000000`, a duration a number.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pyarrow as pa

from ..errors import RunError

CAPTIONS = ("text", "caption")
"""Names of columns that hold captions in most data sets: to remind of --caption-field."""


class Ambiguous(RunError):
    """Several columns may hold the images."""


class Columns(NamedTuple):
    """Names of columns by what they are; "" where there is none."""

    image: str
    leaf: str  # the column of bytes: `image`, or `image.bytes` of a struct
    path: str  # `image.path`
    keys: tuple[str, ...]  # in the order in which they are tried
    text: str
    label: str
    names: tuple[str, ...]  # of the classes
    document: str
    status: str  # img2dataset's, which says why there is no image
    fields: tuple[str, ...]

    @property
    def beside(self) -> list[str]:
        """All that is read but the image itself."""
        return list(
            dict.fromkeys(
                name
                for name in (
                    self.path, *self.keys, self.text, self.label, self.document, *self.fields,
                )
                if name
            )
        )  # fmt: skip


def columns(schema: pa.Schema, path: str, wanted: str = "") -> Columns:
    """The columns of a file. wanted: the image column that the source names, or "".

    Raises RunError, naming the candidates, where it is not clear which holds the images.
    """
    features = _features(schema)
    image = _image(schema, features, path, wanted)
    kind = schema.field(image).type
    struct = pa.types.is_struct(kind)
    scalar = {field.name for field in schema if _is_scalar(field.type)}
    texts = {field.name for field in schema if _is_text(field.type)}
    whole = {field.name for field in schema if pa.types.is_integer(field.type)}
    classes = [name for name, names in features.items() if _names(names) and name in whole]
    label = "cls" if "cls" in whole else "label" if "label" in classes else next(iter(classes), "")
    document = "json" if "json" in texts or _is_struct_of_any(schema, "json") else ""
    text = "txt" if "txt" in texts else ""
    taken = {image, "__key__", text, document, "cls" if label == "cls" else ""}
    return Columns(
        image,
        f"{image}.bytes" if struct else image,
        f"{image}.path" if struct and kind.get_field_index("path") >= 0 else "",
        tuple(name for name in ("__key__", "key") if name in texts),
        text,
        label,
        _names(features.get(label)),
        document,
        "status" if "status" in texts else "",
        tuple(name for name in schema.names if name in scalar and name not in taken),
    )


def _features(schema: pa.Schema) -> dict[str, Any]:
    """The features that `datasets` wrote into the schema: column -> feature."""
    try:
        raw = (schema.metadata or {})[b"huggingface"]
        features = json.loads(raw)["info"]["features"]
        return {name: f for name, f in features.items() if isinstance(f, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _names(feature: Any) -> tuple[str, ...]:
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return ()
    return tuple(map(str, feature.get("names") or ()))


def _image(schema: pa.Schema, features: dict[str, Any], path: str, wanted: str) -> str:
    able = {field.name: _holds_bytes(field.type) for field in schema}
    if wanted:
        if not able.get(wanted):
            what = "holds no binary values" if wanted in able else "is not there"
            raise RunError(f"{path}: column {wanted!r} {what}; its columns: {_listed(schema)}")
        return wanted
    images = [n for n, f in features.items() if f.get("_type") == "Image" and able.get(n)]
    structs = [n for n, how in able.items() if how == "struct"]
    found = images or structs or [n for n, how in able.items() if how == "binary"]
    if not found:
        raise RunError(
            f"{path}: no column of image bytes (binary, or a struct with binary `bytes`); its "
            f"columns: {_listed(schema)}. Where it describes tars beside it, name those."
        )
    if len(found) > 1:
        raise Ambiguous(
            f"{path}: several columns may hold the images: {', '.join(found)}. Name one behind "
            f"the file, as in {path}#{found[0]}"
        )
    return found[0]


def _listed(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"


def _holds_bytes(kind: pa.DataType) -> str:
    """ "binary", "struct" or ""."""
    if _is_binary(kind):
        return "binary"
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return "struct" if at >= 0 and _is_binary(kind.field(at).type) else ""
    return ""


def _is_binary(kind: pa.DataType) -> bool:
    return str(kind) in ("binary", "large_binary", "binary_view")


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return str(kind) in ("string", "large_string", "string_view")


def _is_scalar(kind: pa.DataType) -> bool:
    tests = (
        _is_text, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating,
        pa.types.is_temporal, pa.types.is_decimal,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def _is_struct_of_any(schema: pa.Schema, name: str) -> bool:
    return name in schema.names and pa.types.is_struct(schema.field(name).type)


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table. A value that is none (text that is no UTF-8, say) is None; times within
    others are words, see `_value`."""
    timed = any(_has_times(kind) for kind in table.schema.types)
    try:
        if not timed:
            found: list[dict[str, Any]] = table.to_pylist()
            return found
    except (ValueError, OverflowError):
        pass
    columns = [[_value(scalar) for scalar in column] for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def in_words(times: Any) -> Any:
    """Times, dates and durations, an array or one of them, as pyarrow writes them: Python's own
    words depend on whether pandas can be imported. Null where they have none: in a time zone that
    this machine does not know, say."""
    try:
        return times.cast(pa.string())
    except pa.ArrowException:
        return pa.nulls(len(times), pa.string()) if hasattr(times, "__len__") else pa.scalar(None)


def _has_times(kind: pa.DataType) -> bool:
    """Whether there are times in the values of a type, however deep."""
    if isinstance(kind, pa.BaseExtensionType):
        return _has_times(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _has_times(kind.value_type)
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    return bool(pa.types.is_temporal(kind)) or any(map(_has_times, inner))


def _value(scalar: Any) -> Any:
    """A value as Python has it, times in words. One within another that is none is None alone."""
    kind = scalar.type
    if not scalar.is_valid:
        return None
    if pa.types.is_temporal(kind):
        return in_words(scalar).as_py()
    try:
        if not _has_times(kind):
            return scalar.as_py()
        if pa.types.is_dictionary(kind) or isinstance(kind, pa.BaseExtensionType):
            return _value(scalar.value)
        if pa.types.is_struct(kind):
            values = {name: _value(value) for name, value in scalar.items()}
            return values if len(values) == kind.num_fields else None  # two of one name
        if pa.types.is_map(kind):
            return [tuple(map(_value, pair.values())) for pair in scalar.values]
        return [_value(value) for value in scalar.values]
    except (ValueError, OverflowError):
        return None


def sidecars(named: Columns, row: dict[str, Any]) -> dict[str, bytes]:
    """What would stand beside the image in a tar: text, json and class, those that are there.

    row: column -> value, of `named.beside`. What is null is absent.
    """
    fields: dict[str, Any] = {}
    if named.document:
        document = row[named.document]
        if isinstance(document, str):
            try:
                document = json.loads(document)
            except (ValueError, RecursionError):
                document = {}
        fields.update(document if isinstance(document, dict) else {})
    fields.update({name: row[name] for name in named.fields})
    if named.path and "path" not in fields:
        fields["path"] = (row[named.image] or {}).get("path")
    number = row[named.label] if named.label else None
    if number is not None and 0 <= number < len(named.names):
        fields.setdefault("class_name", named.names[number])
    fields = {name: value for name, value in fields.items() if value is not None}
    found: dict[str, bytes] = {}
    if fields:
        found["json"] = json.dumps(fields, ensure_ascii=False, default=str).encode(
            "utf-8", "surrogatepass"
        )
    if number is not None:
        found["class"] = b"%d" % number
    if named.text and row[named.text]:
        found["text"] = row[named.text].encode("utf-8", "surrogatepass")
    return found
