"""A Zarr store in a ZIP file is the store; damage of any kind is one line."""

import errno
import gc
import json
import random
import signal
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from image_helpers import GREY
from test_zarr_images import image, plate, root

from paper_unet.errors import InputError
from paper_unet.images import create_output, open_stack, read_stack
from paper_unet.images.readers import zarr_zip
from paper_unet.system.memory import Budget
from paper_unet.system.stop import Stopped

PACKED = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}


def zipped(store: Path, name: Path, method: int = zipfile.ZIP_STORED, top: str = "") -> Path:
    with zipfile.ZipFile(name, "w", method) as archive:
        for file in sorted(one for one in store.rglob("*") if one.is_file()):
            archive.write(file, f"{top}{file.relative_to(store).as_posix()}")
    return name


def of(folder: Path, kind: str) -> Path:
    """A store of each kind, with a pixel size where the kind has one."""
    path = folder / "in.zarr"
    if kind == "array 2":
        zarr.create_array(path, data=GREY, chunks=(2, 5, 7), zarr_format=2)
    elif kind == "array 3":
        zarr.create_array(path, data=GREY, chunks=(2, 5, 7))
    elif kind == "shards":
        zarr.create_array(path, data=GREY, chunks=(2, 4, 8), shards=(2, 8, 16))
    else:
        version = kind.removeprefix("OME ")
        image(root(path, version), "", GREY, version)
    return path


KINDS = ["array 2", "array 3", "shards", "OME 0.4", "OME 0.5"]


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_store(tmp_path: Path, kind: str, packed: str) -> None:
    store = of(tmp_path, kind)
    for name in ("a.ozx", "a.zarr.zip", "a.zip"):
        path = zipped(store, tmp_path / name, PACKED[packed])
        with open_stack(path) as stack, open_stack(store) as folder:
            np.testing.assert_array_equal(np.stack(list(stack)), GREY)
            np.testing.assert_array_equal(stack.window(5, (3, 14), (6, 31)), GREY[5, 3:14, 6:31])
            assert stack.pixel_size == folder.pixel_size
            assert stack.files == (path,)
            assert stack.identity()["format"] == "ZarrStack"
    assert {one.name for one in tmp_path.iterdir()} == {"in.zarr", "a.ozx", "a.zarr.zip", "a.zip"}


@pytest.mark.parametrize("top", ["in.zarr/", "data/of 2026/in.zarr/"])
def test_a_folder_that_was_zipped_with_its_name(tmp_path: Path, top: str) -> None:
    path = zipped(of(tmp_path, "OME 0.4"), tmp_path / "a.zip", top=top)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/in.zarr/._zarr.json", b"")
    np.testing.assert_array_equal(read_stack(path), GREY)
    np.testing.assert_array_equal(read_stack(path / "1"), GREY[:, ::2, ::2])


def test_images_in_it_by_name(tmp_path: Path) -> None:
    plate(tmp_path / "in.zarr", "0.5", 2)
    path = zipped(tmp_path / "in.zarr", tmp_path / "plate.ozx")
    np.testing.assert_array_equal(read_stack(path / "B" / "12" / "1"), GREY)
    with pytest.raises(InputError, match=r"holds 4, .*: A/1/0, A/1/1, B/12/0, B/12/1$"):
        open_stack(path)
    with pytest.raises(InputError, match=r"plate\.ozx/B/12: .*holds 2, give .*: 0, 1$"):
        open_stack(path / "B" / "12")
    with pytest.raises(InputError, match=r"C/1/0: there is nothing of this name in plate\.ozx"):
        open_stack(path / "C" / "1" / "0")
    with pytest.raises(InputError, match=r"leads out of it|nothing of this name"):
        open_stack(f"{path}/A/../../../in.zarr")


def test_another_file_or_image_is_another_input(tmp_path: Path) -> None:
    plate(tmp_path / "in.zarr", "0.4", 2)
    path = zipped(tmp_path / "in.zarr", tmp_path / "plate.ozx")
    found = []
    for name in ("A/1/0", "A/1/1"):
        with open_stack(path / name) as stack:
            found.append(json.dumps(stack.identity()))
    other = zipped(tmp_path / "in.zarr", tmp_path / "plate.ozx", zipfile.ZIP_DEFLATED)
    with open_stack(other / "A/1/0") as stack:
        found.append(json.dumps(stack.identity()))
    assert len(set(found)) == 3


