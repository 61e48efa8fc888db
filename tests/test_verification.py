"""Verification: an undamaged export is sound, and every damage is found and named.

Each test damages a copy of one export in one way. Most of them mend size and SHA-256 in the
manifest afterwards, so that the check in question has to find it and not the hash.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import fastbucket
from fastbucket import Recipe, Resources, RunError, verify
from fastbucket.buckets import CHOICES
from fastbucket.kernels.fit import fit
from fastbucket.verification import ShardCheck, Verification, hashed, jpeg, run
from fastbucket.verification.findings import LIMIT, PATH_LIMIT, Findings
from fastbucket.verification.members import Member, members_of
from fastbucket.verification.placement import Placement

Members = list[tuple[str, bytes]]
BLOCK = 512


class Inline:
    """An engine in this process: the same job and tasks without the start of a worker each time."""

    def __init__(
        self, workers: int, setup: Any, timeout: float, say: Callable[[str], None]
    ) -> None:
        self._check = ShardCheck(setup)

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *error: object) -> None: ...

    def map(self, job: str, tasks: Any, progress: Callable[[int], None]) -> Any:
        assert job == "fastbucket.verification:ShardCheck"
        return [(task, self._check(task, progress)) for task in tasks]


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "Local", Inline)


class Copy:
    """A copy of an export, to be damaged."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.manifest = json.loads((out / "manifest.json").read_text())
        shards = [(b, s) for b in self.manifest["buckets"] for s in b["shards"]]
        # The subject of most tests: a full shard that is not alone in its bucket.
        self.bucket, self.shard = next(
            (b, s) for b, s in shards if len(b["shards"]) > 1 and s["count"] > 1
        )
        self.path = self.shard["path"]
        self.other_bucket, self.other = next((b, s) for b, s in shards if b is not self.bucket)
        self.keys = [name[:-4] for name, _ in self.members() if name.endswith(".jpg")]

    def verify(self, fast: bool = True) -> Verification:
        return verify(self.out, fast=fast, workers=1)

    def members(self, path: str = "") -> Members:
        with tarfile.open(self.out / (path or self.path), "r:") as tar:
            return [(m.name, tar.extractfile(m).read()) for m in tar.getmembers()]

    def offsets(self) -> dict[str, tuple[int, int, int]]:
        """Member -> (offset of its header, offset of its content, size)."""
        with tarfile.open(self.out / self.path, "r:") as tar:
            return {m.name: (m.offset, m.offset_data, m.size) for m in tar.getmembers()}

    def write_manifest(self, **fields: Any) -> None:
        self.manifest.update(fields)
        (self.out / "manifest.json").write_text(json.dumps(self.manifest))

    def write(self, data: bytes, path: str = "") -> None:
        """Replace the bytes of a shard; size and hash in the manifest follow."""
        path = path or self.path
        (self.out / path).write_bytes(data)
        for bucket in self.manifest["buckets"]:
            for shard in bucket["shards"]:
                if shard["path"] == path:
                    shard.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        self.write_manifest()

    def repack(self, members: Members, path: str = "", **header: Any) -> None:
        self.write(tar_of(members, **header), path)

    def edit(self, suffix: str, change: Callable[[bytes], bytes], sample: int = 0) -> str:
        """Change one member of a sample; returns its name."""
        name = f"{self.keys[sample]}.{suffix}"
        self.repack([(n, change(b) if n == name else b) for n, b in self.members()])
        return name

    def edit_json(self, sample: int = 0, **fields: Any) -> str:
        def change(raw: bytes) -> bytes:
            return dumped({**json.loads(raw), **fields})

        return self.edit("json", change, sample)

    def document(self, sample: int = 0) -> dict[str, Any]:
        return json.loads(dict(self.members())[f"{self.keys[sample]}.json"])

    def edit_meta(self, change: Callable[[list[dict[str, Any]]], Any]) -> None:
        """Change the rows of meta/ in place, or return the new ones."""
        path = self.out / "meta" / "samples-00000.parquet"
        table = pq.read_table(path)
        rows = table.to_pylist()
        changed = change(rows)
        rows = rows if changed is None else changed
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path)

    def row(self, rows: list[dict[str, Any]], sample: int = 0) -> dict[str, Any]:
        return next(row for row in rows if row["key"] == self.keys[sample])


def tar_of(members: Members, **header: Any) -> bytes:
    """A tar by the rules of the format, but for `header`: fields of TarInfo."""
    blocks = []
    for name, content in members:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for field, value in header.items():
            setattr(info, field, value)
        blocks += [info.tobuf(tarfile.USTAR_FORMAT), content, bytes(-len(content) % BLOCK)]
    return b"".join([*blocks, bytes(2 * BLOCK)])


