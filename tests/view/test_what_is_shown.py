"""Which channel, time point and series of an image is shown, and what is taken for labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from paper_unet.cli import main
from paper_unet.images import Output, create_output, open_stack
from paper_unet.view import ViewConfig
from paper_unet.view.layers import Layer

pytest.importorskip("zarr")
SHAPE = (2, 600, 700)
CHANNELS = np.random.default_rng(0).random((2, *SHAPE)).astype(np.float32)


def shown(layer: Layer, factor: int = 1) -> NDArray[Any]:
    x, y, z = layer.shape[:3]
    size = -(-x // factor), -(-y // factor), z
    return layer.read((0, 0, 0), size, (factor, factor, 1)).T


def finish(output: Output) -> None:
    for stage in output.stages():
        for task in stage:
            output.run(task)
    output.finish()


@pytest.mark.parametrize(("ending", "more"), [
    ("zarr", {}), ("zarr", {"ome_zarr": "0.4"}), ("tif", {}), ("ome.tif", {}), ("h5", {}),
])  # fmt: skip
def test_one_channel_of_several_is_shown(tmp_path: Path, ending: str, more: dict[str, Any]) -> None:
    path = tmp_path / f"in.{ending}"
    output = create_output(path, SHAPE, "float32", channels=("soma", "axon"), **more)
    output.prepare(resume=False)
    for z in range(SHAPE[0]):
        output.write(z, 0, 0, CHANNELS[:, z])
        output.sync(z, (0, SHAPE[1]), (0, SHAPE[2]))
    finish(output)
    named = ending in ("zarr", "ome.tif")
    for channel in (1, "1", "axon") if named else (1, "1"):
        layer = Layer(str(path), "image", ViewConfig(channel=channel))
        assert layer.levels == (2 if ending == "zarr" else 1)
        np.testing.assert_array_equal(shown(layer), CHANNELS[1])
        halves = CHANNELS[1].reshape(2, 300, 2, 350, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(shown(layer, 2), halves, rtol=1e-5)
        layer.close()


def test_one_time_point_and_one_series_and_axes(tmp_path: Path) -> None:
    values = (CHANNELS * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "t.tif", values, metadata={"axes": "TZYX"})
    with tifffile.TiffWriter(tmp_path / "s.tif") as writer:
        for one in values[:, :, :300]:
            writer.write(one, metadata={"axes": "ZYX"})
            writer.write(one[0], metadata={"axes": "YX"})
    tifffile.imwrite(tmp_path / "a.tif", values, metadata={"axes": "QZYX"})
    for name, config, expected in [
        ("t.tif", ViewConfig(time=1), values[1]),
        ("s.tif", ViewConfig(series=2), values[1, :, :300]),
        ("a.tif", ViewConfig(axes="TZYX", time=1), values[1]),
    ]:
        layer = Layer(str(tmp_path / name), "image", config)
        np.testing.assert_array_equal(shown(layer), expected)
        layer.close()


def test_the_command_has_them_and_says_which_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("neuroglancer")
    tifffile.imwrite(tmp_path / "t.tif", CHANNELS, metadata={"axes": "TZYX"})
    assert main(["view", str(tmp_path / "t.tif")]) == 2
    assert "choose one with --time, 0 to 1" in capsys.readouterr().err
    assert main(["view", str(tmp_path / "t.tif"), "--time", "2"]) == 2
    assert "give --time 0 to 1" in capsys.readouterr().err
    assert main(["view", str(tmp_path / "t.tif"), "--time", "1", "--series", "7"]) == 2
    assert "no series 7" in capsys.readouterr().err


SIZES = [(0.05, 0.004, 0.004), (None, None, None)]


@pytest.mark.parametrize("size", SIZES, ids=["sized", "unsized"])
@pytest.mark.parametrize(("name", "more"), [
    ("out.zarr", {}), ("out.zarr", {"ome_zarr": "0.4"}), ("out.precomputed", {}), ("out.tif", {}),
    ("out.ome.tif", {}), ("out.btf", {}), ("out.h5:/classes", {}),
])  # fmt: skip
@pytest.mark.parametrize("labels", [True, False])
def test_what_says_that_it_is_labels_is_shown_as_labels(
    tmp_path: Path, name: str, more: dict[str, Any], size: Any, labels: bool
) -> None:
    """Of 8 bits, as `argmax` writes them; while they are written, and then."""
    classes = np.zeros(SHAPE, np.uint8)
    classes[:, :, 350:] = 3
    output = create_output(tmp_path / name, SHAPE, "uint8", labels=labels, pixel_size=size, **more)
    output.prepare(resume=False)
    kind = "labels" if labels else "probability"
    live = Layer(str(tmp_path / name), None)
    assert (live.live, live.kind) == (True, kind)
    live.close()
    for z in range(SHAPE[0]):
        output.write(z, 0, 0, classes[z])
        output.sync(z, (0, SHAPE[1]), (0, SHAPE[2]))
    finish(output)
    layer = Layer(str(tmp_path / name), None)
    assert (layer.live, layer.kind) == (False, kind)
    if labels:  # the first of each 4 x 4, never a mean
        np.testing.assert_array_equal(shown(layer, 4), classes[:, ::4, ::4])
    layer.close()
    layer = Layer(str(tmp_path / name), "image")
    assert layer.kind == "image"
    layer.close()


def test_what_others_say_of_their_files_is_no_word_of_ours(tmp_path: Path) -> None:
    for text in ('{"values": "labels"', "[]", "labels", '{"values": ["labels"]}'):
        for name in ("a.ome.tif", "a.tif"):
            said = {"Description": text} if "ome" in name else {"paper_unet": text}
            tifffile.imwrite(tmp_path / name, np.zeros((2, 8, 8), np.uint8),
                             metadata={"axes": "ZYX", **said})  # fmt: skip
            with open_stack(tmp_path / name) as stack:
                assert not stack.says_labels
