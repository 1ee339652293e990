"""Data sets like the real ones, as files and archives; a server for them."""

import contextlib
import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tifffile

from paper_unet.datasets import DataSet, fetch
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
    drips_after: int | None = None  # so many bytes, and then one now and then until shut down
    requests = 0
    asked = ""  # the path of the last request
    closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/Tiny-challenge.zip"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        self.server.asked = self.path
        if self.server.drips_after is not None:
            self._drip(self.server.drips_after)
            return
        self.send_response(self.server.status)
        length = self.server.declared
        self.send_header("Content-Length", str(len(self.server.body) if length is None else length))
        self.end_headers()
        self.wfile.write(self.server.body)

    def _drip(self, after: int) -> None:
        if after:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.server.body)))
            self.end_headers()
            self.wfile.write(self.server.body[:after])
        else:
            self.wfile.write(b"HTTP/1.1 200 ")
        with contextlib.suppress(OSError):  # nobody listens any more
            while not self.server.closing.wait(0.05):
                self.wfile.write(b"O")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the test's output clean."""


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
