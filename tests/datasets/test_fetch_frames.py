"""Fetching data sets of frames, a file each."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from datasets_helpers import (
    FRAME_FILES,
    FRAME_SHAPE,
    FRAMES,
    PREFIXES,
    TABLE,
    cell_archive,
    cell_files,
    everything_below,
    refused,
    tiff_of,
    write_files,
)
from process_helpers import run_python

from paper_unet.datasets import fetch
from paper_unet.errors import InputError


def test_frames_keep_their_folders(cells, server, tmp_path, capfd):
    folder = fetch(cells, tmp_path)
    assert everything_below(tmp_path) == [f"cells/{name}" for name in FRAME_FILES]
    for name, pixels in FRAMES.items():
        np.testing.assert_array_equal(tifffile.imread(folder / name), pixels)
    assert (folder / "01_GT/TRA/man_track.txt").read_text() == TABLE
    assert server.requests == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("leave", ["nothing", "an empty folder"])
def test_folders_that_are_there_and_right_are_kept(cells, server, tmp_path, leave):
    folder = fetch(cells, tmp_path)
    before = {name: (folder / name).stat().st_ino for name in FRAME_FILES}
    assert fetch(cells, tmp_path) == folder
    assert server.requests == 1
    for path in (folder / "01_GT" / "SEG").iterdir():
        path.unlink()
    if leave == "nothing":
        (folder / "01_GT" / "SEG").rmdir()
    fetch(cells, tmp_path)
    assert server.requests == 2
    assert everything_below(folder) == FRAME_FILES
    kept = {name for name in FRAME_FILES if (folder / name).stat().st_ino == before[name]}
    assert kept >= {name for name in FRAME_FILES if "SEG" not in name}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("01/t002.tif", None, "01: has no t002.tif; move it away"),
        ("01/t004.tif", b"more", "01: has t004.tif, which the data set has not"),
        ("01_GT/SEG/man_seg2.tiff", b"more", "SEG: has man_seg2.tiff, which"),
        ("01/t003.tif", FRAMES["01/t002.tif"], "01: other content than published"),
        ("01/t003.tif", FRAMES["01/t003.tif"][:5], r"t003.tif: uint8 of shape (1, 5, 9)"),
        ("01/t003.tif", FRAMES["01/t003.tif"].astype(np.uint16), "t003.tif: uint16 of shape"),
        ("01/t003.tif", b"no TIFF", "t003.tif"),
        ("01_GT/TRA/man_track.txt", b"1 0 3 0\n2 0 2 0\n", "TRA: other content"),
        ("01_GT/TRA/man_track.txt", b"\xff\xfe", "man_track.txt: is no plain text"),
        ("01_GT/TRA/man_track.txt", bytes(2**20), "man_track.txt: is no table of at most"),
        ("01_GT/TRA/man_track.txt", None, "TRA: has no man_track.txt"),
    ],
)
def test_a_wrong_folder_that_is_there_is_named_and_kept(
    cells, server, tmp_path, name, content, words
):
    folder = fetch(cells, tmp_path)
    if isinstance(content, np.ndarray):
        content = tiff_of(content)
    (folder / name).unlink(missing_ok=True)
    if content is not None:
        (folder / name).write_bytes(content)
    before = {path: (folder / path).read_bytes() for path in everything_below(folder)}
    with pytest.raises(InputError) as caught:
        fetch(cells, tmp_path)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert {path: (folder / path).read_bytes() for path in everything_below(folder)} == before
    assert server.requests == 1


def test_a_file_in_place_of_a_folder(cells, tmp_path):
    write_files(tmp_path, {"cells/01": b"not a folder"})
    with pytest.raises(InputError, match="01: is no folder"):
        fetch(cells, tmp_path)
    assert everything_below(tmp_path) == ["cells/01"]


def test_what_else_lies_in_a_folder_does_not_matter(cells, server, tmp_path):
    folder = fetch(cells, tmp_path)
    write_files(folder, {"01/notes.txt": b"mine", "01_RES/mask000.tif": b"mine", "01/.x": b""})
    fetch(cells, tmp_path)
    assert server.requests == 1


def test_other_containers_and_line_ends_are_no_other_content(cells, server, tmp_path):
    name = "01_GT/TRA/man_track002.tif"
    other = tiff_of(FRAMES[name], compression="zlib", byteorder=">", bigtiff=True)
    table = TABLE.replace("\n", "  \r\n").encode()
    server.body = cell_archive(**{name: other, "01_GT/TRA/man_track.txt": table})
    folder = fetch(cells, tmp_path)
    assert (folder / name).read_bytes() == other
    assert (folder / "01_GT/TRA/man_track.txt").read_bytes() == table


@pytest.mark.parametrize("inside", ["", "cells", "Tiny-challenge"])
def test_frames_from_a_folder(cells, server, tmp_path, inside):
    write_files(tmp_path / "from" / inside, cell_files())
    folder = fetch(cells, tmp_path / "to", tmp_path / "from")
    assert everything_below(folder) == FRAME_FILES
    assert server.requests == 0


def test_frames_from_an_archive_on_disk(cells, server, tmp_path):
    (tmp_path / "mine.zip").write_bytes(cell_archive())
    folder = fetch(cells, tmp_path / "to", tmp_path / "mine.zip")
    assert everything_below(folder) == FRAME_FILES
    assert server.requests == 0


def test_frames_that_an_archive_lacks(cells, server, tmp_path):
    server.body = cell_archive(**{"01_GT/SEG/man_seg003.tif": None})
    message = refused(cells, tmp_path)
    assert "has no 01_GT/SEG/man_seg003.tif; a folder or archive with 01_GT/TRA, 01_GT" in message
    nothing = dict.fromkeys([*FRAMES, "01_GT/TRA/man_track.txt"])
    server.body = cell_archive(**nothing)
    assert "man_track002.tif and 8 more; a folder" in refused(cells, tmp_path)


def test_frames_that_have_changed_places(cells, server, tmp_path):
    first, second = "01/t000.tif", "01/t001.tif"
    files = cell_files()
    server.body = cell_archive(**{first: files[second], second: files[first]})
    message = refused(cells, tmp_path)
    assert "other content than published" in message
    assert {part.sha256 for part in cells.parts} & set(message.replace(",", "").split())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("01/t001.tif", tiff_of(np.zeros(FRAME_SHAPE, np.uint16)), "uint16 of shape (1, 6, 9)"),
        ("01/t001.tif", tiff_of(np.zeros((2, *FRAME_SHAPE), np.uint8)), "shape (2, 6, 9)"),
        ("01/t001.tif", b"", "t001.tif"),
        ("01/t001.tif", bytes(2**20), "would be 1048576 bytes, at most"),
        ("../01/t001.tif", b"", "outside its folder"),
        ("x/01/t001.tif", b"", "has 01/t001.tif twice"),
    ],
)
def test_wrong_frames_in_an_archive(cells, server, tmp_path, name, content, words):
    server.body = cell_archive(**{name: content})
    assert words in refused(cells, tmp_path)


def test_an_archive_of_frames_without_end(cells, server, tmp_path):
    server.body = bytes(cells.max_archive_bytes + 1)
    assert "sends more than was published" in refused(cells, tmp_path)
    assert cells.max_archive_bytes < 11 * (2**20)


def test_without_the_codecs_one_line_and_no_download(cells, server, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)  # as if it were not installed
    message = refused(cells, tmp_path)
    what = "cells: its images are LZW-compressed TIFF files; reading them needs imagecodecs, which"
    assert f'{what} is not installed: pip install "paper-unet[codecs]"' in message
    assert server.requests == 0


def test_frames_that_need_no_codecs_need_none(cells, tmp_path, monkeypatch):
    files = cell_files() | {name: tiff_of(pixels) for name, pixels in FRAMES.items()}
    write_files(tmp_path / "from", files)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    assert everything_below(fetch(cells, tmp_path / "to", tmp_path / "from")) == FRAME_FILES


def test_the_codecs_are_named_where_a_folder_needs_them(tmp_path):
    """In a process of its own, which has not loaded them."""
    write_files(tmp_path / "from", cell_files())
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "from paper_unet.datasets import DataSet, ExpectedFrames, fetch\n"
        "part = ExpectedFrames('01', 't', range(4), (6, 9), 'uint8', '')\n"
        "fetch(DataSet('cells', 'http://127.0.0.1:9/x.zip', (part,), ''), 'to', 'from')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "InputError: " in last and "LZW" in last and "pip install imagecodecs" in last
    assert everything_below(tmp_path / "to") == []


KILLED_WITH_FRAMES = """
import os, signal, sys
from paper_unet.datasets import fetching
from paper_unet.datasets import DataSet, ExpectedFrames, fetch
after, done = int(sys.argv[3]), []
def dying(function):
    def call(*arguments):
        if len(done) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(arguments)
        return function(*arguments)
    return call
ExpectedFrames.verify = dying(ExpectedFrames.verify)
fetching._install = dying(fetching._install)
parts = tuple(ExpectedFrames(*row) for row in eval(sys.argv[4]))
fetch(DataSet("cells", "http://127.0.0.1:9/x.zip", parts, ""), sys.argv[1], sys.argv[2])
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("after", range(6))
def test_a_killed_fetch_leaves_whole_folders_or_none(cells, tmp_path, after):
    """Killed before each of the three checks and of the three moves to the final names."""
    source = write_files(tmp_path / "from", cell_files())
    rows = [tuple(vars(part).values()) for part in cells.parts]
    killed = run_python(KILLED_WITH_FRAMES, "to", "from", str(after), repr(rows), cwd=tmp_path)
    assert killed.returncode == -9
    folder = tmp_path / "to" / "cells"
    final = [name for name in everything_below(folder) if not name.startswith(".fetch")]
    moved = list(PREFIXES)[: max(after - 3, 0)]
    assert final == [name for name in FRAME_FILES if name.rpartition("/")[0] in moved]
    fetch(cells, tmp_path / "to", source)
    assert everything_below(folder) == FRAME_FILES
