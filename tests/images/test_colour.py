"""Colour: photographs and stacks with several values for each pixel, read, learnt and predicted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from paper_unet import load_model, predict_image, predict_stack
from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack
from paper_unet.images.readers.tiff_segments import Segments

RNG = np.random.default_rng(5)
PIXELS: NDArray[np.uint8] = RNG.integers(0, 256, (4, 3, 30, 40), np.uint8)  # Z C Y X
LAST = np.ascontiguousarray(np.moveaxis(PIXELS, 1, -1))


def png_folder(folder: Path, images: NDArray[np.uint8], suffix: str = "png") -> Path:
    folder.mkdir()
    for z, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{z}.{suffix}")
    return folder


def plain(path: Path) -> None:
    tifffile.imwrite(path, LAST, photometric="rgb")


def compressed_tiles(path: Path) -> None:
    tifffile.imwrite(path, LAST, photometric="rgb", compression="zlib", tile=(16, 16))


def planes(path: Path) -> None:
    tifffile.imwrite(path, PIXELS, photometric="rgb", planarconfig="separate")


def planes_of_compressed_tiles(path: Path) -> None:
    tifffile.imwrite(
        path, PIXELS, photometric="rgb", planarconfig="separate", compression="zlib", tile=(16, 16)
    )


def planes_of_strips(path: Path) -> None:
    tifffile.imwrite(path, PIXELS, photometric="rgb", planarconfig="separate", rowsperstrip=7)


def one_page_for_all(path: Path) -> None:
    tifffile.imwrite(path, LAST, photometric="rgb", truncate=True, metadata={"axes": "ZYXS"})


def imagej(path: Path) -> None:
    tifffile.imwrite(
        path, LAST[:, None], imagej=True, photometric="rgb", metadata={"axes": "ZCYXS"}
    )


def ome_pages(path: Path) -> None:
    tifffile.imwrite(path, PIXELS, photometric="minisblack", ome=True, metadata={"axes": "ZCYX"})


def big_endian(path: Path) -> None:
    tifffile.imwrite(path, LAST, photometric="rgb", byteorder=">")


LAYOUTS = [
    plain, compressed_tiles, planes, planes_of_compressed_tiles, planes_of_strips,
    one_page_for_all, imagej, ome_pages, big_endian,
]  # fmt: skip


@pytest.mark.parametrize("write", LAYOUTS)
def test_every_layout_of_a_tiff_gives_the_same_pixels(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "a.tif")
    with open_stack(tmp_path / "a.tif", channels=3) as stack:
        assert (stack.shape, stack.channels, stack.dtype) == ((4, 30, 40), 3, np.uint8)
        np.testing.assert_array_equal(stack[2], PIXELS[2])
        window = stack.window(1, (3, 9), (5, 25))
        np.testing.assert_array_equal(window, PIXELS[1, :, 3:9, 5:25])
        window[:] = 0  # a copy: what is read next is what is in the file
        np.testing.assert_array_equal(stack[1], PIXELS[1])
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif", channels=3), PIXELS)


@pytest.mark.parametrize(
    ("write", "pieces"), [(compressed_tiles, 2), (planes_of_compressed_tiles, 6), (plain, 0)]
)
def test_a_window_decodes_what_it_needs_and_once(
    tmp_path: Path, write: Any, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles of 16 x 16; each has all channels, or one."""
    write(tmp_path / "a.tif")
    decoded, decode = [], Segments._decode

    def spy(self: Segments, sheet: int, index: int) -> NDArray[Any]:
        decoded.append((sheet, index))
        return decode(self, sheet, index)

    monkeypatch.setattr(Segments, "_decode", spy)
    with open_stack(tmp_path / "a.tif", channels=3) as stack:
        for top in (2, 9):
            window = stack.window(3, (top, top + 7), (17, 40))
            np.testing.assert_array_equal(window, PIXELS[3, :, top : top + 7, 17:40])
        assert stack.cache_bytes >= pieces * 16 * 16
    assert len(decoded) == len(set(decoded)) == pieces


