"""The scan of tars, headers only: members a second on one core, and bytes read from a cold disk.

Warm: the files are in the page cache, each scan maps them anew and touches them page by page;
walking, grouping into samples, JPEG headers and the catalogue's columns are all in it.
Beside it, in turn, the standard library's tarfile lists the same members, and no more than that: a
rate is of one machine, and the ratio of others too.
Cold: the page cache is told to forget the files, and /proc/self/io counts what the disk was asked
for. How much of it a scan needs is known: the pages that hold tar headers and the start of images.
"""

from __future__ import annotations

import mmap
import os
import resource
import time
from pathlib import Path
from typing import Any

from .. import corpora, process, profiled
from ..figures import Bench, versions
from ..options import parse
from ..runs import export

PASSES = 5
"""Scans of all tars in one round; the fastest counts, as the others were interrupted."""

TARFILE = "tarfile"

RESIDENT = 0.05
"""Share of the files that the page cache may keep, however often it is told to forget them."""


def main() -> None:
    options = parse(__doc__)
    copies = export.QUICK_COPIES if options.quick else export.COPIES
    corpus = corpora.imagenet(options)
    tars = [str(p) for p in corpora.source(options, corpus, copies, export.SMALL_SHARE)]
    bench = Bench("scan", options.quick, versions(["fastbucket", "numba", "pyarrow"]))
    rounds, listed = [], []
    for _ in range(options.rounds):
        rounds.append(process.call(warm, paths=tars))
        listed.append(process.call(tarfile_lists, paths=tars))
    bench.show("warm", "rate", [r["members"] / r["seconds"] for r in rounds], "members/s")
    bench.show(TARFILE, "rate", listed, "members/s")
    bench.show("warm", "faults", [r["faults"] / r["members"] for r in rounds], "page faults/member")
    bench.show("warm", "system", [r["system"] for r in rounds], "share of the time in the kernel")
    bench.show("source", "members", rounds[0]["members"], "members")
    bench.show("source", "samples", rounds[0]["samples"], "samples")
    for name, share in process.call(profile, paths=tars):
        bench.show(name, "profile", share, "share of the time")
    found = process.call(cold, paths=tars)
    if found["resident"] > RESIDENT:
        bench.absent("cold", f"the page cache keeps {found['resident']:.0%} of the files")
        return
    for metric in ("bytes", "read", "needed"):
        bench.show("cold", metric, found[metric], "bytes")
    bench.show("cold", "rate", found["members"] / found["seconds"], "members/s")


def warm(paths: list[str]) -> dict[str, Any]:
    """Members, seconds, page faults and share of system time of one scan of all tars."""
    corpora.warm([Path(path) for path in paths])
    archives = _archives(paths)
    _scan(archives[:1])  # kernels are loaded
    best: dict[str, Any] = {}
    for _ in range(PASSES):
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        members, samples = _scan(archives)
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_SELF)
        if not best or seconds < best["seconds"]:
            best = {
                "members": members,
                "samples": samples,
                "seconds": seconds,
                "faults": after.ru_minflt - before.ru_minflt,
                "system": (after.ru_stime - before.ru_stime) / seconds,
            }
    return best


def tarfile_lists(paths: list[str]) -> float:
    """Members a second of the standard library; of two passes the faster."""
    import tarfile

    corpora.warm([Path(path) for path in paths])
    best = 0.0
    for _ in range(2):
        start, members = time.perf_counter(), 0
        for path in paths:
            with tarfile.open(path) as tar:
                members += sum(1 for _ in tar)
        best = max(best, members / (time.perf_counter() - start))
    return best


def profile(paths: list[str]) -> list[tuple[str, float]]:
    archives = _archives(paths)
    _scan(archives)
    return profiled.top(lambda: _scan(archives))


def cold(paths: list[str]) -> dict[str, Any]:
    """What a scan reads where nothing is in the page cache."""
    archives = _archives(paths)
    _scan(archives[:1])  # kernels are loaded, and their files
    for path in paths:
        _forget(path)
    resident = sum(_resident(path) for path in paths) / len(paths)
    before, start = _bytes_read(), time.perf_counter()
    members, _ = _scan(archives)
    seconds, read = time.perf_counter() - start, _bytes_read() - before
    return {
        "members": members,
        "seconds": seconds,
        "resident": resident,
        "bytes": sum(os.path.getsize(path) for path in paths),
        "read": read,
        "needed": sum(_needed(archive) for archive in archives),
    }


def _archives(paths: list[str]) -> list[Any]:
    from fastbucket.sources.locate import archives

    return list(archives(paths, []))


def _scan(archives: list[Any]) -> tuple[int, int]:
    """Members and samples."""
    from fastbucket.sources import KINDS

    members = samples = 0
    for archive in archives:
        found = KINDS[archive.kind].scan(archive)
        members += found.extra["members"]
        samples += len(found)
    return members, samples


def _needed(archive: Any) -> int:
    """Bytes of the pages with a tar header or the first byte of an image, the end included."""
    import tarfile

    pages = {archive.size // mmap.PAGESIZE}
    with tarfile.open(archive.path) as tar:
        for member in tar:
            pages.add(member.offset // mmap.PAGESIZE)
            if not member.name.endswith((".cls", ".json", ".txt")):
                pages.add(member.offset_data // mmap.PAGESIZE)
    return len(pages) * mmap.PAGESIZE


def _forget(path: str) -> None:
    """Have the kernel drop the file's pages, as far as it will."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _resident(path: str) -> float:
    """Share of the file that is in the page cache."""
    import ctypes

    size = os.path.getsize(path)
    pages = -(-size // mmap.PAGESIZE)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE) as mapped:
        vector = (ctypes.c_ubyte * pages)()
        pointer = ctypes.c_char.from_buffer(mapped)
        at = ctypes.c_void_p(ctypes.addressof(pointer))
        failed = ctypes.CDLL(None).mincore(at, ctypes.c_size_t(size), vector)
        del pointer
    return 1.0 if failed else sum(flag & 1 for flag in vector) / pages


def _bytes_read() -> int:
    """Bytes this process had read from disk so far; page faults count."""
    with open("/proc/self/io") as file:
        fields = dict(line.split(":") for line in file)
    return int(fields["read_bytes"])


if __name__ == "__main__":
    main()
