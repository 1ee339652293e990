"""TIFF files that ask for more than they hold; written byte by byte."""

import lzma
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Entries = dict[int, tuple[int, list[int] | bytes]]
SIDE = 64
FORMATS = {1: "B", 2: "s", 3: "H", 4: "I", 16: "Q"}
OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0"><Pixels ID="P:0" DimensionOrder="XYZCT" Type="uint8" SizeX="64" '
    'SizeY="64" SizeZ="{z}" SizeC="{c}" SizeT="{t}">{data}</Pixels></Image>{more}</OME>'
)


def page(block: bytes = bytes(SIDE * SIDE), **more: int) -> Entries:
    """The entries of a grey page of one strip; names of tags are those below."""
    numbers = {"width": SIDE, "height": SIDE, "bits": 8, "compression": 1, "photometric": 1,
               "samples": 1, "rows": SIDE} | more  # fmt: skip
    tags = {"width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262,
            "samples": 277, "rows": 278, "tile_width": 322, "tile_height": 323}  # fmt: skip
    entries: Entries = {tags[name]: (4, [value]) for name, value in numbers.items()}
    return entries | {0: (1, block)}  # 0: what becomes the strip


def write(path: Path, pages: list[Entries], *, loop: bool = False) -> Path:
    """A classic little-endian TIFF."""
    out = bytearray(struct.pack("<2sHI", b"II", 42, 0))
    link = 4
    for entries in pages:
        entries = dict(entries)
        if 0 in entries:
            block = bytes(entries.pop(0)[1])
            places = (324, 325) if 322 in entries else (273, 279)
            entries |= {places[0]: (4, [len(out)]), places[1]: (4, [len(block)])}
            out += block
        table = []
        for tag, (kind, values) in sorted(entries.items()):
            data = values if isinstance(values, bytes) else _packed(kind, values)
            count = len(values)
            if len(data) > 4:
                out += bytes(len(out) % 2)
                table.append(struct.pack("<HHII", tag, kind, count, len(out)))
                out += data
            else:
                table.append(struct.pack("<HHI", tag, kind, count) + data.ljust(4, b"\0"))
        out += bytes(len(out) % 2)
        struct.pack_into("<I", out, link, len(out))
        out += struct.pack("<H", len(table)) + b"".join(table)
        link = len(out)
        out += struct.pack("<I", 8 + len(pages[0][0][1]) if loop else 0)
    path.write_bytes(out)
    return path


def _packed(kind: int, values: list[int]) -> bytes:
    return struct.pack(f"<{len(values)}{FORMATS[kind]}", *values)


def ome(path: Path, z: object = 1, c: object = 1, t: object = 1, data: str = "", more: str = "",
        head: str = "") -> Path:  # fmt: skip
    """An OME-TIFF of two pages."""
    xml = OME.format(z=z, c=c, t=t, data=data or "<TiffData/>", more=more)
    text = (xml.replace("<OME", f"{head}<OME", 1) + "\0").encode()
    return write(path, [page() | {270: (2, text)}, page()])


def described(path: Path, text: str) -> Path:
    return write(path, [page() | {270: (2, text.encode() + b"\0")}])


def packed_zeros(count: int) -> bytes:
    """Deflate of many zeros, without ever having them: a block that depends on none, repeated."""
    stream, block = zlib.compressobj(9, wbits=-15), bytes(2**20)
    packed = stream.compress(block) + stream.flush(zlib.Z_FULL_FLUSH)
    blocks = count // len(block)
    adler = blocks * len(block) % 65521 << 16 | 1
    return b"\x78\xda" + packed * blocks + stream.flush() + struct.pack(">I", adler)


def zstd_zeros(count: int, *, said: bool) -> bytes:
    """A frame of zstd with blocks of one repeated byte; with its size or without."""
    blocks = count // (2**17 - 1) + 1
    size = (2**17 - 1) * blocks
    frame = struct.pack("<I", 0xFD2FB528)
    frame += bytes([0xC0, 0x38]) + struct.pack("<Q", size) if said else bytes([0x00, 0x38])
    for k in range(blocks):
        head = (k == blocks - 1) | 1 << 1 | (2**17 - 1) << 3
        frame += struct.pack("<I", head)[:3] + b"\0"
    return frame


