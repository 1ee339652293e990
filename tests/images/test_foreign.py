"""Formats that are not read are named as what they are, with what is accepted."""

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from image_helpers import GREY
from PIL import Image

from paper_unet.errors import InputError
from paper_unet.images import open_stack


def head(magic: bytes, offset: int = 0) -> bytes:
    return bytes(offset) + magic + bytes(2000)


FILES = {
    "a.hdf": (head(b"\x0e\x03\x13\x01"), "an HDF4 file"),
    "a.npy": (head(b"\x93NUMPY\x01\x00"), "a NumPy file"),
    "a.nii": (head(b"n+1\0", 344), "a NIfTI file"),
    "b.nii": (head(b"n+2\0", 4), "a NIfTI file"),
    "a.nii.gz": (gzip.compress(bytes(400)), "a NIfTI file"),
    "a.dm3": (b"\0\0\0\x03\0\0\x10\0\0\0\0\x01" + bytes(50), "a Digital Micrograph file"),
    "a.dm4": (b"\0\0\0\x04\0\0\0\0\0\0\x10\0\0\0\0\x01" + bytes(50), "a Digital Micrograph file"),
    "a.czi": (head(b"ZISRAWFILE"), "a Zeiss CZI file"),
    "a.nd2": (head(b"\xda\xce\xbe\x0a"), "a Nikon ND2 file"),
    "a.nrrd": (head(b"NRRD0004\n"), "an NRRD file"),
    "a.dcm": (head(b"DICM", 128), "a DICOM file"),
    "a.lif": (head(b"\x70"), "a Leica LIF file"),
    "a.raw": (head(b""), "raw values without a header"),
    "a.jp2": (head(b"\0\0\0\x0cjP  \r\n\x87\n"), "a JPEG 2000 file"),
    "a.gz": (gzip.compress(b"II*\0"), "a file compressed by gzip"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    "a.bmp": (head(b"BM"), "a BMP file"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("suffix", ["", ".tif"])
def test_files_are_named(tmp_path: Path, name: str, suffix: str) -> None:
    """By their first bytes, whatever they are called; else by their name."""
    data, what = FILES[name]
    by_bytes = bool(data.strip(b"\0")) and name not in ("a.lif", "a.nii.gz")
    if suffix and not by_bytes:
        what = "not a TIFF file"
        if name == "a.nii.gz":
            what = "a file compressed by gzip"
    path = tmp_path / (name + suffix)
    path.write_bytes(data)
    with pytest.raises(InputError, match=what) as refusal:
        open_stack(path)
    accepted = "accepted are TIFF, PNG, JPEG, a folder of these, HDF5, MRC, Zarr, OME-Zarr, N5 and"
    assert accepted in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("data", "remedy"),
    [
        (head(b"\x89HDF\r\n\x1a\n"), r"an HDF5 file; its name has to end in \.h5: rename it"),
        (head(b"\x89HDF\r\n\x1a\n", 512), r"an HDF5 file; its name has to end in \.h5: rename it"),
        (head(b"MAP ", 208), r"an MRC file; its name has to end in \.mrc: rename it"),
    ],
)
@pytest.mark.parametrize("name", ["user_block.mat", "a", "a.tif", "a.png"])
def test_formats_that_are_read_under_another_name(
    tmp_path: Path, name: str, data: bytes, remedy: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=remedy):
        open_stack(tmp_path / name)


def test_real_files_of_the_libraries(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GREY)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.tif", "")
    with pytest.raises(InputError, match=r"NumPy file .*tifffile\.imwrite"):
        open_stack(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"a ZIP archive, .* unpack it"):
        open_stack(tmp_path / "a.zip")


def test_pictures_of_another_kind_than_their_name(tmp_path: Path) -> None:
    image = Image.fromarray(GREY[0])
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.jpg")
    tifffile.imwrite(tmp_path / "a.tif", GREY[0])
    for one, other in [("png", "tif"), ("jpg", "tif"), ("tif", "png"), ("png", "jpg")]:
        path = tmp_path / f"as_{one}.{other}"
        path.write_bytes((tmp_path / f"a.{one}").read_bytes())
        with pytest.raises(InputError, match=rf"its name has to end in \.{one}: rename it"):
            open_stack(path)
        path.rename(path.with_suffix(f".{one}"))
        with open_stack(path.with_suffix(f".{one}")) as stack:
            assert stack.shape == (1, 16, 32)


def test_a_zarr_with_such_files_is_a_zarr(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=GREY)
    (tmp_path / "a.zarr" / "attributes.json").write_text('{"n5": "2"}')
    (tmp_path / "a.zarr" / "info").write_text('{"scales": []}')
    with open_stack(tmp_path / "a.zarr") as stack:
        np.testing.assert_array_equal(stack[3], GREY[3])


@pytest.mark.parametrize("name", ["info", "attributes.json"])
def test_a_folder_of_sections_with_some_text_beside_them(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("stained in June")
    tifffile.imwrite(tmp_path / "a.tif", GREY[0])
    with pytest.raises(InputError, match=f"holds {name}; a folder of sections"):
        open_stack(tmp_path)


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.org/a.zarr",
        "az://container/a.zarr",
        "n5://https://example.org/a.n5",
        "precomputed://gs://b/c",
    ],
)
def test_addresses(address: str) -> None:
    with pytest.raises(InputError, match=r"is an address of a kind that is not read.*download it"):
        open_stack(address)


def test_a_folder_that_is_named_like_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s3:").mkdir()
    tifffile.imwrite("s3:/a.tif", GREY[0])
    with open_stack("s3:/a.tif") as stack:
        assert stack.shape == (1, 16, 32)
