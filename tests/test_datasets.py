import hashlib
import io
import os
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tifffile

from paper_unet.datasets import (
    DATA_SETS,
    DIC_C2DH_HELA,
    ISBI2012,
    PHC_C2DH_U373,
    DataSet,
    ExpectedFrames,
    ExpectedStack,
    data_folder,
    extract_members,
    fetch,
    fetch_isbi2012,
    load_isbi2012,
    map_labels,
)
from paper_unet.datasets import isbi2012 as isbi2012_module
from paper_unet.errors import InputError

SHAPE = (5, 16, 24)
NAMES = ("train-volume.tif", "train-labels.tif", "test-volume.tif")
PIXELS = {
    name: np.random.default_rng(k).integers(0, 2, SHAPE).astype(np.uint8) * 255
    for k, name in enumerate(NAMES)
}
EXTRA = "test-labels.tif"


class Server(ThreadingHTTPServer):
    """Answers each request with `body`, and counts them."""

    body = b""
    status = 200
    declared: int | None = None
    requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/Tiny-challenge.zip"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(self.server.status)
        length = self.server.declared
        self.send_header("Content-Length", str(len(self.server.body) if length is None else length))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the test's output clean."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(("127.0.0.1", 0), Answer) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def tiny(server: Server) -> DataSet:
    """A data set like ISBI 2012, served by the local server."""
    stacks = [
        ExpectedStack(name, SHAPE, hashlib.sha256(PIXELS[name].tobytes()).hexdigest())
        for name in NAMES
    ]
    stacks.append(ExpectedStack(EXTRA, SHAPE, None, required=False))
    server.body = archive_of(tiff_files())
    return DataSet("tiny", server.url, tuple(stacks), "free for tests")


def tiff_files(**changed: bytes) -> dict[str, bytes]:
    files = {}
    for name, pixels in PIXELS.items():
        container = io.BytesIO()
        tifffile.imwrite(container, pixels, metadata={"axes": "ZYX"})
        files[f"ISBI-2012-challenge/{name}"] = container.getvalue()
    return files | {f"ISBI-2012-challenge/{key}": data for key, data in changed.items()}


