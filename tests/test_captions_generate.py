"""Captions from a chat endpoint that answers, fails, stalls, rate-limits and talks nonsense."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import NamedTuple

import exported
import pytest
from chat_server import (
    Asked,
    ChatServer,
    Reply,
    as_json,
    completion,
    refuses,
    says,
    status,
    used,
)
from conftest import Export

from fastbucket import RunError
from fastbucket.captions.answer import Nonsense, answer, fault, loads, shown
from fastbucket.captions.client import Endpoint, key_from
from fastbucket.captions.course import Course, Generated
from fastbucket.captions.generate import generate
from fastbucket.captions.pace import Backoff, Pace, retry_after
from fastbucket.captions.question import Question
from fastbucket.captions.store import Row, Sample, Store
from fastbucket.captions.variant import variant_of
from fastbucket.captions.wanted import Wanted
from fastbucket.progress import Silent

KEY = "sk-this-must-be-seen-nowhere"
QUICK = Backoff(base=0.01, cap=0.05, patience=5.0)
QUESTION = Question("some/Model-1.5", b"What is it?\n")
VARIANT = "caption_model_1_5"


class Place(NamedTuple):
    """An export with a workspace. images: key -> the JPEG as it stands in its shard."""

    out: Path
    images: dict[str, bytes]

    def ask(self, server: ChatServer, question: Question = QUESTION, **course: object) -> Generated:
        """A run without a key, with short waits."""
        timeout = course.pop("timeout", 5.0)
        progress = course.pop("progress", None)
        endpoint = Endpoint(server.url, timeout=timeout)
        return generate(self.out, question, endpoint, Course(backoff=QUICK, **course), progress)  # type: ignore[arg-type]

    def noted(self, variant: str = VARIANT) -> dict[str, Row]:
        """key -> what the workspace holds of this variant, read with sqlite3 alone."""
        connection = sqlite3.connect(self.out / "captions.sqlite")
        rows = connection.execute(
            "SELECT s.key, c.text, c.status, c.detail FROM captions c JOIN samples s ON "
            "s.id = c.sample_id JOIN sources o ON o.id = c.source_id WHERE o.variant = ?",
            (variant,),
        ).fetchall()
        connection.close()
        return {row[0]: Row(*row) for row in rows}

    def statuses(self) -> list[str]:
        return [row.status for row in self.noted().values()]


def place_of(out: Path, samples: list[Sample], images: dict[str, bytes]) -> Place:
    with Store.create(out) as store:
        store.place(samples, "0" * 16)
    return Place(out, images)


def made(out: Path, *counts: int, size: int = 3000) -> Place:
    """Shards of so many samples each, two in a bucket, whose images are noise of some size."""
    draw = random.Random(17)
    samples, images = [], {}
    for number, count in enumerate(counts):
        bucket, shard = f"p{512 + number // 2}x512", number % 2
        members = []
        for position in range(count):
            image_id = f"{bucket}/{shard}/{position}"
            key = hashlib.sha256(image_id.encode()).hexdigest()
            images[key] = draw.randbytes(draw.randrange(1, size))
            members += [(f"{key}.jpg", images[key]), (f"{key}.txt", b"\n"), (f"{key}.json", b"{}")]
            samples.append(Sample(key, image_id, bucket, shard, position))
        exported.write_tar(out / f"buckets/{bucket}/shard-{shard:06d}.tar", members)
    return place_of(out, samples, images)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Twelve samples in three shards of two buckets."""
    return made(tmp_path / "out", 5, 4, 3)


def words(asked: Asked) -> Reply:
    return says(f"words of {hashlib.sha256(asked.image).hexdigest()[:8]}")


def then(*replies: Reply) -> Callable[[Asked], Reply]:
    """The replies to the first attempts at each image; words afterwards."""

    def script(asked: Asked) -> Reply:
        return replies[asked.attempt - 1] if asked.attempt <= len(replies) else words(asked)

    return script


# What is asked


