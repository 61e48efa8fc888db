"""Families of buckets: tables and grids, and the kernel on all of them against plain Python."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbucket import Recipe, RunError, SampleError, Transcoder
from fastbucket.buckets import CHOICES, FAMILIES, MOST, SD15, SDXL, SPREAD, Bucket, scaled
from fastbucket.geometry import Size
from fastbucket.kernels.fit import ONLY_NEXT, fit
from fastbucket.verification.placement import Placement

# Every family, some of them more than once: family -> recipes.
MADE = {
    "sdxl": [{}, {"base_resolution": 1024, "divisible": 64}],
    "sd15": [{"divisible": 64}, {"base_resolution": 768}],
    "grid": [
        {},
        {"base_resolution": 768, "grid_step": 32, "grid_min_side": 480, "grid_max_side": 1300},
        {"base_resolution": 500, "divisible": 8, "grid_step": 24, "grid_min_side": 300},
    ],
    "list": [
        {"sizes": ("512x512", "640x384", "384x640", "576x448")},
        {"sizes": ("384x384", "512x512", "256x512", "512x256"), "base_resolution": 400},
        {"sizes": ("384x640", "448x576"), "divisible": 64},  # nothing but portraits
        {"sizes": ("1000x600", "600x1000", "999x601"), "base_resolution": 800, "divisible": 1},
    ],
    "square": [{}, {"base_resolution": 300, "divisible": 4}],
}
RECIPES = [Recipe(family=family, **fields) for family, those in MADE.items() for fields in those]


def named(recipe: Recipe) -> str:
    return f"{recipe.family}-{recipe.base_resolution}-{recipe.divisible}"


every_family = pytest.mark.parametrize("recipe", RECIPES, ids=named)


def test_all_families_are_here():
    assert list(MADE) == list(FAMILIES)


# Tables and grids


@every_family
def test_every_bucket_has_its_proto_and_a_target_of_its_own(recipe):
    found, protos = recipe.buckets(), recipe.protos()
    assert 0 < len(found) <= MOST
    assert [bucket.proto for bucket in found] == [
        p for p in protos if p in {b.proto for b in found}
    ]
    assert len({bucket.target for bucket in found}) == len({b.id for b in found}) == len(found)
    for bucket in found:
        assert bucket.id == f"p{bucket.proto.width}x{bucket.proto.height}"
        for side, proto in zip(bucket.target, bucket.proto, strict=True):
            exact = Fraction(proto * recipe.base_resolution, 1024 * recipe.divisible)
            assert side == recipe.divisible * max(1, reference.round_half_up(exact))
    if recipe.family != "list":
        assert list(protos) == sorted(set(protos))


@every_family
def test_a_recipe_makes_the_same_family_of_its_json(recipe):
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert again.buckets() == recipe.buckets()
    assert again.canonical() == recipe.canonical()


def test_sd15_is_novelais_table():
    """The 19 resolutions of the sample output in NovelAI's README, and its words as a program."""
    published = (
        "256 1024, 320 1024, 384 1024, 384 960, 384 896, 448 832, 512 768, 512 704, 512 512, "
        "576 640, 640 576, 704 512, 768 512, 832 448, 896 384, 960 384, 1024 384, 1024 320, "
        "1024 256"
    )
    sizes = {(int(w), int(h)) for w, h in (size.split() for size in published.split(", "))}
    assert sorted(sizes) == list(SD15)
    made = {(512, 512)}
    for width in range(256, 1025, 64):
        fitting = [h for h in range(64, 1025, 64) if width * h <= 512 * 768]
        made |= {(width, max(fitting)), (max(fitting), width)}
    assert made == sizes
    recipe = Recipe(family="sd15", divisible=64)
    assert [bucket.target for bucket in recipe.buckets()] == [Size(*size) for size in SD15]
    assert recipe.buckets()[0].id == "p512x2048"
    assert Recipe(family="sd15", base_resolution=768).buckets()[0].target == (384, 1536)


