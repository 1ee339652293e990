"""Data sets of HDF5 files are read by windows, in the memory allowed, or refused in a line."""

import json
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hdf5_helpers import KINDS, bytes_of_chunks, data_set, noise, replace_bytes
from image_helpers import GREY, PIXELS
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack
from paper_unet.images.readers.hdf5_chunks import Hdf5Chunks, lzf_size
from paper_unet.system.memory import Budget

WINDOWS = [
    (0, (0, 16), (0, 32)),
    (5, (3, 11), (8, 27)),
    (2, (15, 16), (31, 32)),
    (4, (4, 5), (0, 9)),
]


def refused(path: Path, reason: str, **choices: Any) -> None:
    with pytest.raises(InputError, match=reason) as got, open_stack(path, **choices) as stack:
        list(stack)
    assert "\n" not in str(got.value)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("name", KINDS)
def test_every_layout_and_encoding(tmp_path: Path, name: str, dtype: str) -> None:
    if name == "szip" and not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
        pytest.skip("this HDF5 has no szip")
    pixels = PIXELS.astype(dtype)
    with open_stack(KINDS[name](tmp_path / "a.h5", pixels)) as stack:
        assert (stack.shape, stack.dtype) == (pixels.shape, np.dtype(dtype))
        for z, rows, columns in WINDOWS:
            found = stack.window(z, rows, columns)
            np.testing.assert_array_equal(found, pixels[z, slice(*rows), slice(*columns)])
            assert found.dtype == np.dtype(dtype)
            found[:] = 0  # a new array: what is kept stays as it is
        np.testing.assert_array_equal(list(stack), pixels)


# which data set


