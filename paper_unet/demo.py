"""The demo: a synthetic stack, the bundled weights, scores against exact truth, one picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paper_unet.errors import InputError, shown
from paper_unet.figures.results import segmentation_figure
from paper_unet.figures.style import picture
from paper_unet.images import create_tiff
from paper_unet.inference.predict import predict_stack
from paper_unet.metrics import Isbi2012Scores, isbi2012_scores
from paper_unet.networks.base import Network
from paper_unet.networks.weights_file import load_model
from paper_unet.synthetic import PIXEL_SIZE, SyntheticStack, synthetic_stack
from paper_unet.system.claim import marked, take_claim
from paper_unet.system.files import check_free_name, make_folder, scratch_name, write_atomic
from paper_unet.system.memory import Budget
from paper_unet.system.names import kind_of

LOCK, KIND = ".lock", "demo"
FILES = ("image.tif", "labels.tif", "probability.tif", "demo.png")

BYTES = 10
"""Of each pixel: image, labels, the numbers of cells, and the probability."""


@dataclass(frozen=True)
class Demo:
    """What the demo made: the files, in the order of `FILES`, and the scores."""

    files: tuple[Path, ...]
    scores: Isbi2012Scores


def run_demo(
    out: Path, *, sections: int = 6, side: int = 512, seed: int = 0, overwrite: bool = False
) -> Demo:
    """Segment a synthetic serial-section stack by overlap-tile and write everything to a folder.

    Parameters
    ----------
    out : Path
        Folder, made if absent.
    sections, side : int
        Size of the stack: sections, pixels.
    seed : int
        Of the synthetic tissue.
    overwrite : bool
        Replace the files of an earlier demo.

    Returns
    -------
    Demo

    Raises
    ------
    InputError
        If the files exist and ``overwrite`` is not set, no demo made them, or the stack does not
        fit in memory.
    """
    files = tuple(out / name for name in FILES)
    _check_names(out, files, overwrite)
    need = BYTES * max(sections, 1) * max(side, 1) ** 2
    what = f"{shown(sections)} sections of {shown(side)} pixels a side"
    Budget().allow(need, out, what, "ask for fewer or smaller ones")
    stack = synthetic_stack(sections=sections, side=side, seed=seed)
    model = load_model()
    make_folder(out)
    taken = f"{out}: another demo is being written there; wait for it or choose another folder"
    claim = take_claim(out / LOCK, KIND, taken)
    try:
        _check_names(out, files, overwrite)  # what another process did meanwhile
        scores = _write(files, stack, model, overwrite, claim.token)
    finally:
        claim.release(keep=any(kind_of(path) is not None for path in files))
    return Demo(files, scores)


def _check_names(out: Path, files: tuple[Path, ...], overwrite: bool) -> None:
    """Refuse names that are taken, unless an earlier demo made what has them."""
    for path in files:
        check_free_name(path, overwrite=overwrite, folders=False)
    there = [path for path in files if kind_of(path) is not None]
    if there and not marked(out / LOCK, KIND):
        raise InputError(
            f"{there[0]}: nothing shows that an earlier demo made it, so it stays as it is; choose "
            "another folder"
        )


def _write(
    files: tuple[Path, ...], stack: SyntheticStack, model: Network, overwrite: bool, token: str
) -> Isbi2012Scores:
    """Predict, and write everything."""
    scratch_name(files[-1], token).unlink(missing_ok=True)  # of a demo that was killed
    interior = np.asarray(predict_stack(model, stack.images, progress=True))
    for path, pixels in zip(files, (stack.images, stack.labels, interior), strict=False):
        with create_tiff(path, pixels.shape, pixels.dtype, overwrite=overwrite) as writer:
            for z, section in enumerate(pixels):
                writer[z] = section
    scores = isbi2012_scores(stack.labels, interior)
    middle = len(interior) // 2
    figure = segmentation_figure(
        stack.images[middle],
        interior[middle],
        scores.thresholds["v_rand"],
        stack.labels[middle],
        f"synthetic section {middle}, weights trained on ISBI 2012",
        PIXEL_SIZE,
    )
    write_atomic(files[-1], picture(figure, "png"), overwrite=overwrite, token=token)
    return scores
