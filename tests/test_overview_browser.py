"""The page in a real browser: nothing loaded, nothing wrong, and what is typed finds."""

from __future__ import annotations

import json
from pathlib import Path

import chromium
import pytest
from test_overview import HOSTILE, hostile_export  # noqa: F401 a fixture

from fastbucket.overview import page

pytestmark = pytest.mark.skipif(
    chromium.executable() is None, reason="there is no chromium (apt-get install chromium)"
)

SHOWN = "[...document.querySelectorAll('#samples .card:not([hidden])')]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium.Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def report(drawn_export, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    page.write(drawn_export.out, path)
    return path


def opened(browser: chromium.Browser, path: Path, **view) -> chromium.Browser:
    browser.view(**{"width": 1280, "height": 900, **view})
    browser.errors.clear()
    browser.requests.clear()
    browser.open(path)
    return browser


def typed(browser: chromium.Browser, name: str, value: str) -> list[str]:
    """Put a value where a user would; the keys of the cards that are left."""
    event = "input" if name == "words" else "change"
    browser.run(
        f"(document.getElementById({json.dumps(name)}).value = {json.dumps(value)},"
        f"document.getElementById({json.dumps(name)}).dispatchEvent(new Event('{event}')),"
        "new Promise(done => setTimeout(done, 250)))"
    )
    return browser.run(SHOWN + ".map(card => card.querySelector('.key').title)")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_opens_clean(browser, report, tmp_path, width, dark):
    opened(browser, report, width=width, dark=dark, phone=width < 500)
    png = browser.picture(tmp_path / "top.png")
    assert len(png) > 10_000
    assert browser.run("document.documentElement.scrollWidth") <= width  # nothing sticks out
    assert browser.run("[...document.images].every(i => i.naturalWidth > 0)")
    paint = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paint[4:-1].split(","))) < 200) == dark
    browser.run("document.getElementById('theme').click()")
    turned = browser.run("getComputedStyle(document.body).backgroundColor")
    assert turned != paint
    assert browser.errors == browser.requests == []


def test_search_and_filters(browser, report, drawn_export):
    opened(browser, report)
    samples = {sample.key: sample for sample in drawn_export.samples}
    assert set(typed(browser, "words", "")) == set(samples)
    key = next(iter(samples))
    assert typed(browser, "words", f" {key[:20].upper()}") == [key]
    number = next(s for s in drawn_export.samples if len(s.txt) > 1).txt.decode().strip()
    found = typed(browser, "words", f"photo {number[-3:]}")
    assert found
    assert all(b"photo" in samples[key].txt for key in found)
    assert typed(browser, "words", "nothing has these words") == []
    assert not browser.run("document.getElementById('nothing').hidden")
    assert browser.run("document.getElementById('found').textContent") == "0 shown"
    typed(browser, "words", "")
    with_caption = {key for key, sample in samples.items() if len(sample.txt) > 1}
    assert set(typed(browser, "caption", "1")) == with_caption
    assert set(typed(browser, "caption", "0")) == set(samples) - with_caption
    typed(browser, "caption", "")
    bucket = drawn_export.manifest["buckets"][-1]["bucket_id"]
    found = typed(browser, "bucket", bucket)
    assert set(found) == {k for k, s in samples.items() if s.json["bucket_id"] == bucket}
    assert browser.run("document.querySelectorAll('#samples .bucket:not([hidden])').length") == 1
    other = drawn_export.manifest["buckets"][0]["bucket_id"]  # its link brings it back
    browser.run(f"document.querySelector('a[href=\"#sheet-{other}\"]').click()")
    assert len(browser.run(SHOWN + ".map(card => 1)")) == len(samples)
    assert browser.errors == browser.requests == []


def test_a_card_opens_and_a_table_sorts(browser, report, drawn_export):
    opened(browser, report)
    first = browser.run(SHOWN + "[0].querySelector('.key').title")
    browser.run(SHOWN + "[0].click()")
    assert browser.run("document.getElementById('detail').open")
    text = browser.run("document.getElementById('detail-body').textContent")
    sample = next(s for s in drawn_export.samples if s.key == first)
    for value in (first, sample.json["image_id"], sample.path, str(len(sample.jpg))):
        assert value in text
    browser.run("document.querySelector('#detail button').click()")
    assert not browser.run("document.getElementById('detail').open")
    browser.run("document.querySelectorAll('table.sortable th')[3].click()")
    rows = "[...document.querySelectorAll('table.sortable tbody tr')]"
    counts = browser.run(rows + ".map(row => +row.cells[3].textContent)")
    assert counts == sorted((b["count"] for b in drawn_export.manifest["buckets"]), reverse=True)
    assert browser.errors == browser.requests == []


def test_hostile_data_does_nothing(browser, hostile_export, tmp_path):  # noqa: F811
    path = tmp_path / "report.html"
    page.write(hostile_export, path)
    opened(browser, path)
    browser.run("window.alert = () => { window.hit = true; }")
    for number in range(browser.run(SHOWN + ".length")):
        browser.run(f"{SHOWN}[{number}].click(), document.getElementById('detail').close()")
    assert browser.run("document.scripts.length") == 2
    assert browser.run("window.hit") is None
    assert HOSTILE in browser.run(SHOWN + ".map(c => c.textContent).join()")
    assert browser.errors == browser.requests == []