def test_missing_chunks_are_counted(tmp_path: Path) -> None:
    store = of(tmp_path, "array 2")
    (store / "1.2.3").unlink()
    path = zipped(store, tmp_path / "a.ozx")
    with pytest.raises(InputError, match=r"1 of 60 chunks are missing, of sections 2 to 3"):
        open_stack(path)
    assert read_stack(path, missing="fill").shape == GREY.shape


def test_a_prediction_is_no_output_over_it(tmp_path: Path) -> None:
    path = zipped(of(tmp_path, "array 3"), tmp_path / "a.ozx")
    with pytest.raises(InputError, match="output of an unknown kind"):
        create_output(path, (1, 9, 9), "uint8", overwrite=True)


def test_names_as_some_write_them_on_windows(tmp_path: Path) -> None:
    store = of(tmp_path, "OME 0.5")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in (one for one in store.rglob("*") if one.is_file()):
            member = zipfile.ZipInfo("x")
            member.filename = str(file.relative_to(store)).replace("/", "\\")
            archive.writestr(member, file.read_bytes())
    np.testing.assert_array_equal(read_stack(tmp_path / "a.zip"), GREY)
    np.testing.assert_array_equal(read_stack(tmp_path / "a.zip" / "1"), GREY[:, ::2, ::2])


@pytest.mark.parametrize("top", ["./", "./in.zarr/", "in.zarr/./", ".//"])
@pytest.mark.parametrize("kind", ["array 2", "shards", "OME 0.4"])
def test_names_that_begin_with_the_folder_that_was_zipped(
    tmp_path: Path, kind: str, top: str
) -> None:
    """As bsdtar and others write them, with a member for each folder."""
    store = of(tmp_path, kind)
    path = zipped(store, tmp_path / "a.zip", top=top)
    with zipfile.ZipFile(path, "a") as archive:
        for folder in ("./", *(one.name + "/" for one in store.iterdir() if one.is_dir())):
            archive.writestr(top + folder, b"")
    np.testing.assert_array_equal(read_stack(path), GREY)
    if kind == "OME 0.4":
        np.testing.assert_array_equal(read_stack(path / "1"), GREY[:, ::2, ::2])


def test_an_archive_that_begins_with_something_else(tmp_path: Path) -> None:
    path = zipped(of(tmp_path, "shards"), tmp_path / "a.ozx")
    path.write_bytes(b"#!something else\n" * 99 + path.read_bytes())
    np.testing.assert_array_equal(read_stack(path), GREY)


# damage


@pytest.mark.parametrize("packed", PACKED)
def test_no_cut_of_a_file_goes_unnoticed(tmp_path: Path, packed: str) -> None:
    path = zipped(of(tmp_path, "array 3"), tmp_path / "a.ozx", PACKED[packed])
    data = path.read_bytes()
    for end in [*range(0, len(data), len(data) // 40), len(data) - 1, len(data) - 22]:
        path.write_bytes(data[:end])
        with pytest.raises(InputError) as refusal:
            read_stack(path)
        assert "\n" not in str(refusal.value)
        assert "a.ozx" in str(refusal.value)


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("kind", ["array 2", "OME 0.5"])
def test_a_flipped_bit_is_one_line_or_changes_no_pixel(
    tmp_path: Path, packed: str, kind: str
) -> None:
    """Members have checksums; names, times and what a document says beside may change."""
    path = zipped(of(tmp_path, kind), tmp_path / "a.ozx", PACKED[packed])
    data, draw = path.read_bytes(), random.Random(3)
    refusals = 0
    for _ in range(60):
        place = draw.randrange(len(data))
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)])
                         + data[place + 1 :])  # fmt: skip
        try:
            found = read_stack(path)
        except InputError as error:
            refusals += 1
            assert "\n" not in str(error)
        else:
            np.testing.assert_array_equal(found, GREY)
    assert refusals > 10