def kohya(base: int, least: int, most: int, step: int) -> list[tuple[int, int]]:
    """What sd-scripts makes of a square resolution, in its own words: model_util.py."""
    sizes = {(base // step * step,) * 2}
    for width in range(least, most + 1, step):
        height = min(most, base * base // width // step * step)
        if height >= least:
            sizes |= {(width, height), (height, width)}
    return sorted(sizes)


@pytest.mark.parametrize(
    ("base", "step", "least", "most"),
    [(512, 64, 256, 1024), (1024, 64, 512, 2048), (768, 32, 256, 1536), (640, 64, 320, 1280)],
)
def test_a_grid_is_that_of_kohyas_scripts(base, step, least, most):
    recipe = Recipe(
        family="grid",
        base_resolution=base,
        grid_step=step,
        grid_min_side=least,
        grid_max_side=most,
    )
    targets = [tuple(bucket.target) for bucket in recipe.buckets()]
    assert targets == kohya(base, least, most, step)
    assert all(w * h <= base * base for w, h in targets)
    assert {(h, w) for w, h in targets} == set(targets)


def test_the_sides_of_a_grid_follow_its_base():
    for base in (256, 512, 1024):
        sides = [s for b in Recipe(family="grid", base_resolution=base).buckets() for s in b.target]
        assert (min(sides), max(sides)) == (base // 2, 2 * base)
    odd = Recipe(family="grid", grid_min_side=300, grid_max_side=900)
    sides = [side for bucket in odd.buckets() for side in bucket.target]
    assert (min(sides), max(sides)) == (320, 768)  # of 896 the other side would be below


def test_a_list_keeps_its_order_and_its_sizes():
    sizes = ("640x384", "512x512", "384x640", "320x320")
    found = Recipe(family="list", sizes=sizes).buckets()
    assert [f"{b.target.width}x{b.target.height}" for b in found] == list(sizes)
    assert [b.id for b in found] == ["p1280x768", "p1024x1024", "p768x1280", "p640x640"]
    odd = Recipe(family="list", sizes=("832x576",), base_resolution=768)
    assert [(b.id, b.target) for b in odd.buckets()] == [("p1109x768", (832, 576))]


def test_at_another_base_a_family_is_scaled():
    recipe = Recipe(family="list", sizes=("640x384", "512x512"))
    larger = scaled(recipe.protos(), 1024, recipe.divisible)
    assert [tuple(b.target) for b in larger] == [(1280, 768), (1024, 1024)]
    assert [b.id for b in larger] == [b.id for b in recipe.buckets()]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"family": "list"}, "--sizes is to list its sizes"),
        ({"family": "list", "sizes": ("640",)}, "'640' is no WIDTHxHEIGHT"),
        ({"family": "list", "sizes": ("640x-1",)}, "is no WIDTHxHEIGHT"),
        ({"family": "list", "sizes": ("640x384x1",)}, "is no WIDTHxHEIGHT"),
        ({"family": "list", "sizes": ("640x٣٢",)}, "is no WIDTHxHEIGHT"),
        ({"family": "list", "sizes": ("0x384",)}, "no multiples of divisible, 32"),
        ({"family": "list", "sizes": ("640x390",)}, "640x390 are no multiples of divisible, 32"),
        ({"family": "list", "sizes": ("640x384", "640x384")}, "640x384 is listed twice"),
        ({"family": "list", "sizes": ("1024x1024",)}, "--base-resolution 1024"),
        ({"family": "list", "sizes": ("32x32", "32x544")}, "16 times the shortest"),
        ({"sizes": ("640x384",)}, "sizes: only with family list, not sdxl"),
        ({"family": "list", "sizes": ("640x384",), "grid_step": 32}, "only with family grid"),
        ({"family": "grid", "grid_step": 40}, "40 is no multiple of divisible, 32"),
        ({"family": "grid", "grid_min_side": 513}, "no size of sides 576 to 1024"),
        ({"family": "grid", "grid_min_side": 400, "grid_max_side": 400}, "no size of sides"),
        ({"family": "grid", "grid_min_side": 32, "grid_step": 32}, "16 times the shortest"),
        ({"family": "grid", "grid_step": 1, "divisible": 1}, "at most 1024 are allowed"),
        (
            {"family": "grid", "base_resolution": 8192, "divisible": 1, "grid_step": 15,
             "grid_min_side": 7000, "grid_max_side": 9000},
            "too large for divisible 1",
        ),
        ({"family": "sd21"}, "none of sdxl, sd15, grid, list, square"),
    ],
)  # fmt: skip
def test_what_makes_no_family_is_refused(fields, words):
    with pytest.raises(RunError, match=words):
        Recipe(**fields)


