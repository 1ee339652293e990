"""ZIP files that ask for more than they hold, and OME-Zarr that names what is not its own."""

import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiffs import pipe
from zarrs import sharded, v2, v3

MANY = 2**30


def zipped(store: Callable[[Path], object], *more: tuple[str, bytes]) -> Callable[[Path], Path]:
    """A store, and more members, packed."""

    def make(path: Path) -> Path:
        folder = path.with_suffix(".folder")
        store(folder)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(one for one in folder.rglob("*") if one.is_file()):
                archive.write(file, file.relative_to(folder).as_posix())
                file.unlink()
            for name, data in more:
                archive.writestr(name, data)
        for one in sorted(folder.rglob("*"), reverse=True):
            one.rmdir()
        folder.rmdir()
        return path

    return make


def lying(make: Callable[[Path], Path], name: bytes, **said: int) -> Callable[[Path], Path]:
    """What the list of members says of one is changed."""
    places = {"method": (10, "<H"), "packed": (20, "<I"), "size": (24, "<I"), "start": (42, "<I")}

    def made(path: Path) -> Path:
        data = bytearray(make(path).read_bytes())
        entry = data.rfind(name) - 46
        assert data[entry : entry + 4] == b"PK\1\2"
        for what, value in said.items():
            place, kind = places[what]
            struct.pack_into(kind, data, entry + place, value)
        path.write_bytes(data)
        return path

    return made


def ending(size: int, listed: int, start: int) -> Callable[[Path], Path]:
    """A file of holes whose end says how long its list of members is."""

    def make(path: Path) -> Path:
        path.touch()
        os.truncate(path, size)
        with path.open("ab") as file:
            file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, listed, start, 0))
        return path

    return make


def ending_64(path: Path) -> Path:
    """The same where it may be longer."""
    path.touch()
    os.truncate(path, 2**33)
    with path.open("ab") as file:
        file.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2**27, 2**27, 2**32, 0))
        file.write(struct.pack("<4sIQI", b"PK\6\7", 0, 2**33, 1))
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0))
    return path


def sound(folder: Path) -> Path:
    return v2(folder, bytes(4096))


def without_last(folder: Path) -> None:
    sound(folder)
    (folder / "1.0.0").unlink()


def in_shards(folder: Path) -> None:
    v3(folder, bytes(4096) + struct.pack("<8Q", *[0, 1024] * 4), sharded([1, 32, 32]))
    (folder / "c/1/0/0").unlink()


ZIPS: dict[str, Callable[[Path], Path]] = {
    "a chunk that is a bomb": zipped(without_last, ("1.0.0", bytes(MANY // 4))),
    "a bomb that says 4096": lying(zipped(without_last, ("1.0.0", bytes(MANY // 4))), b"1.0.0",
                                   size=4096),
    "a chunk that says 4 GB": lying(zipped(sound), b"1.0.0", size=2**32 - 2),
    "a chunk that lies beyond the end": lying(zipped(sound), b"1.0.0", start=2**31),
    "a chunk that is another": lying(zipped(sound), b"1.0.0", start=0),
    "a chunk of an unknown method": lying(zipped(sound), b"1.0.0", method=99),
    "a chunk of LZMA": lying(zipped(sound), b"1.0.0", method=14),
    "a document that is a bomb": zipped(lambda folder: folder.mkdir(),
                                        (".zarray", b" " * (MANY // 4))),
    "a shard that is a bomb": zipped(in_shards, ("c/1/0/0", bytes(MANY // 4))),
    "a store in a bomb of a name": zipped(sound, ("a/" * 30_000 + "b", b"")),
    "a list beyond the file": ending(1000, 2**31, 0),
    "a list of 4 GB": ending(2**32, 2**32 - 2, 0),
    "a list of 4 GB, 64 bits": ending_64,
    "a list that begins before": ending(1000, 900, 2**31),
    "a pipe": lambda path: (pipe(path), path)[1],
    "a device": lambda path: (path.symlink_to("/dev/zero"), path)[1],
    "a name that leads out": zipped(sound, ("../../.zarray", b"{}")),
}  # fmt: skip


def ome(**about: Any) -> Callable[[Path], Path]:
    """A group whose attributes say what it holds, with a sound array ``0``."""

    def make(folder: Path) -> Path:
        folder.mkdir()
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps(about))
        v2(folder / "0", bytes(4096))
        v2(folder.parent / "outside", bytes(4096))
        return folder

    return make


def image(path: Any, axes: Any = ("z", "y", "x")) -> Callable[[Path], Path]:
    return ome(multiscales=[{"version": "0.3", "axes": axes, "datasets": [{"path": path}]}])


def looped(folder: Path) -> Path:
    """Groups that are each other."""
    ome()(folder)
    for k in range(30):
        (folder / f"group {k}").symlink_to(".")
    (folder / "0" / ".zarray").unlink()
    return folder


def plate(*wells: str, images: Any = ()) -> Callable[[Path], Path]:
    """A plate with a well ``0``, in which there is an image ``0``."""

    def make(folder: Path) -> Path:
        ome(plate={"wells": [{"path": name} for name in wells]})(folder)
        (folder / "0" / ".zarray").unlink()
        (folder / "0" / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / "0" / ".zattrs").write_text(json.dumps({"well": {"images": list(images)}}))
        one = {"version": "0.3", "axes": ["z", "y", "x"], "datasets": [{"path": "0"}]}
        (folder / "0" / "0").mkdir()
        (folder / "0" / "0" / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / "0" / "0" / ".zattrs").write_text(json.dumps({"multiscales": [one]}))
        v2(folder / "0" / "0" / "0", bytes(4096))
        return folder

    return make


OMES: dict[str, Callable[[Path], Path]] = {
    "an image outside": image("../outside"),
    "an image outside, by another way": image("0/../../outside"),
    "an image outside, of Windows": image("..\\outside"),
    "an image at the root": image("/etc"),
    "an image that is the group": image("."),
    "an image without a name": image(""),
    "an image that is a number": image(0),
    "an image that is a list": image(["0"]),
    "axes without end": image("0", ["z"] * 10**5),
    "multiscales of nothing": ome(multiscales=[{}]),
    "multiscales that are a number": ome(multiscales=3),
    "multiscales without end": ome(multiscales=[[]] * 10**5),
    "groups that are each other": looped,
    "a well that is the plate": plate("."),
    "a well outside": plate(".."),
    "a hundred thousand wells": plate(*["0"] * 10**5, images=[{"path": "0"}]),
    "a hundred thousand images": plate("0", images=[{"path": "0"}] * 10**5),
    "an image of a well outside": plate("0", images=[{"path": "../../outside"}]),
    "a well of nothing": plate("0", images=[3]),
    "omero without end": ome(
        multiscales=[{"version": "0.3", "axes": ["c", "y", "x"], "datasets": [{"path": "0"}]}],
        omero={"channels": [{"label": "a" * 1000}] * 10**4},
    ),
}