def test_every_image_of_an_export_is_sent_as_it_is_stored(
    drawn_export: Export, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(drawn_export.out, out)
    samples, images = [], {}
    for sample in exported.samples(out):
        _, bucket, shard = sample.path.split("/")
        number = int(shard[len("shard-") : -len(".tar")])
        samples.append(Sample(sample.key, sample.json["image_id"], bucket, number, sample.index))
        images[sample.key] = sample.jpg
    place = place_of(out, samples, images)
    before = exported.digests(out)
    with ChatServer(words) as server:
        report = place.ask(server)
    assert sorted(server.images()) == sorted(images.values())
    assert (report.ok, report.left, report.ended) == (len(images), 0, "done")
    noted = place.noted()
    for key, image in images.items():
        said = f"words of {hashlib.sha256(image).hexdigest()[:8]}"
        assert noted[key] == Row(key, said, "ok", "")
    assert exported.digests(out) == before


def test_the_request(place: Place) -> None:
    question = Question(
        "m", "\ufeffWas ist das?\n\n„Zwei“ Zeilen. \n".encode(), 77, 0.0,
        {"chat_template_kwargs": {"enable_thinking": False}},
    )  # fmt: skip
    with ChatServer(words) as server:
        place.ask(server, question, limit=1)
        (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.prompt == "Was ist das?\n\n„Zwei“ Zeilen."
    assert asked.headers["content-type"] == "application/json"
    assert "authorization" not in asked.headers
    del asked.body["messages"]
    assert asked.body == {
        "model": "m",
        "max_tokens": 77,
        "temperature": 0.0,
        "chat_template_kwargs": {"enable_thinking": False},
    }


def test_nothing_is_sent_that_was_not_asked_for(place: Place) -> None:
    with ChatServer(words) as server:
        place.ask(server, limit=1)
    assert set(server.asked[0].body) == {"model", "messages"}
    (message,) = server.asked[0].body["messages"]
    assert message["role"] == "user"
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]


def test_the_key_goes_into_its_header(place: Place) -> None:
    with ChatServer(words) as server:
        generate(place.out, QUESTION, Endpoint(server.url + "/", KEY), Course(limit=1))
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.asked[0].path == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Question("m", b" \n"), "prompt is empty"),
        (lambda: Question("m", b"caf\xe9"), "not UTF-8: .* at byte 3"),
        (lambda: Question(" ", b"x"), "no name"),
        (lambda: Question("m", b"x", fields={"stream": True}), "stream"),
        (lambda: Endpoint("127.0.0.1:8000/v1"), "http:// or https://"),
        (lambda: Endpoint("ftp://host/v1"), "http:// or https://"),
        (lambda: Endpoint("http://host:99999/v1"), "http:// or https://"),
        (lambda: Endpoint("http://me:secret@host/v1"), "no login"),
        (lambda: Endpoint("http://host/v1", "a\nb"), "holds what no key holds"),
        (lambda: Course(concurrency=0), "concurrency: 0"),
        (lambda: Course(max_requests=0), "max_requests: 0"),
        (lambda: Course(priority=("caption_a",)), "--only-missing"),
    ],
)
def test_what_cannot_be_asked(make: Callable[[], object], said: str) -> None:
    with pytest.raises(RunError, match=said) as error:
        make()
    assert "secret" not in str(error.value)


def test_where_the_key_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert key_from() == ("", "OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    assert key_from() == (KEY, "OPENAI_API_KEY")
    monkeypatch.setenv("MINE", "other")
    assert key_from("MINE") == ("other", "MINE")
    with pytest.raises(RunError, match="no THEIRS"):
        key_from("THEIRS")
    assert KEY not in repr(Endpoint("http://host/v1", KEY))


@pytest.mark.parametrize(
    ("model", "variant"),
    [
        ("gemini-2.5-flash-lite", "caption_gemini_2_5_flash_lite"),
        ("google/gemini-2.5-flash-lite", "caption_gemini_2_5_flash_lite"),
        ("ministral-14b-2512", "caption_ministral_14b_2512"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "caption_qwen2_5_vl_7b_instruct"),
        ("/models/my_model/", "caption_my_model"),
        ("llava:13b--v1.6", "caption_llava_13b_v1_6"),
    ],
)
def test_the_variant_of_a_model(model: str, variant: str) -> None:
    assert variant_of(model) == variant


def test_a_model_without_letters_has_no_variant() -> None:
    with pytest.raises(RunError, match="--variant"):
        variant_of("/--/")


# What is answered

SURROGATE = "a \ud83d"
FULL = {"usage": used(10, 5)}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (says(" A cat.\n\nOn a mat. \n"), ("ok", "A cat.\n\nOn a mat.", "")),
        (says("Katze 🐈 é"), ("ok", "Katze 🐈 é", "")),
        (says([{"type": "thinking"}, {"type": "text", "text": "a cat"}]), ("ok", "a cat", "")),
        (says("a cat", None), ("ok", "a cat", "")),
        (says(""), ("empty", "", "finish_reason stop")),
        (says(" \n\t"), ("empty", "", "finish_reason stop")),
        (says(None, None), ("empty", "", "")),
        (refuses("I can't  help\nwith that."), ("refused", "", "I can't help with that.")),
        (says("half a", "content_filter"), ("refused", "", "finish_reason content_filter")),
        (says(None, "SAFETY"), ("refused", "", "finish_reason SAFETY")),
        (says("half a", "length"), ("error", "", "cut off")),
        (says(None, "length", **FULL), ("error", "", "cut off after 5 tokens")),
        (says("a\0b"), ("error", "", "NUL at character 1")),
        (says(SURROGATE), ("error", "", "lone surrogate U+D83D at character 2")),
    ],
)
def test_an_answer(reply: Reply, expected: tuple[str, str, str]) -> None:
    got = answer(loads(reply.body))
    assert (got.status, got.text) == expected[:2]
    assert (expected[2] in got.detail) if expected[2] else got.detail == ""