def test_a_list_of_more_than_64_bits_allow_is_refused():
    """The products of the rules, of the largest source that fits: as SPREAD says."""
    assert (178_000_000 * SPREAD) ** 2 < 2**63


# The choice: plain Python over exact fractions


def plain(w, h, family, choice, mode, max_crop):
    """(index or -1, fits) by the words of docs/format.md, trying every bucket."""

    def ratio(a, b):
        return Fraction(min(a, b), max(a, b))

    def distance(bucket):
        width, height = bucket.target
        if choice == "short_long":
            return abs(ratio(w, h) - ratio(width, height))
        if choice == "log_ratio":
            aspects = Fraction(w, h), Fraction(width, height)
            return max(aspects) / min(aspects)
        return cropped(bucket)

    def cropped(bucket):
        width, height = bucket.target
        scale = max(Fraction(width, w), Fraction(height, h))
        return w * h - width / scale * (height / scale)

    def fits(bucket):
        return bucket.target.width <= w and bucket.target.height <= h

    def nearest(those):
        return min(those, key=lambda at: (distance(family[at]), at), default=-1)

    mine = [
        at
        for at, bucket in enumerate(family)
        if len(set(bucket.target)) == 1 or (w >= h) == (bucket.target.width > bucket.target.height)
    ]
    first = nearest(mine)
    if first < 0:
        return -1, False
    if mode != ONLY_NEXT and fits(family[first]):
        return first, True
    limit = Fraction(max_crop) * w * h
    second = -1
    if mode:
        second = nearest([a for a in mine if fits(family[a]) and cropped(family[a]) <= limit])
    return (first, False) if second < 0 else (second, True)


def fitted(sizes, family, choice, mode=0, max_crop=0.0):
    width, height = np.array(sizes, np.int32).reshape(-1, 2).T
    index, fits = fit(width, height, family, choice, mode, max_crop)
    return list(zip(index.tolist(), fits.tolist(), strict=True))


