"""The page in a real browser: what is seen on it, and what is served to whom."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from browser_helpers import COLOURS, keep, tab
from n5_helpers import write_n5
from numpy.typing import NDArray
from PIL import Image

from paper_unet.errors import InputError
from paper_unet.images import Output, create_output
from paper_unet.synthetic import synthetic_stack
from paper_unet.view import Page, ViewConfig
from paper_unet.view.layers import Layer

pytest.importorskip("neuroglancer")
pytestmark = [  # the library's server leaves its sockets to be collected
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
EM = (0.05, 0.004, 0.004)
SIDE = 600
SCREENSHOT = os.environ.get("PAPER_UNET_SCREENSHOT")
"""Where the picture is to be kept."""


def started(path: Path, stack: NDArray[Any], **more: Any) -> Output:
    output = create_output(path, stack.shape, stack.dtype, pixel_size=EM, **more)  # type: ignore[arg-type]
    output.prepare(resume=False)
    return output


def write(output: Output, stack: NDArray[Any], sections: range) -> None:
    for z in sections:
        output.write(z, 0, 0, stack[z])
        output.sync(z, (0, stack.shape[1]), (0, stack.shape[2]))


def written(path: Path, stack: NDArray[Any], **more: Any) -> str:
    output = started(path, stack, **more)
    write(output, stack, range(len(stack)))
    for stage in output.stages():
        for task in stage:
            output.run(task)
    output.finish()
    return str(path)


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An image, P(cell) and cells of a made-up stack, each in another format."""
    folder = tmp_path_factory.mktemp("tissue")
    made = synthetic_stack(sections=5, side=SIDE)
    probability = made.labels.astype(np.float32) / 255
    cells = made.instances.astype(np.uint32)
    return {
        "image": made.images, "probability": probability, "cells": cells,
        "paths": [
            written(folder / "image.h5", made.images),
            written(folder / "probability.zarr", probability),
            written(folder / "cells.precomputed", cells, labels=True),
        ],
    }  # fmt: skip


READY = "typeof viewer !== 'undefined' && viewer.isReady()"


def pixels(path: Path) -> NDArray[np.int64]:
    return np.asarray(Image.open(path).convert("RGB")).astype(np.int64)


def seen(opened: Any, path: Path) -> NDArray[np.int64]:
    """What the browser shows once everything is loaded, without the controls around it."""
    opened.wait(READY)
    last = pixels_of(opened, path)
    for _ in range(60):
        time.sleep(0.5)
        found = pixels_of(opened, path)
        if np.array_equal(found, last):
            break
        last = found
    return last


def pixels_of(opened: Any, path: Path) -> NDArray[np.int64]:
    opened.screenshot(path)
    return pixels(path)[100:-60, 40:600]


def varied(part: NDArray[np.int64]) -> float:
    """Share of grey, and of coloured pixels."""
    return float((part.max(axis=-1) - part.min(axis=-1) > 25).mean())


@pytest.mark.slow
def test_the_page_shows_image_probability_and_cells(tissue: dict[str, Any], tmp_path: Path) -> None:
    image, probability, cells = tissue["paths"]
    with Page(image) as page, tab(tmp_path / "plain", page.address) as opened:
        grey = seen(opened, tmp_path / "image.png")
    assert varied(grey) < 0.02  # no colours but those of the page itself
    assert grey.std() > 15
    with Page(image, [probability, cells]) as page:
        assert [layer.kind for layer in page._layers] == ["image", "probability", "labels"]
        with tab(tmp_path / "all", page.address) as opened:
            shown = seen(opened, tmp_path / "page.png")
            assert opened.value("viewer.layerManager.managedLayers.length") == 3
            failed = opened.value(
                "document.querySelectorAll('.neuroglancer-status-message').length"
            )
            assert failed == 0
    assert varied(shown) > 0.5  # tinted, and a colour for each cell
    if SCREENSHOT:
        keep(tmp_path / "page.png", Path(SCREENSHOT))


