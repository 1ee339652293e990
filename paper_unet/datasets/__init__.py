"""The data sets of the paper, and weights that are not in the package: fetch, verify, load.

`DATA_SETS` is the table of what can be fetched; nothing is imported before it is used.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Final

import lazy_loader

if TYPE_CHECKING:
    from paper_unet.datasets.archives import extract_members
    from paper_unet.datasets.cell_sets import DIC_C2DH_HELA, PHC_C2DH_U373
    from paper_unet.datasets.cell_tracking import CellFrames, load_cell_frames
    from paper_unet.datasets.expected import DataSet, ExpectedStack
    from paper_unet.datasets.fetching import fetch
    from paper_unet.datasets.frames import ExpectedFrames
    from paper_unet.datasets.isbi2012 import (
        ISBI2012,
        Isbi2012,
        fetch_isbi2012,
        load_isbi2012,
        map_labels,
    )
    from paper_unet.datasets.weights import WEIGHTS, ExpectedWeights
    from paper_unet.system.folders import data_folder

__all__ = [
    "DATA_SETS",
    "DIC_C2DH_HELA",
    "ISBI2012",
    "PHC_C2DH_U373",
    "WEIGHTS",
    "CellFrames",
    "DataSet",
    "ExpectedFrames",
    "ExpectedStack",
    "ExpectedWeights",
    "Isbi2012",
    "data_folder",
    "data_set",
    "extract_members",
    "fetch",
    "fetch_isbi2012",
    "load_cell_frames",
    "load_isbi2012",
    "map_labels",
]

DATA_SETS: Final = {
    "isbi2012": "paper_unet.datasets.isbi2012:ISBI2012",
    "PhC-C2DH-U373": "paper_unet.datasets.cell_sets:PHC_C2DH_U373",
    "DIC-C2DH-HeLa": "paper_unet.datasets.cell_sets:DIC_C2DH_HELA",
    "weights": "paper_unet.datasets.weights:WEIGHTS",
}
"""Where each is described, by the name that ``paper-unet fetch`` takes."""


def data_set(name: str) -> DataSet:
    """Return the description of a data set by its name in `DATA_SETS`."""
    found: DataSet = resolve_name(DATA_SETS[name])
    return found


__getattr__, __dir__, _ = lazy_loader.attach(  # type: ignore[no-untyped-call]
    __name__,
    submod_attrs={
        "archives": ["extract_members"],
        "cell_sets": ["DIC_C2DH_HELA", "PHC_C2DH_U373"],
        "cell_tracking": ["CellFrames", "load_cell_frames"],
        "expected": ["DataSet", "ExpectedStack"],
        "fetching": ["data_folder", "fetch"],
        "frames": ["ExpectedFrames"],
        "isbi2012": ["ISBI2012", "Isbi2012", "fetch_isbi2012", "load_isbi2012", "map_labels"],
        "weights": ["WEIGHTS", "ExpectedWeights"],
    },
)
