"""Decoding within a bound: what fits comes out as the library's own; what does not never starts."""

import bz2
import gzip
import lzma
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from paper_unet.errors import InputError
from paper_unet.images import read_stack
from paper_unet.images.codecs import decode_within, is_bounded, zstd_size
from paper_unet.images.picture_size import SIZES
from paper_unet.images.readers.chunk_keys import index_comes_first
from paper_unet.images.readers.zarr_store import bounded, decoder_of
from paper_unet.system.memory import Budget

PIXELS = np.add.outer(np.arange(37), np.arange(53)).astype("u1")
COLOURS = np.random.default_rng(1).integers(0, 255, (37, 53, 3), "u1")
STACK = np.random.default_rng(2).integers(0, 2000, (3, 40, 50), "u2")
CODECS: dict[str, Any] = {
    "zlib": numcodecs.Zlib(), "gzip": numcodecs.GZip(), "bz2": numcodecs.BZ2(),
    "lzma": numcodecs.LZMA(), "zstd": numcodecs.Zstd(), "blosc": numcodecs.Blosc(),
    "lz4": numcodecs.LZ4(), "numcodecs.crc32": numcodecs.CRC32(),
}  # fmt: skip


@given(st.sampled_from(sorted(CODECS)), st.binary(min_size=1, max_size=3000), st.integers(1, 9))
def test_what_fits_is_what_the_library_gives(name: str, data: bytes, times: int) -> None:
    data *= times
    codec = CODECS[name]
    encoded = bytes(codec.encode(data))
    assert bytes(decode_within(name, encoded, len(data), codec.decode)) == data
    if name != "numcodecs.crc32" or len(data) > 8 * 3:
        with pytest.raises(ValueError, match="decodes to"):
            decode_within(name, encoded, len(data) - 1, codec.decode)


def test_members_that_follow_each_other() -> None:
    data = b"".join(gzip.compress(part) for part in (b"one", b"two", b"")) + bytes(9)
    assert decode_within("gzip", data, 6, bytes) == b"onetwo"
    assert decode_within("bz2", bz2.compress(b"one") + bz2.compress(b"two"), 6, bytes) == b"onetwo"
    with pytest.raises(ValueError, match="decodes to"):
        decode_within("gzip", data, 5, bytes)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("zlib", zlib.compress(b"text")[:-3]), ("gzip", gzip.compress(b"text")[:-9]),
        ("lzma", lzma.compress(b"text")[:-5]), ("bz2", bz2.compress(b"text")[:-1]),
        ("zstd", b"\x28\xb5\x2f"), ("zstd", b"no zstd at all"), ("lz4", b"\0"), ("blosc", b"\1"),
    ],
    ids=["zlib", "gzip", "lzma", "bz2", "zstd head", "no zstd", "lz4", "blosc"],
)  # fmt: skip
def test_what_is_cut_short_is_an_error(name: str, data: bytes) -> None:
    def never(_: bytes) -> bytes:
        raise AssertionError("it must not be decoded")

    with pytest.raises((ValueError, EOFError, OSError)):
        decode_within(name, data, 100, never)


def test_lzw_is_decoded_as_far_as_the_bound() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = bytes(imagecodecs.lzw_encode(bytes(100_000)))
    assert len(data) < 1000
    assert decode_within("imagecodecs_lzw", data, 100_000, bytes) == bytes(100_000)
    with pytest.raises(ValueError, match="declared are 99999 at most"):
        decode_within("imagecodecs_lzw", data, 99_999, bytes)


@pytest.mark.parametrize("name", ["pickle", "vlen-utf8", "json2", "msgpack2", "zfpy", "pcodec"])
def test_encodings_of_unknown_size_are_not_decoded(name: str) -> None:
    assert not is_bounded(name)
    with pytest.raises(ValueError, match="size is not known"):
        decode_within(name, b"", 100, bytes)


