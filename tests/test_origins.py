"""Verification against the sources: each is read again and held against source_sha256."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import exported
import hostile as corpus
import pytest

import fastbucket
from fastbucket import Recipe, Resources, RunError, verify
from fastbucket.verification.origins import Origin, SourceCheck, SourceTask


def reread(out: Path, *sources: Path, workers: int = 1) -> fastbucket.verification.Verification:
    return verify(out, fast=True, workers=workers, sources=sources)


@pytest.fixture
def sources(drawn_export, tmp_path) -> list[Path]:
    """The tars of the export, to be damaged."""
    return [Path(shutil.copy(path, tmp_path)) for path in drawn_export.sources]


@pytest.mark.parametrize("workers", [1, 2])
def test_sound_sources(drawn_export, workers):
    found = reread(drawn_export.out, *drawn_export.sources, workers=workers)
    assert found.ok, found.problems
    assert found.sources == found.samples == drawn_export.report.exported
    assert verify(drawn_export.out, fast=True, workers=1).sources == 0


def test_it_does_not_matter_where_the_sources_lie(drawn_export, sources):
    assert reread(drawn_export.out, sources[0].parent).ok


def places(export, source: Path) -> list[tuple[exported.Sample, int, int]]:
    """Exported samples of a source tar, with offset and size of their image in it."""
    with tarfile.open(source, "r:") as tar:
        at = {info.name: (info.offset_data, info.size) for info in tar}
    return [
        (sample, *at[sample.json["source_member"]])
        for sample in export.samples
        if sample.json["source_archive"] == source.stem
    ]


def test_a_changed_bit_of_a_source_image(drawn_export, sources):
    sample, offset, size = places(drawn_export, sources[0])[0]
    data = bytearray(sources[0].read_bytes())
    data[offset + size // 2] ^= 1
    sources[0].write_bytes(data)
    found = reread(drawn_export.out, *sources)
    assert [(p.path, p.member) for p in found.problems] == [(sample.path, f"{sample.key}.json")]
    assert "source_sha256 is not that of" in found.problems[0].text
    assert sample.json["source_member"] in found.problems[0].text


def test_bits_that_no_exported_sample_is_made_of_do_not_matter(drawn_export, sources):
    spans = [(at, at + size) for _, at, size in places(drawn_export, sources[0])]
    with tarfile.open(sources[0], "r:") as tar:
        other = next(
            info
            for info in tar
            if info.size > 10 and not any(a <= info.offset_data < b for a, b in spans)
        )
    data = bytearray(sources[0].read_bytes())
    data[other.offset_data] ^= 1
    sources[0].write_bytes(data)
    assert reread(drawn_export.out, *sources).ok


def test_an_archive_that_was_not_given(drawn_export, sources):
    found = reread(drawn_export.out, *sources[1:])
    count = len(places(drawn_export, sources[0]))
    assert len(found.problems) == 1
    assert f"{count} samples are of the source {sources[0].stem!r}" in found.problems[0].text
    assert found.sources == found.samples - count


def test_a_member_of_another_name_or_size(drawn_export, sources):
    sample, _, size = places(drawn_export, sources[0])[0]
    members = []
    with tarfile.open(sources[0], "r:") as tar:
        for info in tar:
            members.append((info.name, tar.extractfile(info).read()))
    name = sample.json["source_member"]
    for changed, text in (
        ([(f"other-{n}" if n == name else n, d) for n, d in members], "was not found whole in"),
        ([(n, d + b"\0" if n == name else d) for n, d in members], f"is of {size + 1} bytes in"),
    ):
        exported.write_tar(sources[0], changed)
        found = reread(drawn_export.out, *sources)
        assert [p.member for p in found.problems] == [f"{sample.key}.json"]
        assert text in found.problems[0].text


def test_a_tar_that_ends_early(drawn_export, sources):
    last = max(places(drawn_export, sources[0]), key=lambda place: place[1])
    data = sources[0].read_bytes()
    sources[0].write_bytes(data[: last[1] + last[2] // 2])
    found = reread(drawn_export.out, *sources)
    assert f"{last[0].key}.json" in [p.member for p in found.problems]


def test_a_folder(tmp_path):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for n, name in enumerate(("a.jpg", "sub/b.jpg", "sub/c.jpg")):
        (folder / name).write_bytes(corpus.encoded("JPEG", corpus.drawing(700 + n, 600)))
    out = tmp_path / "out"
    fastbucket.export([folder], out, Recipe(), Resources(workers=1))
    assert reread(out, folder).sources == 3
    (folder / "sub/b.jpg").write_bytes(b"x" * (folder / "sub/b.jpg").stat().st_size)
    (folder / "sub/c.jpg").unlink()
    found = reread(out, folder)
    assert len(found.problems) == 2
    assert {"source_sha256 is not", "was not found whole"} == {
        text
        for text in ("source_sha256 is not", "was not found whole")
        for p in found.problems
        if text in p.text
    }


def test_names_in_json_are_never_opened(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    (tmp_path / "photos").mkdir()
    lines = Origin("k", "../secret", 1, "0" * 64).line() + Origin("k", str(secret), 1, "0").line()
    task = SourceTask("folder", str(tmp_path / "photos"), "photos", (("p", lines),))
    facts = SourceCheck({})(task, lambda n: None)
    assert facts.read == 0
    assert all("was not found whole in" in problem.text for problem in facts.problems)


@pytest.mark.parametrize("name", sorted(dict(corpus.tars(b"x" * 600))))
def test_hostile_tars_do_not_stop_it(name, tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(dict(corpus.tars(b"x" * 600))[name])
    lines = Origin("k", "last.jpg", 601, "0" * 64).line() + Origin("k", "no", 1, "0").line()
    task = SourceTask("tar", str(path), "x", (("p", lines),))
    facts = SourceCheck({})(task, lambda n: None)
    assert len(facts.problems) == 2


def test_sources_that_are_not_there_are_a_clear_error(drawn_export, tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        reread(drawn_export.out, tmp_path / "no.tar")


def test_the_command(drawn_export, sources):
    words = [sys.executable, "-m", "fastbucket", "verify", str(drawn_export.out), "--fast", "-q"]
    given = [word for path in sources for word in ("--source", str(path))]
    done = subprocess.run([*words, *given], capture_output=True, text=True, check=True)
    assert f"{drawn_export.report.exported} sources" in done.stdout
    done = subprocess.run(
        [*words, *given[:2], "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["sources"] == len(places(drawn_export, sources[0]))


# What else may stand in an export that was tampered with


DEEP = b'{"format": "bucketed_shards_v1", "recipe": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"


def test_a_manifest_nested_without_end(tmp_path):
    (tmp_path / "manifest.json").write_bytes(DEEP)
    try:
        found = verify(tmp_path, workers=1)
    except RunError as error:
        assert "no JSON" in str(error)
    else:  # a parser that does not recurse: then the recipe is none
        assert not found.ok


def test_a_sample_nested_without_end(drawn_export, tmp_path):
    out = shutil.copytree(drawn_export.out, tmp_path / "out")
    path = exported.shards(out)[0]
    with tarfile.open(path, "r:") as tar:
        members = [(info.name, tar.extractfile(info).read()) for info in tar]
    harm = [(n, b"[" * 500_000 if n.endswith(".json") else d) for n, d in members]
    exported.write_tar(path, harm)
    found = verify(out, fast=True, workers=1)
    assert any(p.member.endswith(".json") for p in found.problems)
