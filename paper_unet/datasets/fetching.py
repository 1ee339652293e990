"""Fetching a data set: archive or folder -> temporary folder -> verified -> final names."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pooch
from numpy.typing import NDArray

from paper_unet.datasets.archives import extract_members
from paper_unet.errors import InputError
from paper_unet.images import open_stack
from paper_unet.images.files import sync_folder

# A container adds tags to the pixels, and may even be less compact than they are.
CONTAINER_ALLOWANCE = 8 * 2**20  # bytes
TIMEOUT = 60  # seconds without an answer
# pooch exports its names implicitly, which a strict type checker does not follow
_POOCH: Any = pooch


@dataclass(frozen=True)
class ExpectedStack:
    """One stack of a data set.

    Attributes
    ----------
    name : str
        File name, in the archive and on disk.
    shape : tuple of int, (Z, Y, X)
        Its size; the values are uint8.
    sha256 : str or None
        Of the decoded pixels in C order, so any lossless container passes; None if not known.
    required : bool
        False if some copies of the data set do not have it.
    """

    name: str
    shape: tuple[int, int, int]
    sha256: str | None
    required: bool = True


@dataclass(frozen=True)
class DataSet:
    """A published data set.

    Attributes
    ----------
    name : str
        What the command line calls it, and its folder.
    url : str
        Address of the archive.
    stacks : tuple of ExpectedStack
        What is taken from it.
    terms : str
        Terms of use and citation, to be shown to whoever fetches it.
    """

    name: str
    url: str
    stacks: tuple[ExpectedStack, ...]
    terms: str

    @property
    def archive_name(self) -> str:
        """File name of the archive."""
        return self.url.rpartition("/")[2]

    @property
    def max_bytes(self) -> int:
        """Most bytes one file may have."""
        return max(math.prod(stack.shape) for stack in self.stacks) + CONTAINER_ALLOWANCE


def data_folder() -> Path:
    """Return the folder of all data sets: $PAPER_UNET_DATA, or ``data`` in the current folder."""
    return Path(os.environ.get("PAPER_UNET_DATA") or "data")


def fetch(
    data_set: DataSet,
    to: str | Path | None = None,
    source: str | Path | None = None,
    *,
    progress: bool = False,
) -> Path:
    """Fetch a data set and verify its pixels.

    What is there already and right is kept and not fetched again. A file gets its final name only
    after all of them are verified.

    Parameters
    ----------
    data_set : DataSet
        Which.
    to : str or Path, optional
        The folder of all data sets; default `data_folder`.
    source : str or Path, optional
        A folder that has the files or the archive, or the archive itself; default: download.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The folder with the files, ``<to>/<name>``.

    Raises
    ------
    InputError
        If a file cannot be had, or its pixels are not those published.
    """
    folder = Path(to or data_folder()) / data_set.name
    missing = [stack for stack in data_set.stacks if not _verified(folder / stack.name, stack)]
    if not any(stack.required for stack in missing):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-", suffix=".partial") as scratch:
        _collect(data_set, missing, Path(scratch), source, progress)
        ready = [stack for stack in missing if _verified(Path(scratch) / stack.name, stack)]
        lacking = [stack.name for stack in missing if stack.required and stack not in ready]
        if lacking:
            raise InputError(
                f"{source or data_set.url}: has no {', '.join(lacking)}; a folder or archive "
                f"with {', '.join(s.name for s in data_set.stacks if s.required)} is accepted"
            )
        for stack in ready:
            _install(Path(scratch) / stack.name, folder / stack.name)
    sync_folder(folder)
    return folder


def read_verified(path: Path, stack: ExpectedStack) -> NDArray[np.uint8]:
    """Read a stack of a data set.

    Parameters
    ----------
    path : Path
        The file.
    stack : ExpectedStack
        What it must hold.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        The pixels as published.

    Raises
    ------
    InputError
        If the size, the type or the hash of the pixels is another.
    """
    with open_stack(path) as opened:  # its size is checked before memory is taken for it
        if opened.shape != stack.shape or opened.dtype != np.uint8:
            raise InputError(
                f"{path}: {opened.dtype} of shape {opened.shape}; {stack.name} is uint8 of shape "
                f"{stack.shape}: remove this file and fetch it again"
            )
        pixels = np.stack(list(opened))
    found = hashlib.sha256(pixels.data).hexdigest()
    if stack.sha256 is not None and found != stack.sha256:
        raise InputError(
            f"{path}: other pixels than published (SHA-256 expected {stack.sha256}, found "
            f"{found}); remove this file and fetch a lossless copy"
        )
    return pixels


def _verified(path: Path, stack: ExpectedStack) -> bool:
    """Whether the file is there; wrong pixels raise, so nothing of the user's is overwritten."""
    if not path.exists():
        return False
    read_verified(path, stack)
    return True