def test_wide_values_keep_their_bits(tmp_path: Path) -> None:
    wide = LAST.astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", wide, photometric="rgb")
    found = read_stack(tmp_path / "a.tif", channels=3)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, PIXELS.astype(np.uint16) * 257)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_folder_of_sections(tmp_path: Path, suffix: str) -> None:
    folder = png_folder(tmp_path / "in", LAST, suffix)
    np.testing.assert_array_equal(read_stack(folder, channels=3), PIXELS)


def test_photographs(tmp_path: Path) -> None:
    """JPEG is lossy: what Pillow decodes is what is read."""
    folder = png_folder(tmp_path / "in", LAST, "jpg")
    found = read_stack(folder, channels=3)
    for z in range(4):
        expected = np.moveaxis(np.asarray(Image.open(folder / f"{z}.jpg")), -1, 0)
        np.testing.assert_array_equal(found[z], expected)


def test_four_channels(tmp_path: Path) -> None:
    rgba = np.concatenate([LAST, LAST[..., :1]], axis=-1)
    Image.fromarray(rgba[0]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        read_stack(tmp_path / "a.png", channels=4)[0], np.moveaxis(rgba[0], -1, 0)
    )


def test_axes_that_the_file_does_not_know(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS[0], photometric="minisblack")
    with pytest.raises(InputError, match=r"axes \w+ of shape .* name the axes with `axes`"):
        open_stack(tmp_path / "a.tif", channels=3)
    found = read_stack(tmp_path / "a.tif", channels=3, axes="CYX")
    np.testing.assert_array_equal(found, PIXELS[:1])


def grey_page(path: Path) -> None:
    tifffile.imwrite(path, PIXELS[0, 0])


def two_channels(path: Path) -> None:
    tifffile.imwrite(path, PIXELS[:, :2], ome=True, metadata={"axes": "ZCYX"})


def channels_first(path: Path) -> None:
    tifffile.imwrite(
        path, PIXELS.swapaxes(0, 1), photometric="minisblack", ome=True, metadata={"axes": "CZYX"}
    )


def palette(path: Path) -> None:
    tifffile.imwrite(
        path, PIXELS[0, 0], photometric="palette", colormap=np.zeros((3, 256), np.uint16)
    )


def cut_short(path: Path) -> None:
    plain(path)
    path.write_bytes(path.read_bytes()[:-4000])


def no_tiff(path: Path) -> None:
    path.write_bytes(b"nothing" * 50)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (grey_page, r"stack of 3 values for each pixel is needed"),
        (two_channels, r"stack of 3 values for each pixel is needed"),
        (palette, r"colour model PALETTE; convert it to RGB"),
        (cut_short, r"a\.tif"),
        (no_tiff, r"a\.tif"),
    ],
)
def test_tiffs_that_are_no_colour_stack(tmp_path: Path, write: Any, says: str) -> None:
    write(tmp_path / "a.tif")
    with pytest.raises(InputError, match=says) as caught:
        read_stack(tmp_path / "a.tif", channels=3)
    assert "\n" not in str(caught.value)


def test_all_sections_of_a_channel_before_those_of_the_next(tmp_path: Path) -> None:
    channels_first(tmp_path / "a.tif")
    found = read_stack(tmp_path / "a.tif", channels=3)
    np.testing.assert_array_equal(found, PIXELS)


def test_pictures_that_are_no_colour(tmp_path: Path) -> None:
    def refused(says: str, path: Path = tmp_path / "a.png") -> None:
        with pytest.raises(InputError, match=says) as caught:
            read_stack(path, channels=3)
        assert "\n" not in str(caught.value)

    Image.fromarray(LAST[0, ..., 0]).save(tmp_path / "a.png")
    refused("a PNG of mode L; 3 values for each pixel")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    refused("not a PNG file that can be read")
    Image.fromarray(LAST[0]).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    refused("declares 30 rows and holds")
    folder = png_folder(tmp_path / "in", LAST)
    Image.fromarray(LAST[0, :9]).save(folder / "2.png")
    refused(r"2\.png: uint8 of 40 x 9 pixels, and 0\.png is uint8 of 40 x 30", folder)
    (folder / "2.png").rename(folder / "2.gif")
    refused(r"holds 2\.gif; a folder of sections holds either PNG or JPEG or TIFF files", folder)