def test_the_picture_of_the_docs_is_made_as_they_say(tmp_path: Path) -> None:
    docs = Path(__file__).parents[2] / "docs"
    assert f"colours reduced to {COLOURS}" in (docs / "view.md").read_text()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "page.png")
    keep(tmp_path / "page.png", tmp_path / "kept.png")
    for picture in (tmp_path / "kept.png", docs / "images" / "view.png"):
        opened = Image.open(picture)
        assert opened.mode == "P"
        assert len(opened.getcolors() or ()) <= COLOURS


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["zarr", "precomputed", "tif", "h5:/volumes/p"])
def test_the_page_shows_what_a_run_has_written_so_far(
    tissue: dict[str, Any], tmp_path: Path, ending: str
) -> None:
    stack = tissue["probability"]
    output = started(tmp_path / f"out.{ending}", stack)
    write(output, stack, range(1))
    record = tmp_path / f"out.{ending.split(':')[0]}.journal"
    record.write_text("1\n")
    with Page(tissue["paths"][0], [f"{tmp_path}/out.{ending}"]) as page:
        assert page.live
        before = chunk(page, 1, (0, 0, 2), (64, 64, 3))
        np.testing.assert_array_equal(before[..., 0], 0)
        first = chunk(page, 1, (0, 0, 0), (64, 64, 1))
        np.testing.assert_array_equal(first[..., 0].T, stack[0, :64, :64])
        with tab(tmp_path / "browser", page.address) as opened:
            empty = seen(opened, tmp_path / "before.png")  # the section in the middle
            assert varied(empty) < 0.02
            write(output, stack, range(1, 3))
            record.write_text("1\n2\n")
            assert page.refresh()
            opened.wait(READY)
            last = time.monotonic() + 60
            while varied(seen(opened, tmp_path / "after.png")) < 0.3:
                assert time.monotonic() < last, "the page never showed it"
            assert not page.refresh()  # there is nothing new
        write(output, stack, range(3, len(stack)))
        for stage in output.stages():
            for task in stage:
                output.run(task)
        output.finish()
        record.unlink()
        assert page.refresh()
        assert not page.live
        found = chunk(page, 1, (0, 0, 4), (64, 64, 5))
        np.testing.assert_array_equal(found[..., 0].T, stack[4, :64, :64])


def chunk(page: Page, number: int, start: Any, stop: Any, scale: str = "1,1,1") -> NDArray[Any]:
    """Ask the server for a chunk of a layer, as the browser does."""
    key = f"{page.viewer.token}.{page._volumes[number].token}"
    begin, end = (",".join(map(str, place)) for place in (start, stop))
    server = page.address.split("/v/")[0]
    address = f"{server}/neuroglancer/npz/{key}/{scale}/{begin}/{end}"
    with urllib.request.urlopen(address, timeout=60) as answer:
        return np.load(io.BytesIO(zlib.decompress(answer.read())))


