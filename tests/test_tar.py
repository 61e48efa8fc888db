"""Headers against tarfile's own, byte for byte, and writes that come up short."""

from __future__ import annotations

import io
import os
import random
import tarfile

import pytest

from fastbucket import RunError
from fastbucket.format import TAR_END, sample_key
from fastbucket.tar import Headers, write_all


def by_tarfile(name: str, size: int, mtime: int) -> bytes:
    """The header that the standard library writes for such a member."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, mtime, 0o644
    return member.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("mtime", [0, 1, 1_700_000_000, 0o77777777777])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 123_456_789, (1 << 33) - 1])
def test_headers_are_tarfiles(mtime, size):
    for name in ("a", "x" * 100, sample_key("archive/one") + ".json"):
        ours = Headers(mtime).header(name.encode(), size)
        theirs = bytearray(by_tarfile(name, size, mtime))
        # tarfile zeroes the device numbers, which ustar leaves open for plain files; so do the
        # checksums differ, and are compared by what they say of their own block.
        theirs[329:345] = bytes(16)
        checked = theirs[:148] + b" " * 8 + theirs[156:]
        theirs[148:156] = b"%06o\0 " % sum(checked)
        assert ours == bytes(theirs)
        found = tarfile.TarInfo.frombuf(ours, "utf-8", "strict")
        assert (found.name, found.size, found.mtime) == (name, size, mtime)


@pytest.mark.parametrize(("name", "size"), [(b"x" * 101, 0), (b"a", 1 << 33)])
def test_what_does_not_fit_ustar_is_refused(name, size):
    with pytest.raises(RunError, match="does not fit ustar"):
        Headers(0).header(name, size)


def test_samples_are_read_back():
    dice = random.Random(1)
    headers = Headers(5)
    samples = {
        sample_key(str(n)): [dice.randbytes(size) for size in sizes]
        for n, sizes in enumerate([(0, 0, 0), (1, 511, 512), (513, 1, 70_000), (1024, 1536, 2)])
    }
    blocks = [block for key, members in samples.items() for block in headers.sample(key, members)]
    data = b"".join([*blocks, TAR_END])
    assert len(data) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}
        assert tar.offset == len(data) - len(TAR_END)
    assert found == {
        f"{key}.{suffix}": content
        for key, members in samples.items()
        for suffix, content in zip(("jpg", "txt", "json"), members, strict=True)
    }


def test_a_sample_has_three_members():
    with pytest.raises(ValueError, match="zip"):
        Headers(0).sample("key", [b"one", b"two"])


@pytest.mark.parametrize("limit", [1, 7, 512, 5000])
def test_short_writes_lose_nothing(tmp_path, monkeypatch, limit):
    """A kernel may take less than it is given, at any byte of any block."""
    dice = random.Random(limit)
    blocks = [dice.randbytes(dice.choice((0, 1, 10, 513, 2000))) for _ in range(40)]
    calls = 0

    def short(fd: int, buffers: list[bytes | memoryview]) -> int:
        nonlocal calls
        calls += 1
        assert len(buffers) <= 1024  # IOV_MAX
        return os.write(fd, b"".join(buffers)[: dice.randint(1, limit)])

    monkeypatch.setattr(os, "writev", short)
    path = tmp_path / "out"
    with open(path, "wb") as file:
        assert write_all(file.fileno(), blocks) == sum(map(len, blocks))
    assert path.read_bytes() == b"".join(blocks)
    assert calls > 1


def test_more_blocks_than_one_call_takes(tmp_path):
    blocks = [n.to_bytes(3, "big") for n in range(5000)]
    with open(tmp_path / "out", "wb") as file:
        assert write_all(file.fileno(), blocks) == 15_000
        assert write_all(file.fileno(), []) == 0
    assert (tmp_path / "out").read_bytes() == b"".join(blocks)
