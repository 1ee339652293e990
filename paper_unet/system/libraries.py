"""Libraries that extras of the package install: had where they are needed, or named in one line."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from itertools import accumulate
from typing import Any

from paper_unet.errors import InputError, shown


def needed(module: str, what: str, extra: str, *, instead: str = "") -> Any:
    """Return a module of a library that an extra of the package installs.

    Parameters
    ----------
    module : str
        Such as ``h5py``, or one in a library.
    what : str
        What needs it: how the message begins.
    extra : str
        That installs it.
    instead : str
        What else can be done, in the imperative.

    Returns
    -------
    module

    Raises
    ------
    InputError
        If the library is not installed, or cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        names = accumulate(module.split("."), "{}.{}".format)
        absent = isinstance(error, ModuleNotFoundError) and str(error.name) in names
        found = "" if absent else f" ({shown(error, 160)})"
        raise _lacking(module, what, extra, instead, found) from error


def require(module: str, what: str, extra: str, *, instead: str = "") -> None:
    """Raise InputError, as `needed` does, if a library is not installed; it is not imported."""
    if not is_installed(module):
        raise _lacking(module, what, extra, instead)


def is_installed(module: str) -> bool:
    """Whether a library is installed, whatever becomes of its import."""
    return find_spec(module) is not None


def _lacking(module: str, what: str, extra: str, instead: str, found: str = "") -> InputError:
    library = "protobuf" if module.startswith("google.protobuf") else module.partition(".")[0]
    state = f"cannot be imported{found}" if found else "is not installed"
    remedy = f'pip install "paper-unet[{extra}]"' + (f", or {instead}" if instead else "")
    return InputError(f"{what} needs {library}, which {state}: {remedy}")