def test_chunks_are_those_of_the_stack(tissue: dict[str, Any]) -> None:
    image, _, cells = tissue["image"], tissue["probability"], tissue["cells"]
    with Page(tissue["paths"][0], tissue["paths"][1:]) as page:
        found = chunk(page, 0, (500, 70, 1), (600, 134, 4))
        np.testing.assert_array_equal(found, image[1:4, 70:134, 500:600].T)
        found = chunk(page, 2, (500, 70, 1), (600, 134, 4))
        np.testing.assert_array_equal(found, cells[1:4, 70:134, 500:600].T)
        # smaller versions: of the image computed, of the others from disk and further on
        found = chunk(page, 0, (0, 0, 0), (150, 150, 2), "4,4,2")
        blocks = image[:4].reshape(2, 2, 150, 4, 150, 4).astype(float)
        np.testing.assert_array_equal(found, np.rint(blocks.mean(axis=(1, 3, 5))).T)
        found = chunk(page, 2, (0, 0, 0), (75, 75, 5), "8,8,1")
        np.testing.assert_array_equal(found, cells[:, ::8, ::8].T)
        found = chunk(page, 1, (0, 0, 0), (300, 300, 5), "2,2,1")
        halves = tissue["probability"].reshape(5, 300, 2, 300, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(found, halves.T, rtol=1e-6)


def test_levels_of_every_format_that_has_them(tissue: dict[str, Any], tmp_path: Path) -> None:
    cells = tissue["cells"]
    for level in range(3):
        step = slice(None, None, 2**level)
        write_n5(tmp_path / "a.n5", f"em/s{level}", cells[:, step, step], (2, 64, 64))
    for path in (str(tmp_path / "a.n5" / "em"), tissue["paths"][2], tissue["paths"][1]):
        layer = Layer(path, None)
        assert layer.levels == (3 if path.endswith("em") else 2)
        layer.close()
    found = Layer(str(tmp_path / "a.n5" / "em"), "labels")
    np.testing.assert_array_equal(
        found.read((0, 0, 0), (75, 75, 5), (8, 8, 1)), cells[:, ::8, ::8].T
    )
    found.close()


def refused(address: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(address, timeout=30)
    return int(refusal.value.code)


def test_only_this_machine_and_only_who_knows_the_token(tissue: dict[str, Any]) -> None:
    with Page(tissue["paths"][0]) as page:
        assert page.address.startswith("http://127.0.0.1:")
        token = page.viewer.token
        assert len(token) == 40
        assert token in page.address
        with urllib.request.urlopen(page.address, timeout=30) as answer:
            assert b"neuroglancer" in answer.read().lower()
        server = page.address.split("/v/")[0]
        assert refused(page.address.replace(token, "0" * 40)) == 404
        key = f"{token}.{page._volumes[0].token}"
        data = f"{server}/neuroglancer/npz/{{}}/{{}}/0,0,{{}}/64,64,{{}}"
        assert refused(data.format("0" * 40 + "." + page._volumes[0].token, "1,1,1", 0, 1)) == 404
        for scale, first, last in [("1,1,1", 5, 6), ("1,1,1", 0, 0), ("3,1,1", 0, 1),
                                   ("0,1,1", 0, 1), ("16,16,1", 0, 1), ("1,1", 0, 1)]:  # fmt: skip
            assert refused(data.format(key, scale, first, last)) == 400
        # a mesh would need the whole volume
        assert refused(f"{server}/neuroglancer/mesh/{key}/1") == 405
        with urllib.request.urlopen(f"{server}/neuroglancer/info/{key}", timeout=30) as answer:
            info = json.loads(answer.read())
        assert info["shape"] == [SIDE, SIDE, 5]
        assert info["coordinateSpace"]["z"] == [pytest.approx(5e-8), "m"]


def test_a_stack_is_never_read_whole(
    tissue: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = 0
    real = Layer.read

    def read(self: Layer, *given: Any) -> NDArray[Any]:
        nonlocal largest
        found = real(self, *given)
        largest = max(largest, found.size)
        return found

    monkeypatch.setattr(Layer, "read", read)
    with Page(tissue["paths"][0]) as page:
        chunk(page, 0, (0, 0, 0), (64, 64, 5))
        assert page._volumes[0].info()["maxVoxelsPerChunkLog2"] == 18
    assert largest == 64 * 64 * 5


def test_folders_for_neuroglancer_elsewhere(tissue: dict[str, Any]) -> None:
    with Page(tissue["paths"][0], tissue["paths"][1:], config=ViewConfig(cors=True)) as page:
        assert tissue["paths"][0] not in page.served  # an HDF5 file
        address = page.served[tissue["paths"][2]]
        assert address.startswith("precomputed://http://127.0.0.1:")
        plain = address.removeprefix("precomputed://")
        with urllib.request.urlopen(f"{plain}/info", timeout=30) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert json.loads(answer.read())["type"] == "segmentation"
        assert refused(plain.rsplit("/", 1)[0] + "/0000/info") == 404
        assert refused(f"{plain}/../probability.zarr/zarr.json") in (403, 404)
        assert page.served[tissue["paths"][1]].startswith("zarr://http://127.0.0.1:")


def test_colour_and_what_is_said_to_be_labels(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    Image.fromarray(colour).save(tmp_path / "a.png")
    few = (colour[..., 0] // 100).astype(np.uint8)
    tifffile.imwrite(tmp_path / "b.tif", few, photometric="minisblack")
    with Page(str(tmp_path / "a.png"), labels=[str(tmp_path / "b.tif")]) as page:
        found = chunk(page, 0, (0, 0, 0, 0), (60, 50, 1, 3), "1,1,1,1")
        np.testing.assert_array_equal(found[:, :, 0], colour.transpose(1, 0, 2))
        assert page._layers[1].kind == "labels"
        np.testing.assert_array_equal(chunk(page, 1, (0, 0, 0), (60, 50, 1))[..., 0], few.T)


def test_what_cannot_be_shown_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    for path in ("a.tif", "missing.zarr"):
        with pytest.raises(InputError) as refusal:
            Page(str(tmp_path / path))
        assert "\n" not in str(refusal.value)


def test_without_the_library_it_says_what_to_install(
    tissue: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    with pytest.raises(InputError, match=r'pip install "paper-unet\[view\]"'):
        Page(tissue["paths"][0])


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_the_command_ends_with_ctrl_c(tissue: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "paper_unet", "view", *tissue["paths"]]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        timer = threading.Timer(120, process.kill)
        timer.start()
        line = process.stdout.readline()
        address = line.split()[1]
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, process.stderr.read()
        timer.cancel()
        said = process.stderr.read().splitlines()
    assert len(said) == 2  # which data set and which scale are read
    assert all(".h5: its data set" in line or "scale 4_4_50 is read" in line for line in said)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=5)
