"""What stands beside an image: read whatever it is, and of one schema in every sample."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbucket.format import RESERVED_FIELDS
from fastbucket.sidecar import (
    Carried,
    as_float,
    as_int,
    as_str,
    class_id,
    decide,
    json_object,
    output_name,
    text,
    values,
)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", {}),
        (b"[1, 2]", {}),
        (b'"words"', {}),
        (b"null", {}),
        (b"{", {}),
        (b'{"a": 1', {}),
        (b'{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),  # a byte order mark
        (b'{"a": "\xff"}', {}),  # not UTF-8
        (b"[" * 100_000, {}),  # deeper than Python goes
        ('{"a": "ä"}'.encode(), {"a": "ä"}),
    ],
    ids=str,
)
def test_json_object(raw, expected):
    assert json_object(raw) == expected
    assert json_object(memoryview(raw)) == expected


@given(st.binary())
def test_json_object_of_any_bytes(raw):
    assert isinstance(json_object(raw), dict)
    assert isinstance(text(raw), str)
    assert isinstance(class_id(raw), int)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [(b"7", 7), (b" 7\n", 7), (b"-1", -1), (b"", -1), (b"seven", -1), (b"7.0", -1),
     (b"99999999999999999999", -1), ("٧".encode(), -1)],
)  # fmt: skip
def test_class_id(raw, expected):
    assert class_id(raw) == expected


@pytest.mark.parametrize(
    ("value", "integer", "number", "words"),
    [
        (7, 7, 7.0, "7"),
        (7.0, 7, 7.0, "7.0"),
        (7.5, -1, 7.5, "7.5"),
        ("7", 7, -1.0, "7"),
        ("seven", -1, -1.0, "seven"),
        (True, 1, 1.0, "true"),
        (None, -1, -1.0, ""),
        ([1], -1, -1.0, ""),
        ({"a": 1}, -1, -1.0, ""),
        (float("nan"), -1, -1.0, "NaN"),
        (float("inf"), -1, -1.0, "Infinity"),
        (1 << 63, -1, float(1 << 63), str(1 << 63)),
        (-(1 << 63), -(1 << 63), -float(1 << 63), str(-(1 << 63))),
        (10**400, -1, -1.0, "1" + "0" * 400),
        ("\ud800x", -1, -1.0, "\ufffdx"),
        ("9" * 5000, -1, -1.0, "9" * 5000),  # longer than Python turns into an integer
    ],
    ids=lambda value: repr(value)[:12],
)
def test_scalars(value, integer, number, words):
    assert (as_int(value), as_float(value), as_str(value)) == (integer, number, words)


@given(VALUES)
def test_any_value_becomes_json_of_its_type(value):
    """Whatever a source holds, what is written is of the schema's type, finite, and UTF-8."""
    found = {"a": as_int(value), "b": as_float(value), "c": as_str(value)}
    assert [type(v) for v in found.values()] == [int, float, str]
    assert -(1 << 63) <= found["a"] < 1 << 63
    again = json.loads(json.dumps(found, allow_nan=False, ensure_ascii=False).encode())
    assert again == found


def test_names_of_ours_get_a_prefix():
    for name in RESERVED_FIELDS:
        assert output_name(name) not in RESERVED_FIELDS
    assert output_name("w") == "source_source_w"  # source_w is ours too
    assert output_name("image_id") == "source_image_id"
    assert output_name("filename") == "filename"


def test_auto_takes_every_scalar_by_name():
    objects = [
        {"width": 3, "name": "x", "nested": {"a": 1}, "list": [1]},
        {"width": 4, "share": 0.5, "seen": True, "gone": None, "scale": 1},
        {"label": 1, "label_12k": 2, "class_name": "n1"},
    ]
    assert decide(("auto",), objects) == [
        Carried("name", "name", "str"),
        Carried("scale", "source_scale", "int"),
        Carried("seen", "seen", "int"),
        Carried("share", "share", "float"),
        Carried("width", "width", "int"),
    ]


@pytest.mark.parametrize(
    ("met", "kind"),
    [
        ([1, 2], "int"), ([1, 2.5], "float"), ([1, "a"], "str"), ([2.5, "a"], "str"),
        ([True, 3], "int"), ([True, 0.5], "float"), ([None, 1], "int"), ([1 << 63], "str"),
        ([1 << 63, 0.5], "str"),
    ],
)  # fmt: skip
def test_several_types_become_the_widest(met, kind):
    assert decide(("auto",), [{"a": value} for value in met]) == [Carried("a", "a", kind)]


def test_none_and_a_list_of_names():
    objects = [{"a": 1, "b": "x"}]
    assert decide(("none",), objects) == []
    assert decide(("b", "c", "label"), objects) == [
        Carried("b", "b", "str"),
        Carried("c", "c", "str"),
    ]
    assert decide((), objects) == []


def test_two_names_of_the_source_do_not_become_one():
    """`crop_x` gets the prefix that another field of the source already has."""
    fields = decide(("auto",), [{"crop_x": 1, "source_crop_x": 2}])
    assert len({field.name for field in fields}) == len(fields)
    assert sorted(values(fields, {"crop_x": 1, "source_crop_x": 2}).values()) == [1, 2]


@given(st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), max_size=5), VALUES)
def test_one_schema_for_every_sample(objects, stranger):
    """Also for samples that nobody looked at when the fields were decided."""
    fields = decide(("auto",), objects)
    names = [field.name for field in fields]
    assert len(set(names)) == len(names)
    assert RESERVED_FIELDS.isdisjoint(names)
    types = {"str": str, "int": int, "float": float}
    for one in [*objects, {}, dict.fromkeys(names, stranger)]:
        found = values(fields, one)
        assert list(found) == names
        assert [type(v) for v in found.values()] == [types[field.type] for field in fields]
        json.dumps(found, allow_nan=False).encode()


def test_missing_ones():
    fields = [Carried("a", "a", "str"), Carried("b", "b", "int"), Carried("c", "c", "float")]
    assert values(fields, {}) == {"a": "", "b": -1, "c": -1.0}
    assert values(fields, {"a": None, "b": None, "c": None}) == {"a": "", "b": -1, "c": -1.0}
