"""Addresses as others may see them."""

from __future__ import annotations

import pytest

from fastbucket import RunError
from fastbucket.public import public
from fastbucket.sinks.destination import opened
from fastbucket.sinks.work import work_folder


@pytest.mark.parametrize(
    ("place", "seen"),
    [
        ("https://me:word@host:1/a/{0..3}.tar?key=1", "https://host:1/a/{0..3}.tar"),
        ("HTTP://me@host/a.tar?X", "HTTP://host/a.tar"),
        ("sftp://me:word@host/there?token=word", "sftp://host/there"),
        ("s3://key:word@bucket/a.tar", "s3://bucket/a.tar"),
        ("abfs+x://me:word@host", "abfs+x://host"),
        ("a-b.c://me:word@host/x", "a-b.c://host/x"),
    ],
)
def test_what_opens_an_address_is_not_shown(place, seen):
    assert public(place) == seen


@pytest.mark.parametrize(
    "place",
    [
        "/data/what?.tar",
        "data/x@y/a.tar",
        "pipe:curl 'https://h/a?sig=1' # a.tar",
        "s3://bucket/a@b.tar",
        "s3://bucket/what?.tar",
        "hf://datasets/me/photos@dev/a-*.tar",
        "hf://me@dev/a.tar",
        "https://host",
        "",
    ],
)
def test_everything_else_is(place):
    assert public(place) == place


def test_where_a_push_cannot_go(tmp_path):
    for url in ("nosuch://me:word@host/x?token=word", "ftp://me:word@127.0.0.1:9/x"):
        with pytest.raises(RunError) as caught:
            opened(url, tmp_path, 1, False)
        assert url.partition(":")[0] in str(caught.value)
        assert "word" not in str(caught.value)
    with pytest.raises(RunError, match="say --work DIR") as caught:
        work_folder("sftp://me:word@..?token=word")
    assert "word" not in str(caught.value)
