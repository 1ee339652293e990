"""Weights that are not in the package, to be fetched as a data set is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paper_unet.datasets.expected import DataSet
from paper_unet.networks.known_weights import FETCHED, FETCHED_INTO, RELEASE, TERMS

ALLOWANCE = 2**20  # bytes by which another container of the same tensors may be larger


@dataclass(frozen=True)
class ExpectedWeights:
    """One file of weights.

    Attributes
    ----------
    name : str
        File name on disk.
    sha256 : str
        Of its tensors and description, so any container of them passes.
    size : int
        Bytes of the file as published.
    required : bool
        False if some copies do not have it.
    """

    name: str
    sha256: str
    size: int
    required: bool = True

    @property
    def files(self) -> tuple[str, ...]:
        """The one file."""
        return (self.name,)

    @property
    def max_bytes(self) -> int:
        """Most bytes that the file may have."""
        return self.size + ALLOWANCE

    def is_there(self, folder: Path) -> bool:
        """Whether the file is there, right or wrong."""
        return (folder / self.name).exists()

    def verify(self, folder: Path) -> None:
        """Raise InputError unless its tensors and its description are those published."""
        from paper_unet.networks.tensor_file import read_tensors

        read_tensors(folder / self.name, self.sha256)


WEIGHTS = DataSet(
    name=FETCHED_INTO,
    url=RELEASE,
    parts=tuple(ExpectedWeights(known.file, known.sha256, known.size) for known in FETCHED),
    terms="\n".join([*(f"{known.name}: {known.what}" for known in FETCHED), TERMS]),
    archive=False,
    also={known.file: known.also for known in FETCHED},
)