def _collect(
    data_set: DataSet,
    missing: list[ExpectedStack],
    scratch: Path,
    source: str | Path | None,
    progress: bool,
) -> None:
    """Bring the missing files into the scratch folder, as far as the source has them."""
    names = [stack.name for stack in missing]
    archive: Path | None
    if source is None:
        archive = _download(data_set, scratch, progress)
    elif (archive := _find_archive(data_set, Path(source))) is None:
        _copy_files(data_set, names, Path(source), scratch)
        return
    extract_members(archive, names, scratch, max_bytes=data_set.max_bytes)


def _find_archive(data_set: DataSet, source: Path) -> Path | None:
    if source.is_file():
        return source
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; give one that has the files or the archive")
    archive = source / data_set.archive_name
    return archive if archive.is_file() else None


def _copy_files(data_set: DataSet, names: list[str], source: Path, scratch: Path) -> None:
    inside = (source, source / data_set.name, source / Path(data_set.archive_name).stem)
    for name in names:
        for folder in inside:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, scratch / name)
                break


def _download(data_set: DataSet, scratch: Path, progress: bool) -> Path:
    # pooch logs the hash of the container, which is not what is verified here
    logger = _POOCH.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        found = _POOCH.retrieve(
            data_set.url,
            known_hash=None,
            fname=data_set.archive_name,
            path=scratch,
            downloader=_CappedDownloader(len(data_set.stacks) * data_set.max_bytes, progress),
        )
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())
        raise InputError(
            f"{data_set.url}: cannot be downloaded ({reason}); check the network, or get the "
            f"archive by hand and give its folder with --from"
        ) from error
    finally:
        logger.setLevel(level)
    return Path(found)


class _CappedDownloader:
    """pooch's download that stops at a number of bytes, whatever the server says."""

    def __init__(self, max_bytes: int, progress: bool) -> None:
        self.max_bytes = max_bytes
        self.responses: list[Any] = []
        self.fetch = _POOCH.HTTPDownloader(
            progressbar=progress, timeout=TIMEOUT, hooks={"response": self._remember}
        )

    def __call__(self, url: str, output_file: str, retriever: Any) -> None:
        try:
            with Path(output_file).open("wb") as file:
                self.fetch(url, _CappedFile(url, file, self.max_bytes), retriever)
        finally:
            # pooch leaves the connection open after an error
            for response in self.responses:
                response.close()

    def _remember(self, response: Any, **_: Any) -> None:
        self.responses.append(response)


class _CappedFile:
    """A file that takes so many bytes and no more."""

    def __init__(self, url: str, file: IO[bytes], max_bytes: int) -> None:
        self.url = url
        self.file = file
        self.left = max_bytes

    def write(self, data: bytes) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise InputError(f"{self.url}: sends more than the data set has; check the address")
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def _install(source: Path, target: Path) -> None:
    with source.open("rb+") as file:
        os.fsync(file.fileno())
    source.replace(target)
