"""Fetching a data set, or weights: source -> temporary folder -> verified -> final names."""

from __future__ import annotations

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
from paper_unet.system.folders import data_folder
from paper_unet.system.libraries import require
from paper_unet.system.names import kind_of, name_without_replacing

LOCK, KIND = ".fetch", "fetch"


def fetch(
    data_set: DataSet,
    to: str | Path | None = None,
    source: str | Path | None = None,
    *,
    progress: bool = False,
) -> Path:
    """Fetch a data set and verify its pixels, or weights and verify their values.

    What is there already and right is kept and not fetched again. A file, or a folder of frames,
    gets its final name only after all of them are verified.

    Parameters
    ----------
    data_set : DataSet
        Which.
    to : str or Path, optional
        The folder of all data sets; default `data_folder`.
    source : str or Path, optional
        A folder that has the files or the archive, or the archive itself; of weights the file;
        default: download.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The folder with the files, ``<to>/<name>``.

    Raises
    ------
    InputError
        If a file cannot be had, is not what was published, or a codec is missing.
    """
    folder = Path(to or data_folder()) / data_set.name
    if _is_complete(data_set, folder) and kind_of(folder / LOCK) is None:
        return folder
    if source is None:
        _check_download(data_set)
    make_folder(folder)
    with _scratch_folder(folder) as scratch:
        missing = _missing(data_set, folder)  # again: another process may have fetched meanwhile
        if not any(part.required for part in missing):
            return folder
        _collect(data_set, missing, scratch, source, progress)
        ready = _complete(data_set, missing, scratch, source)
        for part in ready:
            _verify_new(part, scratch, source or data_set.url)
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


def _verify_new(part: Part, scratch: Path, origin: str | Path) -> None:
    """Verify what came, and name where it came from, not where it lies for now."""
    try:
        part.verify(scratch)
    except InputError as error:
        text = str(error).replace(f"{scratch}{os.sep}", f"{origin}: ")
        raise InputError(text) from error


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
        archive = _download(data_set, missing, scratch, progress)
    elif (archive := _find_archive(data_set, Path(source))) is None:
        _copy_files(data_set, names, Path(source), scratch)
    if archive is not None:
        extract_members(archive, names, scratch, max_bytes=data_set.max_bytes)


def _download(data_set: DataSet, missing: list[Part], scratch: Path, progress: bool) -> Path | None:
    """Download the archive and return it; without one, download each missing file."""
    if data_set.archive:
        name, most = data_set.archive_name, data_set.max_archive_bytes
        return download(data_set.url, scratch, name, max_bytes=most, progress=progress)
    for part in missing:
        address = f"{data_set.url.rstrip('/')}/{part.name}"
        download(address, scratch, part.name, max_bytes=part.max_bytes, progress=progress)
    return None


def _check_download(data_set: DataSet) -> None:
    """Refuse what cannot be downloaded, or not be read then, before anything is done for it."""
    if not data_set.url:
        wanted = ", ".join(part.name for part in data_set.parts)
        raise InputError(
            f"{data_set.name}: nothing is published for download yet; give a folder that has "
            f"{wanted} as `source`"
        )
    if data_set.codecs:
        what = f"{data_set.name}: its images are LZW-compressed TIFF files; reading them"
        require("imagecodecs", what, "codecs")


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
            f"{source or data_set.url}: has no {listed(needed)}; a folder "
            f"{'or archive ' if data_set.archive else ''}with {wanted} is accepted"
        )
    return [part for part in missing if not lacking[part.name]]


def _find_archive(data_set: DataSet, source: Path) -> Path | None:
    if source.is_file():
        return source if data_set.archive else None
    if not source.is_dir():
        which = "has the files or the archive" if data_set.archive else "has the files"
        raise InputError(f"{source}: no such folder; give one that {which}")
    archive = source / data_set.archive_name
    return archive if data_set.archive and archive.is_file() else None


def _copy_files(data_set: DataSet, names: list[str], source: Path, scratch: Path) -> None:
    for name in names:
        if (found := _find_copy(data_set, name, source)) is None:
            continue
        if (size := found.stat().st_size) > data_set.max_bytes:
            raise InputError(
                f"{found}: has {size} bytes, at most {data_set.max_bytes} are accepted; give "
                "another copy"
            )
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, scratch / name)


def _find_copy(data_set: DataSet, name: str, source: Path) -> Path | None:
    """Return the file of a name, or of another that it is known by, in a folder or as it is."""
    names = (name, *data_set.also.get(name, ()))
    if source.is_file():
        only = len(data_set.parts) == 1  # its content tells whether it is the right one
        return source if only or source.name in names else None
    inside = (source, source / data_set.name, source / Path(data_set.archive_name).stem)
    places = (folder / known for known in names for folder in inside)
    return next((place for place in places if place.is_file()), None)


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
            f"{target}: a {kind_of(target)} that was not fetched is in the way and stays "
            "as it is; move it elsewhere, or fetch into another folder"
        ) from None
    sync_folder(target.parent)


def _remove_empty(folder: Path) -> None:
    """Remove a folder if it is empty; a part of the data set would have been verified."""
    with suppress(OSError):
        folder.rmdir()
