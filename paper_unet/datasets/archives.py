"""Taking expected files out of an archive that is not trusted."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from paper_unet.errors import InputError

# what Python's zipfile raises for damage, encryption and unknown methods
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)


def extract_members(
    archive: Path, names: Collection[str], folder: Path, *, max_bytes: int
) -> list[Path]:
    """Extract the members that have the expected file names, in whatever folder they are.

    Nothing else is written: the name on disk is the expected one, never the archive's.

    Parameters
    ----------
    archive : Path
        A zip file.
    names : collection of str
        The file names to extract; those the archive does not have are left out.
    folder : Path
        Where they go.
    max_bytes : int
        The largest size of one member by its header, checked before anything is written.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        If it is no zip file, is damaged, has a member that leaves the folder, has one of the
        names twice, or a member is too large.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            chosen = _choose(archive, opened.infolist(), names, max_bytes)
            return [_extract(opened, chosen[name], folder / name) for name in chosen]
    except ZIP_ERRORS as error:
        raise InputError(
            f"{archive}: not a sound zip file ({error}); a download that was cut short or an "
            f"error page looks like this: get it again"
        ) from error


def _choose(
    archive: Path, members: list[zipfile.ZipInfo], names: Collection[str], max_bytes: int
) -> dict[str, zipfile.ZipInfo]:
    chosen: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        place = PurePosixPath(member.filename.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
            raise InputError(
                f'{archive}: has a member "{member.filename}" outside its folder; not extracted: '
                f"get the archive from its official address"
            )
        # __MACOSX holds resource forks under the names of the files
        if place.name not in names or member.is_dir() or "__MACOSX" in place.parts:
            continue
        if place.name in chosen:
            raise InputError(f"{archive}: has {place.name} twice; one is accepted")
        if member.file_size > max_bytes:
            raise InputError(
                f"{archive}: {member.filename} would be {member.file_size} bytes, at most "
                f"{max_bytes} are accepted; get the archive from its official address"
            )
        chosen[place.name] = member
    return chosen


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> Path:
    # zipfile returns no more bytes than the header says, and then compares the checksum
    with opened.open(member) as source, target.open("xb") as file:
        shutil.copyfileobj(source, file)
    return target
