"""A prediction that earlier code began, and that was killed, is finished."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import zarr
from numpy.typing import NDArray
from old_files_helpers import BOUND, KILLED, PREDICTIONS, WEIGHTS, prediction_command

from paper_unet.cli import main

Header = dict[str, Any]


def laid_out(name: str, torch_version: str = torch.__version__) -> tuple[Header, list[int]]:
    """Put what the killed run had and left here; return its header and the pieces it finished.

    PyTorch's version is the one thing of the header that is not the run's own.
    """
    source, out, _, options = KILLED[name]
    header, *entries = map(json.loads, open_lines(PREDICTIONS / name / f"{out}.journal"))
    shutil.copy(PREDICTIONS / source, source)
    modified = header["input"]["modified"]
    os.utime(source, ns=(modified, modified))
    shutil.copy(WEIGHTS / options[1], options[1])
    half, partial = PREDICTIONS / name / f"{out}.half", f"{out}.partial"
    (shutil.copytree if half.is_dir() else shutil.copy)(half, partial)
    lines = [{**header, "torch": torch_version}, *entries]
    Path(f"{out}.journal").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return header, [entry["done"] for entry in entries]


def open_lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def pixels(path: str) -> NDArray[Any]:
    """The stack in a TIFF file, or in the finest level of a Zarr folder."""
    if not Path(path).is_dir():
        return np.asarray(tifffile.imread(path))
    found: NDArray[Any] = np.asarray(zarr.open_group(path, mode="r")["0"])
    return found


def mark(path: str, where: tuple[int, int, int], value: float) -> None:
    """Set one pixel of a stack."""
    stack: Any
    if Path(path).is_dir():
        stack = zarr.open_group(path, mode="r+")["0"]
    else:
        stack = tifffile.memmap(path, mode="r+")
    stack[where] = value


def finished(shape: Sequence[int], header: Header, pieces: list[int]) -> NDArray[np.bool_]:
    """Where the pieces lie, which are numbered from top to bottom, section by section."""
    count, height, width = shape
    rows = header["plan"]["rows"]
    assert width <= header["plan"]["strip"]
    in_section = -(-height // rows)
    found = np.zeros((count, height, width), bool)
    for piece in pieces:
        z, k = divmod(piece, in_section)
        found[z, k * rows : (k + 1) * rows] = True
    return found


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_prediction_is_finished(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = KILLED[name][1]
    header, pieces = laid_out(name)
    left = pixels(f"{out}.partial")
    done = finished(left.shape, header, pieces)
    assert 0.2 < done.mean() < 0.8
    assert left[done].std() > 0 and not left[~done].any()
    # no network gives this value: a piece that is computed again loses it
    largest = 1 if left.dtype.kind == "f" else np.iinfo(left.dtype).max
    first = (0, 5, 7)
    assert done[first] and left[first] != largest
    mark(f"{out}.partial", first, largest)

    assert main(prediction_command(name, out)) == 0
    assert not {Path(f"{out}.journal"), Path(f"{out}.partial")} & set(tmp_path.iterdir())
    found = pixels(out)
    assert (found.shape, found.dtype, found[first]) == (left.shape, left.dtype, largest)
    mark(out, first, float(left[first]))
    found = pixels(out)
    np.testing.assert_array_equal(found[done], left[done])

    anew = f"anew-{out}"
    assert main(prediction_command(name, anew)) == 0
    whole = pixels(anew)
    np.testing.assert_array_equal(found[~done], whole[~done])
    assert whole[~done].std() > 0.1 * largest
    bound = BOUND if whole.dtype.kind == "f" else BOUND * largest + 1  # rounded to whole steps
    assert np.abs(left[done].astype(np.float64) - whole[done]).max() <= bound


@pytest.mark.parametrize("name", KILLED)
def test_one_of_another_pytorch_is_refused_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    out = KILLED[name][1]
    laid_out(name, torch_version="1.0.0")
    before = pixels(f"{out}.partial")
    assert main(prediction_command(name, out)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert all(word in said for word in (out, "torch", "1.0.0", torch.__version__))
    np.testing.assert_array_equal(pixels(f"{out}.partial"), before)
