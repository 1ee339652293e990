"""Fetching a data set: archive or folder -> temporary folder -> verified -> final names."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from paper_unet.datasets.archives import extract_members
from paper_unet.datasets.downloading import download
from paper_unet.datasets.expected import DataSet, Part, listed
from paper_unet.errors import InputError
from paper_unet.system.claim import remove, take_claim
from paper_unet.system.files import make_folder, sync_folder
from paper_unet.system.names import kind_of, name_without_replacing

LOCK, KIND = ".fetch", "fetch"


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

    What is there already and right is kept and not fetched again. A file, or a folder of frames,
    gets its final name only after all of them are verified.

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
        If a file cannot be had, its pixels are not those published, or a codec is missing.
    """
    folder = Path(to or data_folder()) / data_set.name
    if _is_complete(data_set, folder) and kind_of(folder / LOCK) is None:
        return folder
    make_folder(folder)
    with _scratch_folder(folder) as scratch:
        missing = _missing(data_set, folder)  # again: another process may have fetched meanwhile
        if not any(part.required for part in missing):
            return folder
        _collect(data_set, missing, scratch, source, progress)
        ready = _complete(data_set, missing, scratch, source)
        for part in ready:
            part.verify(scratch)
        for part in ready:
            _install(scratch / part.name, folder / part.name)
    sync_folder(folder)
    return folder


def _missing(data_set: DataSet, folder: Path) -> list[Part]:
    return [part for part in data_set.parts if not _verified(part, folder)]


def _is_complete(data_set: DataSet, folder: Path) -> bool:
    return not any(part.required for part in _missing(data_set, folder))


@contextmanager
def _scratch_folder(folder: Path) -> Iterator[Path]:
    """Make a folder for this process alone, and remove it in the end, with that of a killed one.

    Its name has the token of the lock, a marked file, so nothing of the user's can have it.
    """
    taken = f"{folder}: another process is fetching it; wait for it"
    claim = take_claim(folder / LOCK, KIND, taken)
    scratch = folder / f".fetch-{claim.token}.partial"
    try:
        remove(scratch)
        scratch.mkdir()
        yield scratch
    finally:
        remove(scratch)
        claim.release(keep=False)


def _verified(part: Part, folder: Path) -> bool:
    """Whether it is there; what is wrong raises, so nothing of the user's is overwritten."""
    if not part.is_there(folder):
        return False
    part.verify(folder)
    return True


def _collect(
    data_set: DataSet,
    missing: list[Part],
    scratch: Path,
    source: str | Path | None,
    progress: bool,
) -> None:
    """Bring the missing files into the scratch folder, as far as the source has them."""
    names = [name for part in missing for name in part.files]
    archive: Path | None
    if source is None:
        _check_codecs(data_set)
        archive = download(
            data_set.url,
            scratch,
            data_set.archive_name,
            max_bytes=data_set.max_archive_bytes,
            progress=progress,
        )
    elif (archive := _find_archive(data_set, Path(source))) is None:
        _copy_files(data_set, names, Path(source), scratch)
        return
    extract_members(archive, names, scratch, max_bytes=data_set.max_bytes)


def _check_codecs(data_set: DataSet) -> None:
    """Say so before the download, not after it."""
    if data_set.codecs and importlib.util.find_spec("imagecodecs") is None:
        raise InputError(
            f"{data_set.name}: its images are LZW-compressed TIFF files, which need imagecodecs; "
            'install the extra "codecs" (pip install imagecodecs) and fetch again'
        )


def _complete(
    data_set: DataSet, missing: list[Part], scratch: Path, source: str | Path | None
) -> list[Part]:
    """Return the parts that came whole; a required one that did not raises."""
    lacking = {
        part.name: [name for name in part.files if not (scratch / name).is_file()]
        for part in missing
    }
    if needed := [name for part in missing if part.required for name in lacking[part.name]]:
        wanted = ", ".join(part.name for part in data_set.parts if part.required)
        raise InputError(
            f"{source or data_set.url}: has no {listed(needed)}; a folder or archive with "
            f"{wanted} is accepted"
        )
    return [part for part in missing if not lacking[part.name]]


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
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, scratch / name)
                break


def _install(source: Path, target: Path) -> None:
    """Move a file or a folder to its final name when it is on the disk."""
    for path in source.iterdir() if source.is_dir() else [source]:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    make_folder(target.parent)
    if source.is_dir():
        sync_folder(source)
        if kind_of(target) == "folder":
            _remove_empty(target)
    try:
        name_without_replacing(source, target)
    except FileExistsError:
        raise InputError(
            f"{target}: a {kind_of(target)} that is none of the data set is in the way and stays "
            "as it is; move it elsewhere, or fetch into another folder"
        ) from None
    sync_folder(target.parent)


def _remove_empty(folder: Path) -> None:
    """Remove a folder if it is empty; a part of the data set would have been verified."""
    with suppress(OSError):
        folder.rmdir()