NONSENSE = {
    "html": Reply(body=b"<html><body>Bad Gateway</body></html>"),
    "half": Reply(body=says("a cat").body[:-9]),
    "nothing": Reply(),
    "latin-1": Reply(body=b'{"choices": "caf\xe9"}'),
    "deep": Reply(body=b"[" * 200_000),
    "list": as_json([1]),
    "no choices": as_json({"object": "chat.completion"}),
    "empty choices": as_json({"choices": []}),
    "choices of text": as_json({"choices": ["a cat"]}),
    "choice without message": as_json({"choices": [{"text": "a cat"}]}),
    "message of text": completion("a cat"),
    "content a number": says(5),
    "content an object": says({"text": "a cat"}),
    "parts of text": says(["a cat"]),
    "part with a number": says([{"type": "text", "text": 5}]),
    "finish error": says("a", "error"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_told_from_answers(name: str) -> None:
    with pytest.raises(Nonsense):
        answer(loads(NONSENSE[name].body))


@pytest.mark.parametrize(
    ("payload", "message", "status", "code", "moderated"),
    [
        ({"error": {"message": "no", "code": None}}, "no", 0, "", False),
        ({"error": {"message": "no", "code": 502}}, "no", 502, "", False),
        ({"error": {"type": "insufficient_quota"}}, "insufficient_quota", 0,
         "insufficient_quota", False),
        ({"error": {"message": "no", "code": "content_filter"}}, "no", 0, "", True),
        ({"error": {"message": "no", "code": 403, "metadata": {"flagged_input": "x"}}}, "no", 403,
         "", True),
        ({"error": {"message": "no", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
         "no", 0, "", True),
        ({"error": "no"}, "no", 0, "", False),
        ({"object": "error", "message": "no"}, "no", 0, "", False),
        ({"detail": [{"msg": "no"}]}, "no", 0, "", False),
    ],
)  # fmt: skip
def test_an_error_in_a_body(
    payload: dict[str, object], message: str, status: int, code: str, moderated: bool
) -> None:
    said = fault(payload)
    assert said is not None
    assert message in said.message
    assert (said.status, said.code, said.moderated) == (status, code, moderated)


def test_strange_words_are_shown_on_one_bounded_line() -> None:
    assert (
        shown("a\r\n\x1b[31mb\u202e") == "a \N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}"
    )
    assert len(shown("x" * 10**6)) == 500
    assert shown(b"caf\xe9") == "caf\N{REPLACEMENT CHARACTER}"


def test_tokens_are_summed(place: Place) -> None:
    with ChatServer(lambda asked: says("a cat", usage=used(100, 7))) as server:
        report = place.ask(server)
    assert (report.prompt_tokens, report.completion_tokens) == (1200, 84)
    assert "1,200 + 84 tokens" in str(report)


@pytest.mark.parametrize("usage", [None, 5, {"prompt_tokens": "many"}, {"prompt_tokens": -1}])
def test_senseless_usage_counts_nothing(usage: object, place: Place) -> None:
    with ChatServer(lambda asked: says("a cat", usage=usage)) as server:
        report = place.ask(server, limit=1)
    assert (report.ok, report.prompt_tokens) == (1, 0)


# What is asked again

TRANSIENT = {
    **{str(code): status(code) for code in (408, 409, 425, 429, 500, 502, 503, 529)},
    **NONSENSE,
    "500 html": Reply(500, b"<html>oops</html>"),
    "204": Reply(204),
    "200 with an error": as_json({"error": {"message": "provider failed", "code": 502}}),
    "closed": Reply(cut=0),
    "cut in the headers": Reply(body=says("a cat").body, cut=20),
    "cut in the body": Reply(body=says("a cat").body, cut=90),
    "bad gzip": Reply(body=b"no gzip", headers={"Content-Encoding": "gzip"}),
    "endless": Reply(body=b" " * (9 << 20)),
}


@pytest.mark.parametrize("name", TRANSIENT)
def test_what_passes_is_asked_again(name: str, place: Place) -> None:
    with ChatServer(then(TRANSIENT[name])) as server:
        report = place.ask(server, limit=2, concurrency=1)
    assert (report.ok, report.error, report.requests) == (2, 0, 4)
    assert place.statuses() == ["ok", "ok"]


def test_an_image_that_always_fails_is_an_error_and_asked_again_by_the_next_run(
    place: Place,
) -> None:
    bad = list(place.images)[3]

    def script(asked: Asked) -> Reply:
        return status(500, "boom") if asked.image == place.images[bad] else words(asked)

    with ChatServer(script) as server:
        report = place.ask(server, max_attempts=3)
        assert (report.ok, report.error, report.requests, report.left) == (11, 1, 14, 1)
        assert place.noted()[bad] == Row(bad, "", "error", "status 500: boom (attempt 3 of 3)")
        server.script = words
        again = place.ask(server)
    assert (again.ok, again.requests, again.left) == (1, 1, 0)
    assert place.noted()[bad].status == "ok"


def test_a_400_is_the_image_s_own_and_not_asked_again_in_a_run(place: Place) -> None:
    bad = next(iter(place.images))

    def script(asked: Asked) -> Reply:
        is_bad = asked.image == place.images[bad]
        return status(400, "cannot identify image") if is_bad else words(asked)

    with ChatServer(script) as server:
        report = place.ask(server)
    assert (report.ok, report.error, report.requests) == (11, 1, 12)
    assert place.noted()[bad].detail == "status 400: cannot identify image"


def test_where_every_image_is_an_error_the_run_ends(tmp_path: Path) -> None:
    place = made(tmp_path / "out", 100)
    with (
        ChatServer(lambda asked: status(400, "no such parameter: max_tokens")) as server,
        pytest.raises(RunError, match=r"10 samples in a row.*no such parameter"),
    ):
        place.ask(server, concurrency=4)
    assert len(server.asked) <= 14
    assert len(place.noted()) >= 10


def test_a_stretch_of_images_that_a_model_dislikes_ends_nothing(tmp_path: Path) -> None:
    place = made(tmp_path / "out", 10, 5, 20, 5)
    disliked = set(list(place.images.values())[15:35])

    def script(asked: Asked) -> Reply:
        return status(400, "too narrow") if asked.image in disliked else words(asked)

    with ChatServer(script) as server:
        report = place.ask(server, concurrency=2)
    assert (report.ok, report.error, report.ended) == (20, 20, "done")


def test_what_failed_before_is_asked_about_last(place: Place) -> None:
    images = list(place.images.values())

    def script(asked: Asked) -> Reply:
        return status(400, "no") if asked.image in images[1:3] else words(asked)

    with ChatServer(script) as server:
        place.ask(server, limit=5, concurrency=1)
        assert server.images() == images[:5]
        place.ask(server, concurrency=1)
    assert server.images()[5:] == images[5:] + images[1:3]


def test_many_pages_of_samples(tmp_path: Path) -> None:
    """More than are fetched at once, asked about for the first time and again."""
    place = made(tmp_path / "out", 1100, size=2)
    with Store.open(place.out) as store:
        source_id = store.source("caption_x", "x", b"p")
        wanted = Wanted(store, source_id)
        assert wanted.count() == 1100
        keys = []
        for sample in wanted:
            keys.append(sample.key)
            store.put(source_id, [Row(sample.key, "", "error", "no")])
        assert keys == list(place.images)
        assert wanted.count() == 1100
        assert [sample.key for sample in wanted] == keys


def test_where_few_images_are_all_errors_the_run_fails_too(place: Place) -> None:
    with (
        ChatServer(lambda asked: says("half", "length")) as server,
        pytest.raises(RunError, match=r"not one of 3.*--max-tokens"),
    ):
        place.ask(server, limit=3)
    assert place.statuses() == ["error"] * 3


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (status(401, "Incorrect API key"), "401: Incorrect API key; OPENAI_API_KEY is not set"),
        (status(402, "pay"), "no credit left"),
        (status(403, "forbidden"), "the key has no access"),
        (status(404, "model not found"), "no such model.*model not found"),
        (Reply(404, b"<html>nginx</html>"), "no chat endpoint under this URL.*nginx"),
        (Reply(405), "no chat endpoint"),
        (status(429, "You exceeded your quota", code="insufficient_quota"), "exceeded your quota"),
        (Reply(308, headers={"Location": "https://elsewhere/v2"}), "moved to https://elsewhere/v2"),
        (as_json({"error": {"message": "who are you", "code": 401}}), "who are you"),
    ],
)
def test_what_no_request_can_pass_ends_the_run_at_once(
    reply: Reply, said: str, place: Place
) -> None:
    with ChatServer(lambda asked: reply) as server, pytest.raises(RunError, match=said):
        place.ask(server, concurrency=2)
    assert len(server.asked) <= 2
    assert place.noted() == {}


def test_answers_before_the_end_are_noted(place: Place) -> None:
    def script(asked: Asked) -> Reply:
        return words(asked) if asked.number <= 5 else status(401)

    with ChatServer(script) as server, pytest.raises(RunError, match="401"):
        place.ask(server, concurrency=1)
    assert place.statuses() == ["ok"] * 5


@pytest.mark.parametrize(
    "reply",
    [
        status(400, "filtered", code="content_filter"),
        status(403, "flagged", metadata={"flagged_input": "x", "reasons": ["violence"]}),
    ],
)
def test_a_moderated_image_is_refused_and_ends_nothing(reply: Reply, place: Place) -> None:
    with ChatServer(then(reply)) as server:
        report = place.ask(server)
    assert (report.refused, report.requests) == (12, 12)


def test_an_endpoint_that_is_not_there(place: Place) -> None:
    with ChatServer(words) as server:
        pass
    with pytest.raises(RunError, match=r"in a row.*attempt 2 of 2"):
        place.ask(server, max_attempts=2)


@pytest.mark.parametrize("url", ["http://a b/v1", "http://[::1/v1", f"http://{'a' * 70}.x/v1"])
def test_a_host_that_is_none(url: str, place: Place) -> None:
    with pytest.raises(RunError):
        generate(place.out, QUESTION, Endpoint(url), Course(max_attempts=1, backoff=QUICK))


def test_a_proxy_that_is_none(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://host")
    with pytest.raises(RunError, match=r"cannot be asked.*proxy"):
        generate(place.out, QUESTION, Endpoint("http://host/v1"))


# Waiting


def test_a_stall_is_cut_off_and_asked_again(place: Place) -> None:
    with ChatServer(then(Reply(stall=30))) as server:
        start = time.monotonic()
        report = place.ask(server, timeout=0.3, limit=3)
        assert time.monotonic() - start < 3
    assert (report.ok, report.requests) == (3, 6)


def test_an_answer_that_drips_is_cut_off(place: Place) -> None:
    """Each byte comes in time, so that no timeout of a single read would ever end it."""
    with ChatServer(then(Reply(body=says("a cat").body, drip=0.05))) as server:
        report = place.ask(server, timeout=0.4, limit=1)
    assert (report.ok, report.requests) == (1, 2)


@pytest.mark.parametrize("form", ["seconds", "milliseconds"])
def test_retry_after_holds_everything_back(form: str, place: Place) -> None:
    headers = {"Retry-After": "1"} if form == "seconds" else {"retry-after-ms": "1000"}

    def script(asked: Asked) -> Reply:
        return status(429, headers=headers) if asked.number == 1 else words(asked)

    with ChatServer(script) as server:
        report = place.ask(server, concurrency=1, limit=3, max_attempts=1)
    assert (report.ok, report.requests) == (3, 4)
    assert server.asked[1].time - server.asked[0].time >= 0.99


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers) == expected


def test_retry_after_as_a_date() -> None:
    date = datetime.now(timezone.utc) + timedelta(seconds=90)
    seconds = retry_after({"retry-after": format_datetime(date, usegmt=True)})
    assert seconds is not None
    assert 87 < seconds <= 91


def test_a_wait_of_hours_ends_the_run(place: Place) -> None:
    def script(asked: Asked) -> Reply:
        return words(asked) if asked.number <= 4 else status(429, headers={"Retry-After": "86400"})

    with ChatServer(script) as server, pytest.raises(RunError, match="86,400 s"):
        place.ask(server, concurrency=1)
    assert len(place.noted()) == 4


def test_nothing_but_429_ends_the_run(place: Place) -> None:
    backoff = Backoff(base=0.01, cap=0.02, patience=0.2)
    with (
        ChatServer(lambda asked: status(429)) as server,
        pytest.raises(RunError, match="nothing but 429"),
    ):
        generate(place.out, QUESTION, Endpoint(server.url), Course(backoff=backoff))
    assert place.noted() == {}


def test_an_endpoint_with_little_room_gets_every_caption_in_the_end(tmp_path: Path) -> None:
    """Three at once and no more: 429 is no error of an image, however often it comes."""
    place = made(tmp_path / "out", 60)
    busy, lock = 0, threading.Lock()

    def script(asked: Asked) -> Reply:
        nonlocal busy
        with lock:
            busy += 1
            full = busy > 3
        time.sleep(0.003)
        with lock:
            busy -= 1
        return status(429) if full else words(asked)

    with ChatServer(script) as server:
        report = place.ask(server, concurrency=16, max_attempts=1)
    assert (report.ok, report.error) == (60, 0)
    assert report.requests < 60 * 3


def test_the_gate_narrows_once_a_round_and_widens_slowly() -> None:
    pace = Pace(16, Backoff(base=0.0))
    before = time.monotonic()
    for _ in range(16):  # those that went out together
        pace.throttled(before, 0.0)
    assert pace.width == 8
    pace.throttled(time.monotonic(), 0.0)
    assert pace.width == 4
    for _ in range(4):
        pace.answered()
    assert pace.width == 4
    pace.answered()
    assert pace.width == 5
    for _ in range(1000):
        pace.answered()
    assert pace.width == 16


def test_waits_grow_to_a_limit() -> None:
    backoff = Backoff(base=0.5, cap=30.0)
    for failures, whole in ((1, 0.5), (2, 1.0), (5, 8.0), (7, 30.0), (10**6, 30.0)):
        assert all(whole / 2 <= backoff.delay(failures) <= whole for _ in range(50))


def test_only_so_many_at_once(tmp_path: Path) -> None:
    place = made(tmp_path / "out", 40)
    five = threading.Barrier(5)

    def script(asked: Asked) -> Reply:
        five.wait(10)  # less than five at once would break it
        return words(asked)

    with ChatServer(script) as server:
        place.ask(server, concurrency=5)
    assert server.most == 5
    assert server.connections == 5  # kept open from one request to the next


# What is asked about


def test_what_is_noted_is_not_asked_again(place: Place) -> None:
    replies = [says("a cat"), says(""), refuses("no")]
    with ChatServer(lambda asked: replies[asked.number % 3]) as server:
        first = place.ask(server)
        assert (first.ok, first.empty, first.refused, first.left) == (4, 4, 4, 0)
        again = place.ask(server)
        assert (again.asked, again.requests, again.ended) == (0, 0, "done")
        server.script = words
        retried = place.ask(server, retry_refused=True)
    assert (retried.ok, retried.requests) == (8, 8)
    assert place.statuses() == ["ok"] * 12


def test_a_limit_and_the_rest_afterwards(place: Place) -> None:
    with ChatServer(words) as server:
        first = place.ask(server, limit=5)
        assert (first.ok, first.left, first.ended) == (5, 7, "limit")
        second = place.ask(server, limit=100)
        assert (second.ok, second.left, second.ended) == (7, 0, "done")
    assert sorted(server.images()) == sorted(place.images.values())


def test_the_budget_counts_every_request(place: Place) -> None:
    with ChatServer(then(status(500))) as server:
        first = place.ask(server, max_requests=7, concurrency=3)
        assert (first.requests, first.ended) == (7, "budget")
        assert len(server.asked) == 7
        assert first.ok == len(place.noted()) == 12 - first.left
        assert first.ok == sum(asked.attempt == 2 for asked in server.asked)  # none is lost
        assert first.error == 0
        rest = place.ask(server)
    assert (rest.ok, rest.ended) == (12 - first.ok, "done")


def test_a_budget_that_is_just_enough_is_no_end(place: Place) -> None:
    with ChatServer(words) as server:
        assert place.ask(server, max_requests=12).ended == "done"


def test_only_missing_leaves_out_what_has_a_caption(place: Place) -> None:
    keys = list(place.images)
    with Store.open(place.out) as store:
        store.put(1, [(key, "from the source", "ok", "") for key in keys[:2]])
        first = store.source("caption_first", "first", b"p")
        rows = [Row(key, "words") for key in keys[2:5]]
        store.put(first, [*rows, Row(keys[5], "", "refused", "no"), Row(keys[6], "", "error", "x")])
    with ChatServer(words) as server:
        assert place.ask(server, only_missing=True).ok == 7
        assert set(place.noted()) == set(keys[5:])
        named = place.ask(server, only_missing=True, priority=("caption_first",))
        assert named.ok == 2
        assert set(place.noted()) == {*keys[:2], *keys[5:]}
        with pytest.raises(RunError, match=r"caption_third: no such variant.*caption_first"):
            place.ask(server, only_missing=True, priority=("caption_third",))
        assert place.ask(server).ok == 3


def test_one_variant_holds_the_answers_to_one_prompt(place: Place) -> None:
    with ChatServer(words) as server:
        place.ask(server)
        with pytest.raises(RunError, match="another variant") as error:
            place.ask(server, Question(QUESTION.model, b"Another prompt"))
        assert "--replace" not in str(error.value)
        other = place.ask(server, Question("m", b"Another"), variant="caption_mine")
    assert other.ok == 12
    assert len(place.noted("caption_mine")) == 12


def test_prompt_and_model_are_free_until_there_is_an_answer(place: Place) -> None:
    with ChatServer(lambda asked: status(400)) as server:
        for prompt in (b"One", b"Two"):
            with pytest.raises(RunError, match="not one of 3"):
                place.ask(server, Question("m", prompt), limit=3)
        server.script = words
        place.ask(server, Question("m", b"Three"), limit=3)
        with pytest.raises(RunError, match="captions of prompt"):
            place.ask(server, Question("m", b"Two"), limit=3)
    with Store.open(place.out) as store:
        assert store.sources()[-1].prompt_sha256 == hashlib.sha256(b"Three").hexdigest()


def test_a_model_is_the_same_under_another_vendor_s_name(place: Place) -> None:
    with ChatServer(words) as server:
        place.ask(server, limit=5)
        rest = place.ask(server, Question("Other/model-1.5", QUESTION.prompt))
        assert rest.ok == 7
        assert server.asked[-1].body["model"] == "Other/model-1.5"
        with pytest.raises(RunError, match="captions of model"):
            place.ask(server, Question("model-2", QUESTION.prompt), variant=VARIANT)


def test_without_a_workspace(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="captions init"):
        generate(tmp_path, QUESTION)


# Shards that are not what the workspace says


def swap(path: Path) -> None:
    (key, _), (_, second) = [(s.key, s.jpg) for s in exported.samples(path.parents[2])][:2]
    members = [(f"{'0' * 64}.jpg", second), (f"{key}.txt", b"\n"), (f"{key}.json", b"{}")]
    exported.write_tar(path, members * 5)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "cannot be opened.*captions init"),
        (swap, "sample 0 is '0000.*captions init"),
        (lambda path: exported.write_tar(path, []), "0 samples.*captions init"),
        (lambda path: path.write_bytes(b"x" * 5000), "no tar header at byte 0"),
        (lambda path: os.truncate(path, 700), "shorter|bytes at byte"),
    ],
)
def test_a_shard_that_is_another_ends_the_run(
    spoil: Callable[[Path], object], said: str, place: Place
) -> None:
    spoil(exported.shards(place.out)[0])
    with ChatServer(words) as server, pytest.raises(RunError, match=said):
        place.ask(server)
    assert place.noted() == {}