@pytest.mark.parametrize("image", [PIXELS, COLOURS, np.tile(PIXELS, (9, 40))], ids=np.shape)
@pytest.mark.parametrize(
    ("kind", "encoder", "more"),
    [
        ("jpeg", "jpeg8", {}), ("jpeg", "ljpeg", {}), ("jpeg", "jpegls", {}),
        ("jpeg2000", "jpeg2k", {}), ("jpeg2000", "jpeg2k", {"codecformat": "j2k"}),
        ("jpegxl", "jpegxl", {}), ("jpegxl", "jpegxl", {"usecontainer": True}),
        ("jpegxr", "jpegxr", {}), ("png", "png", {}), ("webp", "webp", {}),
        ("webp", "webp", {"lossless": True}), ("lerc", "lerc", {}),
    ],
)  # fmt: skip
def test_the_size_of_a_picture_without_decoding_it(
    kind: str, encoder: str, more: dict[str, Any], image: Any
) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    if (image.ndim, encoder) in ((2, "webp"), (3, "ljpeg")):
        pytest.skip(f"{encoder} has no such pictures")
    data = bytes(getattr(imagecodecs, f"{encoder}_encode")(image, **more))
    rows, columns, values = SIZES[kind](data)
    assert (rows, columns) == image.shape[:2]
    assert (image.shape[2] if image.ndim == 3 else 1) <= values <= 4
    for cut in (0, 3):
        with pytest.raises(ValueError, match=r"picture|no |without"):
            SIZES[kind](data[:cut])


def test_a_jpeg_that_claims_more_than_its_tile(tmp_path: Path) -> None:
    """The header alone is changed; no decoder may come to see it."""
    tifffile, _ = pytest.importorskip("tifffile"), pytest.importorskip("imagecodecs")
    for compression, marker in (("jpeg", b"\xff\xc0"), ("jpeg2000", b"\xff\x51")):
        path = tmp_path / f"{compression}.tif"
        tifffile.imwrite(path, np.tile(PIXELS, (4, 4)), tile=(64, 64), compression=compression,
                         photometric="minisblack")  # fmt: skip
        assert read_stack(path).shape == (1, 148, 212)
        data = bytearray(path.read_bytes())
        at = data.index(marker)
        if compression == "jpeg":
            data[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
        else:
            data[at + 6 : at + 14] = struct.pack(">II", 2**30, 2**30)
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"a picture of (65500|1073741824) x"):
            read_stack(path)


@pytest.mark.parametrize("count", [300, 640, 5000, 2**17, 2**17 + 9, 3 * 2**17 - 1, 3 * 2**17 + 9])
def test_a_frame_of_zstd_that_does_not_say_its_size(count: int) -> None:
    """Its last block is seldom full, and a small window says that all of them are small."""
    data = np.random.default_rng(3).integers(0, 9, count, "u1").tobytes()
    said = bytes(numcodecs.Zstd().encode(data))
    size = 5 + (1, 2, 4)[said[4] >> 6] + (not said[4] & 32)  # where the blocks begin
    exponent = max(0, (count - 1).bit_length() - 10)
    frame = said[:4] + bytes([0, exponent << 3]) + said[size:]
    assert count - 2**17 < zstd_size(frame) <= count
    assert decode_within("zstd", frame, count, lambda _: data) == data
    with pytest.raises(ValueError, match="decodes to"):
        decode_within("zstd", frame * 9, count, lambda _: data)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", ["zstd", "gzip", "blosc"])
def test_a_zarr_of_other_software_without_a_size(tmp_path: Path, version: int, name: str) -> None:
    """What tensorstore writes, too, in whose zstd frames no size is said."""
    ts = pytest.importorskip("tensorstore")
    driver, codec = "zarr" if version == 2 else "zarr3", {"id": name}
    chunk = {"chunks": [1, 16, 20], "compressor": codec}
    if version == 3:
        chunk = {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 16, 20]}},
                 "codecs": [{"name": name}]}  # fmt: skip
    if (version, name) == (2, "gzip"):
        chunk["compressor"] = {"id": "gzip", "level": 1}
    store = ts.open(
        {"driver": driver, "kvstore": {"driver": "file", "path": str(tmp_path / "a.zarr")},
         "metadata": chunk}, create=True, dtype=ts.uint16, shape=STACK.shape
    ).result()  # fmt: skip
    store.write(STACK).result()
    np.testing.assert_array_equal(read_stack(tmp_path / "a.zarr"), STACK)


@pytest.mark.parametrize(
    "filters",
    [
        [numcodecs.Delta("<u2")], [numcodecs.Shuffle(2)], [numcodecs.AsType("<f8", "<u2")],
        [numcodecs.FixedScaleOffset(0, 1, "<u2", "<f8")], [numcodecs.CRC32()],
        [numcodecs.Delta("<u2"), numcodecs.Shuffle(2)],
    ],
    ids=lambda filters: "-".join(one.codec_id for one in filters),
)  # fmt: skip
def test_filters_of_version_2(tmp_path: Path, filters: list[Any]) -> None:
    for compressor in (None, numcodecs.Zstd()):
        path = tmp_path / f"{compressor is None}.zarr"
        array = zarr.create_array(
            path, shape=STACK.shape, dtype="<u2", chunks=(2, 16, 20), zarr_format=2,
            filters=filters, compressors=compressor,
        )  # fmt: skip
        array[:] = STACK
        np.testing.assert_array_equal(read_stack(path), STACK)


