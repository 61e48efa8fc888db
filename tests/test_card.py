"""README.md of an export: YAML that a parser reads, features that are those of the samples."""

from __future__ import annotations

import copy
import re

import pytest
import yaml

from fastbucket.card import card
from fastbucket.sidecar import Carried


def front(text: str) -> dict:
    """The YAML between the dashes, as the Hub's own parser reads it."""
    assert text.startswith("---\n")
    return yaml.safe_load(text[4 : text.index("\n---\n")])


def fields_of(export) -> dict:
    return front((export.out / "README.md").read_text(encoding="utf-8"))


DTYPES = {str: "string", int: "int64", float: "float64"}


def test_configs(any_export):
    facts = fields_of(any_export)
    default, *buckets = facts["configs"]
    assert default == {
        "config_name": "default",
        "data_files": [{"split": "train", "path": "buckets/*/*.tar"}],
        "default": True,
    }
    assert [config["config_name"] for config in buckets] == [
        bucket["bucket_id"] for bucket in any_export.manifest["buckets"]
    ]
    for config in buckets:
        (files,) = config["data_files"]
        assert files["split"] == "train"
        assert list(any_export.out.glob(files["path"]))
    everything = set(any_export.out.glob("buckets/*/*.tar"))
    assert everything == set(any_export.out.glob(default["data_files"][0]["path"]))
    assert {split["split"] for config in facts["configs"] for split in config["data_files"]} == {
        "train"
    }


def test_features_are_those_of_every_sample(any_export):
    """For all configurations, the buckets' by YAML's alias."""
    facts = fields_of(any_export)
    names = [config["config_name"] for config in facts["configs"]]
    assert [info["config_name"] for info in facts["dataset_info"]] == names
    first = any_export.samples[0].json
    for info in facts["dataset_info"]:
        features = {feature["name"]: feature for feature in info["features"]}
        assert list(features) == ["jpg", "txt", "json", "__key__", "__url__"]
        assert features["jpg"]["dtype"] == "image"
        assert features["txt"]["dtype"] == features["__key__"]["dtype"] == "string"
        struct = features["json"]["struct"]
        assert [field["name"] for field in struct] == list(first)
        for field in struct:
            value = first[field["name"]]
            if isinstance(value, dict):
                assert {f["name"]: f["dtype"] for f in field["struct"]} == {
                    name: DTYPES[type(inner)] for name, inner in value.items()
                }
            else:
                assert field["dtype"] == DTYPES[type(value)], field["name"]


def test_the_aliases_are_one_object(drawn_export):
    """A card of 40 buckets repeats its features by reference, not by 40 copies."""
    facts = fields_of(drawn_export)
    first, *others = (info["features"] for info in facts["dataset_info"])
    assert others
    assert all(features is first for features in others)


def test_prose_has_the_numbers(any_export):
    text = (any_export.out / "README.md").read_text(encoding="utf-8")
    report = any_export.report
    assert f"{report.exported:,} images" in text
    assert f"{report.scanned:,} samples of {report.archives:,} archives" in text
    for reason, n in report.dropped.items():
        assert re.search(rf"\(`{reason}`\) \| {n:,} \|", text)
    for bucket in any_export.manifest["buckets"]:
        assert f"| {bucket['bucket_id']} | {bucket['target_w']} | {bucket['target_h']} |" in text
    assert "load_dataset" in text


@pytest.mark.parametrize(
    ("total", "category"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (12_345, "10K<n<100K"),
     (1_175_382, "1M<n<10M"), (14_000_000, "10M<n<100M"), (200_000_000, "100M<n<1B")],
)  # fmt: skip
def test_size_categories_are_the_hubs(drawn_export, total, category):
    manifest = copy.deepcopy(drawn_export.manifest)
    manifest["counts"]["exported"] = total
    assert front(card(manifest, []))["size_categories"] == [category]


@pytest.mark.parametrize("licence", ["", "cc-by-4.0", "apache-2.0", "other"])
def test_licence(drawn_export, licence):
    facts = front(card(drawn_export.manifest, [], licence))
    assert facts.get("license", "") == licence


@pytest.mark.parametrize(
    "name",
    ["no", "Yes", "null", "~", "n", "1", "1.5", "1e3", "0x1F", "2020-01-01", "a: b", "a # b", "- a",
     "'", '"', "a\nb", "", " ", "ä", "日本", "&a", "*a", "{a}", "[a]", "!a", "%a", "@a", "`a",
     "a\tb", "\u2028", "NaN", "_1", "False", "\x7f", "\x85", "😀", "\\u0041", "=", "<<"],
)  # fmt: skip
def test_any_field_name_survives_yaml(drawn_export, name):
    """Fields carried from a source are called whatever they are called."""
    carried = [Carried(name, name, "int"), Carried("plain", "plain", "float")]
    facts = front(card(drawn_export.manifest, carried))
    struct = facts["dataset_info"][0]["features"][2]["struct"]
    found = {field["name"]: field.get("dtype") for field in struct}
    assert found[name] == "int64"
    assert found["plain"] == "float64"
