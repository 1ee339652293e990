"""Which channel, time point and series of an image is shown, and what is taken for labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from paper_unet.cli import main
from paper_unet.errors import InputError
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


def classes(path: Path, **more: Any) -> Output:
    """What --all-classes writes, before it is finished."""
    output = create_output(path, SHAPE, "float32", channels=("membrane", "cell"), **more)
    output.prepare(resume=False)
    for z in range(SHAPE[0]):
        output.write(z, 0, 0, CHANNELS[:, z])
        output.sync(z, (0, SHAPE[1]), (0, SHAPE[2]))
    return output


@pytest.mark.parametrize("ending", ["zarr", "tif", "ome.tif", "h5"])
@pytest.mark.parametrize("kind", [None, "labels"])
def test_one_class_of_an_output_is_shown(tmp_path: Path, ending: str, kind: Any) -> None:
    """While it is written, and then; an output of one channel needs no choice."""
    path = tmp_path / f"1a.{ending}"
    output = classes(path)
    live = Layer(str(path), kind, ViewConfig(channel=1))
    assert (live.live, live.chosen) == (True, {"channel": "1"})
    np.testing.assert_array_equal(shown(live), CHANNELS[1])
    live.close()
    finish(output)
    layer = Layer(str(path), kind, ViewConfig(channel=1, time=3))
    assert layer.chosen == {"channel": "1"}
    assert layer.levels == (2 if ending == "zarr" else 1)
    np.testing.assert_array_equal(shown(layer), CHANNELS[1])
    layer.close()
    tifffile.imwrite(tmp_path / "one.tif", CHANNELS[0], metadata={"axes": "ZYX"})
    layer = Layer(str(tmp_path / "one.tif"), kind, ViewConfig(channel=1))
    assert layer.chosen == {}
    layer.close()


def test_a_channel_is_of_the_files_that_have_several(tmp_path: Path) -> None:
    pytest.importorskip("neuroglancer")
    from paper_unet.view import Page

    finish(classes(tmp_path / "1a.zarr"))
    for name, values in (("in.tif", CHANNELS[0]), ("movie.tif", CHANNELS)):
        axes = "ZYX" if values.ndim == 3 else "TZYX"
        tifffile.imwrite(tmp_path / name, values, metadata={"axes": axes})
    image, movie, every = (str(tmp_path / name) for name in ("in.tif", "movie.tif", "1a.zarr"))
    with pytest.raises(InputError, match=r"1a.zarr: 2 channels .* choose one with `channel`"):
        Page(image, [every])
    with pytest.raises(InputError, match=r"in.tif: .*`channel`"):
        Page(image, [image], config=ViewConfig(channel=1))
    with pytest.raises(InputError, match=r"1a.zarr: has 2 channels and none is '2'"):
        Page(image, [every], config=ViewConfig(channel=2))
    for source, config in [
        (image, ViewConfig(channel=1)), (movie, ViewConfig(channel="cell", time=1)),
    ]:  # fmt: skip
        with Page(source, [every], config=config) as page:
            first, second = page._layers
            np.testing.assert_array_equal(shown(first), CHANNELS[0 if source == image else 1])
            np.testing.assert_array_equal(shown(second), CHANNELS[1])


def test_a_channel_of_an_image_in_colour(tmp_path: Path) -> None:
    """It has several, so one is taken; without a choice it is shown in colour."""
    colours = (CHANNELS[0, :1, :, :, None] * [255, 100, 0]).astype(np.uint8)
    tifffile.imwrite(tmp_path / "c.tif", colours[0], photometric="rgb")
    for config, shape in ((ViewConfig(channel=1), (700, 600, 1)), (None, (700, 600, 1, 3))):
        layer = Layer(str(tmp_path / "c.tif"), "image", config)
        assert layer.shape == shape
        layer.close()


def test_probabilities_with_white_as_zero_are_inverted_and_labels_are_not(tmp_path: Path) -> None:
    stored = (CHANNELS[0] * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "w.tif", stored, photometric="miniswhite")
    for kind, expected in ((None, 255 - stored), ("labels", stored)):
        layer = Layer(str(tmp_path / "w.tif"), kind)  # type: ignore[arg-type]
        np.testing.assert_array_equal(shown(layer), expected)
        assert len(layer.notes) == (kind is None)
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
