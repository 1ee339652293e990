"""One lock, one atomic writer, one word for a name that is taken."""

import errno
import os
from pathlib import Path

import pytest

from paper_unet.errors import InputError
from paper_unet.system.files import (
    check_free_name,
    naming_full_disk,
    open_alone,
    write_atomic,
)


def test_a_locked_file_is_refused_until_it_is_closed(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "a"
    with open_alone(path, "taken") as file:
        with pytest.raises(InputError, match=r"^taken$"):
            open_alone(path, "taken")
        file.write(b"kept")
    with open_alone(path, "taken") as file:
        assert file.read() == b"kept"


@pytest.mark.parametrize("moved", ["renamed", "removed", "replaced"])
def test_a_lock_on_a_file_that_went_meanwhile_is_none(
    tmp_path: Path, moved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking: such a lock protects nothing."""
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "a"

    def go(*_: object) -> None:
        path.rename(tmp_path / "b") if moved != "removed" else path.unlink()
        if moved == "replaced":
            path.touch()

    monkeypatch.setattr(fcntl, "flock", go)
    with pytest.raises(InputError, match="taken"):
        open_alone(path, "taken")


def test_without_locks_a_file_is_only_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.setattr("paper_unet.system.files.fcntl", None)
    with open_alone(tmp_path / "a", "taken"), open_alone(tmp_path / "a", "taken"):
        pass


def test_what_cannot_be_locked_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; create it first"):
        open_alone(tmp_path / "none" / "a", "taken")
    with pytest.raises(InputError, match=r"cannot be written .*; choose another output"):
        open_alone(tmp_path, "taken")


def test_a_name_is_free_or_may_be_replaced(tmp_path: Path) -> None:
    check_free_name(tmp_path / "a", overwrite=False)
    check_free_name(tmp_path, overwrite=True)
    with pytest.raises(InputError, match="exists already; choose another name or add `overwrite`"):
        check_free_name(tmp_path, overwrite=False)


def test_a_full_disk_is_named_and_other_errors_are_not(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"a: the disk is full: 7 bytes needed, \d+ free; buy one"),
        naming_full_disk(tmp_path / "a", 7, "buy one"),
    ):
        raise OSError(errno.ENOSPC, "no room")
    with pytest.raises(PermissionError), naming_full_disk(tmp_path / "a", 7, "buy one"):
        raise PermissionError


def test_write_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no room"):
        write_atomic(path, b"three")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="does not exist"):
        write_atomic(tmp_path / "none" / "a.json", b"")