def test_the_only_stack_is_found_and_said(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    data_set()(path, PIXELS)
    with h5py.File(path, "a") as file:
        file["volumes/slices"] = np.arange(6)
        file["volumes/preview"] = GREY[0]
        file["about"] = "text"
    for given in (path, tmp_path / "a.h5:/volumes", tmp_path / "a.h5:"):
        with open_stack(given) as stack:
            np.testing.assert_array_equal(list(stack), PIXELS)
            assert stack.files == (path,)
            assert any("/volumes/raw is read" in note for note in stack.notes)


def test_several_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "cremi.hdf"
    with h5py.File(path, "w") as file:
        file["volumes/raw"] = GREY
        file["volumes/labels/neuron_ids"] = PIXELS.astype("u8")
    reason = (
        r"cremi\.hdf: holds 2 data sets; name one of them, as in cremi\.hdf:/volumes/labels/"
        r"neuron_ids: .* \(uint64, \(6, 16, 32\)\), /volumes/raw \(uint8, \(6, 16, 32\)\)"
    )
    refused(path, reason)
    refused(tmp_path / "cremi.hdf:/volumes/nothing", "has no /volumes/nothing; name one.*")
    np.testing.assert_array_equal(read_stack(tmp_path / "cremi.hdf:/volumes/raw"), GREY)
    labels = read_stack(f"{path}:/volumes/labels/neuron_ids", labels=True)
    np.testing.assert_array_equal(labels, PIXELS)
    assert labels.dtype == np.uint64
    refused(tmp_path / "cremi.hdf:/volumes/labels/neuron_ids", "values of uint64; accepted are")


def test_a_file_whose_name_holds_a_colon_is_that_file(tmp_path: Path) -> None:
    data_set()(tmp_path / "a.h5", PIXELS)
    (tmp_path / "a.h5:").mkdir()
    (tmp_path / "a.h5").rename(tmp_path / "a.h5:" / "b.h5")
    np.testing.assert_array_equal(read_stack(tmp_path / "a.h5:/b.h5"), PIXELS)
    refused(tmp_path / "none.h5:/raw", r"none\.h5: no such file")
    refused(tmp_path / "a.h5:", "holds b.h5; a folder of sections")


def test_links_lead_elsewhere_in_the_file_and_not_out_of_it(tmp_path: Path) -> None:
    data_set("raw")(tmp_path / "other.h5", PIXELS)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["deep/raw"] = PIXELS
        file["soft"] = h5py.SoftLink("/deep/raw")
        file["deep/near"] = h5py.SoftLink("raw")
        file["circle"] = h5py.SoftLink("/circle")
        file["out"] = h5py.ExternalLink("other.h5", "/raw")
        file["indirect"] = h5py.SoftLink("/out")
    for name in ("soft", "deep/near"):
        np.testing.assert_array_equal(read_stack(f"{path}:/{name}"), PIXELS)
    refused(Path(f"{path}:/circle"), "a link that leads to itself")
    for name in ("out", "indirect"):
        refused(Path(f"{path}:/{name}"), r"out is a link into another file, other\.h5; give that")


def test_pixels_in_other_files_are_refused(tmp_path: Path) -> None:
    layout = h5py.VirtualLayout((6, 16, 32), "u2")
    layout[:] = h5py.VirtualSource("other.h5", "raw", (6, 16, 32))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("virtual", layout)
        external = [(str(tmp_path / "raw.bin"), 0, PIXELS.nbytes)]
        file.create_dataset("external", PIXELS.shape, "u2", external=external)
    refused(tmp_path / "a.h5:/virtual", "virtual data set, put together from others")
    refused(tmp_path / "a.h5:/external", r"its pixels lie in another file, .*raw\.bin")


# axes, types and the size of a pixel


def vigra(letters: str) -> str:
    return json.dumps({"axes": [{"key": key, "typeFlags": 2, "resolution": 0} for key in letters]})


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("attrs", "shape", "order"),
    [
        ({}, "zyx", None), ({}, "yx", None), ({"axistags": vigra("xyz")}, "xyz", None),
        ({"axistags": vigra("zyxc")}, "zyxc", None), ({"axes": "xzy"}, "xzy", None),
        ({"axes": np.array([b"z", b"x", b"y"])}, "zxy", None), ({"axes": "zy"}, "zyx", None),
        ({"axistags": "{damaged"}, "zyx", None), ({}, "czyx", None), ({}, "xyz", "XYZ"),
        ({"axistags": vigra("tzyxc")}, "tzyxc", None),
    ],
)  # fmt: skip
def test_axes(
    tmp_path: Path, attrs: dict[str, Any], shape: str, order: str | None, compressed: bool
) -> None:
    stack = PIXELS if "z" in shape else PIXELS[:1]
    letters = [a for a in shape if a in "zyx"]
    stored = stack[0]
    if "z" in shape:
        stored = np.transpose(stack, ["zyx".index(a) for a in letters])
    sizes = dict(zip(letters, stored.shape, strict=True))
    stored = stored.reshape([sizes.get(a, 1) for a in shape])
    more = {"compression": "gzip", "chunks": tuple(min(n, 5) for n in stored.shape)}
    made = data_set(attrs=attrs, **(more if compressed else {}))(tmp_path / "a.h5", stored)
    with open_stack(made, axes=order) as opened:
        np.testing.assert_array_equal(list(opened), stack)
        found = opened.window(len(stack) - 1, (3, 11), (8, 27))
        np.testing.assert_array_equal(found, stack[-1, 3:11, 8:27])


def test_axes_that_are_not_one_stack(tmp_path: Path) -> None:
    four = np.stack([PIXELS, PIXELS])
    refused(data_set()(tmp_path / "a.h5", four), r"axes QZYX of shape .* name the axes with `axes`")
    named = data_set(attrs={"axistags": vigra("czyx")})(tmp_path / "b.h5", four)
    refused(named, r"2 channels \(axes CZYX")
    refused(
        data_set()(tmp_path / "c.h5", np.arange(5, dtype="u1")),
        r"array of shape \(5,\) is no image",
    )


@pytest.mark.parametrize("chunks", [None, (2, 5, 9, 2), (2, 16, 32, 3)])
@pytest.mark.parametrize("letters", ["zyxc", "czyx", "zcyx"])
def test_colour(tmp_path: Path, letters: str, chunks: tuple[int, ...] | None) -> None:
    pixels = noise((6, 3, 16, 32), "uint8")  # Z, C, Y, X
    stored = np.transpose(pixels, ["zcyx".index(a) for a in letters])
    more: dict[str, Any] = {}
    if chunks:
        sizes = dict(zip("zyxc", chunks, strict=True))
        more = {"chunks": tuple(sizes[a] for a in letters), "compression": "gzip"}
    made = data_set(attrs={"axistags": vigra(letters)}, **more)(tmp_path / "a.h5", stored)
    with open_stack(made, channels=3) as stack:
        assert stack.shape == (6, 16, 32)
        np.testing.assert_array_equal(list(stack), pixels)
        found = stack.window(4, (3, 11), (8, 27))
        np.testing.assert_array_equal(found, pixels[4, :, 3:11, 8:27])
        assert stack.identity()["format"] == "ColourStack"


