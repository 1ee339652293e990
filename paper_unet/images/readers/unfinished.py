"""Looking into the output of a run that is not finished: what it has written so far."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from paper_unet.errors import InputError
from paper_unet.images.choice import Choice
from paper_unet.images.inside import split_inside
from paper_unet.images.outputs.kinds import TIFF_SUFFIXES
from paper_unet.images.stack import Stack
from paper_unet.system.names import UNFINISHED

_READERS = {
    **dict.fromkeys(TIFF_SUFFIXES, "paper_unet.images.readers.tiff:TiffStack"),
    **dict.fromkeys((".h5", ".hdf5"), "paper_unet.images.readers.hdf5:Hdf5Stack"),
    ".zarr": "paper_unet.images.readers.zarr:ZarrStack",
    ".precomputed": "paper_unet.images.readers.precomputed:PrecomputedStack",
}
"""What reads the partial output of each ending."""


def unfinished_of(path: str | Path) -> Path | None:
    """Return the partial output of a run that writes this output; None if there is none."""
    file, _ = split_inside(path)
    partial = file.with_name(file.name + UNFINISHED)
    return partial if partial.exists() else None


def open_unfinished(path: str | Path, **choices: Any) -> Stack:
    """Open what a run has written so far of an output; what is not there yet, or all, is 0.

    To be looked at, and for nothing else: the run may be stopped, and what it wrote is not compared
    with its record. A stack shows what was there when it read it: open another to see what is new.

    Parameters
    ----------
    path : str or Path
        The name that the output will have.
    **choices : int, str or None
        ``channel`` and ``time``, as for `paper_unet.images.open_stack`.

    Returns
    -------
    Stack
        Labels as they are stored.

    Raises
    ------
    InputError
        If there is no such run, or it is still making the file or folder itself.
    """
    file, _ = split_inside(path)
    partial = unfinished_of(path)
    kind = _READERS.get(file.suffix.lower())
    if kind is None and file.parent.name == "labels":
        kind = _READERS[".zarr"]
    if partial is None or kind is None:
        raise InputError(f"{path}: no run is writing it; give an image, or its output")
    more: dict[str, Any] = {"missing": "fill"} if file.suffix.lower() not in TIFF_SUFFIXES else {}
    if choices:
        more["chosen"] = Choice(**choices)
    stack: Stack = resolve_name(kind)(partial, labels=True, **more)
    stack.notes += (f"{path}: is being written; what there is so far is shown",)
    return stack