def lzma_dictionary() -> bytes:
    """An xz stream whose header asks for a dictionary of 4 GB."""
    data = bytearray(lzma.compress(bytes(5000)))
    head = data[12 : 12 + 4 * (data[12] + 1)]  # of the block: ends in its CRC
    head[head.index(b"\x21\x01") + 2] = 40
    head[-4:] = struct.pack("<I", zlib.crc32(head[:-4]))
    data[12 : 12 + len(head)] = head
    return bytes(data)


def bomb(compression: int, encoded: bytes, **more: int) -> Callable[[Path], Path]:
    return lambda path: write(path, [page(encoded, compression=compression, **more)])


def shared_strip_table(path: Path) -> Path:
    """3,000 directories, all with one table of 40,000 strips."""
    strips = 40_000
    out = bytearray(struct.pack("<2sHI", b"II", 42, 0))
    out += bytes(strips)
    offsets, counts = len(out), len(out) + 4 * strips
    out += struct.pack(f"<{strips}I", *range(8, 8 + strips)) + struct.pack("<I", 1) * strips
    link = 4
    for _ in range(3000):
        struct.pack_into("<I", out, link, len(out))
        fields = [(256, 4, 1, 1), (257, 4, 1, strips), (258, 3, 1, 8), (259, 3, 1, 1),
                  (262, 3, 1, 1), (273, 4, strips, offsets), (277, 3, 1, 1), (278, 4, 1, 1),
                  (279, 4, strips, counts)]  # fmt: skip
        out += struct.pack("<H", len(fields))
        out += b"".join(struct.pack("<HHII", *field) for field in fields)
        link = len(out)
        out += bytes(4)
    path.write_bytes(out)
    return path


def overlapping_directories(path: Path) -> Path:
    """Directories that begin two bytes after each other, each of thousands of entries."""
    entries, pages = 3000, 4000
    body = bytearray(struct.pack("<H", entries) * (6 * entries + pages + 20))
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8) + body)
    return path


def big_counts(path: Path) -> Path:
    """A BigTIFF whose directory says that it has 2^60 entries."""
    path.write_bytes(struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 2**60) + bytes(200))
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def unix_socket(path: Path) -> Path:
    here = Path.cwd()
    os.chdir(path.parent)  # its name may not be long
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)
    return path