@pytest.mark.parametrize(
    ("attrs", "expected"),
    [
        ({"resolution": (50.0, 4.0, 5.0)}, (0.05, 0.004, 0.005)),
        ({"element_size_um": (0.05, 0.004, 0.005)}, (0.05, 0.004, 0.005)),
        ({"element_size_um": (1, 2, 3), "resolution": (50, 4, 5)}, (1, 2, 3)),
        ({"element_size_um": (np.nan, 2, 3), "resolution": (50, 4, 5)}, (None, 2, 3)),
        ({"resolution": (3, 5, 40), "axes": "xyz"}, (0.04, 0.005, 0.003)),
        ({"resolution": 4.0}, (None, None, None)), ({"resolution": "wide"}, (None, None, None)),
        ({"resolution": (0, -1, np.inf)}, (None, None, None)), ({}, (None, None, None)),
    ],
)  # fmt: skip
def test_pixel_sizes(tmp_path: Path, attrs: dict[str, Any], expected: tuple[Any, ...]) -> None:
    with open_stack(data_set(attrs=attrs)(tmp_path / "a.h5", PIXELS)) as stack:
        assert stack.pixel_size == pytest.approx(expected)


def test_bool_and_what_is_no_number(tmp_path: Path) -> None:
    with open_stack(data_set(chunks=(1, 8, 8))(tmp_path / "a.h5", GREY > 100)) as stack:
        assert (stack.dtype, stack.own_range) == (np.dtype("uint8"), (0.0, 1.0))
        np.testing.assert_array_equal(list(stack), GREY > 100)
    refused(data_set()(tmp_path / "b.h5", PIXELS.astype("c8")), "holds complex64 and no numbers")
    refused(data_set()(tmp_path / "c.h5", PIXELS.astype("i8")), "values of int64; accepted are")


# chunks that are missing, pixels that were never written