@pytest.mark.parametrize("endian", ["little", "big"])
def test_codecs_of_version_3_one_after_the_other(tmp_path: Path, endian: str) -> None:
    from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ZstdCodec

    chains: list[list[Any]] = [
        [], [ZstdCodec(checksum=True)], [GzipCodec(), ZstdCodec()],
        [BloscCodec(typesize=2), GzipCodec()], [ZstdCodec(), Crc32cCodec()],
    ]  # fmt: skip
    for k, chain in enumerate(chains):
        path = tmp_path / f"{k}.zarr"
        array = zarr.create(
            store=path, shape=STACK.shape, dtype="u2", chunk_shape=(2, 16, 20), zarr_format=3,
            codecs=[BytesCodec(endian=endian), *chain],
        )  # fmt: skip
        array[:] = STACK
        np.testing.assert_array_equal(read_stack(path), STACK)


@pytest.mark.parametrize("within", [False, True])
def test_shards_in_shards(tmp_path: Path, within: bool) -> None:
    from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec, ZstdCodec

    inner: Any = [BytesCodec(), ZstdCodec(), Crc32cCodec()]
    if within:
        inner = [ShardingCodec(chunk_shape=(1, 8, 5), codecs=inner)]
    array = zarr.create(
        store=tmp_path / "a.zarr", shape=STACK.shape, dtype="u2", chunk_shape=(2, 32, 40),
        codecs=[ShardingCodec(chunk_shape=(1, 16, 20), codecs=inner)], zarr_format=3,
    )  # fmt: skip
    array[:] = STACK
    np.testing.assert_array_equal(read_stack(tmp_path / "a.zarr"), STACK)


@pytest.mark.parametrize("name", ["zlib", "deflate", "zstd", "lzma", "lzw"])
def test_decoders_of_tiff_stop_at_the_declared_size(name: str) -> None:
    """What `tiff_budget.OF_DECLARED_SIZE` builds on."""
    imagecodecs = pytest.importorskip("imagecodecs")
    data = bytes(getattr(imagecodecs, f"{name}_encode")(bytes(2**20)))
    try:
        found = getattr(imagecodecs, f"{name}_decode")(data, out=1000)
    except RuntimeError:
        return
    assert len(found) == 1000


@pytest.mark.parametrize("compression", ["zlib", "zstd", "lzma", "lzw", "packbits"])
def test_compressed_tiffs_are_read_as_before(tmp_path: Path, compression: str) -> None:
    tifffile, _ = pytest.importorskip("tifffile"), pytest.importorskip("imagecodecs")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, compression=compression, rowsperstrip=7, photometric="minisblack")
    np.testing.assert_array_equal(read_stack(path), STACK)


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_without_imagecodecs_a_bomb_is_found_first(
    tmp_path: Path, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile, _ = pytest.importorskip("tifffile"), pytest.importorskip("imagecodecs")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((2000, 2000), "u1"), compression=compression,
                     rowsperstrip=2000, photometric="minisblack")  # fmt: skip
    data = bytearray(path.read_bytes())
    for tag in (256, 257, 278):  # width, height, rows of a strip
        at = max(data.find(struct.pack("<HHI", tag, kind, 1)) for kind in (3, 4))
        struct.pack_into("<H", data, at + 8, 64)
    path.write_bytes(data)
    monkeypatch.setattr("paper_unet.images.readers.tiff_budget.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"it decodes to .* declared are"):
        read_stack(path)


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("words", [False, True])
def test_settings_of_codecs_are_enums_or_words(tmp_path: Path, order: str, words: bool) -> None:
    """As versions of zarr have them."""
    path = tmp_path / "in.zarr"
    array = zarr.create_array(
        path, shape=(2, 4), chunks=(2, 4), dtype="u2", compressors=None,
        serializer=zarr.codecs.BytesCodec(endian=order),  # type: ignore[arg-type]
    )  # fmt: skip
    array[:] = expected = np.arange(8, dtype="u2").reshape(2, 4)
    setting = order if words else SimpleNamespace(value=order)
    read = bounded(path, array, Budget())
    object.__setattr__(read.metadata.codecs[0], "endian", setting)
    decode = decoder_of(read)
    assert decode is not None
    np.testing.assert_array_equal(decode((path / "c/0/0").read_bytes()), expected)
    for place in ("start", "end"):
        shards = SimpleNamespace(index_location=place if words else SimpleNamespace(value=place))
        assert index_comes_first(shards) == (place == "start")
