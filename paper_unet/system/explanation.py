"""What a program says at its end of an error that is not its own fault: one line, and a code."""

from __future__ import annotations

import errno
from typing import Final

from paper_unet.errors import DivergedError, InputError, shown
from paper_unet.system.stop import Stopped

EXIT_FAILED: Final = 1
EXIT_INPUT: Final = 2
EXIT_SIGNAL: Final = 128

_NAMES: Final = (errno.ENAMETOOLONG, errno.ELOOP)
"""Errors of the system that are those of a name that was given."""


def explain(error: Exception, *, less_memory: str) -> tuple[int, str] | None:
    """Return the exit code and the text for an error that was to be expected, else None.

    Parameters
    ----------
    error : Exception
        What ended a program.
    less_memory : str
        The options of the program that take less memory, as it is to say them.

    Returns
    -------
    (int, str) or None
        2 for what the user gave, 128 and its number for a signal, 1 where memory or disk ran out,
        a file could not be read or written, or training diverged; None is a fault of the program.
    """
    if isinstance(error, InputError):
        return EXIT_INPUT, str(error)
    if isinstance(error, Stopped):
        return EXIT_SIGNAL + error.signal, str(error)
    # PyTorch's own type, which is not imported for this, and on a CPU none of its own
    of_torch = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and of_torch):
        first = (str(error).splitlines() or ["no details"])[0]
        return EXIT_FAILED, f"out of memory ({first}); use {less_memory}"
    if isinstance(error, OSError) and error.errno in _NAMES:
        return EXIT_INPUT, f"{shown(error, 200)}; give another name"
    if isinstance(error, DivergedError | OSError):
        return EXIT_FAILED, str(error)
    return None