def dumped(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.fixture
def copy(drawn_export: Any, tmp_path: Path, inline: None) -> Copy:
    """Without its indexes, which may be absent: what is damaged here is not also wrong in those."""
    without = shutil.ignore_patterns("index")
    return Copy(shutil.copytree(drawn_export.out, tmp_path / "out", ignore=without))


def named(found: Verification, path: str, member: str, text: str) -> None:
    """Assert that a problem names this path and member, and says this."""
    assert not found.ok
    words = [p for p in found.problems if (p.path, p.member) == (path, member) and text in p.text]
    assert words, "\n".join(map(str, found.problems))


# Undamaged


@pytest.mark.parametrize("fast", [True, False])
def test_an_undamaged_export_is_sound(drawn_export, fast):
    found = verify(drawn_export.out, fast=fast, workers=2)
    assert found.problems == []
    assert found.ok
    assert found.samples == drawn_export.report.exported
    shards = [s for b in drawn_export.manifest["buckets"] for s in b["shards"]]
    assert (found.shards, found.bytes) == (len(shards), sum(s["bytes"] for s in shards))
    assert found.to_json()["ok"] is True
    json.dumps(found.to_json())


def test_repacking_alone_is_no_damage(copy):
    copy.repack(copy.members())
    assert copy.verify(fast=False).problems == []


RECIPES = {
    "passthrough": Recipe(image_mode="passthrough_jpeg", shard_size=5),
    "next_bucket": Recipe(
        too_small_policy="next_bucket", next_bucket_max_crop=0.6, crop_strategy="corner_jitter",
        carry=("none",), subsampling_policy="adaptive_content",
    ),
    "other": Recipe(
        choice="log_ratio", crop_strategy="center", subsampling_policy="422", quality=80,
        mtime=1234567, carry=("width", "w"), duplicates="keep", base_resolution=256,
        missing_caption_policy="drop",
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=RECIPES)
def other_export(request, drawn, tmp_path_factory) -> Path:
    """Exports of the drawn source by other recipes."""
    out = tmp_path_factory.mktemp(request.param) / "out"
    fastbucket.export(drawn.paths, out, RECIPES[request.param], Resources(workers=1))
    return out


def test_exports_of_other_recipes_are_sound(other_export, inline):
    for fast in (True, False):
        found = verify(other_export, fast=fast)
        assert found.problems == []
        assert found.samples


@pytest.mark.parametrize("other_export", ["passthrough"], indirect=True)
def test_a_passthrough_export_holds_the_bytes_of_its_source(other_export, tmp_path, inline):
    copy = Copy(shutil.copytree(other_export, tmp_path / "out"))
    name = copy.edit("jpg", lambda raw: raw[:-2] + b"\xff\xfe\0\2\xff\xd9")
    found = copy.verify()
    named(found, copy.path, name, "is not the source's bytes")
    named(found, copy.path, name, "bytes, the source")
    name = copy.edit_json(sample=1, crop_x=0, w=copy.document(1)["w"] + 1)
    found = copy.verify()
    named(found, copy.path, name, "crop_x is 0, not -1")
    named(found, copy.path, name[:-4] + "jpg", "the JSON says")


def test_an_export_of_nothing_is_sound(copy):
    def drop(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row.update(key="", reason="too_small", shard=-1, position=-1)

    copy.edit_meta(drop)
    shutil.rmtree(copy.out / "buckets")
    counts = {"exported": 0, "dropped": {"too_small": copy.manifest["source"]["samples"]}}
    copy.write_manifest(buckets=[], counts=counts, caption_sources=[])
    assert copy.verify().problems == []


def test_processes_find_what_one_process_finds(copy, monkeypatch):
    copy.edit_json(crop_x=9999)
    copy.write(b"no tar at all" * 100, copy.other["path"])
    inline = copy.verify(fast=False)
    monkeypatch.undo()
    found = verify(copy.out, workers=2)
    assert (found.problems, found.more) == (inline.problems, inline.more)
    assert not found.ok


def test_progress_counts_every_sample(copy):
    class Counter:
        total = done = 0

        def phase(self, name: str, total: int, unit: str) -> None:
            self.total = total

        def advance(self, n: int) -> None:
            self.done += n

        def say(self, text: str) -> None: ...

    counter = Counter()
    found = verify(copy.out, fast=True, progress=counter)
    assert counter.done == counter.total == found.samples


def test_workers_start_without_heavy_libraries():
    code = (
        "import sys, fastbucket.verification\n"
        "print([m for m in ('numpy', 'pyarrow', 'numba', 'pyvips', 'simplejpeg')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("policy", ["drop", "next_bucket"])
def test_choice_agrees_with_the_kernel(choice, policy):
    """Written twice, in integers of Python and in the kernel of the plan: they must agree."""
    recipe = Recipe(choice=choice, too_small_policy=policy, next_bucket_max_crop=0.3)
    placement = Placement(recipe)
    family = fastbucket.Transcoder(recipe).buckets
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 1500, (1500, 2)).astype(np.int32)
    sizes = np.concatenate([sizes, np.array([[640, 480], [480, 640], [512, 512]], np.int32)])
    index, fits = fit(
        sizes[:, 0].copy(), sizes[:, 1].copy(), family, choice, policy == "next_bucket", 0.3
    )
    expected = [(family[i],) if f else () for i, f in zip(index, fits, strict=True)]
    chosen = [placement.chosen(fastbucket.geometry.Size(int(w), int(h))) for w, h in sizes]
    assert chosen == expected
    assert any(chosen)
    assert not all(chosen)


# Where it cannot begin


def test_what_is_no_export_is_refused(tmp_path):
    with pytest.raises(RunError, match="is no folder"):
        verify(tmp_path / "absent")
    with pytest.raises(RunError, match=r"no manifest.json: the export is not complete"):
        verify(tmp_path)
    for text, words in [
        ("{", "is no JSON"),
        ("\xff", "is no JSON"),
        ("[" * 200_000, "is no JSON"),
        ("[]", "is no manifest"),
        ('{"format": "other"}', "its format is 'other'"),
        ('{"format": 1, "format": 2}', "keys that stand there twice: format"),
    ]:
        (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
        with pytest.raises(RunError, match=words):
            verify(tmp_path)
    with pytest.raises(RunError, match="negative"):
        verify(tmp_path, workers=-1)


def test_a_manifest_of_nothing_but_its_format_is_all_problems(tmp_path):
    (tmp_path / "manifest.json").write_text('{"format": "bucketed_shards_v1"}')
    found = verify(tmp_path, workers=1)
    named(found, "manifest.json", "", "recipe is missing")
    named(found, "README.md", "", "is missing")


# Bits


def test_any_flipped_bit_of_a_shard_is_found(copy):
    """In headers, JPEG, caption, JSON, padding and end: 100 places, and the special ones."""
    path = copy.out / copy.path
    sound = path.read_bytes()
    places = [0, 5, 110, 130, 150, 156, 260, 511, len(sound) - 1, len(sound) - 2 * BLOCK]
    for header, content, size in copy.offsets().values():
        places += [header, content, content + size // 2, content + size - 1]
        if size % BLOCK:
            places.append(content + size)  # the first byte of the padding
    rng = random.Random(0)
    places += [rng.randrange(len(sound)) for _ in range(40)]
    for at in places:
        flipped = bytearray(sound)
        flipped[at] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        named(copy.verify(), copy.path, "", "SHA-256 is")
    path.write_bytes(sound)
    assert copy.verify().ok


def test_flipped_bits_are_named_by_their_member_where_the_structure_tells(copy):
    sound = (copy.out / copy.path).read_bytes()
    offsets = copy.offsets()
    name = f"{copy.keys[0]}.txt"
    header, content, size = offsets[name]

    def flip(at: int) -> Verification:
        flipped = bytearray(sound)
        flipped[at] ^= 4
        copy.write(bytes(flipped))
        return copy.verify()

    named(flip(content + size + 9), copy.path, name, "padding")
    found = flip(header + 3)  # a damaged header: the rest of the shard is still read
    named(found, copy.path, "", f"no whole member at byte {header}: bad checksum; went on")
    named(found, copy.path, copy.keys[0], "members jpg, json side by side")
    assert found.samples == copy.verify().samples
    named(flip(len(sound) - 700), copy.path, "", "where exactly 1024 zeros belong")


@pytest.mark.parametrize("keep", [0, 1, 511, 512, 700, 0.3, 0.5, 0.9, -1, -512, -1024, -1500])
def test_a_shard_that_ends_early(copy, keep):
    sound = (copy.out / copy.path).read_bytes()
    kept = int(len(sound) * keep) if isinstance(keep, float) else keep
    (copy.out / copy.path).write_bytes(sound[:kept])
    found = copy.verify()
    named(found, copy.path, "", "the manifest says")
    named(found, copy.path, "", "where exactly 1024 zeros belong")
    copy.write(sound[:kept])
    assert not copy.verify().ok


@pytest.mark.parametrize(
    "data", [b"", b"x", b"x" * 5000, bytes(BLOCK), bytes(5000), b"\xff" * 5120, b"0" * 1024]
)
def test_a_shard_that_is_no_tar(copy, data):
    copy.write(data)
    found = copy.verify()
    named(found, copy.path, "", "number of samples is 0")
    named(found, copy.path, copy.keys[0], "places it here, and it is in no shard")


# Members


MEMBER_DAMAGE: dict[str, Callable[[Members], Members]] = {
    "txt, json": lambda m: m[1:],
    "jpg, json": lambda m: m[:1] + m[2:],
    "jpg, txt": lambda m: m[:2] + m[3:],
    "jpg, json, txt": lambda m: [m[0], m[2], m[1], *m[3:]],
    "txt, jpg, json": lambda m: [m[1], m[0], *m[2:]],
    "jpg, txt, json, cls": lambda m: [*m[:3], (m[0][0][:-3] + "cls", b"1"), *m[3:]],
    "jpg, txt, txt, json": lambda m: [*m[:2], m[1], *m[2:]],
    "jpg, txt ": lambda m: [*m[:2], m[3], m[2], *m[4:]],  # the next sample's jpg stands between
    "JPG, txt, json": lambda m: [(m[0][0][:-3] + "JPG", m[0][1]), *m[1:]],
}


@pytest.mark.parametrize("there", MEMBER_DAMAGE)
def test_members_missing_extra_or_out_of_order(copy, there):
    copy.repack(MEMBER_DAMAGE[there](copy.members()))
    named(copy.verify(), copy.path, copy.keys[0], f"members {there.strip()} side by side")


def test_a_sample_too_few(copy):
    copy.repack(copy.members()[3:])
    found = copy.verify()
    named(found, copy.path, "", f"number of samples is {len(copy.keys) - 1}")
    named(found, copy.path, copy.keys[0], "it is in no shard")
    named(found, copy.path, copy.keys[1], "is elsewhere than meta says: at 0, not at 1")


def test_samples_in_another_order(copy):
    members = copy.members()
    copy.repack(members[3:6] + members[:3] + members[6:])
    named(copy.verify(), copy.path, copy.keys[0], "is elsewhere than meta says: at 1, not at 0")


def test_a_sample_twice_in_a_shard(copy):
    members = copy.members()
    copy.repack(members + members[:3])
    found = copy.verify()
    named(found, copy.path, copy.keys[0], "its key is not unique")
    named(found, copy.path, "", "number of samples is")


def test_a_sample_in_two_buckets(copy):
    copy.repack(copy.members(copy.other["path"]) + copy.members()[:3], copy.other["path"])
    found = copy.verify()
    name, key = f"{copy.keys[0]}.json", copy.keys[0]
    named(found, copy.other["path"], name, f"bucket_id is {copy.bucket['bucket_id']}, and it")
    paths = {p.path for p in found.problems if p.member == key and "not unique" in p.text}
    assert len(paths) == 1


def test_a_foreign_sample_that_claims_to_belong(copy):
    """Its JSON says the right bucket; size of the source, crop and JPEG give it away."""
    foreign = copy.members(copy.other["path"])[:3]
    key = foreign[0][0][:-4]
    document = json.loads(foreign[2][1])
    document.update(
        {n: copy.document()[n] for n in ("bucket_id", "target_w", "target_h", "w", "h")}
    )
    foreign[2] = foreign[2][0], dumped(document)
    copy.repack(foreign + copy.members()[3:])
    found = copy.verify()
    named(found, copy.path, f"{key}.json", f"sends {document['source_w']}x{document['source_h']}")
    named(found, copy.path, f"{key}.jpg", "pixels, the JSON says")


def test_members_under_another_key(copy):
    key = hashlib.sha256(b"another").hexdigest()
    members = [(n.replace(copy.keys[0], key), b) for n, b in copy.members()]
    copy.repack(members)
    found = copy.verify()
    named(found, copy.path, f"{key}.json", f"has the key {copy.keys[0]}, not its member's")
    named(found, copy.path, key, "has no row in meta")
    copy.repack([(n.replace(key, "photo-1"), b) for n, b in members])
    named(copy.verify(), copy.path, "photo-1.json", "not its member's")


# Headers


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("mode", 0o600, "mode 0600, not 0644"),
        ("uid", 1000, "owner 1000:0"),
        ("gid", 5, "owner 0:5"),
        ("uname", "root", "root:, not 0:0 without names"),
        ("gname", "wheel", ":wheel, not 0:0 without names"),
        ("mtime", 1, "mtime 1, the recipe says 0"),
        ("linkname", "x", "a link, device or prefix"),
    ],
)
def test_header_fields(copy, field, value, text):
    copy.repack(copy.members(), **{field: value})
    named(copy.verify(), copy.path, f"{copy.keys[0]}.jpg", text)


@pytest.mark.parametrize("mtime", [0, 1_700_000_000])
def test_fast_finds_in_headers_what_tarfile_finds(tmp_path, mtime):
    """Headers as expected are not shown to tarfile: whichever byte differs, the words agree."""
    names = [f"{'ab' * 32}.{suffix}" for suffix in ("jpg", "txt", "json")]
    sound = tar_of([(names[0], b"x" * 700), (names[1], b"\n"), (names[2], b"")], mtime=mtime)
    rng = random.Random(6)

    def read(data: bytes, fast: bool) -> tuple[list[Member], list[tuple[str, str]]]:
        (tmp_path / "tar").write_bytes(data)
        notes: list[tuple[str, str]] = []
        with hashed.HashedFile(tmp_path / "tar") as file:
            members = members_of(file, mtime, lambda *note: notes.append(note), fast)
            return list(members), notes

    assert read(sound, True) == read(sound, False)
    assert read(sound, True)[1] == []
    for at in [*range(BLOCK), *rng.sample(range(BLOCK, len(sound)), 200)]:
        data = bytearray(sound)
        data[at] = rng.choice([n for n in (0, 32, 48, 49, 55, 56, 255) if n != data[at]])
        if at % 2 and at < BLOCK:  # the checksum put right: another check has to find it
            data[148:156] = b" " * 8
            data[148:156] = b"%06o\0 " % sum(data[:BLOCK])
        assert read(bytes(data), True) == read(bytes(data), False), at


def test_a_header_that_is_not_ustar(copy):
    data = bytearray(tar_of(copy.members()))
    gnu = tarfile.TarInfo.frombuf(bytes(data[:BLOCK]), "utf-8", "strict")
    data[:BLOCK] = gnu.tobuf(tarfile.GNU_FORMAT)
    copy.write(bytes(data))
    named(copy.verify(), copy.path, f"{copy.keys[0]}.jpg", "not ustar's")


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (99, "behind the end of a name"),
        (296, "behind the end of a name"),
        (330, "device or prefix"),
        (511, "device or prefix"),
    ],
)
def test_a_header_with_bytes_that_tarfile_does_not_show(copy, at, text):
    data = bytearray(tar_of(copy.members()))
    data[at] = ord("x")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:BLOCK])
    copy.write(bytes(data))
    named(copy.verify(), copy.path, f"{copy.keys[0]}.jpg", text)


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.XHDTYPE, b"L", b"S"])
def test_a_member_that_is_no_plain_file(copy, kind):
    info = tarfile.TarInfo("extra")
    info.type = kind
    data = tar_of(copy.members())
    copy.write(info.tobuf(tarfile.USTAR_FORMAT) + data)
    found = copy.verify()
    named(found, copy.path, "", f"no whole member at byte 0: a header of type {kind!r}")
    assert len(found.problems) == 1


