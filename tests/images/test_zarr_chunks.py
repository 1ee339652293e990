"""Chunks that are missing, named otherwise or no files are never taken for the fill value."""

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from image_helpers import GREY, PIXELS
from zarr.abc.store import OffsetByteRequest

from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack
from paper_unet.images.readers.zarr_store import RegularFiles

STACK = PIXELS[:, :12, :30] + np.uint16(1)
CHUNKS = (2, 6, 10)
GRID = (3, 2, 3)
NAMES = {
    (2, "."): "{0}.{1}.{2}", (2, "/"): "{0}/{1}/{2}", (3, "c."): "c.{0}.{1}.{2}",
    (3, "c/"): "c/{0}/{1}/{2}", (3, "."): "{0}.{1}.{2}", (3, "/"): "{0}/{1}/{2}",
}  # fmt: skip
"""File names of chunks, by version and layout."""


def store(path: Path, version: int, layout: str, **more: Any) -> Path:
    name = "default" if layout.startswith("c") else "v2"
    array = zarr.create_array(
        path, shape=STACK.shape, dtype="u2", chunks=CHUNKS, zarr_format=version,
        chunk_key_encoding={"name": name, "separator": layout[-1]}, **more,
    )  # fmt: skip
    array[:] = STACK
    return path


def renamed(path: Path, old: str, new: str) -> None:
    """Move every chunk to another name."""
    places = list(np.ndindex(GRID))
    data = {index: (path / old.format(*index)).read_bytes() for index in places}
    for index in places:
        (path / old.format(*index)).unlink()
    for folder in sorted(path.rglob("*"), reverse=True):
        if folder.is_dir():
            folder.rmdir()
    for index, chunk in data.items():
        (path / new.format(*index)).parent.mkdir(parents=True, exist_ok=True)
        (path / new.format(*index)).write_bytes(chunk)


@pytest.mark.parametrize(
    ("version", "declared", "there"),
    [(one, a, b) for one, a in NAMES for other, b in NAMES if one == other],
)
def test_chunks_named_otherwise_than_declared(
    tmp_path: Path, version: int, declared: str, there: str
) -> None:
    path = store(tmp_path / "a.zarr", version, declared)
    if there != declared:
        renamed(path, NAMES[version, declared], NAMES[version, there])
    with open_stack(path) as stack:
        np.testing.assert_array_equal(np.stack(list(stack)), STACK)
        before = stack.identity()
        if there == declared:
            assert not stack.notes
        else:
            assert "they are read by the names that they have" in stack.notes[0]
    chunk = path / NAMES[version, there].format(2, 1, 1)
    chunk.write_bytes(chunk.read_bytes())
    with open_stack(path) as stack:
        assert stack.identity() != before


