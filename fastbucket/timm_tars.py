"""Tars named and filled like timm/imagenet-22k-wds, the first source of this project.

    imagenet22k-train-0000.tar, imagenet22k-train-0001.tar, ...
        n01440764_3778.cls   the class as decimal digits
        n01440764_3778.jpg
        n01440764_3778.json  {"label", "label_12k", "class_name", "width", "height", "filename"}

Members of a sample are sorted by suffix, as webdataset's own writer sorts them.
"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

PREFIX = "imagenet22k"
PER_TAR = 3072
"""Samples in a tar: timm's have 14,146,391 / 4,608, which is 3,070 on average."""


@dataclass(frozen=True)
class TimmSample:
    """One sample. `image` None leaves the member out; `caption` "" leaves out the `.txt`."""

    wnid: str  # WordNet id, such as n01440764
    number: int
    suffix: str  # of the image, lower case, without a dot
    image: bytes | None
    label: int
    width: int  # pixels as stored, before EXIF orientation: what Pillow's `size` says
    height: int
    filename: str
    caption: str = ""

    @property
    def key(self) -> str:
        return f"{self.wnid}_{self.number}"

    @property
    def label_12k(self) -> int:
        """The label among the 12k classes, -1 outside: timm's is a list, ours every second."""
        return -1 if self.label % 2 else self.label // 2

    def members(self) -> list[tuple[str, bytes]]:
        """(suffix, bytes) of each member, in the order in which they stand in the tar."""
        facts = {
            "label": self.label,
            "label_12k": self.label_12k,
            "class_name": self.wnid,
            "width": self.width,
            "height": self.height,
            "filename": self.filename,
        }
        members = {"cls": str(self.label).encode(), "json": json.dumps(facts).encode()}
        if self.image is not None:
            members[self.suffix] = self.image
        if self.caption:
            members["txt"] = self.caption.encode()
        return sorted(members.items())


class TimmTars:
    """Writes samples into numbered tars, `per_tar` in each but the last; a context manager.

    Deterministic: ustar, mode 0644, no names, mtime 0. A tar appears under its name when it is
    whole; after an exception the one being written is removed.
    """

    def __init__(self, directory: Path, prefix: str, split: str, per_tar: int) -> None:
        if per_tar < 1:
            raise ValueError(f"{per_tar} samples a tar: at least 1")
        self.paths: list[Path] = []
        self.samples = 0
        self._directory = directory
        self._stem = f"{prefix}-{split}"
        self._per_tar = per_tar
        self._tar: tarfile.TarFile | None = None

    def add(self, sample: TimmSample) -> str:
        """Write one sample; the stem of the tar it went to."""
        if self.samples % self._per_tar == 0:
            self._commit()
            self._open()
        assert self._tar is not None
        for suffix, content in sample.members():
            member = tarfile.TarInfo(f"{sample.key}.{suffix}")
            member.size = len(content)
            self._tar.addfile(member, io.BytesIO(content))
        self.samples += 1
        return self.paths[-1].stem

    def __enter__(self) -> TimmTars:
        self._directory.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._commit()
        elif self._tar is not None:
            self._tar.close()
            self._part.unlink()
            self.paths.pop()

    @property
    def _part(self) -> Path:
        return self.paths[-1].with_suffix(".part")

    def _open(self) -> None:
        self.paths.append(self._directory / f"{self._stem}-{len(self.paths):04d}.tar")
        self._tar = tarfile.open(self._part, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115  closed by _commit

    def _commit(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None
            self._part.replace(self.paths[-1])
