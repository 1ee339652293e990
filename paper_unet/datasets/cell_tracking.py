"""The Cell Tracking Challenge: its folder layout, and its annotated frames."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from paper_unet.errors import InputError
from paper_unet.images import read_stack
from paper_unet.metrics.instances import FIELD_OF_INTEREST


@dataclass(frozen=True)
class CellFrames:
    """The frames of one sequence that have a segmentation.

    Attributes
    ----------
    frames : tuple of int
        Their numbers in the sequence.
    images : ndarray, shape (T, Y, X)
        Grey values as stored.
    instances : ndarray of int32, shape (T, Y, X)
        0 = background or not annotated, 1.. = cells.
    ignore : ndarray of bool, shape (T, Y, X)
        Pixels that may belong to a cell that was tracked but not segmented.
    border : int
        Pixels at each side of a frame, the border of the challenge's field of interest: a cell
        wholly within them was neither tracked nor segmented.
    around : int
        Pixels around a mask that are annotated in the border, too, with the mask: where cells lie
        apart, what is next to a mask is background. 0: all of the border is unknown.
    """

    frames: tuple[int, ...]
    images: NDArray[np.generic]
    instances: NDArray[np.int32]
    ignore: NDArray[np.bool_]
    border: int = 0
    around: int = 0

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """Pixels annotated in part or by nobody: `ignore`, and the border far from any mask.

        Far is ``around`` pixels and more. In the border a cell has a mask if it reaches out of it,
        and far from those no background can be told from a cell that does not. Were the masks
        there kept and what is around them left out, a network would see nothing but cells at the
        sides, and learn that what lies there is cell.
        """
        unknown = self.ignore.copy()
        _, rows, columns = unknown.shape
        outside = np.ones((rows, columns), np.bool_)
        outside[self.border : rows - self.border, self.border : columns - self.border] = False
        for cells, out in zip(self.instances, unknown, strict=True):
            near = np.zeros_like(outside)
            if self.around and cells.any():
                near = ndimage.distance_transform_edt(cells == 0) < self.around
            out |= outside & ~near
        return unknown


def load_cell_frames(folder: str | Path, sequence: str, *, around: int = 0) -> CellFrames:
    """Read the segmented frames of a training sequence, and mark what they leave out.

    Some frames are annotated in part (sec. 4: "partially annotated"): cells that the tracking
    truth knows have no mask. Around the marker of each such cell, everything that is not annotated
    is to be ignored, as far as any annotated cell of the sequence reaches from its own marker.
    Cells that lie wholly within 50 pixels of the border, outside the challenge's field of interest,
    have neither mask nor marker: `CellFrames.unknown` leaves that out, too.

    Parameters
    ----------
    folder : str or Path
        Of the data set, with ``01``, ``01_GT/SEG`` and ``01_GT/TRA``.
    sequence : str
        ``01`` or ``02``.
    around : int
        Of `CellFrames`.

    Returns
    -------
    CellFrames

    Raises
    ------
    InputError
        If a folder or frame is missing, two files are the same frame, or the images of a frame
        differ in size.
    """
    folder = Path(folder)
    truth = folder / f"{sequence}_GT"
    images = _frames(folder / sequence, "t")
    segmented, tracked = _frames(truth / "SEG", "man_seg"), _frames(truth / "TRA", "man_track")
    for name, found in ((folder / sequence, images), (truth / "TRA", tracked)):
        if missing := sorted(segmented.keys() - found.keys()):
            raise InputError(f"{name}: has no frame {missing[0]}, which {truth / 'SEG'} segments")
    frames = tuple(sorted(segmented))
    instances = _one_size([segmented[t] for t in frames], labels=True).astype(np.int32)
    markers = _one_size([tracked[t] for t in frames], labels=True)
    grey = _one_size([images[t] for t in frames])
    if not grey.shape == instances.shape == markers.shape:
        raise InputError(
            f"{folder}: frames of {grey.shape[1:]}, masks of {instances.shape[1:]}, markers of "
            f"{markers.shape[1:]} pixels; one size is needed"
        )
    ignore = unannotated(instances, markers)
    return CellFrames(frames, grey, instances, ignore, FIELD_OF_INTEREST, around)


def unannotated(instances: NDArray[np.integer], markers: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return the pixels that a cell with a marker but without a mask may cover.

    Parameters
    ----------
    instances : ndarray of int, shape (T, Y, X)
        Segmented cells, 0 = none.
    markers : ndarray of int, shape (T, Y, X)
        A small region inside each tracked cell.

    Returns
    -------
    ndarray of bool, shape (T, Y, X)
        True within so many pixels of a marker without a mask as the farthest pixel of any
        annotated cell lies from its own marker; False inside annotated cells.
    """
    reach = max(
        (_reach(cells, marks) for cells, marks in zip(instances, markers, strict=True)), default=0.0
    )
    unknown = np.zeros(instances.shape, np.bool_)
    for cells, marks, out in zip(instances, markers, unknown, strict=True):
        lost = (marks != 0) & ~np.isin(marks, np.unique(marks[cells != 0]))
        if lost.any():
            out[:] = (ndimage.distance_transform_edt(~lost) <= reach) & (cells == 0)
    return unknown