@pytest.mark.parametrize("size", [1 << 40, (1 << 33) - 1])
def test_a_member_that_claims_more_than_there_is(copy, size):
    info = tarfile.TarInfo(f"{copy.keys[0]}.jpg")
    info.size = size
    data = bytearray(tar_of(copy.members()))
    data[:BLOCK] = info.tobuf(tarfile.GNU_FORMAT)
    copy.write(bytes(data))
    found = copy.verify()
    named(found, copy.path, "", f"is to have {size} bytes, and the file ends after")
    named(found, copy.path, copy.keys[0], "members txt, json side by side")


@pytest.mark.parametrize("blocks", [0, 1, 3, 18])
def test_another_end(copy, blocks):
    copy.write(tar_of(copy.members())[: -2 * BLOCK] + bytes(blocks * BLOCK))
    named(copy.verify(), copy.path, "", f"ends with {blocks * BLOCK} bytes behind")


def test_a_second_archive_behind_the_end(copy):
    copy.write(tar_of(copy.members()[:3]) + tar_of(copy.members()[3:]))
    named(copy.verify(), copy.path, "", "where exactly 1024 zeros belong")


# Files


def test_a_missing_shard(copy):
    (copy.out / copy.path).unlink()
    found = copy.verify()
    named(found, copy.path, "", "is missing; manifest.json lists it")
    named(found, copy.path, copy.keys[0], "it is in no shard that could be read")
    assert len(found.problems) <= 3