def test_sixteen_bits_of_a_colour_png_are_not_cut_to_eight(tmp_path: Path) -> None:
    """Pillow would do so without a word."""
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / "a.png"), LAST[0].astype(np.uint16) * 257)
    with pytest.raises(InputError, match="a PNG of 16 bits a value"):
        open_stack(tmp_path / "a.png", channels=3)


def test_a_zarr_is_grey(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    zarr.save_array(str(tmp_path / "a.zarr"), PIXELS)
    with pytest.raises(InputError, match="a Zarr is read as grey, the network takes 3 channels"):
        open_stack(tmp_path / "a.zarr", channels=3)


def test_another_section_is_another_input(tmp_path: Path) -> None:
    folder = png_folder(tmp_path / "in", LAST)
    with open_stack(folder, channels=3) as stack:
        before = stack.identity()
    Image.fromarray(LAST[0] + 1).save(folder / "3.png")
    with open_stack(folder, channels=3) as stack:
        assert stack.identity() != before
        assert stack.cache_bytes >= PIXELS[0].nbytes


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Photographs whose cells are red on green of the same brightness; and their labels."""
    side, cells = 64, (PIXELS[:, 0].repeat(2, 1).repeat(2, 2)[:, :60, :64] > 99)
    cells = np.pad(cells, ((0, 0), (0, side - 60), (0, 0)))
    colour = np.where(cells[..., None], (200, 40, 90), (40, 200, 90)).astype(np.uint8)
    png_folder(tmp_path / "photographs", colour)
    tifffile.imwrite(
        tmp_path / "labels.tif", cells.astype(np.uint8) * 255, photometric="minisblack"
    )
    return tmp_path


@pytest.mark.parametrize("network", ["annotated", "paper"])
def test_training_and_prediction_in_colour_by_the_commands(
    photographs: Path, network: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = photographs, photographs / "out.tif"
    tile = "64" if network == "annotated" else "204"
    assert main(["train", "--network", network, "--images", str(folder / "photographs"), "--labels",
                 str(folder / "labels.tif"), "--channels", "3", "--width", "2", "--tile", tile,
                 "--steps", "3", "--slices", "0:3", "--validate", "3:4", "--out",
                 str(folder / "run")]) == 0  # fmt: skip
    weights = folder / "run" / "weights.safetensors"
    model = load_model(weights)
    assert model.config.in_channels == 3
    command = ["predict", str(folder / "photographs"), "-o", str(out), "--weights", str(weights)]
    assert main(command) == 0, capsys.readouterr().err
    with open_stack(folder / "photographs", channels=3) as stack:
        expected = predict_stack(model, stack)
        np.testing.assert_array_equal(expected[1], predict_image(model, stack[1]))
    assert expected.std() > 1e-4
    np.testing.assert_allclose(read_stack(out), expected, rtol=0, atol=1e-6)


def test_the_network_decides_what_the_input_must_be(
    photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, out = photographs / "labels.tif", photographs / "out.tif"
    assert main(["predict", str(photographs / "photographs"), "-o", str(out)]) == 2
    assert "or use a network of as many channels" in capsys.readouterr().err
    command = ["train", "--images", str(labels), "--labels", str(labels), "--channels", "3"]
    assert main([*command, "--out", str(photographs / "run")]) == 2
    assert "stack of 3 values for each pixel is needed" in capsys.readouterr().err
    Image.fromarray(LAST[0]).save(photographs / "a.jpg")
    assert main(["predict", str(photographs / "a.jpg"), "-o", str(out)]) == 2
    assert "a JPEG of mode RGB; grey of up to 16 bits" in capsys.readouterr().err
