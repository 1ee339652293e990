import hashlib
import threading
from collections.abc import Iterator

import pytest
from datasets_helpers import (
    EXTRA,
    FRAME_SHAPE,
    NAMES,
    NUMBERS,
    PIXELS,
    PREFIXES,
    SHAPE,
    TABLE,
    Answer,
    Server,
    archive_of,
    cell_archive,
    frames_of,
    hash_of_frames,
    tiff_files,
)

from paper_unet.datasets import DataSet, ExpectedFrames, ExpectedStack


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(("127.0.0.1", 0), Answer) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.closing = threading.Event()
        yield running
        running.closing.set()
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