@pytest.mark.parametrize("name", ["shard-000099.tar", ".shard-000000.tar.tmp", "notes.txt"])
def test_an_extra_file(copy, name):
    path = f"buckets/{copy.bucket['bucket_id']}/{name}"
    shutil.copy(copy.out / copy.path, copy.out / path)
    named(copy.verify(), path, "", "is not in manifest.json")


def test_shards_exchanged(copy):
    first, second = copy.path, copy.bucket["shards"][1]["path"]
    (copy.out / first).rename(copy.out / "x")
    (copy.out / second).rename(copy.out / first)
    (copy.out / "x").rename(copy.out / second)
    found = copy.verify()
    named(found, first, "", "SHA-256 is")
    named(found, second, "", "SHA-256 is")


def test_a_folder_in_the_place_of_a_shard(copy):
    (copy.out / copy.path).unlink()
    (copy.out / copy.path).mkdir()
    named(copy.verify(), copy.path, "", "is missing")


def test_a_missing_card(copy):
    (copy.out / "README.md").unlink()
    named(copy.verify(), "README.md", "", "is missing")


# The manifest


def shard_of(m: dict[str, Any]) -> dict[str, Any]:
    return next(b for b in m["buckets"] if len(b["shards"]) > 1)["shards"][0]


MANIFEST_DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "software is missing": lambda m: m.pop("software"),
    "extra does not belong here": lambda m: m.update(extra=1),
    "keys in the order format, created_at, export_id, base_resolution, image_codec": lambda m: (
        m.update(divisible=m.pop("divisible"))
    ),
    "base_resolution is 1024, the recipe says 512": lambda m: m.update(base_resolution=1024),
    "divisible is 64, the recipe says 32": lambda m: m.update(divisible=64),
    "image_codec is ": lambda m: m["image_codec"].update(quality=90),
    "crop is ": lambda m: m["crop"].update(allowed_corners=[0]),
    "missing_caption_policy is 'drop'": lambda m: m.update(missing_caption_policy="drop"),
    "too_small_policy is 'next_bucket'": lambda m: m.update(too_small_policy="next_bucket"),
    "export_settings is ": lambda m: m["export_settings"].update(shard_size=3),
    "proto_buckets_1024 is ": lambda m: m["proto_buckets_1024"].pop(),
    "recipe: quality: 101 is not between": lambda m: m["recipe"].update(quality=101),
    "recipe.quality is str '95', not an integer": lambda m: m["recipe"].update(quality="95"),
    "recipe: choice is missing": lambda m: m["recipe"].pop("choice"),
    "recipe: speed does not belong here": lambda m: m["recipe"].update(speed=9),
    "recipe is int 7, not an object": lambda m: m.update(recipe=7),
    "created_at is null, not text": lambda m: m.update(created_at=None),
    "export_id is 'xyz'": lambda m: m.update(export_id="xyz"),
    "samples scanned, but": lambda m: m["source"].update(samples=m["source"]["samples"] + 1),
    "the splits have": lambda m: m["source"]["splits"].update(val=3),
    "source.samples is float": lambda m: m["source"].update(samples=60.0),
    "counts.exported is": lambda m: m["counts"].update(exported=m["counts"]["exported"] - 1),
    "'tired' is no reason": lambda m: m["counts"]["dropped"].update(tired=1),
    "counts.dropped: 0 of": lambda m: m["counts"]["dropped"].update(no_caption=0),
    "stands there twice": lambda m: m["buckets"].append(m["buckets"][0]),
    "'p1x1' stands there twice, or": lambda m: m["buckets"][0].update(bucket_id="p1x1"),
    "target 256x": lambda m: m["buckets"][-1].update(target_w=256),
    "its shards have": lambda m: m["buckets"][0].update(count=7),
    "has no samples": lambda m: m["buckets"][0].update(count=0, shards=[]),
    "is not the last: 2 belong": lambda m: shard_of(m).update(count=1),
    "not 1 to 2": lambda m: m["buckets"][0]["shards"][-1].update(count=3),
    "not buckets/": lambda m: shard_of(m).update(path="buckets/../../etc/passwd"),
    "buckets[0].shards[0].bytes is": lambda m: m["buckets"][0]["shards"][0].update(bytes="1"),
    "captions of id 1, the shards": lambda m: m["caption_sources"][0].update(count=1),
    "a source without id, variant": lambda m: m["caption_sources"][0].update(variant=""),
    "an id stands there twice": lambda m: m["caption_sources"].append(m["caption_sources"][0]),
    "captions of id 1": lambda m: m.update(caption_sources=[]),
    "caption_priority[0].variant is": lambda m: m["caption_priority"][0].update(variant=0),
}