def link(target: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.symlink_to(target)
        return path

    return make


def names_a_pipe(path: Path) -> Path:
    pipe(path.parent / "other.ome.tif")
    return ome(path, z=2, data=_named("other.ome.tif"))


def _named(name: str) -> str:
    return (
        f'<TiffData FirstZ="1" IFD="0" PlaneCount="1"><UUID FileName="{name}">u:1</UUID></TiffData>'
    )


def encoded(
    compression: int, name: str, values: int = 1, side: int = 2000
) -> Callable[[Path], Path]:
    """One strip that is a picture, or a stream, of a much larger size than declared."""

    def make(path: Path) -> Path:
        imagecodecs = pytest.importorskip("imagecodecs")
        pixels = np.zeros((side, side, values)[: 2 if values == 1 else 3], "u1")
        data = bytes(getattr(imagecodecs, f"{name}_encode")(pixels))
        return write(path, [page(data, compression=compression)])

    return make


def claims(
    compression: int, name: str, marker: bytes, place: int, size: bytes
) -> Callable[[Path], Path]:
    """One strip whose header alone says that it is larger."""

    def make(path: Path) -> Path:
        imagecodecs = pytest.importorskip("imagecodecs")
        pixels = np.zeros((SIDE, SIDE), "u1")
        data = bytearray(getattr(imagecodecs, f"{name}_encode")(pixels))
        at = data.index(marker) + place
        data[at : at + len(size)] = size
        return write(path, [page(bytes(data), compression=compression)])

    return make


LAUGHS = "<!DOCTYPE OME [" + '<!ENTITY a0 "ha">' + "".join(
    f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 12)
) + "]>"  # fmt: skip
PLANES = '<TiffData FirstZ="0" IFD="0" PlaneCount="{}"/>'
MODULO = (
    '<StructuredAnnotations><XMLAnnotation ID="A:0" Namespace="openmicroscopy.org/omero/dimension/'
    'modulo"><Value><Modulo><ModuloAlongT Type="phase" Start="0" End="1e13" Step="1"/></Modulo>'
    "</Value></XMLAnnotation></StructuredAnnotations>"
)
HUGE = 2**31 - 1
TIFFS: dict[str, Callable[[Path], Path]] = {
    "ome SizeZ": lambda path: ome(path, z=HUGE),
    "ome SizeT": lambda path: ome(path, t=2**62),
    "ome SizeC": lambda path: ome(path, c=HUGE),
    "ome sizes that multiply": lambda path: ome(path, z=5000, c=5000, t=5000),
    "ome SizeZ of many digits": lambda path: ome(path, z="9" * 400),
    "ome SizeZ of too many digits": lambda path: ome(path, z="9" * 5000),
    "ome SizeZ is a word": lambda path: ome(path, z="many"),
    "ome PlaneCount": lambda path: ome(path, z=2, data=PLANES.format(HUGE)),
    "ome PlaneCount of many digits": lambda path: ome(path, z=2, data=PLANES.format("9" * 4000)),
    "ome FirstZ": lambda path: ome(path, z=2, data='<TiffData FirstZ="1e99" IFD="0"/>'),
    "ome many PlaneCounts": lambda path: ome(path, z=2, data=PLANES.format(60_000) * 3000),
    "ome modulo": lambda path: ome(path, z=3, more=MODULO),
    "ome entities": lambda path: ome(path, z=3, head=LAUGHS, more="<a>&a11;</a>"),
    "ome many levels": lambda path: ome(path, z=3, more="<a>" * 50_000 + "</a>" * 50_000),
    "ome names a pipe": names_a_pipe,
    "ome names a device": lambda path: ome(path, z=2, data=_named("/dev/zero")),
    "imagej images": lambda path: described(path, f"ImageJ=1.5\nimages={HUGE}\nslices={HUGE}\n"),
    "shaped": lambda path: described(path, '{"shape": [2147483647, 64, 64]}'),
    "shaped, deep": lambda path: described(path, '{"shape": ' + "[" * 10**5),
    "deflate bomb": bomb(8, packed_zeros(2**30)),
    "deflate bomb, old code": bomb(32946, packed_zeros(2**30)),
    "packbits bomb": bomb(32773, b"\x81\x00" * 2**22),
    "lzma dictionary of 4 GB": bomb(34925, lzma_dictionary()),
    "zstd bomb": bomb(50000, zstd_zeros(2**30, said=True)),
    "zstd bomb, size unsaid": bomb(50000, zstd_zeros(2**30, said=False)),
    "jpeg that is larger": encoded(7, "jpeg8"),
    "jpeg of 65,500 sides": claims(7, "jpeg8", b"\xff\xc0", 5, struct.pack(">HH", 65500, 65500)),
    "jpeg 2000 that is larger": encoded(34712, "jpeg2k"),
    "jpeg 2000 of 2^30 sides": claims(
        34712, "jpeg2k", b"\xff\x51", 6, struct.pack(">II", 2**30, 2**30)
    ),
    "webp that is larger": encoded(50001, "webp", values=3),
    "jpeg xl that is larger": encoded(50002, "jpegxl"),
    "jpeg xr that is larger": encoded(34934, "jpegxr"),
    "png that is larger": encoded(34933, "png"),
    "png of 2^30 sides": claims(34933, "png", b"IHDR", 4, struct.pack(">II", 2**30, 2**30)),
    "lerc that is larger": encoded(34887, "lerc"),
    "lerc of 2^30 sides": claims(34887, "lerc", b"Lerc2 ", 14, struct.pack("<ii", 2**30, 2**30)),
    "one strip of an exabyte": bomb(8, packed_zeros(2**20), width=2**31, height=2**31, rows=2**31),
    "a tile of an exabyte": bomb(8, b"", tile_width=2**31, tile_height=2**31),
    "rows of no strip": bomb(8, packed_zeros(2**20), rows=0),
    "no columns": bomb(1, bytes(64), width=0),
    "samples": bomb(1, bytes(64), samples=65535),
    "an unknown compression": bomb(64999, bytes(64)),
    "bits": bomb(1, bytes(64), bits=65535),
    "directories in a loop": lambda path: write(path, [page(), page()], loop=True),
    "directories that share a table": shared_strip_table,
    "directories that overlap": overlapping_directories,
    "a directory of 2^60 entries": big_counts,
    "a pipe": pipe,
    "a socket": unix_socket,
    "a device": link("/dev/zero"),
    "a loop of links": link("in.tif"),
}
