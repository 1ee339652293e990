"""The frames of a sequence, a file each: what a folder must hold, and whether it does."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paper_unet.datasets.expected import listed, read_expected
from paper_unet.errors import InputError

ALLOWANCE = 2**18  # bytes that a container adds to a frame, or a table may have


@dataclass(frozen=True)
class ExpectedFrames:
    """The frames of a sequence in one folder, a file each, as the Cell Tracking Challenge has them.

    Attributes
    ----------
    name : str
        The folder, in the archive and on disk, such as ``01_GT/SEG``.
    prefix : str
        Before the number in the file names: ``t`` of t000.tif.
    numbers : sequence of int
        Of the frames, ascending.
    shape : tuple of int, (Y, X)
        Size of each frame.
    dtype : str
        Of its values.
    sha256 : str
        Over the files in order, see `_frames_digest`; any lossless container passes.
    table : str
        A text file beside the frames; empty if there is none.
    required : bool
        False if some copies of the data set do not have it.
    """

    name: str
    prefix: str
    numbers: tuple[int, ...] | range
    shape: tuple[int, int]
    dtype: str
    sha256: str
    table: str = ""
    required: bool = True

    @property
    def labels(self) -> bool:
        """Whether its values are numbers of cells: the ground truth."""
        return "_GT/" in self.name

    @property
    def frame_names(self) -> tuple[str, ...]:
        """File names of the frames within the folder."""
        return tuple(f"{self.prefix}{number:03d}.tif" for number in self.numbers)

    @property
    def file_names(self) -> tuple[str, ...]:
        """All file names within the folder, the table last."""
        return (*self.frame_names, self.table) if self.table else self.frame_names

    @property
    def files(self) -> tuple[str, ...]:
        """All files, relative to the folder of the data set."""
        return tuple(f"{self.name}/{name}" for name in self.file_names)

    @property
    def max_bytes(self) -> int:
        """Most bytes that one file may have."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize + ALLOWANCE

    def is_there(self, folder: Path) -> bool:
        """Whether something is in the folder, right or wrong."""
        place = folder / self.name
        return any(place.iterdir()) if place.is_dir() else place.exists()

    def verify(self, folder: Path) -> None:
        """Raise InputError unless these frames, and no others, are there as published."""
        place = folder / self.name
        if not place.is_dir():
            raise InputError(f"{place}: is no folder; move it away and fetch the data set again")
        present = {path.name for path in place.iterdir()}
        if missing := [name for name in self.file_names if name not in present]:
            raise InputError(f"{place}: has no {listed(missing)}; move it away and fetch it again")
        frame = re.compile(rf"{self.prefix}\d+\.tiff?", re.ASCII)  # what loading would take for one
        if foreign := sorted(filter(frame.fullmatch, present - set(self.file_names))):
            raise InputError(
                f"{place}: has {listed(foreign)}, which the data set has not; move it away"
            )
        if (found := _frames_digest(folder, self)) != self.sha256:
            raise InputError(
                f"{place}: other content than published (SHA-256 expected {self.sha256}, found "
                f"{found}); move it away and fetch a lossless copy"
            )


def _frames_digest(folder: Path, frames: ExpectedFrames) -> str:
    """Return one SHA-256 over the frames of a folder.

    Of each frame in order: a line ``NAME DTYPE YxX``, then the decoded pixels in C order, little
    endian. Of the table: a line with its name, then its lines, words parted by one space, so that
    other line ends are no other table.

    Parameters
    ----------
    folder : Path
        Of the data set.
    frames : ExpectedFrames
        Which of its folders.

    Returns
    -------
    str
        Hexadecimal.

    Raises
    ------
    InputError
        If a file cannot be read, or the size or type of a frame is another.
    """
    digest = hashlib.sha256()
    rows, columns = frames.shape
    for name in frames.frame_names:
        file = folder / frames.name / name
        pixels = read_expected(file, (1, rows, columns), frames.dtype, frames.labels)
        digest.update(f"{name} {frames.dtype} {rows}x{columns}\n".encode())
        digest.update(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).data)
    if frames.table:
        lines = _read_table(folder / frames.name / frames.table, frames.max_bytes)
        digest.update("".join(f"{line}\n" for line in (frames.table, *lines)).encode())
    return digest.hexdigest()


def _read_table(path: Path, max_bytes: int) -> list[str]:
    if not path.is_file() or path.stat().st_size > max_bytes:
        raise InputError(
            f"{path}: is no table of at most {max_bytes} bytes; move it away and fetch it again"
        )
    try:
        text = path.read_text("ascii")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no plain text; move it away and fetch it again") from error
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]