@pytest.mark.parametrize("text", MANIFEST_DAMAGE)
def test_an_edited_manifest(copy, text):
    MANIFEST_DAMAGE[text](copy.manifest)
    copy.write_manifest()
    named(copy.verify(), "manifest.json", "", text)


def test_a_recipe_of_another_version_may_know_less(copy):
    del copy.manifest["recipe"]["decoder"]
    copy.write_manifest()
    named(copy.verify(), "manifest.json", "", "recipe: decoder is missing")
    copy.manifest["software"]["fastbucket"] = "0.0.1"
    copy.write_manifest()
    assert copy.verify().problems == []


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("sha256", "0" * 64, "SHA-256 is"),
        ("bytes", 1024, "the manifest says 1024"),
        ("count", 1, "number of samples is 2, the manifest says 1"),
    ],
)
def test_a_manifest_that_disagrees_with_a_shard(copy, field, value, text):
    copy.shard[field] = value
    copy.write_manifest()
    named(copy.verify(), copy.path, "", text)


# The JSON of a sample


def grown(d: dict[str, Any], name: str, by: int = 1) -> dict[str, Any]:
    return {name: d[name] + by}


JSON_DAMAGE: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "has the key": lambda d: {"image_id": d["image_id"] + "0"},
    "w is": lambda d: grown(d, "w"),
    "h is": lambda d: grown(d, "h"),
    "w is float": lambda d: {"w": float(d["w"])},
    "w is null": lambda d: {"w": None},
    "w is bool": lambda d: {"w": True},
    "image_mode is 'passthrough_jpeg'": lambda d: {"image_mode": "passthrough_jpeg"},
    "jpeg is": lambda d: {"jpeg": {**d["jpeg"], "quality": 94}},
    "jpeg is {'quality': 95, 'subsampling': '4:1:1'}": lambda d: {
        "jpeg": {**d["jpeg"], "subsampling": "4:1:1"}
    },
    "jpeg: quality is missing": lambda d: {"jpeg": {"subsampling": "4:4:4"}},
    "jpeg.quality is str": lambda d: {"jpeg": {**d["jpeg"], "quality": "95"}},
    "bucket_id is p512x2048": lambda d: {"bucket_id": "p512x2048"},
    "target_w is": lambda d: grown(d, "target_w", 32),
    "target_h is": lambda d: grown(d, "target_h", 32),
    "scale is": lambda d: {"scale": d["scale"] - 1e-15},
    "scale is int": lambda d: {"scale": 1},
    "crop_x is": lambda d: grown(d, "crop_x"),
    "crop_y is": lambda d: grown(d, "crop_y"),
    "resized_w is": lambda d: grown(d, "resized_w"),
    "resized_h is": lambda d: grown(d, "resized_h"),
    "than its row in meta": lambda d: {"source_split": "val"},
    "is not that of": lambda d: {"source_archive": "another"},
    "is not that of ": lambda d: {"source_member": "another.jpg"},
    "sends": lambda d: grown(d, "source_w", d["source_w"]),
    "would need upsampling": lambda d: {"source_w": 300, "source_h": 200},
    "source of 0x": lambda d: {"source_w": 0},
    "pixels, the recipe allows": lambda d: {"source_w": 10**9},
    "source_bytes is 0": lambda d: {"source_bytes": 0},
    "than its row in meta ": lambda d: grown(d, "source_bytes"),
    "source_sha256 is 'abc'": lambda d: {"source_sha256": "abc"},
    "source_sha256 is": lambda d: {"source_sha256": d["source_sha256"].upper()},
    "class_id is str": lambda d: {"class_id": "7"},
    "no scalar": lambda d: {"width": [1]},
    "width is of type NoneType, no scalar": lambda d: {"width": None},
    "w is beyond 64 bits": lambda d: {"w": 10**4000},
    "can't encode character": lambda d: {"image_id": "\ud800"},
    "can't encode": lambda d: {"filename": "\udfff"},
}


