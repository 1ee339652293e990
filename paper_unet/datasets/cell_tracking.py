"""The folder layout of the Cell Tracking Challenge."""

from __future__ import annotations

import re
from pathlib import Path

from paper_unet.errors import InputError


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
        If a folder has no such files, or an annotated frame has no result.
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
    matches = ((pattern.fullmatch(path.name), path) for path in folder.iterdir())
    frames = {int(match[1]): path for match, path in matches if match}
    if not frames:
        raise InputError(f"{folder}: has no {prefix}TTT.tif; give the folder of a sequence")
    return frames