def test_a_shard_that_is_replaced_meanwhile_is_read_as_it_was(tmp_path: Path) -> None:
    """captions apply writes a new file over the name; the sizes of its texts are others."""
    place = made(tmp_path / "out", 10)
    (path,) = exported.shards(place.out)

    def script(asked: Asked) -> Reply:
        if asked.number == 3:
            members = []
            for key, image in place.images.items():
                members += [(f"{key}.jpg", image), (f"{key}.txt", b"long" * 999)]
                members.append((f"{key}.json", b"{}"))
            exported.write_tar(path.with_suffix(".new"), members)
            os.replace(path.with_suffix(".new"), path)
        return words(asked)

    with ChatServer(script) as server:
        assert place.ask(server, concurrency=1).ok == 10
    assert server.images() == list(place.images.values())


# What is said


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.phases: list[tuple[str, int, str]] = []
        self.done = 0

    def phase(self, name: str, total: int, unit: str) -> None:
        self.phases.append((name, total, unit))

    def advance(self, n: int) -> None:
        self.done += n

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_progress(place: Place) -> None:
    told = Told()
    with ChatServer(then(status(500, "boom"))) as server:
        place.ask(server, progress=told, limit=7)
    assert told.phases == [("caption", 7, "images")]
    assert told.done == 7
    assert told.lines == ["asking again: status 500: boom"]  # once, not seven times


