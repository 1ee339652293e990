"""A Zarr store in one ZIP file: ``.ozx`` (OME's RFC 9), ``.zarr.zip``, or any that holds one."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import ZipStore

from paper_unet.errors import InputError, shown
from paper_unet.images.readers.damage import reading
from paper_unet.images.readers.zarr_names import DOCUMENTS, Entry, inside
from paper_unet.images.readers.zarr_range import LARGEST_DOCUMENT, check_size, span_of
from paper_unet.system.files import check_regular, file_stamp, open_regular
from paper_unet.system.memory import Budget

END, END_64, LOCATOR_64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
TAIL: Final = 2**16 + 22
"""Bytes at the end of a ZIP file in which its last record lies."""

OF_ENTRY: Final = 200
"""Bytes of memory that a name in a folder takes, at most, beside the list."""

PARSED: Final = 40
"""Bytes of memory for each of the list of members, at most; that of the shortest names takes 25."""

METHODS: Final = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
"""How members may be packed: others are decoded as far as their bytes ask for."""

DAMAGED: Final = "the ZIP archive is damaged or cut short"
ENCRYPTED: Final = 1
LONGEST_NAME: Final = 1024
LOCAL_HEADER: Final = 30


class ZipFiles(ZipStore):
    """A store in a ZIP file, read only; no member is read further than it can be needed.

    Attributes
    ----------
    largest : int
        Bytes of a file of chunks that may be read at once.
    top : str
        Folder of the archive in which the store lies; "" if it begins there.
    """

    largest: int = LARGEST_DOCUMENT

    def __init__(self, path: Path, budget: Budget) -> None:
        check_archive(path, budget)
        self._budget = budget
        super().__init__(path, mode="r", read_only=True)
        with reading(path, "the archive", DAMAGED):
            self._sync_open()
        try:
            self._members = self._find_members()
            self.top = self._find_top()
        except BaseException:
            self.close()
            raise
        self._folders: dict[str, dict[str, str]] | None = None

    def _find_members(self) -> dict[str, zipfile.ZipInfo]:
        found: dict[str, zipfile.ZipInfo] = {}
        for member in self._zf.infolist():
            said = member.filename
            if len(said) > LONGEST_NAME:
                raise InputError(
                    f"{self.path}: holds a name of {len(said)} characters, as no Zarr has; zip the "
                    "store again"
                )
            name = inside(said)
            if name is None:
                raise InputError(
                    f"{self.path}: holds {shown(said)}, a name that leads out of it; zip the store "
                    "again"
                )
            if not name:
                continue  # the folder that was zipped
            name += "/" * said.endswith(("/", "\\"))
            if found.setdefault(name, member) is not member:
                raise InputError(
                    f"{self.path}: holds two files of the name {shown(name)}; zip the store again"
                )
        return found

    def _find_top(self) -> str:
        """Return the folder of the store: that of its highest document."""
        tops = {
            name.rpartition("/")[0]
            for name in self._members
            if name.rpartition("/")[2] in DOCUMENTS and not name.startswith("__MACOSX/")
        }
        if not tops:
            raise InputError(
                f"{self.path}: is a ZIP archive without a Zarr in it (zarr.json, .zarray or "
                ".zgroup); unpack it, and give what is in it"
            )
        first = min(tops, key=lambda top: (top.count("/") + bool(top), top))
        alike = [top for top in tops if (top + "/").startswith(first + "/") or not first]
        if len(alike) < len(tops):
            apart = sorted({top.split("/")[0] for top in tops})
            raise InputError(
                f"{self.path}: holds several Zarrs, {shown(', '.join(apart))}; zip one alone"
            )
        return first

    # what zarr asks for

    def _get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        data = self.read(key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read a member, or a part of one; None if it is not there."""
        prototype = prototype or default_buffer_prototype()
        return await asyncio.to_thread(self._get, key, prototype, byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read parts of members."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    # what our reader asks for, as of `RegularFiles`

    def read(self, key: str, byte_range: ByteRequest | None = None) -> bytes | None:
        """Read a member, or a part of one, in the thread that asks; None if it is not there."""
        member = self._members.get(key)
        if member is None or member.is_dir():
            return None
        name = self.named(key)
        if member.flag_bits & ENCRYPTED:
            raise InputError(f"{name}: is encrypted; zip the store again, without a password")
        if member.compress_type not in METHODS:
            raise InputError(
                f"{name}: is packed by method {member.compress_type} of ZIP; accepted are "
                f"{' and '.join(METHODS.values())}: zip the store again, best without compression "
                "(zip -0)"
            )
        start, stop = span_of(byte_range, member.file_size)
        packed = member.compress_type != zipfile.ZIP_STORED  # then what comes before is unpacked
        check_size(name, max(member.file_size if packed else 0, stop - start), self.largest)
        if stop > member.file_size:
            raise _damaged(Path(name), f"byte {stop} of {member.file_size} is asked for")
        with reading(Path(name), "the member", DAMAGED):
            data = self._unpacked(member, start, stop)
        if len(data) != stop - start:
            raise _damaged(Path(name), f"{len(data)} of {stop - start} bytes are there")
        return data

    def _unpacked(self, member: zipfile.ZipInfo, start: int, stop: int) -> bytes:
        whole = (start, stop) == (0, member.file_size)
        if member.compress_type == zipfile.ZIP_STORED and not whole:
            return self._lifted(member, start, stop)
        with self._zf.open(member) as file:  # compares the checksum at its end
            file.seek(start)
            return file.read(stop - start)

    def _lifted(self, member: zipfile.ZipInfo, start: int, stop: int) -> bytes:
        """Read a part of a member that is stored as it is."""
        with open_regular(self.path) as file:
            file.seek(member.header_offset)
            head = file.read(LOCAL_HEADER)
            if len(head) < LOCAL_HEADER or not head.startswith(b"PK\3\4"):
                raise zipfile.BadZipFile("the header of a member is not where it should be")
            names = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
            file.seek(member.header_offset + LOCAL_HEADER + names + start)
            return file.read(stop - start)

    def listed(self, folder: str) -> list[Entry]:
        """Return what lies in a folder."""
        if self._folders is None:
            self._folders = _tree(self.path, self._members, self._budget)
        return [Entry(name, kind) for name, kind in self._folders.get(folder, {}).items()]

    def named(self, key: str) -> str:
        """Return what a message calls a member."""
        return f"{self.path}/{key}" if key else str(self.path)

    def stamp(self, key: str) -> dict[str, int] | None:
        """Return size and checksum of a member; None if it is not there."""
        member = self._members.get(key)
        return None if member is None else {"bytes": member.file_size, "crc32": member.CRC}

    def whole(self) -> dict[str, int]:
        """Return size and time of the archive."""
        return file_stamp(self.path)

    def links(self, folder: str) -> tuple[Path, ...]:
        """Return where links lead: there are none."""
        return ()


def _tree(archive: Path, members: Iterable[str], budget: Budget) -> dict[str, dict[str, str]]:
    """Return what lies in each folder of an archive, by its path: names and kinds."""
    folders: dict[str, dict[str, str]] = {}
    size = 0
    for name in members:
        path, kind = name.rstrip("/"), "folder" if name.endswith("/") else "file"
        while path:
            above, _, own = path.rpartition("/")
            inside = folders.setdefault(above, {})
            if own in inside:
                break
            inside[own], path, kind = kind, above, "folder"
            size += OF_ENTRY + 2 * len(above) * (len(inside) == 1)
        budget.allow(size, archive, "the list of what it holds")
    return folders


def check_archive(path: Path, budget: Budget) -> None:
    """Compare what the list of members takes with the budget before it is read.

    Raises
    ------
    InputError
        If it is more, or there is no such list.
    """
    size = check_regular(path)
    with open_regular(path) as file:
        file.seek(max(size - TAIL, 0))
        tail = file.read(TAIL)
        at = tail.rfind(END)
        record = tail[at : at + 22]
        if at < 0 or len(record) < 22:
            raise _damaged(path, "its list of members, at the end of a ZIP file, is not there")
        listed = int.from_bytes(record[12:16], "little")
        before = tail[max(at - 20, 0) : at]
        if before.startswith(LOCATOR_64):
            file.seek(min(int.from_bytes(before[8:16], "little"), size))
            record = file.read(56)
            if not record.startswith(END_64) or len(record) < 56:
                raise _damaged(path, "its list of members is not where it says")
            listed = int.from_bytes(record[40:48], "little")
    if listed > size:
        raise _damaged(path, f"its list of members has {listed} bytes, and the file {size}")
    budget.allow(PARSED * listed, path, "the list of what it holds")


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: cannot be read ({reason}); {DAMAGED}: copy or zip it again")


def holds_zarr(path: Path) -> bool:
    """Whether a file is a ZIP archive in which a Zarr lies; nothing is unpacked."""
    try:
        store = ZipFiles(path, Budget())
    except InputError:
        return False
    store.close()
    return True
