"""What a library raises while it reads becomes one line that names the file and what was read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paper_unet.errors import InputError, shown
from paper_unet.system.stop import Stopped

MOST_SHOWN = 200
"""Characters of a library's own words."""

NO_DAMAGE = (InputError, Stopped)
"""What comes through from whatever reads: a line that says enough, and a signal."""


def reason_of(error: Exception) -> str:
    """Return an error's own words in one line, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def reading(path: Path, what: str, blame: str = "the file is damaged") -> Iterator[None]:
    """Name the file in whatever is raised within; codecs and libraries have errors of many types.

    Parameters
    ----------
    path : Path
    what : str
        Is read, such as "slice 3".
    blame : str
        What is to blame.

    Raises
    ------
    InputError
        One line. An `InputError` from within, and a signal that stopped the work, stay as they are.
    """
    try:
        yield
    except NO_DAMAGE:
        raise
    except Exception as error:
        said = shown(reason_of(error), MOST_SHOWN)
        raise InputError(
            f"{path}: {what} cannot be read ({said}); {blame}: copy or export it again"
        ) from error
