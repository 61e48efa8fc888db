"""Files that are there whole or not at all. Deaths in between: see test_crashes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from fastbucket import RunError, commit


def test_a_file_is_there_when_it_is_whole(tmp_path):
    path = tmp_path / "a.json"
    with commit.whole(path) as unfinished:
        unfinished.write_text("{}")
        assert not path.exists()
        assert unfinished.parent == tmp_path
        assert unfinished.name.startswith(".")
    assert path.read_text() == "{}"
    assert os.listdir(tmp_path) == ["a.json"]
    commit.write_text(path, "\N{SNOWMAN}\n")
    assert path.read_bytes() == "\N{SNOWMAN}\n".encode()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RunError, ValueError])
def test_what_is_not_whole_is_gone(tmp_path, error):
    path = tmp_path / "a.json"
    path.write_text("before")

    def half() -> None:
        with commit.whole(path) as unfinished:
            unfinished.write_text("half")
            raise error

    with pytest.raises(error):
        half()
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.json"]


def test_an_error_names_the_path_that_was_wanted(tmp_path):
    path = tmp_path / "gone" / "a.json"
    with pytest.raises(RunError, match=f"cannot write {path}: No such file or directory. Put the"):
        commit.write_text(path, "")


@pytest.mark.parametrize("number", commit.REMEDIES)
def test_every_error_has_its_remedy(tmp_path, number):
    said = str(commit.output_error(tmp_path, OSError(number, "as pyarrow words it")))
    assert said.startswith(f"cannot write {tmp_path}: {os.strerror(number)}. ")
    assert commit.REMEDIES[number][1:] in said
    assert "the same command goes on" in said


def test_errors_without_a_remedy_or_a_number(tmp_path):
    assert "Mend that" in str(commit.output_error(tmp_path, OSError(errno.EBUSY, "")))
    assert "words" in str(commit.output_error(tmp_path, OSError("words")))


def test_folders_are_made_inside_one_that_is_there(tmp_path):
    commit.make_folder(tmp_path / "a")
    commit.make_folder(tmp_path / "a")
    assert (tmp_path / "a").is_dir()
    with pytest.raises(FileNotFoundError):
        commit.make_folder(tmp_path / "b" / "c")


def test_temporary_names_are_each_process_s_own(tmp_path):
    path = tmp_path / "a.b.json"
    mine = commit.temporary(path)
    assert mine == commit.temporary(path)
    assert commit.intended(mine) == path
    program = f"""
import os
from pathlib import Path
from fastbucket import commit
child = os.fork()
child and os.waitpid(child, 0)  # or both may write at once
print(commit.temporary(Path({str(path)!r})), flush=True)
"""
    theirs = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    ).stdout.split()
    names = {str(mine), *theirs}
    assert len(names) == 3
    assert all(name.startswith(str(tmp_path / ".a.b.json.")) for name in names)


def test_of_two_who_link_the_first_wins(tmp_path):
    path = tmp_path / "a.json"
    commit.write_text(path, "first", once=True)
    with open(path) as opened:
        commit.write_text(path, "second", once=True)
        assert os.path.samestat(os.fstat(opened.fileno()), path.stat())
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["a.json"]
    assert path.stat().st_nlink == 1


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("found", ["0123", "4567", "", None])
def test_a_fence(tmp_path, monkeypatch, once, found):
    """None: the file is gone."""
    monkeypatch.setattr(commit._Own, "fence", None)
    fence, path = tmp_path / "fence", tmp_path / "a.json"
    if found is not None:
        fence.write_text(found)
    commit.check_fence()
    commit.keep_within(commit.Fence(str(fence), "0123"))
    if found == "0123":
        commit.check_fence()
        commit.write_text(path, "wanted", once)
        assert path.read_text() == "wanted"
        return
    for call in (commit.check_fence, lambda: commit.write_text(path, "", once)):
        with pytest.raises(RunError, match=r"not wanted any more: .*fence is gone or another run"):
            call()
    assert [p for p in os.listdir(tmp_path) if p != "fence"] == []