@pytest.mark.parametrize("text", JSON_DAMAGE)
def test_a_json_that_is_wrong(copy, text):
    change = JSON_DAMAGE[text](copy.document())
    document = {**copy.document(), **change}
    raw = json.dumps(document, separators=(",", ":")).encode()
    name = copy.edit("json", lambda old: raw)
    found = copy.verify()
    member = name if "meta" not in text else copy.keys[0]
    named(found, copy.path, member, text.strip())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda raw: b"", "Expecting value"),
        (lambda raw: raw[:-1], "Expecting"),
        (lambda raw: b"[1]", "is no JSON object"),
        (lambda raw: b"[" * 100_000, "is nested without end"),
        (lambda raw: raw.replace(b'"scale":', b'"scale":NaN,"x":'), "NaN is no JSON"),
        (lambda raw: raw.replace(b'"w":', b'"w":1,"w":'), "keys that stand there twice: w"),
        (lambda raw: raw.replace(b'"class_name":"', b'"class_name":"\xff'), "can't decode"),
        (lambda raw: raw.replace(b'"target_w"', b'"width_of_target"'), "target_w is missing"),
        (lambda raw: b'{"extra":1,' + raw[1:], "stand elsewhere than behind class_name"),
        (lambda raw: dumped(dict(sorted(json.loads(raw).items()))), "in the order"),
        (lambda raw: raw[:-1] + b',"extra":1}', "carried fields stand elsewhere"),
    ],
)
def test_a_json_of_another_shape(copy, change, text):
    name = copy.edit("json", change)
    named(copy.verify(), copy.path, name, text)


@pytest.mark.parametrize("value", ["7", 7.5])
def test_carried_fields_are_the_same_everywhere(copy, value):
    copy.edit_json(width=value)
    named(copy.verify(), copy.path, copy.keys[0], "carries other fields")
    copy.edit(
        "json", lambda raw: dumped({k: v for k, v in json.loads(raw).items() if k != "width"})
    )
    named(copy.verify(), copy.path, copy.keys[0], "carries other fields")


def test_carried_fields_are_those_of_the_recipe(copy):
    copy.manifest["recipe"]["carry"] = ["width", "w", "label"]
    copy.write_manifest()
    named(copy.verify(), "buckets", "", "the recipe says ['width', 'source_source_w']")


# Captions


def sample_with_caption(copy: Copy, captioned: bool) -> int:
    for bucket in copy.manifest["buckets"]:
        for shard in bucket["shards"]:
            members = copy.members(shard["path"])
            for at in range(0, len(members), 3):
                if (len(members[at + 1][1]) > 1) == captioned:
                    copy.bucket, copy.shard, copy.path = bucket, shard, shard["path"]
                    copy.keys = [name[:-4] for name, _ in members[::3]]
                    return at // 3
    raise AssertionError("no such sample")


@pytest.mark.parametrize(
    ("captioned", "fields", "text"),
    [
        (True, {"caption_variant": "caption_other"}, "is none of caption_source"),
        (True, {"caption_selector_index": 1}, "caption_source is at 0 of caption_priority"),
        (True, {"caption_source_id": 2}, "caption_source_id 2 is no source of"),
        (False, {"caption_source_id": 1}, "no caption_variant, and index -1 and source id 1"),
        (False, {"caption_selector_index": 0}, "no caption_variant, and index 0"),
        (False, {"caption_variant": "caption_source"}, "caption_selector_index is -1"),
    ],
)
def test_caption_fields(copy, captioned, fields, text):
    name = copy.edit_json(sample_with_caption(copy, captioned), **fields)
    named(copy.verify(), copy.path, name, text)


