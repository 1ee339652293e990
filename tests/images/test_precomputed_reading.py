"""Neuroglancer precomputed volumes: what tensorstore writes is read, and nothing else."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from precomputed_helpers import KINDS, SHARDING, change_info, first_chunk, write_precomputed

from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack
from paper_unet.images.readers import precomputed_shards
from paper_unet.images.readers.precomputed_info import find_scale
from paper_unet.images.readers.precomputed_shards import ShardFiles, number_of
from paper_unet.system.memory import Budget

SHAPE = (5, 131, 87)
STACK = np.random.default_rng(0).integers(1, 255, SHAPE, dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "uint64"])
def test_what_tensorstore_writes(tmp_path: Path, kind: str, dtype: str) -> None:
    packed = "segmentation" in kind
    if (packed and dtype not in ("uint32", "uint64")) or (
        kind == "png" and dtype not in ("uint8", "uint16")
    ):
        pytest.skip("there is no such volume")
    stack = (STACK.astype("f8") * 1.5).astype(dtype)
    if dtype == "uint64":
        stack = stack * np.uint64(2**54)
    path = write_precomputed(tmp_path / "a", stack, **KINDS[kind])
    found = read_stack(path, labels=dtype == "uint64")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, stack)


def test_blocks_of_many_and_of_few_segments(tmp_path: Path) -> None:
    """Of each number of bits that a voxel may have."""
    random = np.random.default_rng(1)
    for most in (1, 2, 4, 16, 200, 60_000, 2**31):
        cells = random.integers(0, most, (9, 45, 70)).astype("uint64") * 2**30
        path = write_precomputed(
            tmp_path / f"{most}", cells, (64, 32, 8), of="segmentation",
            encoding="compressed_segmentation", compressed_segmentation_block_size=[64, 32, 8],
        )  # fmt: skip
        np.testing.assert_array_equal(read_stack(path, labels=True), cells)


def test_jpeg(tmp_path: Path) -> None:
    """Of a smooth image, close to what was written."""
    smooth = np.add.outer(np.add.outer(np.zeros(5), np.arange(131)), np.arange(87)).astype("u1")
    path = write_precomputed(tmp_path / "a", smooth, encoding="jpeg", jpeg_quality=95)
    difference = np.abs(read_stack(path).astype(int) - smooth)
    assert difference.max() <= 8
    with pytest.raises(InputError, match="JPEG changes values"):
        open_stack(path, labels=True)


@pytest.mark.parametrize("encoding", ["raw", "png", "jpeg"])
def test_colour(tmp_path: Path, encoding: str) -> None:
    three = np.stack([STACK // 8, STACK // 9 + 90, STACK // 8 + 40])
    if encoding == "jpeg":
        three = np.broadcast_to(np.arange(131, dtype="u1")[:, None], three.shape).copy()
    path = write_precomputed(tmp_path / "a", three, encoding=encoding)
    found = read_stack(path, channels=3)
    assert np.abs(found.astype(int) - three.transpose(1, 0, 2, 3)).max() <= 4 * (encoding == "jpeg")
    np.testing.assert_array_equal(read_stack(path, channel=1), found[:, 1])
    with pytest.raises(InputError, match="3 channels"):
        open_stack(path)


def test_windows(tmp_path: Path) -> None:
    path = write_precomputed(tmp_path / "a", STACK, (50, 32, 3))
    with open_stack(path) as stack:
        for z, rows, columns in [(4, (31, 33), (0, 87)), (0, (5, 90), (49, 51))]:
            np.testing.assert_array_equal(
                stack.window(z, rows, columns), STACK[z, slice(*rows), slice(*columns)]
            )


def test_the_size_of_a_pixel_and_the_offset(tmp_path: Path) -> None:
    path = write_precomputed(tmp_path / "a", STACK, voxel_offset=[-30, 700, 12])
    with open_stack(path) as stack:
        assert stack.pixel_size == pytest.approx((0.05, 0.005, 0.004))
        assert any("voxel (-30, 700, 12) (x, y, z)" in note for note in stack.notes)
    np.testing.assert_array_equal(read_stack(path), STACK)
    for damaged in (None, [1, 2], ["a", 0, -1], 7):
        change_info(path, lambda info, value=damaged: info["scales"][0].update(resolution=value))
        with open_stack(path) as stack:
            assert stack.pixel_size == (None, None, None)


def test_the_first_scale_and_others_by_their_key(tmp_path: Path) -> None:
    path = write_precomputed(tmp_path / "a", STACK)
    write_precomputed(path, STACK[:, ::2, ::2], resolution=(8, 10, 50))
    with open_stack(path) as stack:
        assert stack.shape == SHAPE
        assert any("scale 4_5_50 is read" in note and "8_10_50" in note for note in stack.notes)
    with open_stack(path / "8_10_50") as stack:
        assert stack.shape == (5, 66, 44)
        assert stack.pixel_size == pytest.approx((0.05, 0.01, 0.008))
        np.testing.assert_array_equal(stack[3], STACK[3, ::2, ::2])


@pytest.mark.parametrize(
    "address",
    ["precomputed://file://{}", "file://{}", "file://{}/|neuroglancer-precomputed:",
     "precomputed://{}", "file://localhost{}", "precomputed:/file:{}"],
)  # fmt: skip
def test_addresses_as_neuroglancer_writes_them(tmp_path: Path, address: str) -> None:
    path = write_precomputed(tmp_path / "a b", STACK)
    np.testing.assert_array_equal(read_stack(address.format(path)), STACK)
    np.testing.assert_array_equal(read_stack(Path(address.format(path))), STACK)
    np.testing.assert_array_equal(read_stack(address.format(str(path).replace(" ", "%20"))), STACK)


def test_several_sizes_of_chunks(tmp_path: Path) -> None:
    """The one of which chunks are there is taken."""
    path = write_precomputed(tmp_path / "a", STACK)
    change_info(path, lambda info: info["scales"][0]["chunk_sizes"].insert(0, [64, 64, 1]))
    np.testing.assert_array_equal(read_stack(path), STACK)


def test_chunks_that_cloudvolume_compressed(tmp_path: Path) -> None:
    path = write_precomputed(tmp_path / "a", STACK)
    for file in (path / "4_5_50").iterdir():
        file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    np.testing.assert_array_equal(read_stack(path), STACK)
    file = first_chunk(path)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match="slice 0 cannot be read"):
        read_stack(path)
    file.rename(file.with_suffix(".br"))
    with pytest.raises(
        InputError, match=r"compressed \(.*\.br\); accepted are plain files and .gz"
    ):
        read_stack(path)


# what is damaged


def test_missing_chunks(tmp_path: Path) -> None:
    path = write_precomputed(tmp_path / "a", STACK)
    (path / "4_5_50" / "50-87_0-50_2-4").unlink()
    with pytest.raises(InputError, match="1 of 18 chunks are missing, of sections 2 to 3"):
        open_stack(path)
    expected = STACK.copy()
    expected[2:4, :50, 50:] = 0
    np.testing.assert_array_equal(read_stack(path, missing="fill"), expected)
    for file in (path / "4_5_50").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="has no chunk of its 18"):
        open_stack(path, missing="fill")


def test_a_missing_shard(tmp_path: Path) -> None:
    path = write_precomputed(tmp_path / "a", STACK, **KINDS["sharded"])
    shards = sorted((path / "4_5_50").iterdir())
    assert len(shards) > 1
    shards[0].unlink()
    with pytest.raises(InputError, match="of 18 chunks are missing"):
        open_stack(path)
    found = read_stack(path, missing="fill")
    assert 0 < np.count_nonzero(found == 0) < found.size
    np.testing.assert_array_equal(found[found > 0], STACK[found > 0])


@pytest.mark.parametrize("kind", [*KINDS, "jpeg"])
def test_no_cut_of_a_chunk_goes_unnoticed(tmp_path: Path, kind: str) -> None:
    dtype = "u8" if "segmentation" in kind else "u1"
    given = KINDS.get(kind, {"encoding": "jpeg"})
    path = write_precomputed(tmp_path / "a", STACK[:2, :40, :40].astype(dtype) // 8 + 1, **given)
    file = first_chunk(path)
    data = file.read_bytes()
    last = len(data) - 1 if kind not in ("jpeg", "png") else len(data) - 24  # end marks
    for cut in [*range(1, 40), *range(40, last, 97), last]:
        file.write_bytes(data[:cut])
        with pytest.raises(InputError) as refusal:
            read_stack(path, labels=dtype == "u8")
        assert "\n" not in str(refusal.value)
        assert len(str(refusal.value)) < 800


def test_changed_bytes_of_shards_do_no_harm(tmp_path: Path) -> None:
    """They are refused, or what is read has the size that is declared."""
    path = write_precomputed(tmp_path / "a", STACK[:4, :60, :60], **KINDS["sharded by identity"])
    file = first_chunk(path)
    data = file.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        changed = bytearray(data)
        changed[random.integers(0, 64)] = random.integers(256)
        changed[random.integers(len(data) - 300, len(data))] = random.integers(256)
        file.write_bytes(changed)
        try:
            assert read_stack(path).shape == (4, 60, 60)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 50


def test_a_chunk_of_another_size(tmp_path: Path) -> None:
    path = write_precomputed(tmp_path / "a", STACK)
    file = path / "4_5_50" / "0-50_0-50_0-2"
    for size in (0, 4999, 5001, 10_000):
        file.write_bytes(bytes(size))
        with pytest.raises(InputError, match="5000 are declared"):
            read_stack(path)
    file.unlink()
    file.mkdir()
    with pytest.raises(InputError, match="a folder where a chunk should be"):
        read_stack(path)


def set_scale(**more: Any) -> Any:
    return lambda info: info["scales"][0].update(more)


@pytest.mark.parametrize(
    "change",
    [set_scale(size=[87, 131]), set_scale(size=[87, 131, -5]), set_scale(size=[87.5, 131, 5]),
     set_scale(size=[2**70] * 3), set_scale(size=[2**40] * 3), set_scale(size=["87", 131, 5]),
     set_scale(chunk_sizes=[]), set_scale(chunk_sizes=[[0, 1, 1]]), set_scale(chunk_sizes=None),
     set_scale(chunk_sizes=[[2**20] * 3]), set_scale(encoding="fpzip"), set_scale(encoding=None),
     set_scale(encoding=["raw"]), set_scale(encoding={}), set_scale(voxel_offset=[1]),
     set_scale(key="../../etc"), set_scale(key="/etc"), set_scale(key=3), set_scale(key=""),
     set_scale(encoding="compressed_segmentation"), set_scale(sharding={}), set_scale(sharding=3),
     set_scale(sharding={**SHARDING, "hash": "md5"}), set_scale(sharding={**SHARDING, "hash": []}),
     set_scale(sharding={**SHARDING, "shard_bits": 2**40}),
     set_scale(sharding={**SHARDING, "minishard_bits": 40}),
     set_scale(sharding={**SHARDING, "minishard_bits": -1}),
     set_scale(sharding={**SHARDING, "data_encoding": "zstd"}),
     lambda info: info.update(data_type="complex64"), lambda info: info.update(data_type=None),
     lambda info: info.update(num_channels=0), lambda info: info.update(num_channels=2**40),
     lambda info: info.update(scales=[]), lambda info: info.update(scales=[3]),
     lambda info: info.update(scales={}), lambda info: info.pop("scales"),
     lambda info: info.update({"@type": "neuroglancer_annotations_v1"}),
     lambda info: info["scales"][0].pop("size"), lambda info: info["scales"][0].pop("key")],
)  # fmt: skip
def test_documents_that_no_volume_has(tmp_path: Path, change: Any) -> None:
    path = write_precomputed(tmp_path / "a", STACK)
    change_info(path, lambda info: change(info) and None)
    with pytest.raises(InputError) as refusal:
        read_stack(path)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 800


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, '{"scales": 3}'])
def test_what_is_no_document(tmp_path: Path, text: str) -> None:
    path = write_precomputed(tmp_path / "a", STACK)
    (path / "info").write_text(text)
    with pytest.raises(InputError, match=r"no JSON document|without scales"):
        open_stack(path)


def test_a_partial_output_is_none(tmp_path: Path) -> None:
    path = write_precomputed(tmp_path / "a.precomputed.partial", STACK)
    for one in (path, path / "4_5_50"):
        with pytest.raises(InputError, match="partial output"):
            open_stack(one)


def test_the_identity_sees_a_chunk_that_changes(tmp_path: Path) -> None:
    for kind in ("raw", "sharded"):
        path = write_precomputed(tmp_path / kind, STACK, **KINDS[kind])

        def identity(path: Path = path) -> dict[str, Any]:
            with open_stack(path) as stack:
                return stack.identity()

        before = identity()
        assert before == identity()
        assert before["format"] == "PrecomputedStack"
        file = first_chunk(path)
        file.write_bytes(file.read_bytes())
        assert identity()["chunks"] != before["chunks"]
        (path / "info").write_text((path / "info").read_text() + " ")
        assert identity()["metadata"] != before["metadata"]


# where chunks are in shards


def test_numbers_of_chunks() -> None:
    """Their bits are interleaved, as long as an axis has any left."""
    assert [number_of((x, 0, 0), (4, 1, 1)) for x in range(4)] == [0, 1, 2, 3]
    assert number_of((1, 1, 1), (2, 2, 2)) == 7
    # bits x0 y0 z0 x1 y1 x2
    assert number_of((0b101, 0b10, 0b1), (8, 4, 2)) == 0b110101
    grid = (5, 3, 2)
    places = [(x, y, z) for x in range(5) for y in range(3) for z in range(2)]
    assert len({number_of(place, grid) for place in places}) == 30


def test_a_volume_of_many_shards(tmp_path: Path) -> None:
    """Every chunk is found by its hash: 9 x 9 x 4 of them."""
    stack = np.random.default_rng(2).integers(1, 255, (20, 70, 70), dtype=np.uint8)
    sharding = {**SHARDING, "shard_bits": 4, "minishard_bits": 3}
    path = write_precomputed(tmp_path / "a", stack, (8, 8, 5), sharding=sharding)
    assert len(list((path / "4_5_50").iterdir())) > 8
    np.testing.assert_array_equal(read_stack(path), stack)
    assert json.loads((path / "info").read_text())["scales"][0]["sharding"]["shard_bits"] == 4


INDEX: dict[str, Any] = {**SHARDING, "hash": "identity", "preshift_bits": 0, "shard_bits": 0,
                         "minishard_bits": 0, "data_encoding": "raw"}  # fmt: skip
"""Of a volume of one shard, which has one index."""


def large_volume(folder: Path, encoding: str, after: int) -> Path:
    """A volume of 2^30 chunks, of which the first is there, and so many bytes more in its shard."""
    sharding = {**INDEX, "minishard_index_encoding": encoding}
    scale = {"key": "1", "size": [2**23, 2**13, 1], "resolution": [4, 4, 50], "encoding": "raw",
             "chunk_sizes": [[8, 8, 1]], "sharding": sharding}  # fmt: skip
    info = {"@type": "neuroglancer_multiscale_volume", "type": "image", "data_type": "uint8",
            "num_channels": 1, "scales": [scale]}  # fmt: skip
    (folder / "1").mkdir(parents=True)
    (folder / "info").write_text(json.dumps(info))
    index = np.array([0, 0, 64], "<u8").tobytes()
    index = gzip.compress(index) if encoding == "gzip" else index
    head = np.array([64, 64 + len(index)], "<u8").tobytes()
    with (folder / "1" / "0.shard").open("wb") as file:
        file.write(head + bytes(range(64)) + index)
        file.truncate(file.tell() + after)
    return folder


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_an_index_takes_what_its_own_length_says(tmp_path: Path, encoding: str) -> None:
    """Not what one of all chunks would, or what a file of so many bytes could hold."""
    path = large_volume(tmp_path / "a", encoding, 2**30)
    with open_stack(path, missing="fill", budget=Budget(10**9)) as stack:
        found = stack.window(0, (0, 8), (0, 8))
    np.testing.assert_array_equal(found, np.arange(64, dtype="u1").reshape(8, 8))


def test_indexes_that_are_empty_are_not_kept_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume may have 2^24 in each of its shards."""
    monkeypatch.setattr(precomputed_shards, "KEPT", 10 * precomputed_shards.LEAST)
    sharding = {**INDEX, "minishard_bits": 6, "minishard_index_encoding": "raw"}
    path = write_precomputed(tmp_path / "a", STACK[:1, :8, :8], (8, 8, 1), sharding=sharding)
    scale = find_scale(path)
    scale = replace(scale, size=(8 * 64, 8, 1))  # of which the first chunk alone is there
    assert scale.sharding is not None
    files = ShardFiles(path, scale, (8, 8, 1), scale.sharding, Budget(10**9))
    read: list[int] = []
    reads = files._read
    monkeypatch.setattr(
        files, "_read", lambda file, start, size: (read.append(start), reads(file, start, size))[1]
    )
    for minishard in (*range(1, 64), 63, 55, 1):
        assert files.data((minishard, 0, 0)) is None
    assert read == [16 * minishard for minishard in (*range(1, 64), 1)]