@pytest.mark.parametrize("error", [Stopped(signal.SIGTERM), InputError("a line of its own")])
def test_what_is_no_damage_comes_through(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal, while the archive is opened and while it is read."""
    path = zipped(of(tmp_path, "array 2"), tmp_path / "a.ozx")

    def stop(*_: Any, **__: Any) -> None:
        raise error

    with open_stack(path) as stack:
        monkeypatch.setattr(zipfile.ZipFile, "open", stop)
        with pytest.raises(type(error)) as caught:
            stack[0]
        assert caught.value is error
    monkeypatch.setattr(zipfile.ZipFile, "__init__", stop)
    with pytest.raises(type(error)) as caught:
        open_stack(path)
    assert caught.value is error


def test_what_the_system_lacks_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(of(tmp_path, "array 2"), tmp_path / "a.ozx")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with open_stack(path) as stack:
        monkeypatch.setattr(zipfile.ZipFile, "open", refuse)
        with pytest.raises(InputError, match=r"\(Too many open files\); allow more open files"):
            stack[0]


def test_what_is_no_zip(tmp_path: Path) -> None:
    for name in ("a.ozx", "a.zarr.zip"):
        (tmp_path / name).write_bytes(b"PK\3\4" + bytes(100))
        with pytest.raises(InputError, match=r"damaged or cut short: copy or zip it again"):
            open_stack(tmp_path / name)
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(InputError, match=r"damaged or cut short"):
            open_stack(tmp_path / name)


def test_other_ways_to_pack_are_named(tmp_path: Path) -> None:
    path = zipped(of(tmp_path, "array 3"), tmp_path / "a.ozx", zipfile.ZIP_LZMA)
    with pytest.raises(InputError, match=r"packed by method 14 of ZIP; accepted are stored and"):
        open_stack(path)


def test_what_is_encrypted_is_named(tmp_path: Path) -> None:
    path = zipped(of(tmp_path, "array 3"), tmp_path / "a.ozx")
    data = bytearray(path.read_bytes())
    for head, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = 0
        while (start := data.find(head, start)) >= 0:
            data[start + flags] |= 1
            start += 4
    path.write_bytes(data)
    with pytest.raises(InputError, match="is encrypted; zip the store again, without a password"):
        open_stack(path)


def test_names_that_lead_out_and_names_twice(tmp_path: Path) -> None:
    store = of(tmp_path, "array 3")
    for name in ("../zarr.json", "a/../../b", "/etc/passwd", "./../b", "..\\b"):
        path = zipped(store, tmp_path / "a.ozx")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, b"{}")
        with pytest.raises(InputError, match="a name that leads out of it"):
            open_stack(path)
    path = zipped(store, tmp_path / "a.ozx")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("./zarr.json", b"{}")
    with pytest.raises(InputError, match=r"two files of the name zarr\.json"):
        open_stack(path)
    path = zipped(store, tmp_path / "a.ozx")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("zarr.json", b"{}")
    with pytest.raises(InputError, match=r"two files of the name zarr\.json"):
        open_stack(path)


def test_two_stores_in_one(tmp_path: Path) -> None:
    store = of(tmp_path, "array 3")
    path = zipped(store, tmp_path / "a.zarr.zip", top="one.zarr/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(store / "zarr.json", "two.zarr/zarr.json")
    with pytest.raises(InputError, match=r"holds several Zarrs, one\.zarr, two\.zarr; zip one"):
        open_stack(path)


@pytest.mark.parametrize("packed", PACKED)
def test_the_list_of_members_is_compared_with_the_memory(
    tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(of(tmp_path, "array 2"), tmp_path / "a.ozx", PACKED[packed])
    with pytest.raises(InputError, match=r"the list of what it holds, which takes 0 MB"):
        open_stack(path, budget=Budget(1000))
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
    path = zipped(of(tmp_path / "more", "array 2"), tmp_path / "b.ozx", PACKED[packed])
    assert zarr_zip.END_64 in path.read_bytes()
    np.testing.assert_array_equal(read_stack(path), GREY)
    with pytest.raises(InputError, match=r"the list of what it holds, which takes 0 MB"):
        open_stack(path, budget=Budget(1000))


def test_what_the_list_of_members_takes(tmp_path: Path) -> None:
    """No more than is assumed."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("zarr.json", "{}")
        for k in range(3000):
            archive.writestr(f"c/{k}", b"")
    asked = [0]

    class Asked(Budget):
        def allow(self, need: int, *_: Any, **__: Any) -> None:
            asked[0] = max(asked[0], need)

    zarr_zip.ZipFiles(path, Asked(10**9)).close()  # what is imported is there
    gc.collect()
    tracemalloc.start()
    store = zarr_zip.ZipFiles(path, Asked(10**9))
    store.listed("c")
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    store.close()
    assert asked[0] / 4 < taken < asked[0]