@pytest.mark.parametrize(
    ("captioned", "content", "text"),
    [
        (True, b"\n", "holds '', and caption_variant is 'caption_source'"),
        (False, b"A caption.\n", "holds 'A caption.', and caption_variant is ''"),
        (True, b"A caption.", "ends in b'on.', not in exactly one newline"),
        (True, b"A caption.\n\n", "not in exactly one newline"),
        (True, b"A caption.\r\n", "not in exactly one newline"),
        (False, b"", "not in exactly one newline"),
        (True, b"Caf\xe9.\n", "can't decode"),
    ],
)
def test_caption_texts(copy, captioned, content, text):
    name = copy.edit("txt", lambda old: content, sample_with_caption(copy, captioned))
    named(copy.verify(), copy.path, name, text)


def test_no_sample_without_caption_where_they_were_to_be_dropped(copy):
    copy.manifest["recipe"]["missing_caption_policy"] = "drop"
    copy.write_manifest(missing_caption_policy="drop")
    sample = sample_with_caption(copy, False)
    named(copy.verify(), copy.path, f"{copy.keys[sample]}.json", "has no caption")


# The JPEG


def pillow(raw: bytes, **options: Any) -> bytes:
    image, out = Image.open(io.BytesIO(raw)), io.BytesIO()
    image.load()
    for field in ("size", "mode"):
        wanted = options.pop(field, getattr(image, field))
        image = image.resize(wanted) if field == "size" else image.convert(wanted)
    image.save(out, "jpeg", **{"quality": 95, "subsampling": "4:4:4", **options})
    return out.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def behind_jfif(raw: bytes, added: bytes) -> bytes:
    end = 4 + int.from_bytes(raw[4:6], "big")
    return raw[:end] + added + raw[end:]


def without_scan(raw: bytes) -> bytes:
    return raw[: raw.index(b"\xff\xda")] + b"\xff\xd9"


JPEG_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "is no JPEG": lambda raw: b"\x89PNG\r\n\x1a\n" + raw,
    "is no JPEG ": lambda raw: b"",
    "has the sampling factors": lambda raw: pillow(raw, subsampling=2 if chroma(raw) == 1 else 0),
    "has the sampling factors 2x1 1x1 1x1": lambda raw: pillow(raw, subsampling="4:2:2"),
    "has the sampling factors 1x1, the JSON": lambda raw: pillow(raw, mode="L"),
    "carries EXIF": lambda raw: behind_jfif(raw, segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0")),
    "carries an ICC profile": lambda raw: behind_jfif(raw, segment(0xE2, b"ICC_PROFILE\0\1\1")),
    "no JFIF segment": lambda raw: raw[:2] + raw[4 + int.from_bytes(raw[4:6], "big") :],
    "frame 0xC2 of 8 bit, not baseline": lambda raw: pillow(raw, progressive=True),
    "has bytes between the segments": lambda raw: behind_jfif(raw, b"junk"),
    "has no scan": without_scan,
    "ends in": lambda raw: raw[:-2],
    "ends in 0000, not": lambda raw: raw + b"\0\0",
    "is of 64x64 pixels, the JSON says": lambda raw: pillow(raw, size=(64, 64)),
    "is of 0x0 pixels": lambda raw: raw[:30],
}


def chroma(raw: bytes) -> int:
    """1 for 4:4:4, else 2: the horizontal sampling factor of the luma."""
    at = raw.index(b"\xff\xc0")
    return raw[at + 11] >> 4


@pytest.mark.parametrize("text", JPEG_DAMAGE)
def test_a_jpeg_that_is_wrong_is_seen_without_decoding(copy, text):
    name = copy.edit("jpg", JPEG_DAMAGE[text])
    named(copy.verify(), copy.path, name, text.strip())


def test_a_jpeg_of_another_quality(copy):
    chosen = {1: "4:4:4", 2: "4:2:0"}
    copy.edit("jpg", lambda raw: pillow(raw, quality=60, subsampling=chosen[chroma(raw)]))
    named(copy.verify(), copy.path, copy.keys[0], "has other quantization tables")