@pytest.mark.parametrize("separator", [None, ".", "/"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_document_of_version_2_without_a_separator(
    tmp_path: Path, separator: str | None, nested: bool
) -> None:
    path = tmp_path / "a.zarr"
    path.mkdir()
    about = {
        "zarr_format": 2, "shape": GREY.shape, "chunks": [1, 16, 16], "dtype": "|u1", "order": "C",
        "compressor": {"id": "zlib", "level": 1}, "fill_value": 0, "filters": None,
    }  # fmt: skip
    more = {} if separator is None else {"dimension_separator": separator}
    (path / ".zarray").write_text(json.dumps({**about, **more}))
    for z, x in np.ndindex(6, 2):
        name = path / f"{z}/0/{x}" if nested else path / f"{z}.0.{x}"
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(zlib.compress(GREY[z, :, 16 * x : 16 * x + 16].tobytes()))
    np.testing.assert_array_equal(read_stack(path), GREY)


@pytest.mark.parametrize(("version", "layout"), NAMES)
def test_missing_chunks_are_counted(tmp_path: Path, version: int, layout: str) -> None:
    path = store(tmp_path / "a.zarr", version, layout, fill_value=7)
    for index in [(1, 0, 2), (1, 1, 0), (2, 1, 2)]:
        (path / NAMES[version, layout].format(*index)).unlink()
    with pytest.raises(InputError, match=r"3 of 18 chunks are missing, of sections 2 to 5; copy"):
        open_stack(path)
    with open_stack(path, missing="fill") as stack:
        assert "3 of 18 chunks are missing" in stack.notes[0]
        assert "read as its fill value, 7" in stack.notes[0]
        found = np.stack(list(stack))
    expected = STACK.copy()
    expected[2:4, :6, 20:] = expected[2:4, 6:, :10] = expected[4:, 6:, 20:] = 7
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("missing", ["fail", "fill"])
@pytest.mark.parametrize(("version", "layout"), NAMES)
def test_no_chunk_at_all_is_no_image(
    tmp_path: Path, version: int, layout: str, missing: Any
) -> None:
    path = store(tmp_path / "a.zarr", version, layout)
    for index in np.ndindex(GRID):
        (path / NAMES[version, layout].format(*index)).unlink()
    with pytest.raises(InputError, match="has no chunk of its 18: its pixels were never written"):
        open_stack(path, missing=missing)


@pytest.mark.parametrize("missing", ["fail", "fill"])
@pytest.mark.parametrize(("version", "layout"), NAMES)
def test_a_folder_where_a_chunk_should_be(
    tmp_path: Path, version: int, layout: str, missing: Any
) -> None:
    path = store(tmp_path / "a.zarr", version, layout)
    chunk = path / NAMES[version, layout].format(2, 0, 1)
    chunk.unlink()
    chunk.mkdir()
    with pytest.raises(InputError, match=r"a folder where a chunk should be, a file") as refusal:
        open_stack(path, missing=missing)
    assert str(chunk) in str(refusal.value)


@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("checksum", [True, False])
def test_chunks_that_are_missing_inside_a_shard(tmp_path: Path, place: str, checksum: bool) -> None:
    """A shard has a list of its chunks; those beyond the edge of the array are not needed."""
    path = tmp_path / "a.zarr"
    index = [zarr.codecs.BytesCodec(), *([zarr.codecs.Crc32cCodec()] if checksum else [])]
    codec = zarr.codecs.ShardingCodec(
        chunk_shape=(1, 6, 10), index_location=place, index_codecs=index
    )
    array = zarr.create_array(
        path, shape=STACK.shape, dtype="u2", chunks=(4, 12, 20), serializer=codec, compressors=None
    )
    array[:] = STACK
    np.testing.assert_array_equal(read_stack(path), STACK)
    array[3, :6] = 0
    array[5] = 0
    with pytest.raises(InputError, match=r"9 of 36 chunks are missing, of sections 3 to 5"):
        open_stack(path)
    expected = STACK.copy()
    expected[3, :6] = expected[5] = 0
    np.testing.assert_array_equal(read_stack(path, missing="fill"), expected)


def test_a_shard_that_is_missing_or_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=STACK.shape, dtype="u2", chunks=(1, 6, 10), shards=(2, 12, 30))[
        :
    ] = STACK
    shard = path / "c" / "1" / "0" / "0"
    data = shard.read_bytes()
    shard.unlink()
    with pytest.raises(InputError, match=r"12 of 36 chunks are missing, of sections 2 to 3"):
        open_stack(path)
    shard.write_bytes(data[:50])
    with pytest.raises(InputError, match="a shard that was cut short, at 50 bytes"):
        open_stack(path)


def test_an_edge_of_a_chunk_counts_once(tmp_path: Path) -> None:
    """Files that only sound like chunks are none: of other numbers, with zeros before, notes."""
    path = store(tmp_path / "a.zarr", 3, "c.")
    for name in ("c.3.0.0", "c.00.0.0", "c.0.0", "0.0.0", "c.0.0.0.partial", "notes"):
        (path / name).write_bytes(b"")
    np.testing.assert_array_equal(read_stack(path), STACK)
    (path / "c.0.0.0").unlink()
    with pytest.raises(InputError, match="1 of 18 chunks are missing, of sections 0 to 1"):
        open_stack(path)


def test_the_command_line_fills_if_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "a.zarr", tmp_path / "out.tif"
    zarr.create_array(path, shape=(2, 40, 40), dtype="u1", chunks=(1, 40, 40))[:] = 9
    shutil.rmtree(path / "c" / "1")
    command = ["predict", str(path), "-o", str(out)]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "1 of 2 chunks are missing, of section 1; copy" in said
    assert "say --missing fill to read them as its fill value, 0" in said
    assert main([*command, "--missing", "fill"]) == 0
    said = capsys.readouterr().err
    assert "1 of 2 chunks are missing, of section 1; they are read as its fill value, 0" in said
    assert "warning: section 1: all grey values are 0" in said


def test_bool_is_grey_of_one_bit(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=GREY > 100)
    with open_stack(tmp_path / "a.zarr") as stack:
        assert (stack.dtype, stack.own_range) == (np.uint8, (0, 1))
        np.testing.assert_array_equal(np.stack(list(stack)), GREY > 100)


@pytest.mark.parametrize("byte_range", [None, OffsetByteRequest(2)])
def test_a_chunk_is_looked_at_once(
    tmp_path: Path, byte_range: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system of a network each look takes its time."""
    zarr.create_array(tmp_path / "a.zarr", data=PIXELS, zarr_format=2, compressors=None)
    files = RegularFiles(tmp_path / "a.zarr", read_only=True)
    looked, look = [], Path.stat

    def stat(path: Path, **more: Any) -> Any:
        looked.append(path.name)
        return look(path, **more)

    monkeypatch.setattr(Path, "stat", stat)
    files.read("0.0.0", byte_range)
    assert looked.count("0.0.0") == (1 if byte_range is None else 2)  # `open_regular` looks, too
    assert files.read("9.9.9", byte_range) is None
