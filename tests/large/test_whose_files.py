"""What a prediction finds beside its output and did not make stays as it is."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from foreign_helpers import KINDS, everything, make
from large_helpers import NAMES, Crashing, Fails, content, sections, settings
from process_helpers import run_python

from paper_unet.errors import InputError
from paper_unet.images import create_tiff
from paper_unet.large import predict_file
from paper_unet.large import run as run_module
from paper_unet.large.journal import open_journal


def interrupted(folder: Path, name: str, pieces: int = 1, **given: Any) -> None:
    with pytest.raises(Fails):
        predict_file(settings(folder, name, **given), executor=Crashing(pieces=pieces))


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("ending", [".partial", ".journal"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_name_is_no_proof(
    folder: Path, name: str, ending: str, kind: str, overwrite: bool
) -> None:
    (folder / "victim").write_text("mine")
    make(folder / f"{name}{ending}", kind)
    before = everything(folder)
    with pytest.raises(InputError, match=f"{name}{ending}: .* stays as it is; move it") as caught:
        predict_file(settings(folder, name), overwrite=overwrite)
    assert "\n" not in str(caught.value)
    assert everything(folder) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_took_the_place_of_our_own_stays(
    folder: Path, name: str, kind: str, overwrite: bool
) -> None:
    """The journal is ours and says that there are pixels."""
    (folder / "victim").write_text("mine")
    interrupted(folder, name)
    partial = folder / f"{name}.partial"
    shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
    make(partial, kind)
    before = everything(folder)
    for change in ({}, {"value_range": (0.0, 9.0)}):
        with pytest.raises(InputError, match=r"partial: .* stays as it is; move it"):
            predict_file(settings(folder, name, **change), overwrite=overwrite)
        assert everything(folder) == before


def test_a_file_of_the_same_form_that_has_another_name_stays(folder: Path) -> None:
    """It could be written to under that name, too."""
    interrupted(folder, "out.tif")
    partial = folder / "out.tif.partial"
    partial.unlink()
    mine = np.ones((3, 300, 210), np.float32)
    tifffile.imwrite(folder / "mine.tif", mine, photometric="minisblack")
    partial.hardlink_to(folder / "mine.tif")
    before = everything(folder)
    with pytest.raises(InputError, match="stays as it is"):
        predict_file(settings(folder), overwrite=True)
    assert everything(folder) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_on_another_disk_goes_on(folder: Path, tmp_path_factory: Any, name: str) -> None:
    """Its inodes are others: it is known by its form, as the journal is by its mark."""
    expected = content(predict_file(settings(folder, f"whole-{name}")))
    interrupted(folder, name, pieces=2)
    there = tmp_path_factory.mktemp("copy")
    for path in folder.glob(f"{name}.*"):
        if path.is_dir():
            shutil.copytree(path, there / path.name)
        else:
            shutil.copy2(path, there / path.name)
    config = settings(folder, str(there / name))
    rest = Crashing()
    predict_file(config, executor=rest)
    assert 0 not in rest.done
    assert content(there / name) == expected
    assert [path.name for path in there.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_a_partial_without_its_journal_is_refused(folder: Path, name: str) -> None:
    interrupted(folder, name)
    (folder / f"{name}.journal").unlink()
    before = everything(folder)
    with pytest.raises(InputError, match=r"partial: .* stays as it is; move it elsewhere"):
        predict_file(settings(folder, name), overwrite=True)
    assert everything(folder) == before


# --- links --------------------------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("where", ["there", "nowhere"])
@pytest.mark.parametrize("name", NAMES)
def test_an_output_that_is_a_link_is_refused_before_the_work(
    folder: Path, name: str, where: str, overwrite: bool
) -> None:
    if where == "there":
        predict_file(settings(folder, name)).rename(folder / "there")
    (folder / name).symlink_to(where)
    before = everything(folder)
    counted = Crashing()
    with pytest.raises(InputError, match=f"{name}: is a symbolic link, to {where}; give the name"):
        predict_file(settings(folder, name), overwrite=overwrite, executor=counted)
    assert counted.done == [] and everything(folder) == before


def linked_level(store: Path, other: Path) -> None:
    (store / "0").symlink_to(other / "0")


def linked_section(store: Path, other: Path) -> None:
    shutil.copytree(other / "0", store / "0")
    shutil.rmtree(store / "0" / "c" / "1")
    (store / "0" / "c" / "1").symlink_to(other / "0" / "c" / "1")


def linked_chunk(store: Path, other: Path) -> None:
    shutil.copytree(other / "0", store / "0")
    (store / "0" / "c" / "1" / "0" / "0").unlink()
    (store / "0" / "c" / "1" / "0" / "0").symlink_to(other / "0" / "c" / "1" / "0" / "0")


def linked_by_way_of_another(store: Path, other: Path) -> None:
    (store.parent / "way").mkdir()
    linked_chunk(store.parent / "way", other)
    (store / "0").symlink_to(store.parent / "way" / "0")


def linked_metadata(store: Path, other: Path) -> None:
    shutil.copytree(other / "0", store / "0")
    (store / "zarr.json").unlink()
    (store / "zarr.json").symlink_to(other / "zarr.json")


@pytest.mark.parametrize(
    "link",
    [linked_level, linked_section, linked_chunk, linked_by_way_of_another, linked_metadata],
)
def test_an_input_that_leads_into_the_output_stays(
    folder: Path, link: Callable[[Path, Path], None]
) -> None:
    other, store = folder / "other.zarr", folder / "store.zarr"
    group = zarr.create_group(other)
    group.create_array("0", data=np.zeros((2, 64, 64), np.uint8), chunks=(1, 32, 32),
                       config={"write_empty_chunks": True})  # fmt: skip
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    group.attrs["ome"] = {
        "version": "0.5", "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]
    }  # fmt: skip
    store.mkdir()
    shutil.copy(other / "zarr.json", store)
    link(store, other)
    before = everything(folder)
    config = settings(folder, "other.zarr")
    config = type(config)(str(store), config.out, weights=config.weights, threads=1)
    with pytest.raises(InputError, match=r"holds the input .*; choose another output"):
        predict_file(config, overwrite=True)
    assert everything(folder) == before


def test_weights_in_the_output_stay(folder: Path) -> None:
    predict_file(settings(folder, "out.zarr"))
    shutil.copy(folder / "net.safetensors", folder / "out.zarr")
    before = everything(folder)
    config = settings(folder, "out.zarr", weights=str(folder / "out.zarr" / "net.safetensors"))
    with pytest.raises(InputError, match=r"holds the input .*net\.safetensors"):
        predict_file(config, overwrite=True)
    assert everything(folder) == before


# --- two processes ------------------------------------------------------------------------------

OTHER = """
import sys
from pathlib import Path
from large_helpers import settings
from paper_unet.large import predict_file
predict_file(settings(Path(sys.argv[1]), sys.argv[2]), overwrite=sys.argv[3] == "True")
"""


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_slower_of_two_does_not_replace_what_the_faster_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, overwrite: bool
) -> None:
    """The name is free when the slower one looks, and taken when it has the lock."""

    def after_the_other(out: Path, **options: Any) -> Any:
        arguments = str(folder), name, str(overwrite)
        run = run_python(OTHER, *arguments, cwd=Path(__file__).parent)
        assert run.returncode == 0, run.stderr
        finished.append(everything(folder))
        return open_journal(out, **options)

    finished: list[dict[str, object]] = []
    monkeypatch.setattr(run_module, "open_journal", after_the_other)
    slower = settings(folder, name, value_range=(0.0, 99.0))
    with pytest.raises(InputError, match=r"exists already|written by another process meanwhile"):
        predict_file(slower, overwrite=overwrite)
    assert everything(folder) == finished[0]


def test_a_stack_is_not_written_over_an_interrupted_prediction(folder: Path) -> None:
    """Both know the output by the same lock."""
    interrupted(folder, "out.tif")
    before = everything(folder)
    with (
        pytest.raises(InputError, match="an interrupted prediction of it can be gone on with"),
        create_tiff(folder / "out.tif", (1, 4, 4), "uint8"),
    ):
        pass
    assert everything(folder) == before
    with open_journal(folder / "out.tif"), pytest.raises(InputError, match="another process"):
        create_tiff(folder / "out.tif", (1, 4, 4), "uint8").__enter__()
    with create_tiff(folder / "out.tif", (1, 4, 4), "uint8", overwrite=True) as writer:
        writer[0] = np.ones((4, 4), np.uint8)
    assert not list(folder.glob("out.tif.*"))


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("name", NAMES)
def test_killed_at_every_step_of_the_start_it_goes_on(folder: Path, name: str) -> None:
    """Before each fsync, link and rename until the first piece is recorded."""
    sections(folder / "in.tif", (2, 60, 40))
    expected = content(predict_file(settings(folder, f"whole-{name}")))
    before = {path.name for path in folder.iterdir()}
    for step in range(1, 40):
        arguments = str(folder), name, str(step)
        run = run_python(KILLED, *arguments, cwd=Path(__file__).parent)
        assert run.returncode in (0, -9), run.stderr
        if run.returncode == 0:
            break
        predict_file(settings(folder, name))
        assert content(folder / name) == expected, step
        assert {path.name for path in folder.iterdir()} == {*before, name}, step
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
    assert step > 8


KILLED = """
import os, signal, sys
from pathlib import Path
from large_helpers import Crashing, Fails, settings
from paper_unet.large import predict_file
left = int(sys.argv[3])
def count():
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
naming = ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")
sys.addaudithook(lambda event, _: count() if event in naming else None)
fsync = os.fsync
def counted(descriptor):
    count()
    fsync(descriptor)
os.fsync = counted
try:
    predict_file(settings(Path(sys.argv[1]), sys.argv[2]), executor=Crashing(pieces=1))
except Fails:
    pass
"""
