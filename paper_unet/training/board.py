"""A run as TensorBoard shows it: what the log has, and where the network is wrong on a section."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from paper_unet.figures.cell_colours import paint
from paper_unet.figures.style import SKY, VERMILION
from paper_unet.system.libraries import needed
from paper_unet.training.held_out import SectionFound

FOLDER = "tensorboard"
"""In the folder of the run."""

EVENTS = "events.out.tfevents.*"
NAMES = {"loss": "loss/training", "held_out_loss": "loss/held out", "lr": "learning rate"}
"""The numbers of the log that are shown, and as what."""


def event_writer() -> Any:
    """Return PyTorch's writer of events.

    Raises
    ------
    InputError
        If TensorBoard is not installed.
    """
    needed("tensorboard", "showing a run", "tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter


class Board:
    """Writes events for TensorBoard into the folder of a run.

    Parameters
    ----------
    out : Path
        Of the run.
    step : int
        The step that the run goes on from; what is shown of later ones is made anew.

    Raises
    ------
    InputError
        If TensorBoard is not installed.
    """

    def __init__(self, out: Path, step: int) -> None:
        folder, writer = out / FOLDER, event_writer()
        for path in () if step else folder.glob(EVENTS):
            path.unlink()
        self._writer = writer(folder, purge_step=step + 1 if step else None)

    def add(self, entry: Mapping[str, Any], section: SectionFound | None = None) -> None:
        """Show an entry of the log, and what was found of a section that is held out."""
        for name, shown in NAMES.items():
            if name in entry:
                self._writer.add_scalar(shown, entry[name], entry["step"])
        if section is not None:
            self._writer.add_image(
                "held out/wrong pixels", mistakes(section), entry["step"], dataformats="HWC"
            )
            self._writer.add_image(
                "held out/probability",
                np.rint(255 * section.probability).astype(np.uint8),
                entry["step"],
                dataformats="HW",
            )
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def mistakes(section: SectionFound) -> NDArray[np.uint8]:
    """Paint what a network has wrong over a section.

    Parameters
    ----------
    section : SectionFound

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
        The section in grey; vermilion where a lower class was found than is true (membrane in place
        of cell), sky blue where a higher one was (cell in place of membrane). What is not annotated
        stays grey.
    """
    grey = np.clip(section.image.mean(axis=0), 0, 1)
    below = section.annotated & (section.found < section.labels)
    above = section.annotated & (section.found > section.labels)
    codes = np.where(below, 1, np.where(above, 2, 0))
    painted = paint(codes, {1: to_rgb(VERMILION), 2: to_rgb(SKY)}, grey, alpha=0.6)
    return np.rint(255 * painted).astype(np.uint8)
