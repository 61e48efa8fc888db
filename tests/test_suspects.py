"""Suspects: hashes near each other against all pairs, kinds on drawn images, the list, the page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import fastbucket
from fastbucket import Recipe, Resources, RunError
from fastbucket.cli import cli
from fastbucket.draw import draw
from fastbucket.drawn_source import DRAWINGS
from fastbucket.format import LOOK_FIELDS
from fastbucket.kernels import hamming
from fastbucket.look import DTYPE, look
from fastbucket.records import Record
from fastbucket.suspects import page, suspects
from fastbucket.suspects.clusters import clusters
from fastbucket.suspects.find import Suspect
from fastbucket.suspects.kinds import KINDS, kinds

CARDS = sum(row[0] == "card" for row in DRAWINGS)


def flipped(dice: np.random.Generator, value: int, bits: int) -> int:
    for bit in dice.choice(64, bits, replace=False):
        value ^= 1 << int(bit)
    return value


def planted(seed: int, n: int) -> np.ndarray:
    """Hashes at random, near ones among them."""
    dice = np.random.default_rng(seed)
    values = dice.integers(0, 1 << 64, n, np.uint64)
    for i in range(0, n, 3):
        values[i] = flipped(dice, int(values[dice.integers(n)]), int(dice.integers(0, 9)))
    return values


def led(values: list[int], distance: int) -> list[int]:
    """The rule in words: who is in no cluster leads all those near it that are in none either,
    within what is linked by neighbours."""
    n = len(values)
    near = [[(a ^ b).bit_count() <= distance for b in values] for a in values]
    leader = [-1] * n
    for i in range(n):
        if leader[i] < 0:
            for j in range(n):
                if leader[j] < 0 and near[i][j]:
                    leader[j] = i
    sizes = Counter(leader)
    return [one if sizes[one] > 1 else -1 for one in leader]


@pytest.mark.parametrize("distance", range(hamming.DISTANCE + 1))
def test_clusters_are_those_of_all_pairs(distance):
    for seed in range(3):
        values = planted(seed, 300)
        found = clusters(values, distance)
        whole = [int(v) for v in values]
        assert found.first.tolist() == led(whole, distance)
        for i, first in enumerate(found.first.tolist()):
            bits = (whole[i] ^ whole[first]).bit_count() if first >= 0 else 0
            assert found.away[i] == bits <= distance
            assert found.size[i] == (found.first == first).sum() * (first >= 0)


def test_none_one_and_all_equal():
    assert clusters(np.empty(0, np.uint64)).first.tolist() == []
    assert clusters(np.array([7], np.uint64)).first.tolist() == [-1]
    many = clusters(np.full(300_000, 7, np.uint64))
    assert (many.first == 0).all()
    assert (many.size == 300_000).all()


def test_hashes_made_to_cost_much_are_bounded():
    """60,000 that share six bytes of eight: all pairs would be 28 times 2 thousand million."""
    values = np.arange(60_000, dtype=np.uint64)
    start = time.process_time()
    found = clusters(values)
    assert time.process_time() - start < 60
    bits = [(int(a) ^ int(values[b])).bit_count() for a, b in enumerate(found.first) if b >= 0]
    assert max(bits) <= hamming.DISTANCE


def test_more_bits_than_the_bands_can_tell_are_refused():
    with pytest.raises(ValueError, match="0 to 6 bits"):
        clusters(np.zeros(3, np.uint64), 7)


def looks(*images: np.ndarray) -> np.ndarray:
    made = [look(np.ascontiguousarray(np.dstack([i, i[..., :1] * 0]))) for i in images]
    return np.array([tuple(one) for one in made], DTYPE)


def named(*images: np.ndarray) -> list[str]:
    return [KINDS[k] if k >= 0 else "" for k in kinds(looks(*images))[0]]


def test_kinds_of_drawn_images():
    photos = [draw(576, 416, seed) for seed in range(20)]
    assert named(*photos) == [""] * 20
    dice = np.random.default_rng(0)
    noise = [np.clip(dice.normal(v, 2, (416, 576, 3)), 0, 255).astype(np.uint8) for v in (0, 90)]
    assert named(*noise) == ["blank"] * 2
    framed = [np.full((600, 760, 3), level, np.uint8) for level in (0, 255)]
    for one, photo in zip(framed, photos, strict=False):
        one[92:508, 92:668] = np.clip(photo, 40, 215)
    assert named(*framed) == ["border"] * 2


@pytest.fixture(scope="module")
def out(drawn_export, tmp_path_factory) -> Path:
    """The drawn export, copied and looked through."""
    copy = tmp_path_factory.mktemp("suspects") / "out"
    shutil.copytree(drawn_export.out, copy)
    suspects(copy)
    return copy


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "suspects.jsonl").read_text().splitlines()]


def test_the_planted_cards_are_found(out, drawn_export):
    found = lines(out)
    assert all(tuple(one) == Suspect._fields for one in found)
    cards = [one for one in found if one["kind"] == "text"]
    assert len(cards) == CARDS
    assert {one["cluster"] for one in cards} == {0}
    assert {one["cluster_size"] for one in cards} == {CARDS}
    by_key = {s.key: s for s in drawn_export.samples}
    for one in found:
        sample = by_key[one["key"]]
        assert one["image_id"] == sample.json["image_id"]
        assert sample.path == f"buckets/{one['bucket_id']}/shard-{one['shard']:06d}.tar"
        assert sample.index == one["position"]
    sizes = {(by_key[c["key"]].json["source_w"], by_key[c["key"]].json["source_h"]) for c in cards}
    assert sizes == {row[1:] for row in DRAWINGS if row[0] == "card"}


def test_verify_and_datasets_do_not_mind(out):
    found = fastbucket.verify(out, fast=True)
    assert found.ok, found.problems
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(out), split="train", streaming=True)
    assert sum(1 for _ in loaded) == found.samples


def test_meta_holds_what_was_seen(drawn_export):
    table = pq.read_table(drawn_export.out / "meta").to_pylist()
    assert len(table) == 60
    for row in table:
        if row["reason"]:
            assert [row[name] for name in LOOK_FIELDS] == [0, -1, -1, -1, -1, -1]
        else:
            assert 0 <= row["modal_share"] <= row["bimodal_share"] <= 1000


def test_an_export_without_the_columns_is_decoded(out, tmp_path):
    """As an earlier version left it: sound, and the same suspects are found."""
    older = tmp_path / "older"
    shutil.copytree(out, older)
    (path,) = older.glob("meta/*.parquet")
    pq.write_table(pq.read_table(path).drop_columns(list(LOOK_FIELDS)), path)
    found = fastbucket.verify(older, fast=True)
    assert found.ok, found.problems
    report = suspects(older, workers=1)
    assert report.samples == len(pq.read_table(path, filters=[("shard", ">=", 0)]))
    cards = [{one["key"] for one in lines(o) if one["kind"] == "text"} for o in (older, out)]
    assert cards[0] == cards[1]


@pytest.mark.parametrize(
    ("name", "value"), [("modal_share", 1001), ("luma_range", -1), ("border_share", -2)]
)
def test_verify_sees_columns_that_no_image_has(out, tmp_path, name, value):
    other = tmp_path / "other"
    shutil.copytree(out, other)
    (path,) = other.glob("meta/*.parquet")
    table = pq.read_table(path)
    at = table["reason"].to_pylist().index("")
    values = table[name].to_pylist()
    values[at] = value
    index = table.schema.get_field_index(name)
    field = table.schema.field(index)
    pq.write_table(table.set_column(index, field, pa.array(values, field.type)), path)
    found = fastbucket.verify(other, fast=True)
    assert [p.text for p in found.problems] == [
        "its hash and statistics are none that an image has"
    ]


def test_records_without_looks_are_made_again(drawn, tmp_path):
    """An export that an older version has left half done goes on, and ends as it should."""
    out = tmp_path / "out"
    recipe = Recipe(shard_size=4)
    whole = fastbucket.export(drawn.paths, tmp_path / "whole", recipe, Resources(workers=1))
    monkey = pytest.MonkeyPatch()
    monkey.setattr("fastbucket.manifest.write", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):  # all is filled, and the manifest is not written
        fastbucket.export(drawn.paths, out, recipe, Resources(workers=1))
    monkey.undo()
    records = sorted(out.glob(".fastbucket/shards/*.json"))
    for path in records[::2]:
        facts = json.loads(path.read_text())
        del facts["looks"]
        path.write_text(json.dumps(facts))
        assert Record.read(path) is None
    report = fastbucket.export(drawn.paths, out, recipe, Resources(workers=1))
    assert report.exported == whole.exported
    for path in sorted((tmp_path / "whole").glob("buckets/*/*.tar")):
        again = out / path.relative_to(tmp_path / "whole")
        assert again.read_bytes() == path.read_bytes()
    assert pq.read_table(out / "meta") == pq.read_table(tmp_path / "whole" / "meta")


def test_no_export_is_a_clear_error(tmp_path):
    with pytest.raises(RunError, match=r"no manifest\.json; suspects are of a complete export"):
        suspects(tmp_path)


def test_the_command(out):
    done = CliRunner().invoke(cli, ["suspects", str(out), "--json", "-q"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["kinds"]["text"] == CARDS
    assert found["suspects"] == len(lines(out))


# The page


def test_the_page_is_whole_and_within_itself(out):
    text = (out / "suspects.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
    assert "{{" not in text
    images = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
    assert len(images) == len(lines(out))
    assert all(base64.b64decode(image)[:2] == b"\xff\xd8" for image in images)
    for one in lines(out):
        assert text.count(f'value="{one["key"]}"') == 1


def test_a_page_of_very_many_is_a_stated_selection(monkeypatch, tmp_path):
    monkeypatch.setattr(
        page, "thumbnails", lambda out, places: [page.thumbnails_of_nothing] * len(places),
        raising=False,
    )  # fmt: skip
    monkeypatch.setattr(page, "thumbnails_of_nothing", type("T", (), {"jpeg": b""}), raising=False)
    keys = iter(range(1 << 40))

    def some(n: int, kind: str, cluster: int) -> list[Suspect]:
        size = n if cluster >= 0 else 0
        return [
            Suspect(f"{next(keys):064x}", "<b>'\"&", "p1x1", 0, 0, kind, 1.0, cluster, size, 0)
            for _ in range(n)
        ]

    found = [*some(100_000, "text", 0), *some(3, "copy", 1), *some(50_000, "blank", -1)]
    shown = page.write(tmp_path, tmp_path / "page.html", found, 1_000_000)
    text = (tmp_path / "page.html").read_text()
    assert shown == page.OF_A_CLUSTER + 3 + page.SHOWN // 2 // len(page.TITLES)
    assert f"150,003 suspects among 1,000,000 samples. Shown: {shown:,} of them" in text
    assert f"{page.LISTED:,} more are ticked with all" in text
    assert len(text) < 4 << 20
    assert "<b>'" not in text


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
"""Debian's; the test drives it by what the page itself does, printed as its DOM afterwards."""

