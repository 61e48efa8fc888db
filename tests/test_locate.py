"""From names to archives: folders, globs, braces, lists; splits; and every clash named."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import pytest
from tars import END, JPEG, PNG, tar

from fastbucket.errors import RunError
from fastbucket.sources.locate import archives

TAR = tar({"a.jpg": JPEG})


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(*names: str, data: bytes = TAR) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def names(*sources, **options) -> list[str]:
    return [archive.name for archive in archives(list(sources), **options)]


def fails(*sources, **options) -> str:
    with pytest.raises(RunError) as caught:
        archives(list(sources), **options)
    return str(caught.value)


def test_one_tar(here):
    put("x/some-train-0000.tar")
    (archive,) = archives([Path("x/some-train-0000.tar")])
    assert (archive.kind, archive.name, archive.split) == ("tar", "some-train-0000", "train")
    assert archive.path == str(here / "x" / "some-train-0000.tar")
    assert archive.size == len(TAR)
    assert archive.id_prefix == "some-train-0000"


def test_by_name_within_an_argument_and_arguments_in_their_order(here):
    put("b/2.tar", "b/deep/1.tar", "a/4.tar", "a/3.tar", "a/.hidden/9.tar", "a/.8.tar")
    assert names("b", "a") == ["1", "2", "3", "4"]
    assert names("a/4.tar", "b", "a") == ["4", "1", "2", "3"]
    assert names("**/*.tar") == ["1", "2", "3", "4"]
    assert names("*/*.tar") == ["2", "3", "4"]


def test_braces(here):
    put(*(f"t-{i:04d}.tar" for i in range(12)), "t-a.tar", "u/t-b.tar")
    assert names("t-{0009..0011}.tar") == ["t-0009", "t-0010", "t-0011"]
    assert names("{t-a,u/t-b}.tar") == ["t-a", "t-b"]
    assert names("{.,u}/t-[ab].tar") == ["t-a", "t-b"]
    assert "t-0012.tar (of t-{0010..0013}.tar) does not exist" in fails("t-{0010..0013}.tar")
    assert "braces" in fails("t-{0010.tar")


def test_a_name_that_exists_is_no_pattern(here):
    put("a[1]{x}.tar", "a1.tar")
    assert names("a[1]{x}.tar") == ["a[1]{x}"]


def test_a_list_on_stdin(here):
    put("a.tar", "b.tar", "c d.tar")
    assert names("b.tar", "-", stdin=io.StringIO("c d.tar\n\n  a.tar  \n")) == ["b", "c d", "a"]
    assert "no sources" in fails("-", stdin=io.StringIO("\n"))
    assert "no sources" in fails()


def test_the_same_file_counts_once(here):
    put("x/a.tar", "x/b.tar")
    os.symlink(here / "x" / "a.tar", here / "link.tar")
    assert names("x/b.tar", "x", str(here / "x/a.tar"), "link.tar", "x/../x") == ["b", "a"]


def test_a_folder_of_images(here):
    put("photos/deep/a.JPG", data=JPEG)
    put("photos/readme.md", data=b"hello")
    (archive,) = archives(["photos"])
    assert (archive.kind, archive.name, archive.size) == ("folder", "photos", 0)
    assert archive.id_prefix == ""
    assert archives(["photos/"]) == archives(["photos"])


def test_a_folder_of_images_without_suffixes(here):
    put("photos/0001", data=PNG)
    assert archives(["photos"])[0].kind == "folder"


def test_tars_win_over_images(here):
    put("mixed/a.tar")
    put("mixed/a.jpg", data=JPEG)
    with pytest.raises(RunError, match="1 tars and 1 images"):
        archives(["mixed"])
    assert [a.kind for a in archives(["mixed/*.tar"])] == ["tar"]


def test_an_empty_tar_is_one(here):
    put("a.tar", data=END)
    put("b.tar", data=bytes(10240))
    assert names(".") == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"short", "the file has 5 bytes"),
        (b"x" * 1000, "no tar header"),
        (TAR[:100] + b"x" + TAR[101:], "no tar header"),
        (gzip.compress(b"x" * 1000), "no tar header (what its gzip data holds)"),
        (gzip.compress(TAR)[:20], "its gzip data is damaged or ends early"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "its zstd data is damaged or ends early"),
        (b"PK\x03\x04" + bytes(600), "zip archives are not read"),
        (JPEG, "not a tar"),
    ],
    ids=["empty", "short", "text", "checksum", "gzip", "gzip-cut", "zstd", "zip", "jpeg"],
)
def test_what_is_no_tar(here, data, words):
    put("a.tar", data=data)
    assert words in fails("a.tar")
    assert str(here / "a.tar") in fails("a.tar")


def test_what_is_missing_or_empty(here):
    put("empty/readme.md", data=b"hello")
    put("packed/a.zip", "packed/a.tar")
    assert "nowhere.tar does not exist" in fails("nowhere.tar")
    assert "none-*.tar matches nothing" in fails("none-*.tar")
    assert "neither tars nor images" in fails("empty")
    assert "a.zip: such archives are not read" in fails("packed")


def test_a_single_image_says_what_to_do(here):
    put("a.jpg", data=JPEG * 99)
    assert "name the folder" in fails("a.jpg")


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar"])
def test_a_compressed_tar_is_a_stream_of_the_same_name(here, suffix):
    put(f"x/some-train-0000{suffix}", data=gzip.compress(TAR))
    put("x/readme.txt.gz", data=gzip.compress(b"hello"))
    for named in ("x", f"x/some-train-0000{suffix}", "x/*train*"):
        (archive,) = archives([named])
        assert (archive.kind, archive.name, archive.split) == ("stream", "some-train-0000", "train")
        assert archive.id_prefix == "some-train-0000"


def test_two_archives_of_one_name(here):
    put("x/a.tar", "y/a.tar")
    message = fails("x", "y")
    assert str(here / "x" / "a.tar") in message
    assert str(here / "y" / "a.tar") in message
    assert "rename" in message


def test_an_unreadable_file(here):
    put("a.tar")
    os.chmod("a.tar", 0)
    if os.access("a.tar", os.R_OK):
        pytest.skip("this user may read everything")
    assert "a.tar: cannot be read: Permission denied" in fails("a.tar")


# -- splits


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("imagenet22k-train-0007", "train"),
        ("imagenet22k-validation-0007", "validation"),
        ("VAL_3", "val"),
        ("my.test.1", "test"),
        ("train2017", "train"),
        ("trains-1", ""),
        ("latest-1", ""),
        ("retrain", ""),
        ("0001", ""),
    ],
)
def test_the_word_in_the_name(here, name, split):
    put(f"{name}.tar")
    assert archives([f"{name}.tar"])[0].split == split


def test_patterns_of_the_user(here):
    put("x/a-train-0.tar", "x/a-train-1.tar", "x/b-2.tar", "y/c.tar")
    splits = [("mine", "a-train-{1..3}.tar"), ("all", "a-*"), ("there", f"{here}/y/*")]
    found = {a.name: a.split for a in archives(["x", "y"], splits)}
    assert found == {"a-train-0": "all", "a-train-1": "mine", "b-2": "", "c": "there"}
    # Matching after an earlier one is matching all the same.
    archives(["x"], [("mine", "a-*"), ("late", "a-train-0.tar")])


def test_a_pattern_that_matches_nothing(here):
    put("a.tar")
    assert "split train=b-*.tar matches none of the 1 archives" in fails(
        "a.tar", splits=[("train", "b-*.tar")]
    )
    assert "braces" in fails("a.tar", splits=[("train", "{a.tar")])


def test_many_names_from_one_brace_are_quick(here):
    put("a-4095.tar")
    splits = [("x", "b-{00000..99999}.tar"), ("train", "a-{0000..4095}.tar")]
    assert "split x=" in fails("a-4095.tar", splits=splits)
    assert archives(["a-4095.tar"], splits[1:])[0].split == "train"