@pytest.mark.parametrize("code", [400, 401, 429, 500])
def test_the_key_is_said_nowhere(code: int, place: Place) -> None:
    """Not even where the endpoint echoes it."""
    told = Told()

    def script(asked: Asked) -> Reply:
        return status(code, f"bad header {asked.headers['authorization']}")

    backoff = Backoff(base=0.001, cap=0.002, patience=0.1)
    with ChatServer(script) as server, pytest.raises(RunError) as error:
        generate(
            place.out, QUESTION, Endpoint(server.url, KEY), Course(backoff=backoff), told
        )  # fmt: skip
    said = [str(error.value), *told.lines, *(str(row) for row in place.noted().values())]
    assert KEY not in " ".join(said)
    if code != 429:
        assert "Bearer ***" in " ".join(said)


def test_without_httpx_the_message_says_what_to_install(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(RunError, match=r"pip install 'fastbucket\[captions\]'"):
        generate(place.out, QUESTION, Endpoint("http://127.0.0.1:9/v1"))


# The command


def command(place: Place, url: str, *args: object) -> list[str]:
    prompt = place.out.parent / "prompt.txt"
    prompt.write_text("What is it?\n")
    words = [
        "captions",
        "generate",
        place.out,
        "--model",
        "some/Model-1.5",
        "--prompt-file",
        prompt,
    ]
    return [sys.executable, "-m", "fastbucket", *map(str, [*words, "--base-url", url, *args])]


def run(place: Place, url: str, *args: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(place, url, *args),
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **env},
    )


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*args: object) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )  # type: ignore[arg-type]
        )
        return started[-1]

    yield start
    for one in started:
        if one.poll() is None:
            one.kill()
        one.communicate()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_command(place: Place) -> None:
    with ChatServer(lambda asked: says("a cat", usage=used(100, 7))) as server:
        done = run(place, server.url, "--limit", 5, "--api-key-env", "MY_KEY", MY_KEY=KEY)
        assert done.returncode == 0, done.stderr
        assert "caption_model_1_5: 5 captions, 5 requests, 500 + 35 tokens" in done.stdout
        assert "7 samples left" in done.stdout
        assert "caption: 5 images in" in done.stderr
        assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
        fields = ["--field", "seed=5", "--field", "reasoning_effort=low", "--temperature", 0.5]
        more = run(place, server.url, "--max-requests", 3, "--json", "-q", *fields)
        assert more.returncode == 0, more.stderr
        assert more.stderr == ""
        report = json.loads(more.stdout)
        assert (report["ok"], report["left"], report["ended"]) == (3, 4, "budget")
        body = server.asked[-1].body
        assert (body["seed"], body["reasoning_effort"], body["temperature"]) == (5, "low", 0.5)