def asked(family) -> list[tuple[int, int]]:
    """Some targets, their neighbours and multiples, and a coarse grid of shapes."""
    found = [(w, h) for w in range(150, 1500, 430) for h in range(170, 1500, 410)]
    found += [(512, 512), (640, 480), (480, 640), (1, 1), (3, 60000)]
    for bucket in family[:: max(1, len(family) // 3)]:
        w, h = bucket.target
        found += [(w, h), (w - 1, h), (w, h + 1), (2 * w, 2 * h)]
    return found


@every_family
@pytest.mark.parametrize("choice", CHOICES)
def test_the_kernel_chooses_as_plain_python(recipe, choice):
    family = recipe.buckets()
    sizes = asked(family)
    for mode, max_crop in ((0, 0.0), (1, 0.25), (ONLY_NEXT, 0.5)):
        found = fitted(sizes, family, choice, mode, max_crop)
        for (w, h), got in zip(sizes, found, strict=True):
            assert got == plain(w, h, family, choice, mode, max_crop), (w, h)


@every_family
@pytest.mark.parametrize("policy", ["drop", "next_bucket"])
def test_the_verifier_chooses_as_the_kernel(recipe, policy):
    family = recipe.buckets()
    sizes = asked(family)
    values = {**recipe.to_json(), "too_small_policy": policy, "choice": "min_crop"}
    placement = Placement(Recipe.from_json(values))
    for (w, h), (at, fits) in zip(
        sizes, fitted(sizes, family, "min_crop", int(policy == "next_bucket"), 0.25), strict=True
    ):
        assert placement.chosen(Size(w, h)) == ((family[at],) if fits else ()), (w, h)


multiples = st.integers(2, 20).map(lambda n: 32 * n)
lists = st.lists(st.tuples(multiples, multiples), min_size=1, max_size=12, unique=True)
sides = st.one_of(st.integers(1, 1400), multiples, st.integers(1, 60_000))


@settings(max_examples=100)
@given(
    lists,
    st.lists(st.tuples(sides, sides), min_size=1, max_size=8),
    st.sampled_from(list(CHOICES)),
    st.sampled_from([(0, 0.0), (1, 0.25), (1, 1.0), (ONLY_NEXT, 0.25), (ONLY_NEXT, 1.0)]),
)
def test_lists_at_random(targets, sources, choice, how):
    """Lists in any order, of any orientation, with sizes of one shape: those are true ties."""
    family = tuple(Bucket(Size(*target), Size(*target)) for target in targets)
    for (w, h), got in zip(sources, fitted(sources, family, choice, *how), strict=True):
        assert got == plain(w, h, family, choice, *how), (w, h)


def test_a_tie_goes_to_the_first_of_the_list():
    for sizes in (("512x512", "256x256"), ("256x256", "512x512")):
        family = Recipe(family="list", sizes=sizes).buckets()
        assert fitted([(900, 900)], family, "short_long") == [(0, True)]
    large = Recipe(family="list", sizes=("512x512", "256x256")).buckets()
    assert fitted([(400, 400)], large, "short_long", 1, 0.25) == [(1, True)]
    assert fitted([(400, 400)], large, "short_long") == [(0, False)]


def test_a_square_belongs_to_both_orientations():
    family = Recipe(family="list", sizes=("640x384", "512x512")).buckets()
    wide, tall, even = (1600, 1000), (1000, 1600), (1000, 1000)
    assert fitted([wide, tall, even], family, "short_long") == [(0, True), (1, True), (1, True)]
    assert fitted([wide, tall], Recipe(family="square").buckets(), "log_ratio") == [(0, True)] * 2


def test_an_orientation_without_a_bucket():
    recipe = Recipe(family="list", sizes=("384x640",))
    assert fitted([(900, 600), (600, 900)], recipe.buckets(), "short_long") == [
        (-1, False),
        (0, True),
    ]
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (900, 600)).save(file, "JPEG")
    with pytest.raises(SampleError, match="900x600: the family has no bucket") as dropped:
        Transcoder(recipe).transcode(file.getvalue(), "x")
    assert dropped.value.reason == "no_bucket"


# Recipes of before there were these fields


def test_what_earlier_recipes_were_they_still_are():
    """Half-done exports resume and manifests keep their meaning: hashes by the first version."""
    hashes = {
        Recipe(): "66f3e9a84366c6b8fb69086756e148747042f0eead2ea14147211c8848c99172",
        Recipe(
            image_mode="passthrough_jpeg", carry=("none",), base_resolution=768, mtime=5
        ): "1257bee5d20b3560a7cd0c5ac5fbd8059f5fd0220608ead77a79aba8afa1cf73",
    }
    for recipe, expected in hashes.items():
        assert hashlib.sha256(recipe.canonical()).hexdigest() == expected


@pytest.mark.parametrize(
    ("fields", "without"),
    [
        ({"family": "grid", "grid_step": 32}, {"family": "grid"}),
        ({"family": "grid", "grid_min_side": 320}, {"family": "grid"}),
        ({"family": "grid", "grid_max_side": 640}, {"family": "grid"}),
        ({"family": "list", "sizes": ("512x512",)}, {"family": "list", "sizes": ("512x640",)}),
        ({"min_bucket": 10}, {}),
        ({"rare_bucket_policy": "drop"}, {}),
        ({"passthrough_other": "drop"}, {}),
    ],
)
def test_a_later_field_that_is_used_counts(fields, without):
    recipe, other = Recipe(**fields), Recipe(**without)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert recipe.canonical() != other.canonical()
    assert [line.split(":")[0] for line in other.difference(recipe)] == list(fields)[-1:]


def test_sdxl_is_the_default():
    assert tuple(Recipe().protos()) == SDXL
