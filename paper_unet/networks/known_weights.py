"""Weights by name: what comes with the package, and what ``paper-unet fetch weights`` gets.

In the package is what its folder of weights holds: ``isbi2012.safetensors`` is called ``isbi2012``,
and a file that is put beside it has its name too. What is fetched is a line in `FETCHED`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from paper_unet.errors import InputError, nearest
from paper_unet.system.folders import data_folder

IN_PACKAGE: Final = Path(__file__).parent / "weights"
"""The folder of the weights that come with the package."""

BUNDLED: Final = IN_PACKAGE / "isbi2012.safetensors"
"""The weights that `predict` and `demo` use by default."""

ALSO_CALLED: Final = {"bundled": "isbi2012"}
"""Names that say what weights are to the package; not listed where all names are."""

FETCHED_INTO: Final = "weights"
"""Where the others are, in the folder of what is fetched."""

RELEASE: Final = ""
"""Address of the folder with the files of `FETCHED`; empty: they are not published yet."""

TERMS: Final = (
    "Trained on the ISBI 2012 EM segmentation challenge, whose data are free to use for generating "
    "or testing non-commercial image segmentation software; the weights inherit that condition. "
    "Cite Cardona et al. 2010, doi:10.1371/journal.pbio.1000502, and Arganda-Carreras et al. 2015, "
    "doi:10.3389/fnana.2015.00142."
)
"""Of all weights that have a name: what they were trained on decides."""


@dataclass(frozen=True)
class KnownWeights:
    """A file of weights that has a name.

    Attributes
    ----------
    name : str
    file : str
        Its name on disk.
    what : str
        What they are, in a line.
    fetched : bool
        Whether it has to be fetched; else it lies in the package.
    sha256 : str
        Of its tensors and description, see `paper_unet.networks.tensor_file`; of a file in the
        package empty: it is as the package was installed.
    size : int
        Bytes, of what is fetched.
    also : tuple of str
        Other names that copies of the file have.
    """

    name: str
    file: str
    what: str = ""
    fetched: bool = False
    sha256: str = ""
    size: int = 0
    also: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Where it is, or will be when it is fetched."""
        return (data_folder() / FETCHED_INTO if self.fetched else IN_PACKAGE) / self.file


FETCHED: Final = [
    KnownWeights(
        "isbi2012-width64",
        "isbi2012-width64.safetensors",
        "the paper's network at its full width, 15,000 steps by the paper's recipe on sections "
        "0-23 of ISBI 2012, stored as float16",
        fetched=True,
        sha256="2457a01c20c60e55abd77fb67f78bb0c68f1d07e27aefe918f35aabd6bbcedd1",
        size=62_066_484,
        also=("isbi2012-width64-seed0.float16.safetensors",),
    ),
]
"""What is too large for the package."""


def known_weights() -> dict[str, KnownWeights]:
    """Return all weights that have a name: those in the package, then those to be fetched."""
    files = {path.name.partition(".")[0]: path.name for path in IN_PACKAGE.glob("*.safetensors")}
    bundled = {name: KnownWeights(name, files[name]) for name in sorted(files)}
    return bundled | {one.name: one for one in FETCHED if one.name not in bundled}


def weights_help(default: str, before: str = "") -> str:
    """Return what a setting that takes weights says: which have a name, and what the default is."""
    known = known_weights().values()
    inside = ", ".join(one.name for one in known if not one.fetched)
    others = ", ".join(one.name for one in known if one.fetched)
    names = f"{inside} in the package, {others} once fetched"
    return f"{before}a file, or a name: {names}; default: {default}"


def is_known(given: str | Path | None) -> bool:
    """Whether this names weights, and no file of this path comes first; None: the bundled ones."""
    return given is None or _of_name(Path(given)) is not None


def terms_of(record: Mapping[str, object], given: str | Path | None = "") -> str:
    """Return the terms of weights, by their record and the path or name that they were read by.

    Returns
    -------
    str
        Empty if nothing is known: then they are those of whoever trained them.
    """
    stated = record.get("terms")
    if isinstance(stated, str) and stated:
        return stated
    return TERMS if is_known(given) or "ISBI 2012" in str(record.get("data", "")) else ""


def locate(given: str | Path | None) -> tuple[Path, str]:
    """Return the file of weights that a path or a name stands for.

    Parameters
    ----------
    given : str, Path or None
        A file of this path comes before the weights of this name; None: the bundled ones.

    Returns
    -------
    path : Path
    sha256 : str
        What it must have, see `KnownWeights`; empty if anything is right.

    Raises
    ------
    InputError
        If there is neither a file nor a name, or the weights of this name are not fetched yet.
    """
    if given is None:
        return BUNDLED, ""
    path = Path(given)
    known = _of_name(path)
    if known is None:
        if path.exists():
            return path, ""
        names = list(known_weights())
        raise InputError(
            f"{path}: no such file of weights; give a .safetensors file, or one of "
            f"{', '.join(names)}{nearest(str(path), names)}"
        )
    if known.fetched and not known.path.exists():
        raise InputError(
            f"{known.name}: these weights are not in {known.path.parent}; fetch them with "
            "paper-unet fetch weights, or set PAPER_UNET_DATA to the folder that holds "
            f"{FETCHED_INTO}/"
        )
    return known.path, known.sha256


def elsewhere(given: str | Path | None) -> str | Path | None:
    """Return what stands for the same weights in a process of another working folder.

    What has a name in the package keeps it, since the package may lie elsewhere there.
    """
    if given is None:
        return None
    known = _of_name(Path(given))
    return known.name if known and not known.fetched else locate(given)[0].absolute()


def _of_name(path: Path) -> KnownWeights | None:
    """Return the weights of a name, unless there is a file that is called so."""
    is_file = path.exists() and not path.is_dir()  # folders of data are called so, too
    name = ALSO_CALLED.get(str(path), str(path))
    return None if is_file else known_weights().get(name)