def test_the_command_where_the_key_is_wrong(place: Place) -> None:
    def script(asked: Asked) -> Reply:
        return status(401, f"Incorrect API key provided: {asked.headers['authorization']}")

    with ChatServer(script) as server:
        done = run(place, server.url, OPENAI_API_KEY=KEY)
    assert done.returncode == 1
    assert "the key is not accepted" in done.stderr
    assert "OPENAI_API_KEY" in done.stderr
    assert KEY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_waits_for_what_is_under_way_and_the_next_run_goes_on(
    tmp_path: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    place = made(tmp_path / "out", 30)
    under_way, go = threading.Semaphore(0), threading.Event()

    def script(asked: Asked) -> Reply:
        if 10 < asked.number <= 14:
            under_way.release()
            go.wait(20)
        return words(asked)

    with ChatServer(script) as server:
        one = process(place, server.url, "--concurrency", 4)
        for _ in range(4):
            assert under_way.acquire(timeout=30)
        one.send_signal(signal.SIGINT)
        assert "4 requests are under way" in one.stderr.readline()  # type: ignore[union-attr]
        go.set()
        _, err = one.communicate(timeout=20)
        assert one.returncode == 130, err
        assert "14 captions, 14 requests" in err
        assert len(place.noted()) == 14  # none of those that were asked is lost
        done = run(place, server.url, "--json")
        assert json.loads(done.stdout)["ok"] == 16
    assert sorted(server.images()) == sorted(place.images.values())  # each asked about once


def test_a_second_ctrl_c_ends_at_once(
    tmp_path: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    place = made(tmp_path / "out", 30)

    def script(asked: Asked) -> Reply:
        return words(asked) if asked.number <= 10 else Reply(stall=30)

    with ChatServer(script) as server:
        one = process(place, server.url, "--concurrency", 4)
        until(lambda: len(server.asked) == 14)
        one.send_signal(signal.SIGINT)
        one.stderr.readline()  # type: ignore[union-attr]
        start = time.monotonic()
        one.send_signal(signal.SIGINT)
        one.communicate(timeout=20)
        assert time.monotonic() - start < 2
    assert one.returncode == 130
    assert len(place.noted()) == 10


def test_a_sigterm_ends_at_once_and_loses_no_answer(
    tmp_path: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    place = made(tmp_path / "out", 30)

    def script(asked: Asked) -> Reply:
        return words(asked) if asked.number <= 10 else Reply(stall=30)

    with ChatServer(script) as server:
        one = process(place, server.url, "--concurrency", 4)
        until(lambda: len(server.asked) == 14)
        one.terminate()
        _, err = one.communicate(timeout=20)
    assert one.returncode == 128 + signal.SIGTERM
    assert "10 captions, 14 requests" in err
    assert len(place.noted()) == 10


def test_a_kill_loses_no_more_than_the_last_second(
    tmp_path: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    place = made(tmp_path / "out", 30)

    def script(asked: Asked) -> Reply:
        return words(asked) if asked.number <= 20 else Reply(stall=30)

    with ChatServer(script) as server:
        one = process(place, server.url, "--concurrency", 4)
        until(lambda: len(server.asked) == 24)
        time.sleep(1)  # what is noted twice a second is noted by now
        one.kill()
        one.wait()
        assert len(place.noted()) == 20
        server.script = words
        done = run(place, server.url, "--json")
    assert json.loads(done.stdout)["ok"] == 10
