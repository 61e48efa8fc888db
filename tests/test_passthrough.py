"""image_mode passthrough_jpeg: the source's bytes, to the last one, and all that reads them."""

from __future__ import annotations

import gc
import hashlib
import io
import shutil
from collections import Counter

import exported
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, JpegImagePlugin
from test_loading import IGNORED
from test_verification import Copy, inline, named  # noqa: F401 a fixture

import fastbucket
from fastbucket import Recipe, Resources, SampleError, Transcoder, verify
from fastbucket.segments import with_orientation

pytestmark = [pytest.mark.filterwarnings(line) for line in IGNORED]

SAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
EOI = b"\xff\xd9"


def photo(width: int, height: int, seed: int, mode: str = "RGB", **options) -> bytes:
    """A JPEG of smooth noise."""
    dice = np.random.default_rng(seed)
    image = Image.fromarray(dice.integers(0, 255, (height // 16, width // 16, 3), np.uint8))
    file = io.BytesIO()
    image = image.convert(mode).resize((width, height), Image.Resampling.BICUBIC)
    image.save(file, "JPEG", **options)
    return file.getvalue()


def restarted(jpeg: bytes) -> bytes:
    """Its second restart marker has another number than it should."""
    at = jpeg.index(b"\xff\xd1")
    return jpeg[: at + 1] + b"\xd5" + jpeg[at + 2 :]


def images() -> dict[str, tuple[str, bytes]]:
    """Name -> (what becomes of it, bytes): copied, other, or a reason."""
    plain = photo(700, 540, 1, quality=88)
    between = photo(640, 512, 13)
    exif = Image.Exif()
    exif[0x010E] = "words of a camera"
    png = io.BytesIO()
    Image.open(io.BytesIO(plain)).save(png, "PNG")
    found = {
        "plain": ("copied", plain),
        "exif": ("copied", photo(700, 540, 2, exif=exif.tobytes())),
        "turned6": ("copied", with_orientation(photo(720, 560, 3), 6)),
        "turned3": ("copied", with_orientation(photo(720, 560, 4), 3)),
        "progressive": ("copied", photo(800, 600, 5, progressive=True)),
        "restarts": ("copied", photo(704, 544, 6, restart_marker_rows=1)),
        "grey": ("copied", photo(640, 512, 7, mode="L")),
        "whole444": ("copied", photo(640, 512, 8, subsampling=0)),
        "half422": ("copied", photo(640, 512, 9, subsampling=1)),
        "profile": ("copied", photo(640, 512, 16, icc_profile=SRGB)),
        "comment": ("copied", photo(640, 512, 10, comment=b"any words")),
        "trailing": ("copied", plain + b"behind its end" * 9),
        "large": ("copied", photo(3200, 2400, 11)),
        "cmyk": ("other", photo(640, 512, 12, mode="CMYK")),
        "png": ("other", png.getvalue()),
        "no_end": ("other", plain[:-2]),
        "between": ("other", between[:20] + b"\0\0\0" + between[20:]),  # behind JFIF
        "out_of_step": ("other", restarted(photo(704, 544, 14, restart_marker_rows=1))),
        "cut": ("undecodable", plain[: len(plain) * 2 // 3]),
        "cut_ended": ("undecodable", plain[: len(plain) * 2 // 3] + EOI),
        "nearly": ("undecodable", plain[:-12] + EOI),
        "small": ("too_small", photo(320, 240, 15)),
        "again": ("duplicate", plain),
    }
    holed = photo(704, 544, 17, restart_marker_rows=1)
    at = holed.index(b"\xff\xd2") + 20
    found["holed"] = ("undecodable", holed[:at] + holed[at + 40 :])
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A tar of them: as .jpg, whatever they are, with a caption each."""
    path = tmp_path_factory.mktemp("passthrough") / "photos.tar"
    members = []
    for name, (_, data) in images().items():
        members += [(f"{name}.jpg", data), (f"{name}.txt", f"The {name} one.".encode())]
    exported.write_tar(path, members)
    return path


@pytest.fixture(scope="module", params=["reencode", "drop"])
def copied(request, source, tmp_path_factory):
    """(policy, folder, report) of an export by each policy."""
    out = tmp_path_factory.mktemp(request.param) / "out"
    recipe = Recipe(image_mode="passthrough_jpeg", passthrough_other=request.param, shard_size=3)
    report = fastbucket.export(source, out, recipe, Resources(workers=2))
    return request.param, out, report


@pytest.fixture(autouse=True)
def collected():
    yield
    gc.collect()


def by_name(out) -> dict[str, exported.Sample]:
    return {sample.json["image_id"].split("/")[1]: sample for sample in exported.samples(out)}


def test_every_byte_is_the_sources(copied):
    policy, out, report = copied
    found, fates = by_name(out), images()
    there = {"copied"} if policy == "drop" else {"copied", "other"}
    assert set(found) == {name for name, (fate, _) in fates.items() if fate in there}
    for name, sample in found.items():
        fate, data = fates[name]
        assert sample.json["source_sha256"] == hashlib.sha256(data).hexdigest()
        assert (hashlib.sha256(sample.jpg).digest() == hashlib.sha256(data).digest()) == (
            fate == "copied"
        )
    reasons = Counter(fate for fate, _ in fates.values())
    dropped = {reason: reasons[reason] for reason in ("undecodable", "too_small", "duplicate")}
    if policy == "drop":
        dropped["no_plain_jpeg"] = reasons["other"]
    assert report.dropped == dropped
    assert report.scanned == len(fates) == report.exported + sum(dropped.values())


def test_the_json_of_a_copy(copied):
    for sample in by_name(copied[1]).values():
        facts = sample.json
        with Image.open(io.BytesIO(sample.jpg)) as image:
            size, upright = image.size, ImageOps.exif_transpose(image).size
            sampling = JpegImagePlugin.get_sampling(image)
        assert (facts["w"], facts["h"]) == size
        scale = max(facts["target_w"] / facts["source_w"], facts["target_h"] / facts["source_h"])
        assert facts["scale"] == scale <= 1
        if facts["image_mode"] == "reencode_jpeg":
            assert size == (facts["target_w"], facts["target_h"])
            assert facts["jpeg"]["quality"] == 95
            continue
        assert (facts["source_w"], facts["source_h"]) == upright
        assert facts["source_bytes"] == len(sample.jpg)
        assert facts["jpeg"] == {"quality": -1, "subsampling": SAMPLINGS.get(sampling, "")}
        assert [facts[f] for f in ("crop_x", "crop_y", "resized_w", "resized_h")] == [-1] * 4
        wide = facts["target_w"] >= facts["target_h"]
        assert wide == (upright[0] >= upright[1]) or facts["target_w"] == facts["target_h"]
    assert "turned6" in by_name(copied[1])


def test_why_a_sample_is_dropped(copied):
    import pyarrow.parquet as pq

    policy, out, _ = copied
    rows = {r["image_id"].split("/")[1]: r for r in pq.read_table(out / "meta").to_pylist()}
    for name, (fate, _) in images().items():
        kept = fate == "copied" or (fate == "other" and policy == "reencode")
        assert rows[name]["reason"] == ("" if kept else fate.replace("other", "no_plain_jpeg"))
    if policy == "drop":
        flawed = {n for n, row in rows.items() if "flaws" in row["detail"]}
        assert flawed == {"no_end", "between", "out_of_step"}


def test_nothing_that_is_damaged_is_copied(copied):
    """What stands in the shards passes Pillow and libjpeg-turbo's strict decoder, at full size."""
    import simplejpeg

    for sample in by_name(copied[1]).values():
        with Image.open(io.BytesIO(sample.jpg)) as image:
            image.load()
            grey = image.mode == "L"
        simplejpeg.decode_jpeg(sample.jpg, "GRAY" if grey else "RGB", strict=True)


def test_verify_reads_it_back(copied, source):
    for options in ({}, {"fast": True}, {"sources": [source]}):
        found = verify(copied[1], workers=1, **options)
        assert found.problems == []
        assert found.samples == copied[2].exported


def test_verify_finds_what_is_not_so(copied, tmp_path, inline):  # noqa: F811
    policy, out, _ = copied
    copy = Copy(shutil.copytree(out, tmp_path / "out", ignore=shutil.ignore_patterns("index")))
    coding = copy.document()["jpeg"]
    name = copy.edit_json(jpeg={**coding, "subsampling": "4:1:1"})
    named(copy.verify(), copy.path, name.replace("json", "jpg"), "the JSON says 4:1:1")
    copy.edit_json(jpeg=coding)
    assert copy.verify(fast=False).problems == []
    name = copy.edit_json(image_mode="reencode_jpeg")
    found = [p.text for p in copy.verify().problems if p.member == name]
    assert any("passthrough_other is drop" in text for text in found) == (policy == "drop")


# What reads it


def test_webdataset_loads_it(copied):
    import webdataset as wds

    shards = [str(path) for path in exported.shards(copied[1])]
    dataset = wds.WebDataset(shards, shardshuffle=False).decode("pil")
    found = list(dataset.to_tuple("jpg", "txt", "json"))
    assert len(found) == copied[2].exported
    for image, caption, facts in found:
        assert image.size == (facts["w"], facts["h"])
        assert caption.strip() == f"The {facts['image_id'].split('/')[1]} one."


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_loads_it(copied, tmp_path, streaming):
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.load_dataset(
        str(copied[1]), split="train", streaming=streaming, cache_dir=str(tmp_path)
    ).cast_column("jpg", datasets.Image(decode=False))
    wanted = {sample.key: sample.jpg for sample in exported.samples(copied[1])}
    for row in rows:
        assert row["jpg"]["bytes"] == wanted.pop(row["__key__"])
    assert not wanted


def test_the_loader_loads_it(copied):
    loader = fastbucket.Loader(copied[1], batch_size=2, images="pil", shuffle=False)
    sizes = {s.key: (s.json["w"], s.json["h"]) for s in by_name(copied[1]).values()}
    for batch in loader:
        for key, image in zip(batch["__key__"], batch["jpg"], strict=True):
            assert image.size == sizes.pop(key)
    assert not sizes
    with pytest.raises(fastbucket.RunError, match="load them as 'pil'"):
        list(fastbucket.Loader(copied[1], batch_size=2))


def test_report_suspects_card_and_prune(copied, tmp_path, inline):  # noqa: F811
    from fastbucket.overview import page
    from fastbucket.suspects import suspects

    policy, out = copied[0], shutil.copytree(copied[1], tmp_path / "out")
    assert page.write(out).samples == copied[2].exported
    assert suspects(out).samples == copied[2].exported
    card = (out / "README.md").read_text()
    assert "Plain JPEGs are stored as they are in the source" in card
    assert "ignores the EXIF orientation" in card
    assert ("Nothing else is kept" in card) == (policy == "drop")
    assert ("no JPEG that could be stored as it is" in card) == (policy == "drop")
    gone = next(iter(exported.samples(out))).key
    fastbucket.prune(out, [gone], workers=1)
    assert verify(out, workers=1).problems == []


# One by one


def test_the_transcoder_copies_refuses_and_encodes():
    copies = Transcoder(Recipe(image_mode="passthrough_jpeg"))
    strict = Transcoder(Recipe(image_mode="passthrough_jpeg", passthrough_other="drop"))
    encodes = Transcoder(Recipe())
    for name, (fate, data) in images().items():
        if fate == "copied":
            assert copies.transcode(data, name).jpeg == strict.transcode(data, name).jpeg == data
        elif fate == "other":
            assert copies.transcode(data, name).jpeg == encodes.transcode(data, name).jpeg
            with pytest.raises(SampleError) as dropped:
                strict.transcode(data, name)
            assert dropped.value.reason == "no_plain_jpeg"
        elif fate != "duplicate":
            for transcoder in (copies, strict, encodes):
                with pytest.raises(SampleError) as dropped:
                    transcoder.transcode(data, name)
                assert dropped.value.reason == fate, name


def test_without_passthrough_the_policy_does_nothing():
    png = images()["png"][1]
    done = Transcoder(Recipe(passthrough_other="drop")).transcode(png, "x")
    assert done.jpeg == Transcoder(Recipe()).transcode(png, "x").jpeg
