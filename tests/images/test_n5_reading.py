"""N5 stores: what tensorstore and Java write is read, and nothing else."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from n5_helpers import COMPRESSIONS, add_attributes, block_of, write_n5
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack

SHAPE = (5, 131, 87)
STACK = np.random.default_rng(0).integers(1, 255, SHAPE, dtype=np.uint8)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "float32"])
def test_what_tensorstore_writes(tmp_path: Path, compression: str, dtype: str) -> None:
    stack = (STACK.astype("f8") * 1.5).astype(dtype)
    path = write_n5(tmp_path / "a.n5", "volumes/raw", stack, compression=compression)
    found = read_stack(path)
    assert found.dtype == dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, stack)


@pytest.mark.parametrize("dtype", ["uint64", "int64", "int8"])
def test_labels(tmp_path: Path, dtype: str) -> None:
    cells = STACK.astype("uint64") * (2**55 if dtype == "uint64" else 1)
    path = write_n5(tmp_path / "a.n5", "labels", cells.astype(dtype))
    np.testing.assert_array_equal(read_stack(path, labels=True), cells.astype(dtype))
    with pytest.raises(InputError, match=f"values of {dtype}"):
        open_stack(path)


def test_windows(tmp_path: Path) -> None:
    path = write_n5(tmp_path / "a.n5", "raw", STACK, block=(3, 32, 50))
    with open_stack(path) as stack:
        for z, rows, columns in [
            (4, (31, 33), (0, 87)),
            (0, (5, 90), (49, 51)),
            (2, (0, 1), (86, 87)),
        ]:
            np.testing.assert_array_equal(
                stack.window(z, rows, columns), STACK[z, slice(*rows), slice(*columns)]
            )  # fmt: skip


def java_lz4(data: bytes) -> bytes:
    """As LZ4BlockOutputStream writes it: pieces, the last one empty; one is stored as it is."""
    out = b""
    for k in range(0, len(data), 1000):
        piece = data[k : k + 1000]
        packed = piece if k == 0 else imagecodecs.lz4_encode(piece, header=False)
        token = 0x10 if k == 0 else 0x20
        out += struct.pack("<8sBIII", b"LZ4Block", token, len(packed), len(piece), 0) + packed
    return out + struct.pack("<8sBIII", b"LZ4Block", 0x10, 0, 0, 0)


def test_lz4_of_java(tmp_path: Path) -> None:
    stack = (STACK[:2, :50, :50] // 16).astype("u2")
    path = write_n5(tmp_path / "a.n5", "raw", stack)
    add_attributes(path, compression={"type": "lz4", "blockSize": 65536})
    packed = java_lz4(stack.astype(">u2").tobytes())
    (path / "0/0/0").write_bytes(block_of(packed, 2, 50, 50))
    np.testing.assert_array_equal(read_stack(path), stack)
    for cut in (10, 500, len(packed) - 300):
        (path / "0/0/0").write_bytes(block_of(packed[:cut], 2, 50, 50))
        with pytest.raises(InputError, match="slice 0 cannot be read"):
            read_stack(path)


def test_edges_may_be_whole_blocks_and_say_their_length(tmp_path: Path) -> None:
    path = write_n5(tmp_path / "a.n5", "raw", STACK[:, :, :87], compression="raw")
    whole = np.zeros((2, 50, 50), np.uint8)
    whole[:1, :31, :37] = STACK[4:, 100:, 50:]
    (path / "1/2/2").write_bytes(
        block_of(struct.pack(">I", 5000) + whole.tobytes(), 2, 50, 50, mode=1)
    )
    np.testing.assert_array_equal(read_stack(path), STACK)


# where the image lies


def test_the_only_volume_of_a_store_is_found(tmp_path: Path) -> None:
    write_n5(tmp_path / "a.n5", "volumes/raw", STACK)
    write_n5(tmp_path / "a.n5", "histogram", STACK[0, 0], block=(50,))
    for path in (tmp_path / "a.n5", tmp_path / "a.n5" / "volumes"):
        with open_stack(path) as stack:
            assert any("its data set" in note for note in stack.notes)
            np.testing.assert_array_equal(stack[2], STACK[2])


def test_of_several_they_are_listed(tmp_path: Path) -> None:
    write_n5(tmp_path / "a.n5", "volumes/raw", STACK)
    write_n5(tmp_path / "a.n5", "volumes/labels/neuron_ids", STACK.astype("u8"))
    with pytest.raises(
        InputError, match=r"2 data sets.*labels/neuron_ids \(5x131x87\), volumes/raw"
    ):
        open_stack(tmp_path / "a.n5")


def test_of_a_pyramid_the_full_resolution_is_taken(tmp_path: Path) -> None:
    for level in range(11):
        size = slice(None, None, 2**level if level < 3 else 4)
        write_n5(tmp_path / "a.n5", f"em/s{level}", STACK[:, size, size])
    (tmp_path / "a.n5/em/attributes.json").write_text(
        json.dumps({"resolution": [4, 5, 50], "multiScale": True})
    )
    with open_stack(tmp_path / "a.n5" / "em") as stack:
        assert stack.shape == SHAPE
        assert stack.pixel_size == pytest.approx((0.05, 0.005, 0.004))
    add_attributes(tmp_path / "a.n5/em/s1", downsamplingFactors=[2, 2, 1])
    with open_stack(tmp_path / "a.n5" / "em" / "s1") as stack:
        assert stack.shape == (5, 66, 44)
        assert stack.pixel_size == pytest.approx((0.05, 0.01, 0.008))


def test_a_store_of_another_name_and_a_group_without_attributes(tmp_path: Path) -> None:
    write_n5(tmp_path / "store", "volumes/raw", STACK)
    np.testing.assert_array_equal(read_stack(tmp_path / "store/volumes"), STACK)


def test_a_store_without_data_sets(tmp_path: Path) -> None:
    (tmp_path / "a.n5").mkdir()
    with pytest.raises(InputError, match="holds no data set"):
        open_stack(tmp_path / "a.n5")


# axes and the size of a pixel

SIZES: dict[str, dict[str, Any]] = {
    "n5-viewer": {"pixelResolution": {"dimensions": [4, 5, 50], "unit": "nm"}},
    "n5-viewer, micrometres": {"pixelResolution": [0.004, 0.005, 0.05]},
    "Paintera": {"resolution": [4.0, 5.0, 50.0]},
    "tensorstore": {"resolution": [4, 5, 0.05], "units": ["nm", "nm", "um"],
                    "axes": ["x", "y", "z"]},
    "one unit": {"resolution": [0.004, 0.005, 0.05], "units": "um"},
    "one unit of one letter": {"resolution": [4e-9, 5e-9, 5e-8], "units": "m"},
    "one unit of n letters": {"resolution": [4e-9, 5e-9, 5e-8], "units": "meter"},
    "n5-viewer, a unit for each": {"pixelResolution": {"dimensions": [4, 5, 0.05],
                                                       "unit": ["nm", "nm", "um"]}},
    "axes as text": {"resolution": [4, 5, 50], "units": "nm", "axes": "xyz"},
    "COSEM": {"transform": {"axes": ["z", "y", "x"], "scale": [50, 5, 4], "units": ["nm"] * 3,
                            "translate": [0, 0, 0]}},
    "COSEM, F": {"transform": {"axes": ["x", "y", "z"], "scale": [4, 5, 50], "units": ["nm"] * 3,
                               "ordering": "F"}},
    "COSEM, F, one unit": {"transform": {"axes": "xyz", "scale": [4, 5, 50], "units": "nm",
                                         "ordering": "F"}},
    "COSEM, F, one unit of n letters": {"transform": {"axes": "xyz", "scale": [4e-9, 5e-9, 5e-8],
                                                      "units": "meter", "ordering": "F"}},
}  # fmt: skip


@pytest.mark.parametrize("kind", SIZES)
def test_the_size_of_a_pixel(tmp_path: Path, kind: str) -> None:
    path = write_n5(tmp_path / "a.n5", "raw", STACK, **SIZES[kind])
    with open_stack(path) as stack:
        assert stack.pixel_size == pytest.approx((0.05, 0.005, 0.004))
        np.testing.assert_array_equal(stack[1], STACK[1])


@pytest.mark.parametrize(
    "value", [None, "x", [1, 2], [0, 0, 0], [{}, "1 nm", []], {"dimensions": 3}, [1e999] * 3]
)
def test_a_damaged_size_is_none(tmp_path: Path, value: Any) -> None:
    path = write_n5(tmp_path / "a.n5", "raw", STACK, pixelResolution=value)
    with open_stack(path) as stack:
        assert stack.pixel_size == (None, None, None)


def test_axes_of_other_names(tmp_path: Path) -> None:
    turned = np.ascontiguousarray(STACK.transpose(2, 0, 1))
    path = write_n5(tmp_path / "a.n5", "raw", turned, block=(50, 2, 50), axes=["y", "z", "x"],
                    resolution=[5, 50, 4])  # fmt: skip
    with open_stack(path) as stack:
        assert stack.pixel_size == pytest.approx((0.05, 0.005, 0.004))
    np.testing.assert_array_equal(read_stack(path), STACK)
    np.testing.assert_array_equal(read_stack(path, axes="ZYX"), turned)


def test_a_fourth_axis(tmp_path: Path) -> None:
    path = write_n5(tmp_path / "a.n5", "one", STACK[None], block=(1, 2, 50, 50))
    np.testing.assert_array_equal(read_stack(path), STACK)
    three = np.stack([STACK, STACK // 2, STACK // 4 + 1])
    path = write_n5(
        tmp_path / "a.n5", "three", three, block=(2, 2, 50, 50), axes=["x", "y", "z", "c"]
    )
    np.testing.assert_array_equal(read_stack(path, channels=3), three.transpose(1, 0, 2, 3))
    np.testing.assert_array_equal(read_stack(path, channel=1), three[1])
    with pytest.raises(InputError, match="3 channels"):
        open_stack(path)
    path = write_n5(tmp_path / "a.n5", "unnamed", three, block=(3, 2, 50, 50))
    with pytest.raises(InputError, match="name the axes"):
        open_stack(path)


# what is damaged


def test_missing_blocks(tmp_path: Path) -> None:
    path = write_n5(tmp_path / "a.n5", "raw", STACK)
    (path / "1/0/1").unlink()
    with pytest.raises(InputError, match="1 of 18 chunks are missing, of sections 2 to 3"):
        open_stack(path)
    expected = STACK.copy()
    expected[2:4, :50, 50:] = 0
    np.testing.assert_array_equal(read_stack(path, missing="fill"), expected)
    for one in ("0", "1"):
        shutil.rmtree(path / one)
    with pytest.raises(InputError, match="has no block"):
        open_stack(path, missing="fill")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_no_cut_of_a_block_goes_unnoticed(tmp_path: Path, compression: str) -> None:
    stack = STACK[:2, :50, :50] // 32 + 1
    path = write_n5(tmp_path / "a.n5", "raw", stack, compression=compression)
    block = path / "0/0/0"
    data = block.read_bytes()
    for cut in [*range(40), *range(40, len(data), 61), len(data) - 1]:
        block.write_bytes(data[:cut])
        with pytest.raises(InputError, match="slice 0 cannot be read") as refusal:
            read_stack(path)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "change",
    [{"dimensions": None}, {"dimensions": [87, -1, 5]}, {"dimensions": [87, 2.5, 5]},
     {"dimensions": [87, 131, "5"]}, {"dimensions": [True, True, True]},
     {"dimensions": [2**70] * 3}, {"dimensions": [1] * 40},
     {"dimensions": []}, {"blockSize": [50, 50]}, {"blockSize": [0, 50, 2]},
     {"blockSize": [2**20] * 3}, {"dataType": "string"}, {"dataType": None},
     {"compression": {"type": "jpeg"}}, {"compression": {}}, {"compression": 3},
     {"compression": {"type": ["gzip"]}}],
)  # fmt: skip
def test_attributes_that_no_store_has(tmp_path: Path, change: dict[str, Any]) -> None:
    path = write_n5(tmp_path / "a.n5", "raw", STACK)
    add_attributes(path, **change)
    with pytest.raises(InputError) as refusal:
        read_stack(path)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 800


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100000, '{"dimensions": 3'])
def test_attributes_that_are_no_document(tmp_path: Path, text: str) -> None:
    path = write_n5(tmp_path / "a.n5", "raw", STACK)
    (path / "attributes.json").write_text(text)
    with pytest.raises(InputError, match=r"no JSON document|no data set"):
        open_stack(path)


def damaged(path: Path, block: bytes) -> NDArray[Any]:
    (path / "0/0/0").write_bytes(block)
    return read_stack(path)


def test_headers_of_blocks(tmp_path: Path) -> None:
    path = write_n5(tmp_path / "a.n5", "raw", STACK[:2, :50, :50], compression="raw")
    pixels = bytes(range(250)) * 20
    assert damaged(path, block_of(pixels, 2, 50, 50)).size == 5000
    for wrong in (
        block_of(pixels, 2, 50, 50, mode=2), block_of(pixels, 1, 50, 100),
        block_of(pixels, 2, 50, 49), block_of(pixels, 50, 100), block_of(pixels, 2, 50, 50, 1),
        block_of(pixels + b"1", 2, 50, 50),
        block_of(pixels * 2, 4, 50, 50), block_of(b"", 2**31, 2**31, 2**31), bytes(2**20), b"",
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"cannot be read|bytes, where up to"):
            damaged(path, wrong)


def test_a_folder_in_place_of_a_block(tmp_path: Path) -> None:
    path = write_n5(tmp_path / "a.n5", "raw", STACK)
    (path / "0/0/0").unlink()
    (path / "0/0/0").mkdir()
    with pytest.raises(InputError, match="a folder where a block should be"):
        open_stack(path)


def test_a_partial_output_is_none(tmp_path: Path) -> None:
    write_n5(tmp_path / "a.n5.partial", "raw", STACK)
    with pytest.raises(InputError, match="partial output"):
        open_stack(tmp_path / "a.n5.partial" / "raw")


def test_the_identity_sees_a_block_that_changes(tmp_path: Path) -> None:
    path = write_n5(tmp_path / "a.n5", "raw", STACK)

    def identity() -> dict[str, Any]:
        with open_stack(path) as stack:
            return stack.identity()

    before = identity()
    assert before == identity()
    assert before["format"] == "N5Stack"
    block = path / "0/0/0"
    block.write_bytes(block.read_bytes())
    assert identity()["chunks"] != before["chunks"]
    add_attributes(path, more=1)
    assert identity()["metadata"] != before["metadata"]
