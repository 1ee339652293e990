"""An input is known again by its identity, and no other is taken for it."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from image_helpers import LAYOUTS, PIXELS
from PIL import Image
from test_inputs import FORMATS

from paper_unet.errors import InputError
from paper_unet.images import open_stack
from paper_unet.images.readers import chunked as chunked_reader

SOME = ["contiguous", "tiled, deflate", "PNG folder", "TIFF folder", "Zarr v2", "Zarr v3",
        "OME-Zarr 0.4", "OME-Zarr 0.5"]  # fmt: skip


def identity(path: Path) -> dict[str, object]:
    with open_stack(path, missing="fill") as stack:
        return stack.identity()


def later(path: Path) -> None:
    """Set the time of the file, or of what describes the folder, one second on."""
    if path.is_dir():
        names = ("zarr.json", ".zarray", ".zgroup")
        path = next((path / n for n in names if (path / n).exists()), min(path.iterdir()))
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))


@pytest.mark.parametrize("name", SOME)
def test_identity_lasts_until_the_input_changes(tmp_path: Path, name: str) -> None:
    path = FORMATS[name](tmp_path, PIXELS)
    before = identity(path)
    assert identity(path) == before
    assert json.loads(json.dumps(before)) == before
    assert before["shape"] == [6, 16, 32]
    assert str(path) not in str(before)
    path = path.rename(tmp_path / f"moved{path.suffix}")
    assert identity(path) == before
    later(path)
    changed = {key for key, value in identity(path).items() if value != before[key]}
    assert changed in ({"modified"}, {"files"}, {"metadata"})


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("place", [(0, 0, 0), (5, 15, 31), (3, 8, 20)])
def test_identity_sees_a_pixel_under_a_probe(
    tmp_path: Path, name: str, place: tuple[int, ...]
) -> None:
    """Sections of at most 64 x 64 pixels are probed whole, six of six sections."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    other = PIXELS.copy()
    other[place] += 1
    before = identity(FORMATS[name](tmp_path / "a", PIXELS))["pixels"]
    assert identity(FORMATS[name](tmp_path / "b", other))["pixels"] != before


def test_the_probes_are_spread_over_the_stack(tmp_path: Path) -> None:
    """Of sections larger than a probe, each corner and 16 of the sections are looked at."""
    stack = np.zeros((40, 200, 300), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack)
    seen = []
    with open_stack(tmp_path / "a.tif") as opened:
        read = opened.window
        opened.window = lambda *window: (seen.append(window), read(*window))[1]  # type: ignore[method-assign]
        opened.identity()
    assert len(seen) == 16
    assert {z for z, *_ in seen} >= {0, 39}
    assert len({z for z, *_ in seen}) == 16
    for _, rows, columns in seen:
        assert rows[1] - rows[0] == columns[1] - columns[0] == 64
    assert len({rows for _, rows, _ in seen}) == len({columns for *_, columns in seen}) == 16
    assert {rows[0] for _, rows, _ in seen} >= {0, 200 - 64}
    assert {columns[0] for *_, columns in seen} >= {0, 300 - 64}


def test_identity_sees_more_bytes_and_more_sections(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    LAYOUTS["contiguous"](path, PIXELS)
    before = identity(path)
    stamp = path.stat().st_mtime_ns
    with path.open("ab") as file:
        file.write(b"\0")
    os.utime(path, ns=(stamp, stamp))
    after = identity(path)
    assert after == {**before, "bytes": int(str(before["bytes"])) + 1}
    folder = tmp_path / "sections"
    folder.mkdir()
    for number in (1, 2):
        Image.fromarray(PIXELS[0]).save(folder / f"{number}.png")
    before = identity(folder)
    (folder / "1.png").rename(folder / "3.png")
    after = identity(folder)
    assert after["pixels"] == before["pixels"]
    assert after["files"] != before["files"]


def test_an_input_that_is_gone_is_one_line(tmp_path: Path) -> None:
    LAYOUTS["contiguous"](tmp_path / "a.tif", PIXELS)
    with open_stack(tmp_path / "a.tif") as stack:
        (tmp_path / "a.tif").unlink()
        with pytest.raises(InputError, match=r"a\.tif: is gone .*put it back"):
            stack.identity()


LARGE = np.zeros((40, 200, 300), np.uint8)  # 16 probes of 64 x 64 see a small part of it


def chunked(path: Path, **options: Any) -> Path:
    zarr.create_array(
        path, shape=LARGE.shape, dtype="u1", config={"write_empty_chunks": True},
        **{"chunks": (1, 50, 100), **options},
    )[:] = LARGE  # fmt: skip
    return path


@pytest.mark.parametrize("z", [1, 17, 38])
@pytest.mark.parametrize(
    "options",
    [
        {"zarr_format": 2},
        {"zarr_format": 3},
        {"zarr_format": 3, "shards": (2, 100, 300)},
        {"zarr_format": 3, "chunk_key_encoding": {"name": "v2", "separator": "."}},
    ],
    ids=["v2", "v3", "shards", "flat"],
)
def test_identity_sees_a_chunk_that_was_written_again(
    tmp_path: Path, options: dict[str, Any], z: int
) -> None:
    """Between the probes too, where no pixel is looked at."""
    path = chunked(tmp_path / "a.zarr", **{"chunks": (1, 100, 150), **options})
    before = identity(path)
    assert identity(path) == before
    zarr.open_array(path, mode="r+")[z, 60:70, 120:130] = 9
    after = identity(path)
    assert {key for key in before if after[key] != before[key]} == {"chunks"}


def test_identity_sees_chunks_that_come_and_go(tmp_path: Path) -> None:
    path = chunked(tmp_path / "a.zarr")
    before = identity(path)
    chunk = path / "c" / "20" / "1" / "1"
    stamp = chunk.stat()
    data = chunk.read_bytes()
    chunk.unlink()
    assert identity(path)["chunks"] != before["chunks"]
    chunk.write_bytes(data)
    os.utime(chunk, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert identity(path) == before


def test_of_many_chunks_some_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first to the last; 40 x 4 x 3 of them."""
    path = chunked(tmp_path / "a.zarr")
    monkeypatch.setattr(chunked_reader, "STAMPED", 11)
    looked: list[str] = []

    def stamp(file: Path) -> dict[str, int]:
        if file.parent != path and file.name != "zarr.json":
            looked.append(str(file.relative_to(path / "c")))
        return {}

    monkeypatch.setattr(chunked_reader, "file_stamp", stamp)
    identity(path)
    assert len(looked) == len(set(looked)) == 11
    assert looked[0] == str(Path("0/0/0"))
    assert looked[-1] == str(Path("39/3/2"))
    steps = np.diff([int(Path(name).parts[0]) for name in looked])
    assert set(steps) <= {3, 4}
