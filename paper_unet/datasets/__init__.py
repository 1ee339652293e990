"""The data sets of the paper: fetch, verify, load.

`DATA_SETS` is the table of what can be fetched.
"""

from __future__ import annotations

from paper_unet.datasets.archives import extract_members
from paper_unet.datasets.cell_sets import DIC_C2DH_HELA, PHC_C2DH_U373
from paper_unet.datasets.cell_tracking import CellFrames, load_cell_frames
from paper_unet.datasets.expected import DataSet, ExpectedStack
from paper_unet.datasets.fetching import data_folder, fetch
from paper_unet.datasets.frames import ExpectedFrames
from paper_unet.datasets.isbi2012 import (
    ISBI2012,
    Isbi2012,
    fetch_isbi2012,
    load_isbi2012,
    map_labels,
)

__all__ = [
    "DATA_SETS",
    "DIC_C2DH_HELA",
    "ISBI2012",
    "PHC_C2DH_U373",
    "CellFrames",
    "DataSet",
    "ExpectedFrames",
    "ExpectedStack",
    "Isbi2012",
    "data_folder",
    "extract_members",
    "fetch",
    "fetch_isbi2012",
    "load_cell_frames",
    "load_isbi2012",
    "map_labels",
]

DATA_SETS = {data_set.name: data_set for data_set in (ISBI2012, PHC_C2DH_U373, DIC_C2DH_HELA)}