def test_missing_chunks_are_counted(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("raw", (6, 16, 32), "u2", chunks=(2, 8, 8), fillvalue=7)
        made[:2] = PIXELS[:2]
        made[2:4, :8] = PIXELS[2:4, :8]
        file.create_dataset("empty", (6, 16, 32), "u2", chunks=(2, 8, 8))
        file.create_dataset("block", (6, 16, 32), "u2")
    path = tmp_path / "a.h5:/raw"
    refused(path, r"12 of 24 chunks are missing, of sections 2 to 5; .* fill value, 7")
    with open_stack(path, missing="fill") as stack:
        expected = np.full(PIXELS.shape, 7)
        expected[:2], expected[2:4, :8] = PIXELS[:2], PIXELS[2:4, :8]
        np.testing.assert_array_equal(list(stack), expected)
        assert "read as its fill value, 7" in stack.notes[0]
    for name in ("empty", "block"):
        refused(tmp_path / f"a.h5:/{name}", "its pixels were never written; .* `missing` fill")
        assert not read_stack(tmp_path / f"a.h5:/{name}", missing="fill").any()


# damage


def test_no_cut_of_a_file_goes_unnoticed(tmp_path: Path) -> None:
    for name in ("one block", "gzip", "lzf", "latest version"):
        whole = KINDS[name](tmp_path / "a.h5", PIXELS)
        data = (tmp_path / "a.h5").read_bytes()
        for size in [0, 1, 7, 8, 100, *range(300, len(data), len(data) // 40), len(data) - 1]:
            (tmp_path / "a.h5").write_bytes(data[:size])
            refused(whole, r"a\.h5:/(volumes/)?raw: .*(copy or )?export it again")
    assert size == len(data) - 1
    (tmp_path / "a.h5").write_bytes(data[:-100])
    refused(whole, f"truncated: {len(data)} bytes are declared and the file has {len(data) - 100}")


def test_a_file_that_is_cut_and_says_otherwise(tmp_path: Path) -> None:
    """The end of the file that is declared is itself in the file."""
    for name in ("one block", "gzip"):
        path = KINDS[name](tmp_path / "a.h5", PIXELS)
        data = (tmp_path / "a.h5").read_bytes()
        cut = len(data) - 500
        declared = data.index(len(data).to_bytes(8, "little"))
        (tmp_path / "a.h5").write_bytes(data[:cut])
        replace_bytes(tmp_path / "a.h5", declared, cut.to_bytes(8, "little"))
        refused(path, "a.h5:/volumes/raw: .*(copy or export it again)")


@pytest.mark.parametrize("name", ["gzip", "gzip, shuffle", "lzf, shuffle, fletcher32"])
def test_damage_in_a_chunk_names_file_and_slice(tmp_path: Path, name: str) -> None:
    path = KINDS[name](tmp_path / "a.h5", GREY)
    place, size = bytes_of_chunks(tmp_path / "a.h5", "volumes/raw")[-1]
    replace_bytes(tmp_path / "a.h5", place + size // 2, b"damaged!")
    with open_stack(path) as stack:
        np.testing.assert_array_equal(stack[0], GREY[0])
        with pytest.raises(
            InputError, match=r"raw: slice 5 cannot be read \(.*file is damaged"
        ) as got:
            stack[5]
    assert "\n" not in str(got.value)


def test_what_is_no_hdf5_file(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"")
    refused(tmp_path / "a.h5", "is empty")
    (tmp_path / "b.h5").write_bytes(b"no HDF5 at all" * 100)
    refused(tmp_path / "b.h5", "is no HDF5 file, though its name says so")
    (tmp_path / "c.hdf").write_bytes(b"\x0e\x03\x13\x01" + bytes(100))
    refused(tmp_path / "c.hdf", "is an HDF4 file, which is not read")
    (tmp_path / "d.h5").write_bytes(b"II*\0" + bytes(100))
    refused(tmp_path / "d.h5", r"is a TIFF file; its name has to end in \.tif: rename it")
    data_set()(tmp_path / "e.h5", PIXELS)
    (tmp_path / "e.h5").rename(tmp_path / "e.ims")
    refused(tmp_path / "e.ims", r"is an HDF5 file; its name has to end in \.h5: rename it")
    data_set()(tmp_path / "f.h5", PIXELS)
    (tmp_path / "f.h5").rename(tmp_path / "f.h5.partial")
    refused(tmp_path / "f.h5.partial", "partial output of a run")


def test_without_the_library_the_remedy_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_set()(tmp_path / "a.h5", PIXELS)
    monkeypatch.setitem(sys.modules, "h5py", None)
    refused(path, r'HDF5 needs h5py, which is not installed: pip install "paper-unet\[hdf5\]"')


# memory


@pytest.mark.parametrize("kept", [2**25, 4 * 16 * 32 * 2 - 1])
def test_chunks_are_decoded_once_where_little_is_to_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """All chunks of four sections are 4,096 bytes; where they are too much, once a section."""
    monkeypatch.setattr("paper_unet.images.readers.chunked.KEPT", kept)
    read, places = Hdf5Chunks.read, []

    def spy(self: Hdf5Chunks, place: tuple[int, ...]) -> NDArray[Any]:
        places.append(place)
        return read(self, place)

    monkeypatch.setattr(Hdf5Chunks, "read", spy)
    with open_stack(
        data_set(chunks=(4, 8, 16), compression="gzip")(tmp_path / "a.h5", PIXELS)
    ) as it:
        for z in range(6):
            for top in range(0, 16, 3):
                rows = top, min(top + 3, 16)
                np.testing.assert_array_equal(it.window(z, rows, (0, 32)), PIXELS[z, slice(*rows)])
    assert len(set(places)) == 8
    assert len(places) == (8 if kept == 2**25 else 4 * 6)


def test_chunks_that_are_too_large_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        about = {"chunks": (64, 5000, 5000), "compression": "gzip"}
        made = file.create_dataset("large", (64, 5000, 5000), "u1", **about)
        made.id.write_direct_chunk((0, 0, 0), b"little", 0)
        file.create_dataset("raw", data=noise((8, 512, 512), "u1"), chunks=(8, 512, 512))
    refused(tmp_path / "a.h5:/large", r"chunks of 1\.6 GB, each of which must be decoded at once")
    path = tmp_path / "a.h5:/raw"
    refused(
        path, r"chunks of shape .* takes 8 MB of memory, 4 MB are allowed", budget=Budget(4 * 10**6)
    )
    with open_stack(path, budget=Budget(10**7)) as stack:
        assert stack.cache_bytes >= 4 * 8 * 512 * 512
        with pytest.raises(InputError, match=r"decoding takes \d+ MB of memory, 9 MB are allowed"):
            stack.check_memory(9 * 10**6)


@pytest.mark.parametrize(
    "filters", [{"compression": "gzip"}, {"compression": "gzip", "fletcher32": True}]
)
def test_a_chunk_that_decodes_to_more_than_is_declared(
    tmp_path: Path, filters: dict[str, Any]
) -> None:
    """A few kilobytes of deflate are 64 MB of zeros."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("raw", (4, 128, 128), "u1", chunks=(4, 128, 128), **filters)
        made.id.write_direct_chunk(
            (0, 0, 0), zlib.compress(bytes(2**26), 9)[: 2 * 2**16] + bytes(4)
        )
    tracemalloc.start()
    try:
        refused(
            tmp_path / "a.h5:/raw", r"slice 0 cannot be read \(it decodes to 655\d\d bytes or more"
        )
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("code", "values", "head"),
    [
        (32001, (), b"\2\1\0\1" + (2**31).to_bytes(4, "little")),
        (32004, (), (2**40).to_bytes(8, "big") + bytes(4)),
        (32008, (0, 0, 1, 0, 2), (2**40).to_bytes(8, "big") + bytes(4)),
        (32015, (), b"\x28\xb5\x2f\xfd\xe0" + (2**40).to_bytes(8, "little") + b"\1\0\0"),
    ],
)  # fmt: skip
def test_what_a_chunk_says_of_itself_is_compared_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, values: tuple[int, ...], head: bytes
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        about = {"chunks": (4, 128, 128), "compression": "gzip"}  # so that sizes are kept
        made = file.create_dataset("raw", (4, 128, 128), "u1", **about)
        made.id.write_direct_chunk((0, 0, 0), head)
    with h5py.File(tmp_path / "a.h5") as file:
        chunks = Hdf5Chunks(tmp_path, file["raw"], 2**20, Budget())
        monkeypatch.setattr(chunks, "_filters", [(code, values)])
        monkeypatch.setattr(chunks, "_own", False)
        with pytest.raises(ValueError, match="more than the 65536 bytes that are declared"):
            chunks.read((0, 0, 0))


def literal(count: int) -> bytes:
    """LZF of so many bytes as they are."""
    runs = [min(32, count - k) for k in range(0, count, 32)]
    return b"".join(bytes([run - 1]) + b"\7" * run for run in runs)


def test_what_lzf_decodes_to() -> None:
    for count in (0, 1, 31, 32, 33, 5000):
        assert lzf_size(literal(count)) == count
    assert lzf_size(b"\0\7" + b"\xc0\0" * 14) == 1 + 14 * 8
    assert lzf_size(b"\0\7" + b"\xe0\xff\0" * 7) == 1 + 7 * 264
    for cut in (b"\0", b"\x1f" + bytes(31), b"\0\7\xc0", b"\0\7\xe0\xff", b"\0\7\xe0"):
        with pytest.raises(ValueError, match="LZF that ends within a run"):
            lzf_size(cut)


def test_lzf_of_real_values(tmp_path: Path) -> None:
    """What h5py writes of flat, noisy and smooth values has the size that it is read with."""
    for values in (np.zeros((64, 64)), noise((64, 64), "u1"), np.indices((64, 64)).sum(0) // 5):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            about = {"chunks": (64, 64), "compression": "lzf"}
            made = file.create_dataset("raw", data=values.astype("u1"), **about)
            mask, data = made.id.read_direct_chunk((0, 0))
        assert mask or lzf_size(data) == 4096


@pytest.mark.parametrize("there", [True, False])
def test_lzf_with_and_without_imagecodecs(
    tmp_path: Path, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if there:
        pytest.importorskip("imagecodecs")
        monkeypatch.setattr("paper_unet.images.readers.hdf5_chunks.lzf_size", None)
    else:
        monkeypatch.setitem(sys.modules, "imagecodecs", None)
    path = KINDS["lzf"](tmp_path / "a.h5", GREY)
    np.testing.assert_array_equal(read_stack(path), GREY)


@pytest.mark.parametrize("filters", ["lzf", "lzf, fletcher32", "fletcher32", "gzip, fletcher32"])
@pytest.mark.parametrize("count", [100, 1023, 1025, 2000])
def test_a_chunk_of_other_bytes_than_are_declared(tmp_path: Path, filters: str, count: int) -> None:
    """The library would take what its memory held before for those that are not there."""
    more: dict[str, Any] = {"fletcher32": "fletcher32" in filters}
    if (packed := filters.split(", ")[0]) != "fletcher32":
        more["compression"] = packed
    with h5py.File(tmp_path / "b.h5", "w") as file:  # the library makes the checksum
        made = file.create_dataset("raw", (1, 1, count), "u1", chunks=(1, 1, count), **more)
        made[...] = np.arange(count) // 7 % 250
        mask, data = made.id.read_direct_chunk((0, 0, 0))
    assert not mask
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("raw", (1, 32, 32), "u1", chunks=(1, 32, 32), **more)
        made.id.write_direct_chunk((0, 0, 0), data, mask)
    than = "more" if count > 1024 else "fewer"
    refused(tmp_path / "a.h5:/raw", f"slice 0 .*({count} bytes, {than} than the 1024|or more)")


@pytest.mark.parametrize(
    ("code", "values", "head"),
    [
        (32001, (), b"\2\1\0\1{little}"),
        (32004, (), b"\0\0\0\0{big}\1\0\0\0"),
        (32008, (0, 0, 1, 0, 2), b"\0\0\0\0{big}\1\0\0\0"),
        (32015, (), b"\x28\xb5\x2f\xfd\xa0{little}\1\0\0"),
        (4, (), b"{little}"),
    ],
)
def test_what_a_chunk_says_of_itself_is_what_is_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, values: tuple[int, ...], head: bytes
) -> None:
    """Blocks may be larger than a chunk, as those of bitshuffle are."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        about = {"chunks": (4, 128, 128), "compression": "gzip"}
        file.create_dataset("raw", (4, 128, 128), "u1", **about)
    with h5py.File(tmp_path / "a.h5") as file:
        chunks = Hdf5Chunks(tmp_path, file["raw"], 2**20, Budget())
        monkeypatch.setattr(chunks, "_filters", [(code, values)])
        for size in (2**16 - 1, 2**16, 2**16 + 1, 2**16 + 4):
            data = head.replace(b"{little}", size.to_bytes(4, "little"))
            data = data.replace(b"{big}", size.to_bytes(4, "big"))
            if size == 2**16:
                chunks._check_declared(0, data)
                continue
            with pytest.raises(ValueError, match=f"a chunk of {size} bytes, (more|fewer) than"):
                chunks._check_declared(0, data)


def test_filters_that_are_not_there(tmp_path: Path) -> None:
    """As h5py writes the number of a filter that it does not know, and need not have to open it."""
    for code, reason in (
        (
            32001,
            r"filter blosc \(32001\), which is not there; install it \(pip install hdf5plugin\)",
        ),
        (32015, r"filter zstd \(32015\), which is not there"),
        (32026, r"encoded with blosc2 \(filter 32026\), of which the size is not known"),
        (6, r"encoded with scaleoffset \(filter 6\), of which the size is not known"),
    ):
        path = tmp_path / f"{code}.h5"
        with h5py.File(path, "w") as file:
            settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            settings.set_chunk((2, 8, 8))
            if code == 6:
                settings.set_scaleoffset(h5py.h5z.SO_INT, 0)
            else:
                settings.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (0, 0, 1))
            space = h5py.h5s.create_simple((6, 16, 32))
            kind = h5py.h5t.py_create(np.dtype("u1"))
            h5py.h5d.create(file.id, b"raw", kind, space, settings)
        if h5py.h5z.filter_avail(code) and code not in (6, 32026):
            pytest.skip("it is there")
        refused(path, reason)


def test_the_identity_is_that_of_the_data_set(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["one"], file["two"] = GREY, GREY
    facts = []
    for name in ("one", "two", "one"):
        with open_stack(tmp_path / f"a.h5:/{name}") as stack:
            facts.append(stack.identity())
    assert facts[0]["format"] == "Hdf5Stack"
    assert facts[0] == facts[2]
    assert facts[0] != facts[1]
    assert facts[0].keys() == {
        "format", "shape", "dtype", "pixels", "bytes", "modified", "data_set"
    }  # fmt: skip
