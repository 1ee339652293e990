"""What a library raises while it reads becomes one line that names the file and what was read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paper_unet.errors import InputError, shown
from paper_unet.system.files import remedy_of
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
        raise of_system(path, what, error) or InputError(
            f"{path}: {what} cannot be read ({said}); {blame}: copy or export it again"
        ) from error


MOST_CAUSES = 20
"""Errors, of which each came from the next, that are looked at."""


def of_system(path: Path, what: str, error: BaseException) -> InputError | None:
    """Return the error that says what the system lacks or forbids; None if it is something else.

    Libraries may make another error of the system's: those that it came from are looked at, too.
    """
    seen: BaseException | None = error
    for _ in range(MOST_CAUSES):
        if seen is None:
            break
        if (remedy := remedy_of(seen)) is not None:
            reason = getattr(seen, "strerror", None) or str(seen) or "out of memory"
            said = shown(" ".join(reason.split()), MOST_SHOWN)
            return InputError(f"{path}: {what} cannot be read ({said}); {remedy}")
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return None