def _reach(cells: NDArray[np.integer], markers: NDArray[np.integer]) -> float:
    """Return how far, in pixels, a cell of a frame goes at most from the marker inside it."""
    farthest = 0.0
    windows: list[tuple[slice, ...] | None] = list(ndimage.find_objects(cells))
    for label, window in enumerate(windows, start=1):
        if window is None:  # no cell has this label
            continue
        cell = cells[window] == label
        marker = cell & (markers[window] != 0)
        if marker.any():
            farthest = max(farthest, ndimage.distance_transform_edt(~marker)[cell].max())
    return float(farthest)


def _one_size(paths: list[Path], labels: bool = False) -> NDArray[Any]:
    """Read images of one size, shape (T, Y, X)."""
    images = [read_stack(path, labels=labels)[0] for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise InputError(
                f"{path}: {image.shape} pixels, {paths[0]} {images[0].shape}; one size is needed"
            )
    return np.stack(images)


def paired_frames(truth: Path, result: Path) -> list[tuple[Path, Path]]:
    """Pair each annotated frame with the result of the same frame.

    Parameters
    ----------
    truth : Path
        Folder with ``man_segTTT.tif``, or the ``01_GT`` folder that has it as ``SEG``. Not every
        frame needs to be annotated.
    result : Path
        Folder with ``maskTTT.tif``, such as ``01_RES``.

    Returns
    -------
    list of (Path, Path)
        In the order of the frames.

    Raises
    ------
    InputError
        If a folder has no such files or two of the same frame, or an annotated frame has no result.
    """
    references = _frames(truth / "SEG" if (truth / "SEG").is_dir() else truth, "man_seg")
    results = _frames(result, "mask")
    missing = sorted(references.keys() - results.keys())
    if missing:
        raise InputError(
            f"{result}: no mask for frame {missing[0]}, one of {len(missing)} annotated frames "
            "without a result; give one maskTTT.tif for each man_segTTT.tif"
        )
    return [(references[frame], results[frame]) for frame in sorted(references)]


def _frames(folder: Path, prefix: str) -> dict[int, Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with {prefix}TTT.tif files")
    pattern = re.compile(rf"{prefix}(\d+)\.tiff?", re.ASCII)
    frames: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if not (match := pattern.fullmatch(path.name)):
            continue
        if (other := frames.setdefault(int(match[1]), path)) != path:
            raise InputError(
                f"{folder}: {other.name} and {path.name} are both frame {int(match[1])}; leave "
                "one of them there"
            )
    if not frames:
        raise InputError(f"{folder}: has no {prefix}TTT.tif; give the folder of a sequence")
    return frames