def test_pixels_that_are_cut_are_seen_by_decoding_alone(copy):
    name = copy.edit("jpg", lambda raw: raw[: len(raw) // 2] + b"\xff\xd9")
    assert copy.verify(fast=True).ok
    named(copy.verify(fast=False), copy.path, name, "cannot be decoded")


def test_lying_dimensions_are_not_decoded(copy, monkeypatch):
    def lie(raw: bytes) -> bytes:
        at = raw.index(b"\xff\xc0") + 5
        return raw[:at] + b"\xff\xdc\xff\xdc" + raw[at + 4 :]

    name = copy.edit("jpg", lie)
    monkeypatch.setattr("simplejpeg.decode_jpeg", None)
    copy.manifest["buckets"] = [copy.bucket]
    copy.bucket["shards"] = [copy.shard]
    only = [(n, b) for n, b in copy.members() if n.startswith(copy.keys[0])]
    copy.repack(only)
    named(copy.verify(fast=False), copy.path, name, "is of 65500x65500 pixels")


# meta/


def dropped(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if row["reason"] == "too_small")


META_DAMAGE: dict[str, Callable[[Copy, list[dict[str, Any]]], Any]] = {
    "59 rows, the manifest has 60": lambda c, rows: rows.remove(c.row(rows)),
    "6 dropped as 'too_small', the manifest says 7": lambda c, rows: rows.remove(dropped(rows)),
    "61 rows": lambda c, rows: rows.append(dropped(rows)),
    "8 dropped as 'too_small'": lambda c, rows: c.row(rows).update(reason="too_small"),
    "42 kept, the manifest says 43": lambda c, rows: c.row(rows).update(reason="too_small"),
    "'tired' is no reason": lambda c, rows: dropped(rows).update(reason="tired"),
    "splits": lambda c, rows: dropped(rows).update(source_split="val"),
}


@pytest.mark.parametrize("text", META_DAMAGE)
def test_meta_rows_that_do_not_add_up(copy, text):
    copy.edit_meta(lambda rows: META_DAMAGE[text](copy, rows))
    named(copy.verify(), "meta", "", text)


SHARD_META_DAMAGE: dict[str, Callable[[Copy, list[dict[str, Any]]], Any]] = {
    "has no row in meta": lambda c, rows: rows.remove(c.row(rows)),
    "has no row in meta ": lambda c, rows: c.row(rows).update(key="0" * 64),
    "is elsewhere than meta says: at 0, not at 1": lambda c, r: c.row(r).update(position=1),
    "is elsewhere than meta says": lambda c, rows: c.row(rows).update(shard=1),
    "is elsewhere than": lambda c, rows: c.row(rows).update(bucket_id="p512x2048"),
    "names another source": lambda c, rows: c.row(rows).update(source_bytes=1),
    "names another source ": lambda c, rows: c.row(rows).update(source_w=1),
    "names another source  ": lambda c, rows: c.row(rows).update(source_member="x.jpg"),
}


@pytest.mark.parametrize("text", SHARD_META_DAMAGE)
def test_meta_rows_that_disagree_with_a_shard(copy, text):
    copy.edit_meta(lambda rows: SHARD_META_DAMAGE[text](copy, rows))
    named(copy.verify(), copy.path, copy.keys[0], text.strip())


def test_meta_rows_that_disagree_with_themselves(copy):
    path = "meta/samples-00000.parquet"
    names = {}

    def change(rows: list[dict[str, Any]]) -> None:
        names["twice"] = copy.row(rows)["image_id"]
        names["dropped"] = dropped(rows)["image_id"]
        dropped(rows).update(shard=0)
        rows.append(copy.row(rows))

    copy.edit_meta(change)
    found = copy.verify()
    named(found, path, names["twice"], "has more than one row")
    named(found, path, names["dropped"], "is dropped, and has a key or a place")
    copy.edit_meta(lambda rows: copy.row(rows).update(image_id="another"))
    named(copy.verify(), path, "another", "its key is not that of its image_id")


def test_meta_files(copy):
    path = copy.out / "meta" / "samples-00000.parquet"
    sound = path.read_bytes()
    name = "meta/samples-00000.parquet"
    (copy.out / "meta" / "notes.txt").touch()
    named(copy.verify(), "meta/notes.txt", "", "does not belong here")
    for damaged in (b"", b"PAR1", sound[:-9], sound[: len(sound) // 2], bytes(len(sound))):
        path.write_bytes(damaged)
        named(copy.verify(), name, "", "cannot be read")
    path.write_bytes(sound)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["detail"]), path)
    named(copy.verify(), name, "", "columns are off: [('detail', 'string')]")
    nulls = pa.nulls(table.num_rows, pa.string())
    pq.write_table(table.set_column(11, "detail", nulls), path)
    named(copy.verify(), name, "", "column detail has 60 nulls")
    shutil.rmtree(copy.out / "meta")
    named(copy.verify(), "meta", "", "no file in it")


# The list of problems


def test_thousands_of_problems_are_bounded_and_counted():
    found = Findings()
    for number in range(5 * LIMIT):
        found.add(f"shard {number // 1000}", f"{number}.jpg", "x" * 10_000)
    assert len(found.problems) == min(LIMIT, 5 * PATH_LIMIT)
    assert found.more == 5 * LIMIT - len(found.problems)
    assert max(len(problem.text) for problem in found.problems) < 500


def test_names_from_damaged_files_are_printable(copy):
    copy.repack([(n.replace(copy.keys[0], "a\n\x1b[31m\udcff"), b) for n, b in copy.members()])
    found = copy.verify()
    assert not found.ok
    for problem in found.problems:
        assert str(problem).isprintable()
        str(problem).encode()


# Reading


def test_a_jpeg_that_begins_like_another_has_its_header(copy):
    """What is remembered of headers is what reading them again says, whatever was changed."""
    reader, rng = jpeg.Reader(), random.Random(3)
    images = [content for name, content in copy.members() if name.endswith(".jpg")]
    for n in range(600):
        data = bytearray(images[n % len(images)])
        for _ in range(n % 3):
            data[rng.randrange(700)] = rng.choice((0, 1, 0x22, 0xD9, 0xDA, 0xFF))
        changed = bytes(data[: rng.choice((len(data), len(data), rng.randrange(700)))])
        assert reader(changed) == jpeg.read(changed)


@pytest.mark.parametrize("window", [1, 700, 4096, 1 << 20])
def test_reads_and_hashes_in_one_pass(tmp_path, monkeypatch, window):
    """Whatever is read in whatever order, back and forth: the bytes and the hash are the file's."""
    monkeypatch.setattr(hashed, "_WINDOW", window)
    data = random.Random(1).randbytes(10_000)
    (tmp_path / "file").write_bytes(data)
    rng = random.Random(2)
    with hashed.HashedFile(tmp_path / "file") as file:
        for _ in range(50):
            at, size = rng.randrange(11_000), rng.randrange(3000)
            assert file.at(at, size) == data[at : at + size]
        file.seek(10)
        assert (file.read(5), file.tell(), file.size) == (data[10:15], 15, len(data))
        assert file.sha256() == hashlib.sha256(data).hexdigest()


def test_shards_larger_than_what_is_read_at_a_time(copy, monkeypatch):
    monkeypatch.setattr(hashed, "_WINDOW", 10_000)
    assert copy.verify(fast=False).problems == []
