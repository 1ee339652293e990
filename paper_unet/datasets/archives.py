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
    """Extract the members whose path ends in an expected name, in whatever folder they are.

    Nothing else is written: the name on disk is the expected one, never the archive's.

    Parameters
    ----------
    archive : Path
        A zip file.
    names : collection of str
        The files to extract, such as ``a.tif`` or ``01/a.tif``; those the archive does not have
        are left out.
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
    wanted = set(names)
    depths = {len(PurePosixPath(name).parts) for name in wanted}
    for member in members:
        place = PurePosixPath(member.filename.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or ":" in "".join(place.parts[:1]):
            raise InputError(
                f'{archive}: has a member "{member.filename}" outside its folder; not extracted: '
                f"get the archive from its official address"
            )
        # __MACOSX holds resource forks under the names of the files
        if member.filename.endswith("/") or "__MACOSX" in place.parts:
            continue
        name = next((tail for k in depths if (tail := _tail(place, k)) in wanted), None)
        if name is None:
            continue
        if name in chosen:
            raise InputError(f"{archive}: has {name} twice; one is accepted")
        if member.file_size > max_bytes:
            raise InputError(
                f"{archive}: {member.filename} would be {member.file_size} bytes, at most "
                f"{max_bytes} are accepted; get the archive from its official address"
            )
        chosen[name] = member
    return chosen


def _tail(place: PurePosixPath, parts: int) -> str:
    return "/".join(place.parts[-parts:])


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> Path:
    # zipfile returns no more bytes than the header says, and then compares the checksum
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(member) as source, target.open("xb") as file:
        shutil.copyfileobj(source, file)
    return target