DRIVE = """
<script>
const box = (name, at) => document.querySelectorAll("section")[at].querySelector(name);
const saved = [];
URL.createObjectURL = (blob) => { saved.push(blob); return "#"; };
box(".rest", 0).click();
document.getElementById("save").click();
box(".all", 0).click();
document.getElementById("save").click();
document.getElementById("none").click();
document.querySelectorAll(".card input")[1].click();
document.getElementById("save").click();
const pre = document.createElement("pre");
Promise.all(saved.map((blob) => blob.text())).then((texts) => {
  pre.id = "saved"; pre.textContent = JSON.stringify(texts); document.body.append(pre);
});
</script>
"""


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here (Debian's package chromium)")
def test_ticking_and_saving_in_a_browser(out, tmp_path):
    import subprocess

    driven = tmp_path / "driven.html"
    text = (out / "suspects.html").read_text(encoding="utf-8")
    script = re.search(r"<script>(.*)</script>", DRIVE, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    text = text.replace("script-src ", f"script-src 'sha256-{digest}' ")  # else the page forbids it
    driven.write_text(text.replace("</body>", f"{DRIVE}</body>"), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/u",
         "--virtual-time-budget=5000", "--dump-dom", driven.as_uri()],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    dom = re.search(r'<pre id="saved">(.*?)</pre>', done.stdout, re.DOTALL)
    assert dom, done.stdout[-500:] + done.stderr[-2000:]
    rest, everything, one = (text.split() for text in json.loads(dom[1]))
    cards = [line["key"] for line in lines(out) if line["cluster"] == 0]
    assert rest == cards[1:]
    assert everything == cards
    assert one == cards[1:2]


def test_nothing_of_the_data_is_markup():
    """Names, keys and buckets come from meta/, which anybody may have written."""
    evil = "<img src=x onerror=alert(1)>'\""
    suspect = Suspect(evil, evil, evil, 0, 0, "copy", 1.0, 0, 2, 0)
    made = page._section(evil, [evil], [suspect], {evil: ""})
    assert "<img" not in made
    assert 'data-hidden="[&quot;&lt;img' in made
