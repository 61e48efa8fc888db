"""The table of 40, targets, and the fit kernel against the reference, for every rule."""

from __future__ import annotations

import random

import numpy as np
import pytest
import reference

from fastbucket.buckets import CHOICES, SDXL, buckets, min_crop
from fastbucket.geometry import Size
from fastbucket.kernels import fit as kernel
from fastbucket.kernels.fit import fit

FAMILY = buckets("sdxl", 512, 32)


def fitted(sizes, choice, family=FAMILY, **options):
    """(bucket id or "", fits) of every size."""
    width, height = np.array(sizes, np.int32).reshape(-1, 2).T
    index, fits = fit(width, height, family, choice, **options)
    ids = [family[at].id if at >= 0 else "" for at in index.tolist()]
    return list(zip(ids, fits.tolist(), strict=True))


def sizes() -> list[tuple[int, int]]:
    """A grid over all shapes, random ones, and the exact sizes of targets and their neighbours."""
    dice = random.Random(7)
    found = [(w, h) for w in range(96, 2200, 97) for h in range(96, 2200, 89)]
    found += [(dice.randint(1, 6000), dice.randint(1, 6000)) for _ in range(400)]
    for bucket in FAMILY:
        w, h = bucket.target
        found += [(w + dx, h + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)] + [(3 * w, 3 * h)]
    found += [(640, 480), (480, 640), (1, 1), (1, 60000), (60000, 1), (1176, 644), (512, 512)]
    return found


# The table


def test_forty():
    assert SDXL == reference.PROTOS
    assert len(SDXL) == 40
    assert list(SDXL) == sorted(SDXL)


def test_targets_at_512_are_exactly_half():
    assert [(b.id, b.target) for b in FAMILY] == [(f"p{w}x{h}", (w // 2, h // 2)) for w, h in SDXL]


@pytest.mark.parametrize(
    ("base", "divisible"), [(1024, 64), (512, 32), (512, 64), (256, 32), (768, 8), (300, 1)]
)
def test_targets_of_other_bases(base, divisible):
    ours = [(b.id, *b.target) for b in buckets("sdxl", base, divisible)]
    assert ours == [tuple(b) for b in reference.targets(base, divisible)]
    assert all(w % divisible == h % divisible == 0 for _, w, h in ours)
    assert len({target[1:] for target in ours}) == len(ours)


def test_a_side_never_becomes_nothing():
    assert all(min(b.target) >= 32 for b in buckets("sdxl", 32, 32))


# The kernel


def test_rules_of_the_kernel_are_those_of_the_table():
    assert tuple(CHOICES) == kernel.RULES


@pytest.mark.parametrize("choice", CHOICES)
def test_the_kernel_chooses_as_the_reference(choice):
    asked = sizes()
    for (w, h), (bucket_id, fits) in zip(asked, fitted(asked, choice), strict=True):
        chosen = reference.choose(w, h, choice)
        assert bucket_id == chosen.bucket_id, (w, h)
        assert fits == (w >= chosen.w and h >= chosen.h), (w, h)


def test_640x480_is_a_tie_and_goes_to_p1152x832():
    assert CHOICES["short_long"](640, 480, 576, 416)[0] * 576 == 576 * 640 * 16
    n, d = CHOICES["short_long"](640, 480, 576, 416)
    m, e = CHOICES["short_long"](640, 480, 576, 448)
    assert n * e == m * d  # a true tie, in integers
    assert fitted([(640, 480), (480, 640)], "short_long") == [
        ("p1152x832", True),
        ("p832x1152", True),
    ]


def test_kernel_and_python_agree(monkeypatch):
    asked = sizes()[::7]
    compiled = fitted(asked, "log_ratio", next_bucket=True, max_crop=0.3)
    for name in ("_fit", "_distance", "_short_long", "_log_ratio", "_min_crop"):
        monkeypatch.setattr(kernel, name, getattr(kernel, name).py_func)
    assert fitted(asked, "log_ratio", next_bucket=True, max_crop=0.3) == compiled


def test_a_size_of_nothing_has_no_bucket():
    assert fitted([(0, 480), (640, 0), (0, 0), (-3, 5)], "short_long") == [("", False)] * 4
    assert fitted([], "short_long") == []


@pytest.mark.parametrize("choice", CHOICES)
def test_the_longest_sides_that_can_fit_do_not_overflow(choice):
    """178 million pixels, the limit, of which the short side covers the narrowest target."""
    long = 178_000_000 // 256
    asked = [(long, 256), (256, long), (long // 2, 512), (65535, 2716), (13341, 13342)]
    for (w, h), (bucket_id, fits) in zip(asked, fitted(asked, choice), strict=True):
        chosen = reference.choose(w, h, choice)
        assert (bucket_id, fits) == (chosen.bucket_id, w >= chosen.w and h >= chosen.h)
    # Beyond, a bucket's name may be wrong, but nothing fits: that is plain comparison.
    assert [fits for _, fits in fitted([(2**31 - 1, 1), (1, 2**31 - 1)], choice)] == [False] * 2


# too_small_policy: next_bucket


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("max_crop", [0.0, 0.1, 0.25, 0.6, 1.0])
def test_next_bucket(choice, max_crop):
    """What fits stays; what does not goes to the nearest bucket of its orientation that it fits
    and that crops no more than allowed, or is dropped; found here by trying them all."""
    asked = sizes()[::3]
    plain = fitted(asked, choice)
    wider = fitted(asked, choice, next_bucket=True, max_crop=max_crop)
    moved = 0
    for (w, h), before, after in zip(asked, plain, wider, strict=True):
        if before[1]:
            assert after == before
            continue
        possible = []
        for at, bucket in enumerate(FAMILY):
            width, height = bucket.target
            square = width == height
            if not square and (w >= h) != (width > height):
                continue
            area, unit = min_crop(w, h, width, height)
            if width <= w and height <= h and area / unit <= max_crop * w * h:
                n, d = CHOICES[choice](w, h, width, height)
                possible.append((reference.Fraction(n, d), at))
        if possible:
            assert after == (FAMILY[min(possible)[1]].id, True)
            moved += 1
        else:
            assert after == before
    assert moved or max_crop < 0.25


def test_min_crop_is_an_area_of_the_source():
    dice = random.Random(2)
    for _ in range(200):
        w, h = dice.randint(1, 3000), dice.randint(1, 3000)
        bucket = reference.Bucket("x", dice.randint(1, 900), dice.randint(1, 900))
        area, unit = min_crop(w, h, bucket.w, bucket.h)
        assert reference.Fraction(area, unit) == reference.min_crop(w, h, bucket)
        assert 0 <= area < w * h * unit


def test_bucket_id():
    assert FAMILY[0].id == "p512x1856"
    assert FAMILY[0].target == Size(256, 928)
