"""Volumes and records that a run keeps beside its output until it is finished.

A scratch volume is an OME-Zarr that never gets its name: it stays the partial output of a run of
its own, with a journal, so it is resumed, verified and known as ours as every output is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from paper_unet.errors import InputError
from paper_unet.images import Output, create_output
from paper_unet.large.journal import Journal, open_journal
from paper_unet.large.partial import goes_on
from paper_unet.segmentation.blocks import Triple
from paper_unet.segmentation.records import KIND, open_records
from paper_unet.system.claim import journal_path, marked

SEEDS, CELLS = ".seeds.zarr", ".cells.zarr"
PARTS, FLOODS = ".parts", ".floods"
"""What is behind the name of the output, beside it, in the names of volumes and records."""


def beside(out: Path, ending: str) -> Path:
    """Return the name of a volume or a record of an output."""
    return out.with_name(out.name + ending)


@contextmanager
def scratch_volume(
    path: Path, shape: Triple, dtype: np.dtype[np.unsignedinteger], run: str
) -> Iterator[tuple[Output, Journal, bool]]:
    """Make a scratch volume, or take the one that this run left; it stays.

    Parameters
    ----------
    path : Path
        Ends in .zarr.
    shape : tuple of int, (Z, Y, X)
    dtype : uint32 or uint64
    run : str
        That it is of; one of another run is replaced.

    Yields
    ------
    output : Output
    journal : Journal
    left : bool
        Whether pieces are there already.
    """
    output = create_output(path, shape, dtype, labels=True)
    with open_journal(path, overwrite=True) as journal:
        output.take(journal.claim, left=journal.left)
        header = {"run": run, "dtype": output.dtype.name}
        if journal.header != header or not output.partial.exists():
            journal.restart()
            journal.begin(header)
        try:
            yield output, journal, goes_on(output, journal, overwrite=True)
        finally:
            output.close()
            if not journal.done:
                output.discard()
                journal.restart()


def drop_all(out: Path) -> None:
    """Remove what runs of an output left beside it, but for the partial output and its journal."""
    for ending in (SEEDS, CELLS):
        path = beside(out, ending)
        if marked(journal_path(path), "journal"):
            with open_journal(path, overwrite=True) as journal:
                output = create_output(path, (1, 1, 1), np.uint32, labels=True)
                with suppress(InputError):  # what is not our own stays
                    output.take(journal.claim, left=False)
                output.discard()
                journal.remove()
    for ending in (PARTS, FLOODS):
        if marked(beside(out, ending), KIND):
            with open_records(beside(out, ending), "", 0) as records:
                records.clear()
