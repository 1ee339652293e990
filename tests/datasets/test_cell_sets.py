"""The data sets of the Cell Tracking Challenge as published, and the hashes of all sets."""

from dataclasses import replace
from pathlib import Path

import pytest
import tifffile
from datasets_helpers import archive_of, everything_below, hash_of_frames

from paper_unet.datasets import DATA_SETS, DIC_C2DH_HELA, ISBI2012, PHC_C2DH_U373, WEIGHTS, fetch
from paper_unet.datasets import data_set as found
from paper_unet.images import open_stack


def test_the_table_of_cell_tracking_sets():
    """115 and 84 frames, 34 and 18 of them segmented."""
    assert list(map(found, DATA_SETS)) == [ISBI2012, PHC_C2DH_U373, DIC_C2DH_HELA, WEIGHTS]
    for data_set, frames, segmented, shape in (
        (PHC_C2DH_U373, 115, (15, 19), (520, 696)),
        (DIC_C2DH_HELA, 84, (9, 9), (512, 512)),
    ):
        assert found(data_set.name) is data_set
        base = "https://data.celltrackingchallenge.net/training-datasets/"
        assert data_set.url == f"{base}{data_set.name}.zip"
        parts = {part.name: part for part in data_set.parts}
        assert sorted(parts) == ["01", "01_GT/SEG", "01_GT/TRA", "02", "02_GT/SEG", "02_GT/TRA"]
        for sequence, count in zip(("01", "02"), segmented, strict=True):
            assert len(parts[sequence].files) == frames
            assert len(parts[f"{sequence}_GT/SEG"].files) == count
            assert len(parts[f"{sequence}_GT/TRA"].files) == frames + 1
        assert {part.shape for part in data_set.parts} == {shape}
        assert len({part.sha256 for part in data_set.parts}) == 6
        assert data_set.codecs
        for words in (data_set.name, "research", "10.1093/bioinformatics/btu080",
                      "10.1038/nmeth.4473"):  # fmt: skip
            assert words in data_set.terms


def test_the_docs_have_every_hash():
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    lines = {line for line in text.splitlines() if line.startswith("|")}
    for data_set in map(found, DATA_SETS):
        for part in data_set.parts:
            name = part.name if data_set is ISBI2012 else f"`{part.name}`"
            assert part.sha256 is None or f"| {name} | `{part.sha256}` |" in lines


def test_the_pixels_of_every_set_have_a_size():
    """ISBI 2012: 4 nm; its own files do not say it."""
    sizes = {name: found(name).pixel_size for name in DATA_SETS}
    assert sizes.pop("weights") is None  # no images
    assert list(sizes.values()) == [0.004, 0.65, 0.19]


@pytest.mark.data
def test_the_size_of_a_pixel_is_what_the_frames_say(cell_set_folder):
    with open_stack(cell_set_folder / "01" / "t000.tif") as frame:
        size = found(cell_set_folder.name).pixel_size
        assert frame.pixel_size[1:] == pytest.approx((size, size), rel=1e-4)


@pytest.mark.data
def test_the_hashes_of_the_real_frames(cell_set_folder):
    """Computed again with another reader, by the words of docs/data.md."""
    for part in found(cell_set_folder.name).parts:
        folder = cell_set_folder / part.name
        files = {f"{part.name}/{path.name}": tifffile.imread(path) for path in folder.glob("*.tif")}
        table = folder / "man_track.txt"
        text = table.read_text() if table.exists() else ""  # in text mode \r\n is read as \n
        assert sorted(files) == sorted(name for name in part.files if name.endswith(".tif"))
        assert hash_of_frames(part.name, files, text) == part.sha256


@pytest.mark.data
@pytest.mark.slow
def test_fetch_the_real_frames(cell_set_folder, server, tmp_path):
    """From an archive as the challenge's is, silver truth included, then again from a folder."""
    files = {
        f"{cell_set_folder.name}/{name}": (cell_set_folder / name).read_bytes()
        for name in everything_below(cell_set_folder)
    }
    server.body = archive_of(files)
    data_set = replace(found(cell_set_folder.name), url=server.url)
    folder = fetch(data_set, tmp_path)
    names = [name for part in data_set.parts for name in part.files]
    assert everything_below(folder) == sorted(names)
    assert server.requests == 1
    (folder / "02_GT/SEG").rename(tmp_path / "aside")
    fetch(data_set, tmp_path, cell_set_folder)
    assert everything_below(folder) == sorted(names)
    assert server.requests == 1
