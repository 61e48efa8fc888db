"""README.md of an export: YAML that a parser reads, features that are those of the samples."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path

import exported
import pytest
import yaml
from click.testing import CliRunner

import fastbucket
from fastbucket import Recipe, Resources, RunError
from fastbucket.captions import application, workspace
from fastbucket.card import Fields, card, checked, edit
from fastbucket.card.licences import LICENCES
from fastbucket.card.merge import merge
from fastbucket.cli import cli
from fastbucket.format import STATE
from fastbucket.pruning import prune
from fastbucket.state import State
from fastbucket.verification import verify


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
    assert front(card(manifest, Fields()))["size_categories"] == [category]


def test_images_that_were_not_touched(drawn_export):
    manifest = copy.deepcopy(drawn_export.manifest)
    assert "stored as they are" not in card(manifest, Fields())
    manifest["image_codec"]["mode"] = "passthrough_jpeg"
    assert "Plain JPEGs are stored as they are" in card(manifest, Fields())


@pytest.mark.parametrize("licence", ["", "cc-by-4.0", "apache-2.0", "other"])
def test_licence(drawn_export, licence):
    facts = front(card(drawn_export.manifest, Fields(licence=licence)))
    assert facts.get("license", "") == licence


@pytest.mark.parametrize(
    "name",
    ["no", "Yes", "null", "~", "n", "1", "1.5", "1e3", "0x1F", "2020-01-01", "a: b", "a # b", "- a",
     "'", '"', "a\nb", "", " ", "ä", "日本", "&a", "*a", "{a}", "[a]", "!a", "%a", "@a", "`a",
     "a\tb", "\u2028", "NaN", "_1", "False", "\x7f", "\x85", "😀", "\\u0041", "=", "<<"],
)  # fmt: skip
def test_any_field_name_survives_yaml(drawn_export, name):
    """Fields carried from a source are called whatever they are called."""
    manifest = copy.deepcopy(drawn_export.manifest)
    manifest["source"]["carried"] = [
        {"source": given, "name": given, "type": kind}
        for given, kind in ((name, "int"), ("plain", "float"))
    ]
    facts = front(card(manifest, Fields()))
    struct = facts["dataset_info"][0]["features"][2]["struct"]
    found = {field["name"]: field.get("dtype") for field in struct}
    assert found[name] == "int64"
    assert found["plain"] == "float64"


# What the user adds

NASTY = [
    "Plain words", "a: b", "- a # b", "'single' \"double\"", "{x} [y] &z *w !v %u @t `s`", "no",
    "1.5", "~", "<!-- notes -->", "a|b", "back\\slash \\u0041", "日本語 🐙", "--- three",
    "# heading",
]  # fmt: skip


@pytest.fixture
def out(drawn_export, tmp_path) -> Path:
    folder = tmp_path / "out"
    shutil.copytree(drawn_export.out, folder)
    return folder


def text_of(out: Path) -> str:
    return (out / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("words", NASTY)
def test_any_title_and_notes_survive(out, words):
    """Read back by PyYAML and by ourselves, as they were given; once more, nothing changes."""
    import huggingface_hub

    notes = f"{words}\n\n---\n\n## {words}\n\nSource: <https://elsewhere.example>"
    report = edit(out, words, "cc-by-4.0", "https://example.org/a?b=c#d", notes)
    assert report.fields == Fields(words, "cc-by-4.0", "https://example.org/a?b=c#d", notes)
    facts = front(text_of(out))
    assert (facts["pretty_name"], facts["license"]) == (words, "cc-by-4.0")
    assert notes in text_of(out)
    assert f"\n# {words}\n" in text_of(out)
    again = edit(out)
    assert (again.fields, again.written) == (report.fields, False)
    hub = huggingface_hub.DatasetCard(text_of(out))
    assert (hub.data.pretty_name, hub.data.license) == (words, "cc-by-4.0")
    assert {"configs", "dataset_info"} <= hub.data.to_dict().keys()
    assert not (out / STATE).exists()


def test_fields_one_by_one_and_taken_back(out):
    bare = text_of(out)
    edit(out, title="A title")
    edit(out, licence="mit")
    edit(out, notes="Notes.\r\n\r\nMore.\n")
    assert edit(out, source_url="https://x.example").fields == Fields(
        "A title", "mit", "https://x.example", "Notes.\n\nMore."
    )
    edit(out, "", "", "", "")
    assert text_of(out) == bare


def test_what_no_card_can_hold(out):
    before = text_of(out)
    for fields, why in (
        ({"licence": "CC-BY-4.0"}, "is it cc-by-4.0"),
        ({"licence": "my own"}, "for one that it does not list take other"),
        ({"source_url": "example.org"}, "no link"),
        ({"source_url": "https://a b"}, "no link"),
        ({"title": "a\x1bb"}, "cannot be shown"),
        ({"title": "a\udce4"}, "not UTF-8"),
        ({"notes": "<!-- end of notes -->"}, "the card's own"),
    ):
        with pytest.raises(RunError, match=f"(?i){why}"):
            edit(out, **fields)
    assert text_of(out) == before
    assert checked(Fields(title=" two\nlines ")).title == "two lines"


def test_licences_are_ids():
    assert len(LICENCES) > 70
    assert all(re.fullmatch(r"[a-z0-9.+-]+", licence) for licence in LICENCES)


def test_an_unknown_licence_stops_the_export_at_once(drawn, tmp_path):
    with pytest.raises(RunError, match=r"is it cc-by-4\.0"):
        fastbucket.export(drawn.paths, tmp_path / "out", licence="cc-by-4")
    assert not (tmp_path / "out").exists()


def test_work_on_the_export_keeps_all_of_it(drawn, out):
    """apply, prune, and the export made afresh: fields, notes and edits by hand stay; the numbers
    are the new ones."""
    edit(out, "Octopuses", "odc-by", "https://example.org", "Notes.")
    text = text_of(out)
    text = text.replace("Notes.", "Notes.\n\nBy hand.").replace(
        "- webdataset\n", "- webdataset\n- sea\n"
    )
    text = text.replace("## Loading\n", "## Who made it\n\nI did.\n\n## Loading\n")
    (out / "README.md").write_text(text, encoding="utf-8")

    def check_card(report_of: str) -> None:
        now = text_of(out)
        facts = front(now)
        assert (facts["pretty_name"], facts["license"]) == ("Octopuses", "odc-by"), report_of
        assert "sea" in facts["tags"], report_of
        for words in (
            "Notes.\n\nBy hand.",
            "Source: <https://example.org>",
            "I did.\n\n## Loading",
        ):
            assert words in now, report_of
        manifest = exported.manifest(out)
        count = manifest["counts"]["exported"]
        assert f"{count:,} images in {len(manifest['buckets'])}" in now, report_of
        captions = sum(entry["count"] for entry in manifest["caption_sources"])
        assert f"\n{captions:,} samples have a caption" in now, report_of
        assert [c["config_name"] for c in facts["configs"][1:]] == [
            bucket["bucket_id"] for bucket in manifest["buckets"]
        ]
        assert verify(out, fast=True, workers=1).problems == []
        assert not (out / STATE).exists()

    check_card("by hand")
    workspace.init(out)
    application.apply(out, ["caption_source"], "drop", workers=1)
    check_card("apply")
    prune(out, [sample.key for sample in exported.samples(out)][::3], workers=1)
    check_card("prune")
    one = Resources(workers=1)
    fastbucket.export(drawn.paths, out, Recipe(shard_size=3), one, overwrite=True)
    check_card("export")
    fastbucket.export(drawn.paths, out, Recipe(), one, overwrite=True, licence="mit")
    assert front(text_of(out))["license"] == "mit"
    assert edit(out).fields.notes == "Notes.\n\nBy hand."


def test_edits_in_the_way(out):
    """A line that both changed stays as the user has it, and that is said; what is asked for by
    name and cannot be is an error, and --anew the way out."""
    edit(out, "Title", notes="Notes.")
    text = text_of(out)
    (out / "README.md").write_text(
        re.sub(r"\d+ images in \d+ aspect-ratio", "Many images in some aspect-ratio", text)
    )
    said = []

    class Heard:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def phase(self, *what): ...
        def advance(self, *what): ...
        def at(self, *what): ...
        def say(self, words):
            said.append(words)

    prune(out, [next(exported.samples(out)).key], workers=1, progress=Heard())
    assert "Many images in some aspect-ratio" in text_of(out)
    assert any("42 images in" in words for words in said)
    (out / "README.md").write_text(
        text_of(out).replace("pretty_name: ", "pretty_name:  # mine\n  ")
    )
    with pytest.raises(RunError, match="--anew"):
        edit(out, title="Another")
    report = edit(out, title="Another", anew=True)
    assert report.fields == Fields("Another", notes="Notes.")
    assert "42 images in" in text_of(out)


def test_a_card_whose_yaml_is_broken(out):
    """It stops no work, and `card` says where."""
    broken = text_of(out).replace("task_categories:", "task_categories: [")
    (out / "README.md").write_text(broken)
    prune(out, [next(exported.samples(out)).key], workers=1)
    assert text_of(out) == broken
    with pytest.raises(RunError, match="YAML is broken"):
        edit(out, title="A")
    (out / "README.md").unlink()
    assert edit(out, title="A").written
    assert verify(out, fast=True, workers=1).problems == []


def test_no_export(tmp_path, out):
    with pytest.raises(RunError, match="complete export"):
        edit(tmp_path / "nothing")
    with State(out), pytest.raises(RunError, match="in use by"):
        edit(out, title="A")


@pytest.mark.parametrize(
    ("base", "edited", "new", "merged", "kept"),
    [
        ("a b c", "a b c", "a x c", "a x c", ""),
        ("a b c", "a y c", "a b c", "a y c", ""),
        ("a b c", "a y c", "a x c", "a y c", "x"),
        ("a b c", "a x c", "a x c", "a x c", ""),
        ("a b c d e", "z a b c d e", "a b c x e", "z a b c x e", ""),
        ("a b c d e", "a c d e", "a b c d x", "a c d x", ""),
        ("a b c", "", "a b x", "", "x"),
        ("a b", "a n b", "a b c", "a n b c", ""),
    ],
)
def test_the_merge(base, edited, new, merged, kept):
    texts = ["\n".join(text.split()) for text in (base, edited, new)]
    found = merge(*texts)
    assert (found.text.split(), found.kept) == (merged.split(), kept.split())


def test_the_command(out, tmp_path):
    def run(*words, **more):
        done = CliRunner().invoke(cli, ["card", str(out), *words], **more)
        assert done.exit_code == 0, done.output
        return done.stdout

    notes = tmp_path / "notes.md"
    notes.write_text("One.\nTwo.\n")
    shown = run("--title", "A: b", "--license", "mit", "--notes", str(notes))
    assert "A: b" in shown
    assert "2 lines" in shown
    assert "as it was" in run()
    assert '"notes": "Three."' in run("--notes", "-", "--json", input="Three.\n")
    assert "cc0-1.0" in run("--licence", "cc0-1.0")
