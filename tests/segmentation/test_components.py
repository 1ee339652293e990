"""Components in blocks are those of the whole volume, whatever the blocks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from segmentation_helpers import labels_of, renumbered, settings, smooth, touching, write

from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.images import create_output
from paper_unet.large.report import Report
from paper_unet.segmentation import SegmentConfig, segment_file
from paper_unet.segmentation.blocks import Blocks, within
from paper_unet.segmentation.foreground import Scale, scale_of_probabilities
from paper_unet.segmentation.numbering import join, numbered
from paper_unet.segmentation.parts import Parts, label, neighbourhood, parts_of

sides = st.integers(1, 6)


def in_blocks(
    inside: NDArray[np.bool_], block: tuple[int, int, int], structure: NDArray[np.bool_], dims: int
) -> NDArray[Any]:
    """Components in blocks, in memory."""
    blocks, halo = Blocks(inside.shape, block), (int(dims == 3), 1, 1)  # type: ignore[arg-type]
    found: list[tuple[Parts, NDArray[Any]]] = []
    for index in range(len(blocks)):
        box, seen = blocks.box(index), blocks.grown(index, halo, (0, 0, 0))
        whole = tuple(slice(*span) for span in seen)
        labels = label(inside[whole], structure)
        parts = parts_of(labels, seen, box, blocks.shape)
        found.append((parts, labels[within(seen, box)]))
    cells = join(blocks, halo, lambda index: found[index][0], lambda need: None)
    numbers = numbered(cells.firsts, cells.sizes > 0)[cells.of_part]
    result = np.zeros(inside.shape, np.int64)
    for index, (_, labels) in enumerate(found):
        table = np.concatenate([[0], numbers[cells.begins[index] : cells.begins[index + 1]]])
        result[tuple(slice(*span) for span in blocks.box(index))] = table[labels]
    return result


@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(sides, st.integers(1, 9), st.integers(1, 9)),
    block=st.tuples(sides, sides, sides),
    share=st.sampled_from([0.2, 0.35, 0.5, 0.65, 0.9]),
    dims=st.sampled_from([2, 3]),
    connectivity=st.integers(1, 3),
)
@hypothesis_settings(max_examples=150)
def test_any_blocks_give_the_components_of_the_whole(
    seed: int, shape: tuple[int, int, int], block: tuple[int, int, int], share: float, dims: int,
    connectivity: int,
) -> None:  # fmt: skip
    inside = np.random.default_rng(seed).random(shape) < share
    connectivity = min(connectivity, dims)
    expected, _ = ndimage.label(inside, touching(dims, connectivity))
    found = in_blocks(inside, block, neighbourhood(dims, connectivity), dims)
    np.testing.assert_array_equal(found, renumbered(expected))


@pytest.mark.parametrize(
    "name", ["out.tif", "out.zarr", "out.ome.tif", "out.h5", "out.precomputed"]
)
@pytest.mark.parametrize("dims", [2, 3])
def test_a_file_has_the_components_of_the_whole(folder: Path, name: str, dims: int) -> None:
    volume = labels_of(folder / "p.tif")
    done = segment_file(settings(folder, name, dims=dims, block="4x16x32", threshold="0.55"))
    expected, count = ndimage.label(volume > np.float32(0.55), touching(dims, 1))
    found = labels_of(done.path)
    assert done.cells == count > 3
    assert found.dtype == np.uint32 and done.dtype == "uint32"
    np.testing.assert_array_equal(found, renumbered(expected))
    assert {path.name for path in folder.iterdir()} == {"p.tif", name}


def test_the_blocks_change_no_byte(folder: Path) -> None:
    outs = []
    for block in ("6x32x48", "1x5x7", "4x32x10", "100x100x100"):
        config = settings(folder, f"{block}.tif", block=block, min_size=20)
        outs.append(segment_file(config).path.read_bytes())
    assert len(set(outs)) == 1


def test_small_cells_become_background(folder: Path) -> None:
    volume = labels_of(folder / "p.tif")
    done = segment_file(settings(folder, min_size=30, block="2x16x16", threshold="0.6"))
    labels, _ = ndimage.label(volume > np.float32(0.6), touching(3, 1))
    sizes = np.bincount(labels.reshape(-1))
    kept = np.where(sizes >= 30, np.arange(len(sizes)), 0)
    kept[0] = 0
    expected = renumbered(kept[labels])
    assert 0 < expected.max() < labels.max()
    np.testing.assert_array_equal(labels_of(done.path), expected)
    assert done.cells == expected.max()


# --- which voxels are above the threshold ---------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "bool"])
def test_above_is_as_the_metrics_have_it(dtype: str) -> None:
    values = np.arange(2 if dtype == "bool" else 256).astype(dtype)
    if np.dtype(dtype).kind == "f":
        values = (values / 255).astype(dtype)
    top = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    scale = scale_of_probabilities(np.dtype(dtype), None, "p")
    for threshold in (0.0, 0.1, 0.2, 0.30000000000000004, 0.5, 0.9999999999999999):
        rounded = (values.astype(np.float64) / top).astype(np.float32)
        expected = rounded.astype(np.float64) > threshold
        np.testing.assert_array_equal(scale.above(values, threshold, "p"), expected)


def test_given_values_mean_0_and_1() -> None:
    scale = scale_of_probabilities(np.dtype("int16"), (-100, 100), "p")
    values = np.array([-100, 0, 1, 100], np.int16)
    assert scale.above(values, 0.5, "p").tolist() == [False, False, True, True]
    assert scale.probability(values, "p").tolist() == [0, 0.5, np.float32(0.505), 1]


@pytest.mark.parametrize(
    ("values", "given", "reason"),
    [
        (np.full((1, 4, 4), np.nan, np.float32), None, "16 of 16 values are NaN"),
        (np.full((1, 4, 4), 1.5, np.float32), None, "accepted are probabilities in .0, 1."),
        (np.zeros((1, 4, 4), np.int16), None, "no scale of their own"),
        (np.zeros((1, 4, 4), np.uint8), (3.0, 3.0), "the lower one first"),
    ],
)
def test_values_that_are_no_probabilities(
    tmp_path: Path, values: NDArray[Any], given: Any, reason: str
) -> None:
    write(tmp_path / "p.tif", values)
    with pytest.raises(InputError, match=reason):
        segment_file(settings(tmp_path, value_range=given))
    assert [path.name for path in tmp_path.iterdir()] == ["p.tif"]


def image_with_white_as_zero(path: Path, stored: NDArray[Any]) -> None:
    """A TIFF, or a folder of one for each section."""
    if path.suffix:
        tifffile.imwrite(path, stored, photometric="miniswhite")
        return
    path.mkdir()
    for z, section in enumerate(stored):
        tifffile.imwrite(path / f"{z}.tif", section, photometric="miniswhite")


@pytest.mark.parametrize("name", ["white.tif", "white"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_probabilities_with_white_as_zero_are_those_with_black(
    tmp_path: Path, capsys: Any, dtype: str, name: str
) -> None:
    """As `predict` reads grey values: the background was segmented."""
    top = np.iinfo(dtype).max
    stored = np.rint(smooth((2, 24, 24)) * top).astype(dtype)
    write(tmp_path / "black.tif", stored)
    image_with_white_as_zero(tmp_path / name, top - stored)
    found = []
    for source in ("black.tif", name):
        out = tmp_path / f"cells-{source}.tif"
        assert main(["segment", str(tmp_path / source), "-o", str(out)]) == 0
        assert ("white is stored as zero; inverted" in capsys.readouterr().err) == (source == name)
        found.append(labels_of(out))
    assert found[0].max() > 1
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", ["mask.tif", "mask"])
@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_with_white_as_zero_is_read_as_it_is_stored(
    tmp_path: Path, capsys: Any, value: int, name: str
) -> None:
    """ImageJ writes 255 so where a cell is; in the second section alone."""
    mask = np.zeros((2, 600, 24), np.uint8)
    mask[1, 550:560, 3:9] = mask[1, 580:590, 3:9] = value
    image_with_white_as_zero(tmp_path / name, mask)
    command = ["segment", str(tmp_path / name), "-o", str(tmp_path / "o.tif"), "--range", "0"]
    assert main([*command, str(value)]) == 0
    said = capsys.readouterr()
    assert "2 cells" in said.out and "white as zero; it is read as it is stored" in said.err
    np.testing.assert_array_equal(labels_of(tmp_path / "o.tif") > 0, mask > 0)


@pytest.mark.parametrize("kind", ["i8", "u8", "i1", "palette", "palette.png"])
def test_what_is_no_grey_value_is_read_as_it_is_stored(tmp_path: Path, kind: str) -> None:
    mask = np.zeros((1, 16, 16), np.uint8)
    mask[:, 2:6, 2:6] = mask[:, 9:14, 9:14] = 1
    path = tmp_path / ("p.png" if kind == "palette.png" else "p.tif")
    colours = np.random.default_rng(0).integers(0, 2**16, (3, 256)).astype(np.uint16)
    if kind == "palette.png":
        picture = Image.fromarray(mask[0], "P")
        picture.putpalette([200, 3, 7, 9, 9, 9])
        picture.save(path)
    elif kind == "palette":
        tifffile.imwrite(path, mask, photometric="palette", colormap=colours)
    else:
        write(path, mask.astype(kind))
    config = SegmentConfig(str(path), str(tmp_path / "o.tif"), value_range=(0, 1))
    assert segment_file(config).cells == 2


@pytest.mark.parametrize("name", ["c.tif", "c.ome.tif", "c.zarr", "c.h5", "c.precomputed"])
def test_classes_are_no_probabilities_unless_that_is_said(
    tmp_path: Path, capsys: Any, name: str
) -> None:
    """As argmax writes them: 1 of 255 gave no cell."""
    classes = np.zeros((2, 16, 16), np.uint8)
    classes[:, 2:6, 2:6] = classes[:, 9:14, 9:14] = 1
    output = create_output(tmp_path / name, classes.shape, "uint8", labels=True)
    output.prepare(resume=False)
    for z, section in enumerate(classes):
        output.write(z, 0, 0, section)
    for task in (task for stage in output.stages() for task in stage):
        output.run(task)
    output.finish()
    command = ["segment", str(tmp_path / name), "-o", str(tmp_path / "cells.tif")]
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "says that it holds numbers of cells or classes" in line and "--range 0 1" in line
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert main([*command, "--range", "0", "1"]) == 0
    assert "2 cells" in capsys.readouterr().out


def test_nothing_above_the_threshold_is_said(tmp_path: Path) -> None:
    write(tmp_path / "p.tif", np.ones((2, 8, 8), np.uint8))
    lines: list[str] = []
    done = segment_file(settings(tmp_path), report=Report(say=lines.append))
    assert done.cells == 0 and not labels_of(done.path).any()
    assert any("no voxel is above" in line and "0.003922" in line for line in lines)


# --- settings -------------------------------------------------------------------------------------


def test_a_threshold_out_of_a_file_of_scores(tmp_path: Path, capsys: Any) -> None:
    """From what the command itself printed."""
    volume = smooth((2, 24, 24))
    write(tmp_path / "p.tif", volume)
    write(tmp_path / "t.tif", (volume > 0.62).astype(np.uint8) * 255)
    assert main(["evaluate", str(tmp_path / "t.tif"), str(tmp_path / "p.tif"), "--json"]) == 0
    scores = tmp_path / "scores.json"
    scores.write_text(capsys.readouterr().out)
    for name, metric in ((f"from:{scores}", "v_rand"), (f"from:{scores}:pixel_error", None)):
        command = ["segment", str(tmp_path / "p.tif"), "-o", str(tmp_path / "o.tif"), "--overwrite"]
        assert main([*command, "--threshold", name]) == 0
        found = capsys.readouterr()
        import json

        best = json.loads(scores.read_text())["thresholds"][metric or "pixel_error"]
        assert f"threshold {best:g}" in found.err
        expected, count = ndimage.label(volume.astype(np.float64) > best)
        assert f"{count} cells, uint32" in found.out
        np.testing.assert_array_equal(labels_of(tmp_path / "o.tif"), renumbered(expected))


@pytest.mark.parametrize("given", [0.25, np.float32(0.25), np.float64(0.25)])
def test_a_threshold_is_a_number_or_text(folder: Path, given: float) -> None:
    assert settings(folder, threshold=given) == settings(folder, threshold="0.25")
    assert settings(folder, threshold=0) == settings(folder, threshold=0.0)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"threshold": 1.5}, r"threshold is '1.5'; give a number in \[0, 1\)"),
        ({"threshold": True}, "threshold is True"),
        ({"channel": True}, "channel is True"),
        ({"threshold": "half"}, "threshold is 'half'"),
        ({"threshold": "1"}, r"threshold is '1'; give a number in \[0, 1\)"),
        ({"threshold": "nan"}, "threshold is 'nan'"),
        ({"threshold": "from:none.json"}, "none.json cannot be read"),
        ({"dims": 4}, "dims is 4"),
        ({"dims": 2, "connectivity": 3}, "connectivity is 3"),
        ({"block": "12"}, "block is '12'"),
        ({"block": "0x1x1"}, "at least 1"),
        ({"min_size": -1}, "min_size is -1"),
        ({"method": "magic"}, "method is 'magic'"),
        ({"memory": "1MB"}, "give a smaller `block`"),
    ],
)
def test_settings_that_cannot_be(folder: Path, given: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        segment_file(settings(folder, **given))
    assert [path.name for path in folder.iterdir()] == ["p.tif"]


@pytest.mark.parametrize("text", ["[]", "{}", '{"thresholds": []}', '{"thresholds": {}}', "{"])
def test_files_without_scores(folder: Path, text: str) -> None:
    (folder / "scores.json").write_text(text)
    with pytest.raises(InputError, match=r"scores\.json (holds no scores|has none for v_rand)"):
        segment_file(settings(folder, threshold=f"from:{folder / 'scores.json'}"))


def test_blocks_that_do_not_fit_the_chunks(folder: Path) -> None:
    with pytest.raises(InputError, match="multiples of 16 and 16"):
        segment_file(settings(folder, "out.zarr", block="2x20x16"))


def test_the_output_is_not_the_source(folder: Path) -> None:
    with pytest.raises(InputError, match="input"):
        segment_file(SegmentConfig(str(folder / "p.tif"), str(folder / "p.tif")), overwrite=True)


def test_too_many_parts_for_the_memory(tmp_path: Path) -> None:
    """Noise of single voxels: what numbering takes is compared before it is taken."""
    write(tmp_path / "p.tif", np.random.default_rng(0).random((8, 96, 96)).astype(np.float32))
    from paper_unet.segmentation.executor import LocalExecutor

    class Little(LocalExecutor):
        def allowed(self, device: str) -> tuple[int, int]:
            return 0, 1_750_000  # a block takes 1.35 MB

    with pytest.raises(InputError, match="so many parts of cells that numbering them"):
        segment_file(settings(tmp_path, block="1x96x96", threshold="0.8"), executor=Little())


def test_scales_are_by_type_alone() -> None:
    assert scale_of_probabilities(np.dtype("uint8"), None, "p") == Scale(
        np.dtype("uint8"), (0.0, 255.0)
    )
