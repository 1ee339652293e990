"""Windows of sizes that nothing divides; what is read, decoded and kept on the way."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_helpers import LAYOUTS, PIXELS
from numpy.typing import NDArray
from packaging.version import Version

from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack
from paper_unet.images.cache import ChunkCache
from paper_unet.images.readers.tiff_segments import Segments

# 37 rows and 53 columns: the last strips, tiles and chunks are all cut.
ODD = np.random.default_rng(1).permutation(5 * 37 * 53).reshape(5, 37, 53).astype(np.uint16)
BIG = np.random.default_rng(2).integers(0, 60_000, (2, 700, 1100)).astype(np.uint16)

OPTIONS: dict[str, dict[str, Any]] = {
    "tiles": {"tile": (16, 32)},
    "tiles, deflate": {"tile": (32, 16), "compression": "zlib"},
    "tiles, big endian": {"tile": (16, 16), "byteorder": ">"},
    "tiles, zstd, big endian": {"tile": (16, 16), "byteorder": ">", "compression": "zstd"},
    "strips": {"rowsperstrip": 5},
    "strips, big endian": {"rowsperstrip": 5, "byteorder": ">"},
    "strips, deflate": {"rowsperstrip": 5, "compression": "zlib"},
    "strips, LZW, predictor": {"rowsperstrip": 7, "compression": "lzw", "predictor": True},
    "strips, deflate, predictor, big endian": {
        "rowsperstrip": 7, "compression": "zlib", "predictor": True, "byteorder": ">",
    },
    "white is zero": {"photometric": "miniswhite"},
    "white is zero, tiles": {"photometric": "miniswhite", "tile": (16, 16)},
    "packed 12 bits": {"bitspersample": 12},
    "BigTIFF, tiles": {"bigtiff": True, "tile": (16, 16), "compression": "zlib"},
}  # fmt: skip


def write_tiff(path: Path, stack: NDArray[Any], **options: Any) -> Path:
    if options.get("photometric") == "miniswhite":
        stack = 65535 - stack
    of_file = {key: options.pop(key) for key in ("byteorder", "bigtiff") if key in options}
    with tifffile.TiffWriter(path, **of_file) as writer:
        for image in stack:
            writer.write(image, contiguous=False, metadata=None, **options)
    return path


def write_zarr(path: Path, stack: NDArray[Any], **options: Any) -> Path:
    zarr.create_array(path, shape=stack.shape, dtype=stack.dtype, **options)[:] = stack
    return path


def swap_strips(path: Path, page: int) -> Path:
    """Store the first two strips of a page the other way round: the same image, for readers."""
    with tifffile.TiffFile(path, mode="r+b") as file:
        offsets, counts = file.pages[page].dataoffsets, file.pages[page].databytecounts
        assert counts[0] == counts[1]
        stored = []
        for k in (0, 1):
            file.filehandle.seek(offsets[k])
            stored.append(file.filehandle.read(counts[k]))
        for k in (0, 1):
            file.filehandle.seek(offsets[k])
            file.filehandle.write(stored[1 - k])
        swapped = [offsets[1], offsets[0], *offsets[2:]]
        file.pages[page].tags["StripOffsets"].overwrite(swapped)
    return path


@pytest.fixture(scope="module", params=[*OPTIONS, "swapped", "Zarr", "Zarr, shards"])
def odd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder, name = tmp_path_factory.mktemp("odd"), request.param
    stack = ODD % 4096 if "12" in name else ODD
    if name == "Zarr":
        return write_zarr(folder / "a.zarr", stack, chunks=(2, 8, 10)), stack
    if name == "Zarr, shards":
        return write_zarr(folder / "a.zarr", stack, chunks=(2, 8, 10), shards=(4, 16, 20)), stack
    try:
        path = write_tiff(folder / "a.tif", stack, **OPTIONS.get(name, OPTIONS["strips"]))
    except NotImplementedError as error:
        if Version(tifffile.__version__) > Version("2024.8.28"):  # the oldest: none of 12 bits
            raise
        pytest.skip(f"not written: {error}")
    return swap_strips(path, 3) if name == "swapped" else path, stack


@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_windows_of_odd_sizes(odd: tuple[Path, NDArray[Any]], data: st.DataObject) -> None:
    path, expected = odd
    with open_stack(path) as stack:
        for _ in range(4):
            z = data.draw(st.integers(0, 4))
            y = sorted(data.draw(st.sets(st.integers(0, 37), min_size=2, max_size=2)))
            x = sorted(data.draw(st.sets(st.integers(0, 53), min_size=2, max_size=2)))
            window = stack.window(z, (y[0], y[1]), (x[0], x[1]))
            assert window.dtype == np.uint16
            assert window.dtype.isnative
            np.testing.assert_array_equal(window, expected[z, slice(*y), slice(*x)])
            window[:] = 0


@pytest.mark.parametrize("page", range(5))
def test_strips_in_any_place_in_the_file(tmp_path: Path, page: int) -> None:
    """That the first page lies in one piece says nothing of the others."""
    path = swap_strips(write_tiff(tmp_path / "a.tif", ODD, rowsperstrip=5), page)
    np.testing.assert_array_equal(tifffile.imread(path), ODD)
    np.testing.assert_array_equal(read_stack(path), ODD)


def test_strips_of_one_stack_swapped(tmp_path: Path) -> None:
    """The first pixels are where they belong, in a stack that lies in one piece otherwise."""
    tifffile.imwrite(tmp_path / "a.tif", ODD, rowsperstrip=5, metadata={"axes": "ZYX"})
    path = swap_strips(tmp_path / "a.tif", 2)
    np.testing.assert_array_equal(tifffile.imread(path, key=2), ODD[2])
    np.testing.assert_array_equal(read_stack(path), ODD)


def test_a_strip_that_is_too_short(tmp_path: Path) -> None:
    """Its rows would be taken from whatever follows it."""
    path = write_tiff(tmp_path / "a.tif", ODD, rowsperstrip=5)
    with tifffile.TiffFile(path, mode="r+b") as file:
        counts = list(file.pages[2].databytecounts)
        file.pages[2].tags["StripByteCounts"].overwrite([counts[0] - 20, *counts[1:]])
    with open_stack(path) as stack:
        np.testing.assert_array_equal(stack[1], ODD[1])
        with pytest.raises(InputError, match=r"a\.tif: slice 2 cannot be read"):
            stack[2]


# --- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["contiguous", "page by page", "one page for all", "big endian"])
def test_of_plain_files_only_the_window_is_read(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    LAYOUTS[name](tmp_path / "a.tif", PIXELS)
    taken, read = [], tifffile.FileHandle.read_array

    def spy(self: Any, dtype: Any, count: int, *more: Any, **options: Any) -> NDArray[Any]:
        taken.append(count)
        return read(self, dtype, count, *more, **options)

    with open_stack(tmp_path / "a.tif") as stack:
        monkeypatch.setattr(tifffile.FileHandle, "read_array", spy)
        stack.window(4, (3, 8), (0, 32))
        assert taken == [5 * 32]
        taken.clear()
        stack.window(4, (3, 8), (30, 32))
        assert taken == [2] * 5


def decoded(path: Path, windows: list[Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    pieces: list[Any] = []
    decode = Segments._decode

    def spy(self: Segments, *key: int) -> NDArray[Any]:
        pieces.append(key)
        return decode(self, *key)

    monkeypatch.setattr(Segments, "_decode", spy)
    with open_stack(path) as stack:
        for window in windows:
            stack.window(*window)
    return pieces


BANDS = [(1, (top, min(top + 3, 37)), (0, 53)) for top in range(0, 37, 3)]
WIDE = [(1, (top, min(top + 24, 37)), (left, min(left + 24, 53)))
        for top in range(0, 37, 12) for left in range(0, 53, 12)]  # fmt: skip


@pytest.mark.parametrize("name", ["strips, deflate", "tiles, deflate"])
@pytest.mark.parametrize("windows", [BANDS, WIDE], ids=["bands", "overlapping tiles"])
def test_each_piece_of_a_section_is_decoded_once(
    tmp_path: Path, name: str, windows: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiff(tmp_path / "a.tif", ODD, **OPTIONS[name])
    pieces = decoded(path, windows, monkeypatch)
    assert sorted(pieces) == [(1, k) for k in range(8)]


def test_in_bands_each_is_decoded_once_even_if_one_row_of_pieces_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paper_unet.images.cache.KEPT", 0)
    path = write_tiff(tmp_path / "a.tif", ODD, tile=(16, 16), compression="zlib")
    assert sorted(decoded(path, BANDS, monkeypatch)) == [(1, k) for k in range(12)]


def test_only_the_tiles_that_a_window_touches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiff(tmp_path / "a.tif", ODD, tile=(16, 16), compression="zlib")
    pieces = decoded(path, [(3, (15, 17), (20, 33))], monkeypatch)
    assert sorted(pieces) == [(3, 1), (3, 2), (3, 5), (3, 6)]


# --- what is kept --------------------------------------------------------------------------------

SOURCES: dict[str, Callable[[Path], Path]] = {
    "rows": lambda path: write_tiff(path / "a.tif", BIG),
    "rows, big endian": lambda path: write_tiff(path / "a.tif", BIG, byteorder=">"),
    "strips": lambda path: write_tiff(path / "a.tif", BIG, rowsperstrip=16, compression="zlib"),
    "tiles": lambda path: write_tiff(path / "a.tif", BIG, tile=(128, 128), compression="zlib"),
    "predictor, big endian": lambda path: write_tiff(
        path / "a.tif", BIG, tile=(256, 256), compression="zlib", predictor=True, byteorder=">"
    ),
    "one strip": lambda path: write_tiff(
        path / "a.tif", BIG, rowsperstrip=700, compression="zlib", predictor=True
    ),
    "chunks": lambda path: write_zarr(path / "a.zarr", BIG, chunks=(1, 256, 256)),
    "deep chunks": lambda path: write_zarr(path / "a.zarr", BIG, chunks=(2, 128, 128)),
    "shards": lambda path: write_zarr(
        path / "a.zarr", BIG, chunks=(1, 128, 128), shards=(2, 512, 512)
    ),
}


@pytest.mark.parametrize("kept", [0, 2**25], ids=["a row of pieces", "all that is worth it"])
@pytest.mark.parametrize("band", [24, 300])
@pytest.mark.parametrize("name", SOURCES)
def test_no_more_is_kept_than_stated(
    tmp_path: Path, name: str, band: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paper_unet.images.cache.KEPT", kept)
    path, window = SOURCES[name](tmp_path), np.empty(0)
    with open_stack(path) as first:
        first.window(1, (0, 1), (0, 1))  # threads and caches of the libraries
    with open_stack(path) as stack:
        tracemalloc.start()
        try:
            for z in (0, 1):
                for top in range(0, 700 - band, band):
                    window = np.empty(0)
                    window = stack.window(z, (top, top + band), (0, 1100))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak - window.nbytes <= stack.cache_bytes + 2**16
        assert stack.cache_bytes <= (0 if name.startswith("rows") else 5 * BIG[0].nbytes + 2**21)


def test_what_was_used_longest_ago_makes_room() -> None:
    made = []

    def make(key: int) -> Callable[[], NDArray[Any]]:
        return lambda: (made.append(key), np.full(2**20, key, np.uint8))[1]

    cache = ChunkCache(2**20, 2**30)
    cache.room = 3 * 2**20
    for key in (1, 2, 3, 1, 4, 1, 2):
        assert cache.get(key, 2**20, make(key))[0] == key
    assert made == [1, 2, 3, 4, 2]
    cache.get(5, 2**22, make(5))  # more than there is room for: not kept, and all else is gone
    cache.get(1, 2**20, make(1))
    cache.clear()
    cache.get(1, 2**20, make(1))
    assert made == [1, 2, 3, 4, 2, 5, 1, 1]


def test_what_is_small_counts_for_what_it_takes() -> None:
    """Empty arrays are not kept without end, and one of unknown size until another is made."""
    made = []

    def make(key: int, size: int = 0) -> Callable[[], NDArray[Any]]:
        return lambda: (made.append(key), np.zeros(size, np.uint8))[1]

    cache = ChunkCache(1000, 1000, least=100)
    for key in (*range(20), 19, 10, 0):
        cache.get(key, None, make(key))
    assert made == [*range(20), 0]
    for key in (50, 50, 1, 50):
        cache.get(key, None, make(key, 2000 if key == 50 else 0))
    assert made == [*range(20), 0, 50, 1, 50]
