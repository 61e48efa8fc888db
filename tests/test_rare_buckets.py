"""min_bucket: which buckets are rare, where their samples go, and that an export of it is sound."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter

import exported
import numpy as np
import pyarrow.parquet as pq
import pytest
from test_families import plain
from test_planning import Source
from test_verification import inline, named  # noqa: F401 a fixture

import fastbucket
from fastbucket import Recipe, Resources, verify
from fastbucket.buckets import CHOICES
from fastbucket.kernels.fit import ONLY_NEXT
from fastbucket.planning import REASON

LIST = {"family": "list", "sizes": ("512x512", "640x384", "704x352", "384x640")}
SQUARE, WIDE, WIDER, TALL = range(4)


def rows(**counts: int) -> list[dict]:
    """As many samples as told of each bucket of LIST, large enough for all of its orientation."""
    sizes = {"square": (1000, 1000), "wide": (1280, 768), "wider": (1408, 704), "tall": (768, 1280)}
    return [
        {"width": sizes[name][0], "height": sizes[name][1]}
        for name, count in counts.items()
        for _ in range(count)
    ]


def planned(tmp_path, samples, excluded=(), **fields):
    """(bucket, reason) of every sample."""
    plan = Source(tmp_path, a=samples).plan(excluded, **{"divisible": 32, **LIST, **fields})
    assert {(s.bucket, s.stop - s.start) for s in plan.shards} == set(
        Counter(plan.bucket[plan.reason == 0].tolist()).items()
    )
    names = {code: name for name, code in REASON.items()}
    return [(b, names[r]) for b, r in zip(plan.bucket.tolist(), plan.reason.tolist(), strict=True)]


def test_without_it_no_bucket_is_rare(tmp_path):
    assert planned(tmp_path, rows(square=1, wide=1)) == [(SQUARE, ""), (WIDE, "")]


def test_samples_of_rare_buckets_go_to_the_nearest_other(tmp_path):
    found = planned(tmp_path, rows(square=3, wide=3, wider=2), min_bucket=3)
    assert found == [(SQUARE, "")] * 3 + [(WIDE, "")] * 3 + [(WIDE, "")] * 2


def test_or_are_dropped(tmp_path):
    found = planned(
        tmp_path, rows(square=3, wide=3, wider=2), min_bucket=3, rare_bucket_policy="drop"
    )
    assert found == [(SQUARE, "")] * 3 + [(WIDE, "")] * 3 + [(WIDER, "rare_bucket")] * 2


def test_the_limit_of_the_crop(tmp_path):
    """5:3 in a square shows three fifths of it."""
    samples = rows(square=3, wide=2)
    assert planned(tmp_path, samples, min_bucket=3)[3:] == [(WIDE, "rare_bucket")] * 2
    moved = planned(tmp_path, samples, min_bucket=3, next_bucket_max_crop=0.4)
    assert moved == [(SQUARE, "")] * 5


def test_a_sample_goes_only_where_it_fits(tmp_path):
    small = [{"width": 720, "height": 360}]  # not as high as the wide one
    assert planned(tmp_path, rows(wide=3) + small, min_bucket=3)[3:] == [(WIDER, "rare_bucket")]


def test_merging_makes_no_bucket_large_enough(tmp_path):
    """The wide and the wider are rare, both: neither takes the other's, though together they were
    enough."""
    samples = rows(square=5, wide=3, wider=2)
    found = planned(tmp_path, samples, min_bucket=4, next_bucket_max_crop=1.0)
    assert found == [(SQUARE, "")] * 10


def test_where_all_are_rare_all_are_dropped(tmp_path):
    found = planned(tmp_path, rows(square=2, wide=2, tall=1), min_bucket=3)
    assert [reason for _, reason in found] == ["rare_bucket"] * 5


def test_only_planned_samples_count(tmp_path):
    samples = [*rows(square=3), *rows(wide=1), {**rows(wide=1)[0], "image": b"a 3"}, *rows(wide=1)]
    samples.append({"width": 600, "height": 360})  # of the wide bucket, and too small for it
    merge = {"min_bucket": 3, "next_bucket_max_crop": 0.4}
    found = planned(tmp_path, samples, **merge)
    assert [reason for _, reason in found[3:]] == ["", "duplicate", "", "too_small"]
    assert [bucket for bucket, _ in found] == [0, 0, 0, SQUARE, WIDE, SQUARE, WIDE]
    kept = planned(tmp_path, samples, **merge, duplicates="keep")
    assert [bucket for bucket, reason in kept if not reason] == [0, 0, 0, WIDE, WIDE, WIDE]
    without = planned(tmp_path, samples, ["a/3"], **merge, duplicates="keep")
    assert without[3] == (WIDE, "excluded")
    assert [bucket for bucket, reason in without if not reason] == [0, 0, 0, SQUARE, SQUARE]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("policy", ["merge", "drop"])
def test_at_random_against_plain_python(tmp_path, choice, policy):
    dice = random.Random(5)
    sizes = [(dice.randint(400, 1300), dice.randint(300, 900)) for _ in range(250)]
    samples = [{"width": w, "height": h} for w, h in sizes]
    recipe = Recipe(choice=choice, min_bucket=12, rare_bucket_policy=policy)
    values = {k: v for k, v in recipe.to_json().items() if k != "mtime"}
    plan = Source(tmp_path, a=samples[:90], b=samples[90:]).plan(**values)
    family = recipe.buckets()
    first = [plain(w, h, family, choice, 0, 0.0) for w, h in sizes]
    counts = Counter(at for at, fits in first if fits)
    large = [at for at, count in sorted(counts.items()) if count >= 12]
    assert 1 < len(large) < len(counts)
    met = Counter()
    for row, ((w, h), (at, fits)) in enumerate(zip(sizes, first, strict=True)):
        expected = at, "" if fits else "too_small"
        if fits and at not in large:
            there = [family[at] for at in large]
            to, can = plain(w, h, there, choice, ONLY_NEXT, 0.25) if policy == "merge" else (0, 0)
            expected = (large[to], "") if can else (at, "rare_bucket")
            met["moved" if can else "dropped"] += 1
        assert (plan.bucket[row], plan.reason[row]) == (expected[0], REASON[expected[1]])
    assert met["dropped"]
    assert (met["moved"] > 0) == (policy == "merge")
    kept = plan.bucket[plan.reason == 0]
    assert np.bincount(kept)[np.unique(kept)].min() >= 12


# Whole exports


class Said:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def phase(self, name: str, total: int, unit: str) -> None: ...

    def advance(self, n: int) -> None: ...

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def merged(drawn, tmp_path_factory):
    out = tmp_path_factory.mktemp("merged") / "out"
    recipe = Recipe(min_bucket=3, next_bucket_max_crop=0.3, shard_size=2)
    said = Said()
    report = fastbucket.export(drawn.paths, out, recipe, Resources(workers=2), progress=said)
    return report, out, said


def test_an_export_is_sound_and_says_what_was_done(merged, drawn, drawn_export, inline):  # noqa: F811
    report, out, said = merged
    assert report.dropped["rare_bucket"] > 0
    assert report.exported + report.dropped["rare_bucket"] == drawn.kept
    assert verify(out, workers=1).problems == []
    before, after = (
        pq.read_table(folder / "meta", columns=["image_id", "bucket_id"]).to_pylist()
        for folder in (drawn_export.out, out)
    )
    moved = sum(row not in before for row in after)  # also of what turned out to be damaged
    assert moved > 0
    (line,) = [line for line in said.lines if "rare" in line]
    assert f"with fewer than 3 samples: {moved} of those moved to other buckets" in line
    facts = exported.manifest(out)
    assert facts["recipe"]["min_bucket"] == 3
    assert "rare_bucket_policy" not in facts["recipe"]  # merge, as by default
    assert "of a bucket with too few samples (`rare_bucket`)" in (out / "README.md").read_text()


def test_any_number_of_workers_makes_the_same(merged, drawn, tmp_path):
    recipe = Recipe.from_json(exported.manifest(merged[1]))
    fastbucket.export(drawn.paths, tmp_path / "out", recipe, Resources(workers=1))
    assert exported.digests(tmp_path / "out") == exported.digests(merged[1])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"min_bucket": None}, "sends"),
        ({"rare_bucket_policy": "drop"}, "sends"),
        ({"next_bucket_max_crop": 0.0}, "would need upsampling in every bucket"),
    ],
)
def test_a_sample_that_was_moved_is_in_its_place_by_that_recipe_alone(
    merged, tmp_path, inline, fields, words  # noqa: F811
):  # fmt: skip
    out = shutil.copytree(merged[1], tmp_path / "out")
    facts = exported.manifest(out)
    for name, value in fields.items():
        facts["recipe"].pop(name, None)
        if value is not None:
            facts["recipe"][name] = value
    facts["recipe"] = Recipe.from_json(facts["recipe"]).to_json()
    (out / "manifest.json").write_text(json.dumps(facts))
    found = verify(out, fast=True, workers=1)
    assert any(words in problem.text for problem in found.problems), found.problems


def test_pruning_a_bucket_away_leaves_the_merged_in_their_place(merged, tmp_path, inline):  # noqa: F811
    out = shutil.copytree(merged[1], tmp_path / "out")
    bucket = exported.manifest(out)["buckets"][0]["bucket_id"]
    keys = [s.key for s in exported.samples(out) if s.json["bucket_id"] == bucket]
    fastbucket.prune(out, keys)
    assert bucket not in {entry["bucket_id"] for entry in exported.manifest(out)["buckets"]}
    assert verify(out, workers=1).problems == []


def test_a_report_shows_it(merged, tmp_path):
    from fastbucket.overview import page

    out = shutil.copytree(merged[1], tmp_path / "out")
    page.write(out)
    text = (out / "report.html").read_text()
    assert "fewer samples than min_bucket" in text
    assert "Buckets of fewer than 3 samples were rare" in text


def test_a_dry_run_counts_them(merged, drawn, tmp_path):
    recipe = Recipe.from_json(exported.manifest(merged[1]))
    planned = fastbucket.plan(drawn.paths, tmp_path / "out", recipe, Resources(workers=1))
    assert planned.dropped["rare_bucket"] == merged[0].dropped["rare_bucket"]