def archive_of(files: dict[str, bytes]) -> bytes:
    container = io.BytesIO()
    with zipfile.ZipFile(container, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return container.getvalue()


def tiff_of(pixels: np.ndarray, **settings: object) -> bytes:
    container = io.BytesIO()
    tifffile.imwrite(container, pixels, **settings)
    return container.getvalue()


def everything_below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


def refused(tiny: DataSet, tmp_path: Path, source: Path | None = None) -> str:
    """The one-line error of a fetch that must fail, and must leave nothing behind."""
    with pytest.raises(InputError) as caught:
        fetch(tiny, tmp_path / "to", source)
    assert "\n" not in str(caught.value)
    assert everything_below(tmp_path / "to") == []
    return str(caught.value)


# fetching


def test_fetch_from_the_archive(tiny, server, tmp_path, capfd):
    folder = fetch(tiny, tmp_path / "new" / "data")
    assert folder == tmp_path / "new" / "data" / "tiny"
    assert everything_below(folder) == sorted(NAMES)
    for name in NAMES:
        np.testing.assert_array_equal(tifffile.imread(folder / name), PIXELS[name])
    assert server.requests == 1
    assert capfd.readouterr() == ("", "")


def test_what_is_there_and_right_is_not_fetched_again(tiny, server, tmp_path):
    folder = fetch(tiny, tmp_path)
    before = {name: (folder / name).stat().st_ino for name in NAMES}
    fetch(tiny, tmp_path)
    assert server.requests == 1
    (folder / NAMES[1]).unlink()
    fetch(tiny, tmp_path)
    assert server.requests == 2
    kept = {name: (folder / name).stat().st_ino for name in NAMES}
    assert (kept[NAMES[0]], kept[NAMES[2]]) == (before[NAMES[0]], before[NAMES[2]])
    np.testing.assert_array_equal(tifffile.imread(folder / NAMES[1]), PIXELS[NAMES[1]])


def test_a_wrong_file_that_is_there_is_named_and_kept(tiny, server, tmp_path):
    folder = fetch(tiny, tmp_path)
    mine = tiff_of(255 - PIXELS[NAMES[0]])
    (folder / NAMES[0]).write_bytes(mine)
    with pytest.raises(InputError, match=r"train-volume\.tif: other pixels than published"):
        fetch(tiny, tmp_path)
    assert (folder / NAMES[0]).read_bytes() == mine
    assert server.requests == 1


def test_the_optional_file_is_taken_if_there(tiny, server, tmp_path):
    server.body = archive_of(tiff_files(**{EXTRA: tiff_of(PIXELS[NAMES[1]])}))
    assert everything_below(fetch(tiny, tmp_path)) == sorted((*NAMES, EXTRA))


def test_the_optional_file_is_checked_for_its_shape(tiny, server, tmp_path):
    server.body = archive_of(tiff_files(**{EXTRA: tiff_of(np.zeros((6, 7), np.uint8))}))
    assert "test-labels.tif is uint8 of shape (5, 16, 24)" in refused(tiny, tmp_path)


def test_the_hash_covers_the_pixels_not_the_container(tiny, server, tmp_path):
    container = io.BytesIO()
    tifffile.imwrite(container, PIXELS[NAMES[0]], compression="zlib", bigtiff=True, byteorder=">")
    server.body = archive_of(tiff_files(**{NAMES[0]: container.getvalue()}))
    folder = fetch(tiny, tmp_path)
    assert (folder / NAMES[0]).read_bytes() == container.getvalue()


@pytest.mark.parametrize("inside", ["", "tiny", "Tiny-challenge"])
def test_fetch_from_a_folder(tiny, server, tmp_path, inside):
    (tmp_path / "from" / inside).mkdir(parents=True)
    for name in NAMES:
        (tmp_path / "from" / inside / name).write_bytes(tiff_of(PIXELS[name]))
    folder = fetch(tiny, tmp_path / "to", tmp_path / "from")
    assert everything_below(folder) == sorted(NAMES)
    assert server.requests == 0


@pytest.mark.parametrize("given", ["", "Tiny-challenge.zip"])
def test_fetch_from_an_archive_on_disk(tiny, server, tmp_path, given):
    (tmp_path / "Tiny-challenge.zip").write_bytes(server.body)
    folder = fetch(tiny, tmp_path / "to", tmp_path / given)
    assert everything_below(folder) == sorted(NAMES)
    assert server.requests == 0


def test_sources_that_lack_files(tiny, tmp_path):
    assert "none: no such folder" in refused(tiny, tmp_path, tmp_path / "none")
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / NAMES[0]).write_bytes(tiff_of(PIXELS[NAMES[0]]))
    message = refused(tiny, tmp_path, tmp_path / "from")
    assert "from: has no train-labels.tif, test-volume.tif" in message


def test_wrong_pixels_name_file_and_hashes(tiny, server, tmp_path):
    wrong = PIXELS[NAMES[2]].copy()
    wrong[1, 2, 3] ^= 1
    server.body = archive_of(tiff_files(**{NAMES[2]: tiff_of(wrong)}))
    message = refused(tiny, tmp_path)
    assert NAMES[2] in message
    assert hashlib.sha256(PIXELS[NAMES[2]].tobytes()).hexdigest() in message
    assert hashlib.sha256(wrong.tobytes()).hexdigest() in message


def test_wrong_size_and_type(tiny, server, tmp_path):
    for wrong in (PIXELS[NAMES[0]][:, :8], PIXELS[NAMES[0]].astype(np.uint16)):
        server.body = archive_of(tiff_files(**{NAMES[0]: tiff_of(wrong)}))
        assert f"{wrong.dtype} of shape {wrong.shape}" in refused(tiny, tmp_path)


