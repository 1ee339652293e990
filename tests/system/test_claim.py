"""Whose a file is: known by a mark, a token or an identity, never by a name."""

import os
from pathlib import Path

import pytest
from foreign_helpers import KINDS, make

from paper_unet.errors import InputError
from paper_unet.system import claim as module
from paper_unet.system.claim import Claim, claim_output, marked, take_claim
from paper_unet.system.identity import identity_of


def take(path: Path) -> Claim:
    return take_claim(path, "journal", "taken")


def test_a_claim_is_of_one_process_and_keeps_its_token(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "a"
    claim = take(path)
    assert marked(path, "journal") and not marked(path, "training")
    with pytest.raises(InputError, match=r"^taken$"):
        take(path)
    token = claim.token
    os.write(claim.fileno(), b"kept")
    claim.release(keep=True)
    claim = take(path)
    assert (claim.token, claim.has_content) == (token, True)
    claim.reset()
    assert not claim.has_content
    claim.release(keep=False)
    assert list(tmp_path.iterdir()) == []
    claim = take(path)
    assert claim.token != token
    claim.release(keep=False)


@pytest.mark.parametrize("moved", ["renamed", "removed", "replaced"])
def test_a_lock_on_a_file_that_went_meanwhile_is_none(
    tmp_path: Path, moved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking: such a lock protects nothing."""
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "a"
    take(path).release(keep=True)

    def go(*_: object) -> None:
        path.rename(tmp_path / "b") if moved != "removed" else path.unlink()
        if moved == "replaced":
            path.touch()

    monkeypatch.setattr(fcntl, "flock", go)
    with pytest.raises(InputError, match="taken"):
        take(path)


def test_a_file_that_another_makes_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the making: whoever was first has it, with mark and lock."""
    first: list[Claim] = []
    made = module._made

    def after_another(*arguments: str) -> object:
        monkeypatch.setattr(module, "_made", made)
        first.append(take(tmp_path / "a"))
        return made(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_made", after_another)
    with pytest.raises(InputError, match="taken"):
        take(tmp_path / "a")
    assert marked(tmp_path / "a", "journal")
    first[0].release(keep=False)
    assert list(tmp_path.iterdir()) == []


def test_without_locks_a_file_is_only_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.setattr(module, "fcntl", None)
    for claim in (take(tmp_path / "a"), take(tmp_path / "a")):
        claim.release(keep=True)


def test_without_unnamed_files_or_hard_links_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on other systems and file systems."""

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(module, "unnamed_file", lambda _: None)
    monkeypatch.setattr(os, "link", fail)
    claim = take(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and marked(claim.path, "journal")
    (tmp_path / "made").mkdir()
    claim.publish(tmp_path / "made", tmp_path / "b")
    assert claim.owns(tmp_path / "b")
    claim.release(keep=True)


def test_what_cannot_be_locked_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; create it first"):
        take(tmp_path / "none" / "a")
    with pytest.raises(InputError, match="is no journal of an interrupted run and stays as it is"):
        take(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_the_name_of_a_claim_is_left_alone(tmp_path: Path, kind: str) -> None:
    (tmp_path / "victim").write_text("mine")
    path = tmp_path / "out.tif.journal"
    make(path, kind)
    before = path.lstat()
    with pytest.raises(InputError, match="is no journal of an interrupted run"):
        claim_output(tmp_path / "out.tif")
    after = path.lstat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert {p.name for p in tmp_path.iterdir()} == {"victim", path.name}
    assert (tmp_path / "victim").read_text() == "mine"


@pytest.mark.parametrize("kind", KINDS)
def test_what_took_the_place_of_our_own_is_left_alone(tmp_path: Path, kind: str) -> None:
    """Of the same name, and often with the same number of its inode."""
    (tmp_path / "victim").write_text("mine")
    name, made = tmp_path / "out.tif.partial", tmp_path / "made"
    claim = claim_output(tmp_path / "out.tif")
    made.write_text("ours")
    claim.publish(made, name)
    assert claim.owns(name) and not made.exists()
    name.write_bytes(b"damaged, and ours all the same")
    claim.release(keep=True)
    claim = claim_output(tmp_path / "out.tif")
    assert claim.owns(name)
    claim.clear(name)
    assert not name.exists()
    make(name, kind)
    assert not claim.owns(name)
    with pytest.raises(InputError, match="no interrupted run is known to have made"):
        claim.clear(name)
    assert name.is_symlink() or name.exists()
    assert (tmp_path / "victim").read_text() == "mine"
    claim.release(keep=True)


@pytest.mark.parametrize("kind", KINDS)
def test_what_took_a_name_meanwhile_keeps_it(tmp_path: Path, kind: str) -> None:
    (tmp_path / "victim").write_text("mine")
    claim = claim_output(tmp_path / "out.tif")
    for made in (tmp_path / "made", tmp_path / "made too"):
        made.mkdir() if made.name == "made" else made.touch()
        name = tmp_path / f"{made.name}.partial"
        make(name, kind)
        identity = identity_of(name)
        with pytest.raises(InputError, match="is in the way and stays as it is"):
            claim.publish(made, name)
        assert identity_of(name) == identity and made.exists()
    claim.release(keep=True)


def test_what_has_our_token_is_swept(tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    claim = claim_output(out)
    (tmp_path / f"out.zarr.{claim.token}.partial" / "0").mkdir(parents=True)
    (tmp_path / f"out.zarr.{claim.token}.replaced").mkdir()
    others = {f"out.zarr.{'0' * 32}.partial", "out.zarr.partial", f"x.{claim.token}.partial"}
    for name in others:
        (tmp_path / name).mkdir()
    claim.release(keep=True)
    kept = {"out.zarr.journal", *others}
    claim_output(out).release(keep=True)
    assert {p.name for p in tmp_path.iterdir()} == {*kept, f"out.zarr.{claim.token}.replaced"}
    out.mkdir()  # only now the earlier output is not needed
    claim_output(out).release(keep=True)
    assert {p.name for p in tmp_path.iterdir()} == {*kept, "out.zarr"}


def test_identity_outlives_renaming_and_not_removing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("a")
    first = identity_of(path)
    path.write_text("b")
    path.rename(tmp_path / "b")
    assert identity_of(tmp_path / "b") == first != ""
    (tmp_path / "b").unlink()
    assert identity_of(tmp_path / "b") == ""
    path.write_text("c")
    assert identity_of(path) != first
