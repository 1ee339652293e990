"""One atomic writer, one word for a name that is taken."""

import errno
import os
from pathlib import Path

import pytest

from paper_unet.errors import InputError
from paper_unet.system.files import (
    check_free_name,
    naming_full_disk,
    write_atomic,
)


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
    with pytest.raises(InputError, match=r"a\.json: the disk is full: 5 bytes needed, \d+ free"):
        write_atomic(path, b"three")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="does not exist"):
        write_atomic(tmp_path / "none" / "a.json", b"")


@pytest.mark.parametrize("unnamed", [True, False])
def test_write_atomic_takes_no_name_that_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: bool
) -> None:
    """Also where a file cannot be made without a name, and if one appears meanwhile."""
    if not unnamed:
        monkeypatch.setattr("paper_unet.system.files.unnamed_file", lambda _: None)
    path = tmp_path / "a.json"
    write_atomic(path, b"one", overwrite=False)
    with pytest.raises(InputError, match="exists already"):
        write_atomic(path, b"two", overwrite=False)
    path.unlink()
    fsync = os.fsync

    def then_appear(descriptor: int) -> None:
        fsync(descriptor)
        path.write_bytes(b"another's")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", then_appear)
        with pytest.raises(InputError, match="exists already"):
            write_atomic(path, b"two", overwrite=False)
    assert path.read_bytes() == b"another's"
    write_atomic(path, b"three")
    assert path.read_bytes() == b"three"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    names = {"link": "symbolic link, to .*victim", "dangling": "symbolic link, to nowhere"}
    names |= {"folder": "is a folder"}
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        names["pipe"] = "is a named pipe and is not replaced"
    for name, said in names.items():
        with pytest.raises(InputError, match=said):
            write_atomic(tmp_path / name, b"ours")
    assert {path.name for path in tmp_path.iterdir()} == {"victim", *names}
    assert victim.read_bytes() == b"mine"