def test_a_truncated_stack_inside_the_archive(tiny, server, tmp_path):
    server.body = archive_of(tiff_files(**{NAMES[0]: tiff_of(PIXELS[NAMES[0]])[:-300]}))
    assert "truncated" in refused(tiny, tmp_path)


# what a server can do


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_of_the_server(tiny, server, tmp_path, status):
    server.status, server.body = status, b"<html>sorry</html>"
    message = refused(tiny, tmp_path)
    assert f"cannot be downloaded ({status}" in message
    assert "--from" in message


def test_an_error_page_in_place_of_the_archive(tiny, server, tmp_path):
    server.body = b"<html>Please log in</html>"
    assert "not a sound zip file" in refused(tiny, tmp_path)


def test_a_download_that_breaks_off(tiny, server, tmp_path):
    server.declared, server.body = len(server.body), server.body[:-100]
    assert "cannot be downloaded" in refused(tiny, tmp_path)


def test_an_archive_that_was_cut_short(tiny, server, tmp_path):
    server.body = server.body[:-100]
    assert "not a sound zip file" in refused(tiny, tmp_path)


def test_a_download_without_end(tiny, server, tmp_path):
    server.body = bytes(4 * tiny.max_bytes + 1)
    assert "sends more than the data set has" in refused(tiny, tmp_path)


def test_no_server(tiny, tmp_path):
    gone = replace(tiny, url="http://127.0.0.1:9/Tiny-challenge.zip")
    assert "cannot be downloaded" in refused(gone, tmp_path)


