"""The Hub, by huggingface_hub's upload of large folders. That library is known here alone."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ..commit import output_error
from ..errors import RunError
from .destination import EXTRA, Advance, Done, Remote, Sent
from .digests import git_blob, read
from .files import File, damaged
from .patience import Patience, describe, persist

_URL = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^@]+))?/?")

_KIND = "dataset"

BATCH_BYTES = 5_000_000_000
BATCH_FILES = 1000
"""Files that go up by one call."""


class Hub:
    """The root of a dataset repository, on one branch."""

    def __init__(
        self,
        url: str,
        staging: Path,
        patience: Patience | None = None,
    ) -> None:
        """staging: folder for links to what is sent, and for what the library notes of it."""
        found = _URL.fullmatch(url)
        if not found:
            raise RunError(
                f"{url}: hf://datasets/user/name, with @branch behind it for another than main; "
                "the card belongs at the top of a repository"
            )
        self._url, self._staging = url.rstrip("/"), staging
        self._revision = found["revision"] or "main"
        self._repo = found["repo"]
        self._patience = patience or Patience()
        self._library = _library()
        self._api = self._library.HfApi(library_name="fastbucket")
        self._where = {"repo_id": self._repo, "repo_type": _KIND, "revision": self._revision}

    def folder(self) -> None:
        """It is on no disk of this machine."""

    def listing(self) -> dict[str, Remote]:
        """Every file of the branch; none where there is no such repository yet."""
        missing = (
            self._library.errors.RepositoryNotFoundError,
            self._library.errors.RevisionNotFoundError,
        )

        def listed() -> dict[str, Remote]:
            try:
                tree = list(self._api.list_repo_tree(recursive=True, **self._where))
            except missing:
                return {}
            return {
                entry.path: Remote(entry.size, entry.blob_id, {"lfs": entry.lfs})
                for entry in tree
                if hasattr(entry, "blob_id")  # a folder has none
            }

        found: dict[str, Remote] = self._persist("cannot list", listed)
        return found

    def compare(self, files: Sequence[tuple[File, Remote]], done: Done) -> list[File]:
        """By what the Hub tells: SHA-256 of a large file, the blob's id in git of any other."""
        differ = []
        for file, remote in files:
            if file.bytes == remote.bytes and _same(file, remote):
                done(file, Sent(remote, read_back=False))
            else:
                differ.append(file)
        return differ

    def send(self, files: Sequence[File], done: Done, advance: Advance) -> None:
        self._create()
        for batch in _batches(files):
            _check_here(batch)
            self._persist("cannot upload", lambda batch=batch: self._upload(batch))  # type: ignore[misc]
            self._check(batch, done)
            advance(sum(file.bytes for file in batch))

    def _check(self, files: Sequence[File], done: Done) -> None:
        """Whether files that were sent are there."""
        there = self.listing()
        lost = [file.path for file in files if file.path not in there]
        pairs = [(file, there[file.path]) for file in files if file.path in there]
        lost += [file.path for file in self.compare(pairs, done)]
        if lost:
            raise RunError(
                f"{self._url}: {len(lost)} files did not arrive as they are here, of them "
                f"{lost[0]}; the same command sends them again"
            )

    def remove(self, paths: Sequence[str]) -> None:
        if paths:
            gone = [self._library.CommitOperationDelete(path_in_repo=path) for path in paths]
            message = f"Remove {len(paths)} files of an earlier export"
            self._persist(
                "cannot remove files",
                lambda: self._api.create_commit(
                    operations=gone, commit_message=message, **self._where
                ),
            )

    def _create(self) -> None:
        """A repository that is not there is made, private: what is public cannot be taken back."""

        def create() -> None:
            self._api.create_repo(self._repo, repo_type=_KIND, private=True, exist_ok=True)
            if self._revision != "main":
                self._api.create_branch(
                    self._repo, branch=self._revision, repo_type=_KIND, exist_ok=True
                )

        self._persist("cannot create it", create)

    def _upload(self, files: Sequence[File]) -> None:
        """One file by a commit of its own; more as a folder, in as many commits as the library
        thinks fit."""
        if len(files) == 1:
            self._api.upload_file(
                path_or_fileobj=str(files[0].local),
                path_in_repo=files[0].path,
                commit_message=f"Upload {files[0].path}",
                **self._where,
            )
            return
        self._stage(files)
        self._library.utils.disable_progress_bars()  # ours goes on
        folder = str(self._staging)
        # Large folders had a call of their own before huggingface_hub 2.
        if large := getattr(self._api, "upload_large_folder", None):
            large(folder_path=folder, print_report=False, **self._where)
        else:
            message = f"Upload {len(files)} files, {files[0].path} and on"
            self._api.upload_folder(folder_path=folder, commit_message=message, **self._where)

    def _stage(self, files: Sequence[File]) -> None:
        """The folder to upload: links to these files. What the library has noted in it stays."""
        try:
            self._staging.mkdir(parents=True, exist_ok=True)
            for inside in self._staging.iterdir():
                if inside.name != ".cache":
                    shutil.rmtree(inside) if inside.is_dir() else inside.unlink()
            for file in files:
                link = self._staging / file.path
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.local.resolve())
        except OSError as error:
            raise output_error(self._staging, error) from None

    def _persist(self, what: str, action: Callable[[], Any]) -> Any:
        return persist(f"{self._url}: {what}", action, self._patience, time.sleep)


def _batches(files: Sequence[File]) -> Iterator[list[File]]:
    """Files in their order, so many at a time that progress is seen, and an interrupted push loses
    little; and so few times that the Hub's limit of commits (128 an hour) is far."""
    batch: list[File] = []
    size = 0
    for file in files:
        if batch and (size + file.bytes > BATCH_BYTES or len(batch) == BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.bytes
    if batch:
        yield batch


def _check_here(files: Sequence[File]) -> None:
    """Raises RunError where a file is not what the manifest says: it would arrive as it is here,
    and no repetition would make it right."""
    for file in files:
        if not file.sha256:
            continue
        try:
            sha256 = _sha256(file.local)
        except OSError as error:
            raise RunError(f"cannot read {file.local}: {describe(error)}") from error
        if sha256 != file.sha256:
            raise damaged(file.local)


def _same(file: File, remote: Remote) -> bool:
    try:
        if lfs := remote.facts["lfs"]:
            sha256 = file.sha256 or _sha256(file.local)
            return bool(lfs.sha256 == sha256)
        blob = git_blob(file.bytes)
        read(file.local, blob)
        return blob.hexdigest() == remote.mark
    except OSError as error:
        raise RunError(f"cannot read {file.local}: {describe(error)}") from error


def _sha256(path: Path) -> str:
    import hashlib

    digest = hashlib.sha256()
    read(path, digest)
    return digest.hexdigest()


def _library() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError:
        raise RunError(f"hf:// needs huggingface_hub: {EXTRA}") from None
    return huggingface_hub
