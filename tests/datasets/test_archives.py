"""What an archive can do."""

import struct
from pathlib import Path

import numpy as np
import pytest
from datasets_helpers import archive_of, everything_below

from paper_unet.datasets import extract_members
from paper_unet.errors import InputError


def extract(tmp_path: Path, data: bytes, max_bytes: int = 10_000) -> list[str]:
    (tmp_path / "a.zip").write_bytes(data)
    (tmp_path / "inside").mkdir()
    try:
        extract_members(
            tmp_path / "a.zip", ["a.tif", "b.tif"], tmp_path / "inside", max_bytes=max_bytes
        )
    finally:
        assert set(everything_below(tmp_path)) <= {"a.zip", "inside/a.tif", "inside/b.tif"}
    return everything_below(tmp_path / "inside")


def test_only_expected_members_are_extracted(tmp_path):
    files = {"x/a.tif": b"1", "x/evil.sh": b"2", "__MACOSX/x/a.tif": b"3", "b.tif/": b""}
    assert extract(tmp_path, archive_of(files)) == ["a.tif"]
    assert (tmp_path / "inside" / "a.tif").read_bytes() == b"1"


@pytest.mark.parametrize(
    "name",
    ["../a.tif", "x/../../a.tif", "/tmp/a.tif", "..\\a.tif", "C:\\a.tif"],  # noqa: S108
)
def test_members_that_leave_the_folder(tmp_path, name):
    with pytest.raises(InputError, match="outside its folder"):
        extract(tmp_path, archive_of({"b.tif": b"1", name: b"2"}))


def test_names_with_folders_match_whole_parts_of_the_path(tmp_path):
    files = {f"x/{name}": b"1" for name in ("a.tif", "001/a.tif", "01_ST/a.tif", "01/xa.tif")}
    data = archive_of(files | {"x/y/01/a.tif": b"2", ".": b"3", "@": b"4"})
    data = data.replace(b"@", b"\0")  # a name of no length, for the reader
    (tmp_path / "a.zip").write_bytes(data)
    found = extract_members(tmp_path / "a.zip", ["01/a.tif"], tmp_path / "to", max_bytes=9)
    assert found == [tmp_path / "to" / "01" / "a.tif"]
    assert everything_below(tmp_path) == ["a.zip", "to/01/a.tif"]
    assert found[0].read_bytes() == b"2"


def test_a_name_twice(tmp_path):
    with pytest.raises(InputError, match=r"has a\.tif twice"):
        extract(tmp_path, archive_of({"x/a.tif": b"1", "y/a.tif": b"2"}))


def test_a_bomb_is_refused_by_its_header(tmp_path):
    with pytest.raises(InputError, match=r"would be 1000000 bytes, at most 10000"):
        extract(tmp_path, archive_of({"a.tif": bytes(10**6)}))
    assert everything_below(tmp_path / "inside") == []


def test_a_bomb_with_a_false_header(tmp_path):
    """The size in the header is made small; no more than that is ever written."""
    data = archive_of({"a.tif": bytes(10**6)})
    data = data.replace(struct.pack("<I", 10**6), struct.pack("<I", 100))
    with pytest.raises(InputError, match="not a sound zip file"):
        extract(tmp_path, data)
    inside = tmp_path / "inside" / "a.tif"
    assert not inside.exists() or inside.stat().st_size <= 100


def test_damage_inside_a_member(tmp_path):
    data = bytearray(archive_of({"a.tif": np.random.default_rng(0).bytes(5000)}))
    data[2000] ^= 0xFF
    with pytest.raises(InputError, match="not a sound zip file"):
        extract(tmp_path, bytes(data))