KILLED = """
import os, signal, sys
from paper_unet.datasets import expected
from paper_unet.datasets import DataSet, ExpectedStack, fetch
expected.read_verified = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
stacks = tuple(ExpectedStack(name, (5, 16, 24), None) for name in sys.argv[3:])
fetch(DataSet("tiny", "http://127.0.0.1:9/x.zip", stacks, ""), sys.argv[1], sys.argv[2])
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_fetch_leaves_no_final_name(tiny, tmp_path):
    source = tmp_path / "from"
    source.mkdir()
    for name in NAMES:
        (source / name).write_bytes(tiff_of(PIXELS[name]))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "to"), str(source), *NAMES]
    assert subprocess.run(command, check=False).returncode == -9
    folder = tmp_path / "to" / "tiny"
    assert [p.suffix for p in folder.iterdir()] == [".partial"]
    fetch(tiny, tmp_path / "to", source)
    assert {p.name for p in folder.iterdir()} >= set(NAMES)


# data sets of frames, a file each


FRAME_SHAPE = (6, 9)
NUMBERS = {"01_GT/TRA": range(4), "01_GT/SEG": (1, 3), "01": range(4)}
PREFIXES = {"01_GT/TRA": "man_track", "01_GT/SEG": "man_seg", "01": "t"}
TABLE = "1 0 3 0\n2 0 1 0\n"


def frames_of(part: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(sorted(PREFIXES).index(part))
    kind = np.uint8 if part == "01" else np.uint16
    return {
        f"{part}/{PREFIXES[part]}{k:03d}.tif": rng.integers(0, 9, FRAME_SHAPE).astype(kind)
        for k in NUMBERS[part]
    }


FRAMES = {name: pixels for part in PREFIXES for name, pixels in frames_of(part).items()}
FRAME_FILES = sorted([*FRAMES, "01_GT/TRA/man_track.txt"])


def hash_of_frames(folder: str, files: dict[str, np.ndarray], table: str = "") -> str:
    """The hash as docs/data.md words it, with nothing of the package."""
    digest = hashlib.sha256()
    for name in sorted(files):
        pixels = files[name]
        rows, columns = pixels.shape
        short = name.removeprefix(f"{folder}/")
        digest.update(f"{short} {pixels.dtype.name} {rows}x{columns}\n".encode())
        digest.update(pixels.astype(pixels.dtype.newbyteorder("<")).tobytes())
    if table:
        digest.update(f"man_track.txt\n{table}".encode())
    return digest.hexdigest()


@pytest.fixture
def cells(server: Server) -> DataSet:
    """A data set like those of the Cell Tracking Challenge, served by the local server."""
    parts = []
    for folder, prefix in PREFIXES.items():
        files = frames_of(folder)
        table = TABLE if folder.endswith("TRA") else ""
        parts.append(
            ExpectedFrames(
                folder,
                prefix,
                NUMBERS[folder],
                FRAME_SHAPE,
                "uint8" if folder == "01" else "uint16",
                hash_of_frames(folder, files, table),
                "man_track.txt" if table else "",
            )
        )
    server.body = cell_archive()
    return DataSet("cells", server.url, tuple(parts), "free for tests", codecs=True)


def cell_files(**changed: bytes | None) -> dict[str, bytes]:
    """Name to content; the silver truth repeats the names of the gold truth."""
    files = {name: tiff_of(pixels, compression="lzw") for name, pixels in FRAMES.items()}
    files |= {name.replace("_GT", "_ST"): b"silver" for name in files if "SEG" in name}
    files |= {"01_GT/TRA/man_track.txt": TABLE.encode(), "README.txt": b"read me"}
    return {name: data for name, data in (files | changed).items() if data is not None}


def cell_archive(**changed: bytes | None) -> bytes:
    return archive_of({f"Cells/{name}": data for name, data in cell_files(**changed).items()})


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


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
        ("01/t002.tif", None, "01: has no t002.tif; remove this folder"),
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
    assert "sends more than the data set has" in refused(cells, tmp_path)
    assert cells.max_archive_bytes < 11 * (2**20)


def test_without_the_codecs_one_line_and_no_download(cells, server, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)  # as if it were not installed
    message = refused(cells, tmp_path)
    assert 'cells: its images are LZW-compressed TIFF files, which need imagecodecs; install the' \
        in message  # fmt: skip
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
    command = [sys.executable, "-c", KILLED_WITH_FRAMES, "to", "from", str(after), repr(rows)]
    assert subprocess.run(command, check=False, cwd=tmp_path).returncode == -9
    folder = tmp_path / "to" / "cells"
    final = [name for name in everything_below(folder) if ".partial" not in name]
    moved = list(PREFIXES)[: max(after - 3, 0)]
    assert final == [name for name in FRAME_FILES if name.rpartition("/")[0] in moved]
    fetch(cells, tmp_path / "to", source)
    final = [name for name in everything_below(folder) if ".partial" not in name]
    assert final == FRAME_FILES


def test_the_table_of_cell_tracking_sets():
    """115 and 84 frames, 34 and 18 of them segmented."""
    assert list(DATA_SETS.values()) == [ISBI2012, PHC_C2DH_U373, DIC_C2DH_HELA]
    for data_set, frames, segmented, shape in (
        (PHC_C2DH_U373, 115, (15, 19), (520, 696)),
        (DIC_C2DH_HELA, 84, (9, 9), (512, 512)),
    ):
        assert DATA_SETS[data_set.name] is data_set
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
    text = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
    lines = {line for line in text.splitlines() if line.startswith("|")}
    for data_set in DATA_SETS.values():
        for part in data_set.parts:
            name = part.name if data_set is ISBI2012 else f"`{part.name}`"
            assert part.sha256 is None or f"| {name} | `{part.sha256}` |" in lines


@pytest.mark.data
def test_the_hashes_of_the_real_frames(cell_set_folder):
    """Computed again with another reader, by the words of docs/data.md."""
    for part in DATA_SETS[cell_set_folder.name].parts:
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
    data_set = replace(DATA_SETS[cell_set_folder.name], url=server.url)
    folder = fetch(data_set, tmp_path)
    names = [name for part in data_set.parts for name in part.files]
    assert everything_below(folder) == sorted(names)
    assert server.requests == 1
    (folder / "02_GT/SEG").rename(tmp_path / "aside")
    fetch(data_set, tmp_path, cell_set_folder)
    assert everything_below(folder) == sorted(names)
    assert server.requests == 1


# what an archive can do


def extract(tmp_path: Path, data: bytes, max_bytes: int = 10_000) -> list[str]:
    (tmp_path / "a.zip").write_bytes(data)
    (tmp_path / "inside").mkdir()
    try:
        extract_members(
            tmp_path / "a.zip", ["a.tif", "b.tif"], tmp_path / "inside", max_bytes=max_bytes
        )
    finally:
        assert set(everything_below(tmp_path)) <= {"a.zip", "inside/a.tif", "inside/b.tif"}
    return everything_below(tmp_path / "inside")


def test_only_expected_members_are_extracted(tmp_path):
    files = {"x/a.tif": b"1", "x/evil.sh": b"2", "__MACOSX/x/a.tif": b"3", "b.tif/": b""}
    assert extract(tmp_path, archive_of(files)) == ["a.tif"]
    assert (tmp_path / "inside" / "a.tif").read_bytes() == b"1"


@pytest.mark.parametrize(
    "name",
    ["../a.tif", "x/../../a.tif", "/tmp/a.tif", "..\\a.tif", "C:\\a.tif"],  # noqa: S108
)
def test_members_that_leave_the_folder(tmp_path, name):
    with pytest.raises(InputError, match="outside its folder"):
        extract(tmp_path, archive_of({"b.tif": b"1", name: b"2"}))


def test_names_with_folders_match_whole_parts_of_the_path(tmp_path):
    files = {f"x/{name}": b"1" for name in ("a.tif", "001/a.tif", "01_ST/a.tif", "01/xa.tif")}
    data = archive_of(files | {"x/y/01/a.tif": b"2", ".": b"3", "@": b"4"})
    data = data.replace(b"@", b"\0")  # a name of no length, for the reader
    (tmp_path / "a.zip").write_bytes(data)
    found = extract_members(tmp_path / "a.zip", ["01/a.tif"], tmp_path / "to", max_bytes=9)
    assert found == [tmp_path / "to" / "01" / "a.tif"]
    assert everything_below(tmp_path) == ["a.zip", "to/01/a.tif"]
    assert found[0].read_bytes() == b"2"


def test_a_name_twice(tmp_path):
    with pytest.raises(InputError, match=r"has a\.tif twice"):
        extract(tmp_path, archive_of({"x/a.tif": b"1", "y/a.tif": b"2"}))


def test_a_bomb_is_refused_by_its_header(tmp_path):
    with pytest.raises(InputError, match=r"would be 1000000 bytes, at most 10000"):
        extract(tmp_path, archive_of({"a.tif": bytes(10**6)}))
    assert everything_below(tmp_path / "inside") == []


def test_a_bomb_with_a_false_header(tmp_path):
    """The size in the header is made small; no more than that is ever written."""
    data = archive_of({"a.tif": bytes(10**6)})
    data = data.replace(struct.pack("<I", 10**6), struct.pack("<I", 100))
    with pytest.raises(InputError, match="not a sound zip file"):
        extract(tmp_path, data)
    inside = tmp_path / "inside" / "a.tif"
    assert not inside.exists() or inside.stat().st_size <= 100


def test_damage_inside_a_member(tmp_path):
    data = bytearray(archive_of({"a.tif": np.random.default_rng(0).bytes(5000)}))
    data[2000] ^= 0xFF
    with pytest.raises(InputError, match="not a sound zip file"):
        extract(tmp_path, bytes(data))


# ISBI 2012


def test_the_table_of_data_sets():
    assert DATA_SETS["isbi2012"] is ISBI2012
    assert [s.name for s in ISBI2012.parts if s.required] == list(NAMES)
    for words in ("non-commercial", "10.1371/journal.pbio.1000502", "10.3389/fnana.2015.00142"):
        assert words in ISBI2012.terms
    assert ISBI2012.archive_name == "ISBI-2012-challenge.zip"


def test_the_data_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("PAPER_UNET_DATA", raising=False)
    assert data_folder() == Path("data")
    monkeypatch.setenv("PAPER_UNET_DATA", str(tmp_path))
    assert data_folder() == tmp_path


def test_load_without_the_data(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"has no train-volume\.tif; fetch it \(paper-unet fetch"):
        load_isbi2012(tmp_path)
    monkeypatch.setenv("PAPER_UNET_DATA", str(tmp_path))
    with pytest.raises(InputError, match="isbi2012: has no"):
        load_isbi2012()


def test_load_verifies_pixels(tmp_path):
    for name in NAMES:
        tifffile.imwrite(tmp_path / name, np.zeros((30, 512, 512), np.uint8), compression="zlib")
    with pytest.raises(InputError, match=r"train-volume\.tif: other pixels than published"):
        load_isbi2012(tmp_path)


def test_load_maps_labels(tiny, tmp_path, monkeypatch):
    folder = fetch(tiny, tmp_path)
    for constant, stack in zip(
        ("TRAIN_VOLUME", "TRAIN_LABELS", "TEST_VOLUME"), tiny.parts, strict=False
    ):
        monkeypatch.setattr(isbi2012_module, constant, stack)
    data = load_isbi2012(folder)
    np.testing.assert_array_equal(data.images, PIXELS[NAMES[0]])
    np.testing.assert_array_equal(data.labels, PIXELS[NAMES[1]] == 255)
    np.testing.assert_array_equal(data.test_images, PIXELS[NAMES[2]])
    assert data.labels.dtype == np.uint8


@pytest.mark.data
def test_the_real_data(isbi2012_folder):
    data = load_isbi2012(isbi2012_folder)
    assert data.images.shape == data.labels.shape == data.test_images.shape == (30, 512, 512)
    assert set(np.unique(data.labels)) == {0, 1}
    assert 0.7 < data.labels.mean() < 0.85  # cells, not membranes, are most of the tissue


@pytest.mark.data
def test_fetch_the_real_data(isbi2012_folder, server, tmp_path, monkeypatch):
    """The published hashes, from a folder and from an archive as the public one is."""
    folder = fetch_isbi2012(tmp_path / "folder", isbi2012_folder)
    assert everything_below(folder) == sorted(NAMES)
    server.body = archive_of(
        {f"ISBI-2012-challenge/{name}": (isbi2012_folder / name).read_bytes() for name in NAMES}
    )
    local = replace(ISBI2012, url=server.url)
    monkeypatch.setattr(isbi2012_module, "ISBI2012", local)
    folder = fetch_isbi2012(tmp_path / "archive")
    assert everything_below(folder) == sorted(NAMES)
    assert server.requests == 1


# labels


def test_labels_are_mapped_explicitly():
    labels = np.array([[0, 255], [255, 0]], np.uint16)
    found = map_labels(labels)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, [[0, 1], [1, 0]])
    np.testing.assert_array_equal(map_labels(labels, {255: 0, 0: 2}), [[2, 0], [0, 2]])


@pytest.mark.parametrize(
    ("labels", "listing"),
    [
        (np.array([0, 1, 255], np.uint8), r"1 unknown label values \(1\)"),
        (np.array([0, 254.5, 255]), r"1 unknown label values \(254\.5\)"),
        (np.arange(256).astype(np.uint8), r"254 unknown label values \(1, 2, .*, \.\.\.\)"),
    ],
)
def test_other_labels_are_listed(labels, listing):
    with pytest.raises(InputError, match=rf"gt\.tif: {listing}; accepted are 0 \(class 0\), 255"):
        map_labels(labels, name="gt.tif")
