"""The data sets of the paper: fetch, verify, load.

`DATA_SETS` is the table of what can be fetched.
"""

from __future__ import annotations

from paper_unet.datasets.archives import extract_members
from paper_unet.datasets.fetching import DataSet, ExpectedStack, data_folder, fetch
from paper_unet.datasets.isbi2012 import (
    ISBI2012,
    Isbi2012,
    fetch_isbi2012,
    load_isbi2012,
    map_labels,
)

__all__ = [
    "DATA_SETS",
    "ISBI2012",
    "DataSet",
    "ExpectedStack",
    "Isbi2012",
    "data_folder",
    "extract_members",
    "fetch",
    "fetch_isbi2012",
    "load_isbi2012",
    "map_labels",
]

DATA_SETS = {ISBI2012.name: ISBI2012}
