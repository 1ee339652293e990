"""Standard streams that a command can rely on: open, of any letters, and never in the way.

What a command says must not undo what it did: a terminal that is gone, a pipe that nobody reads or
an encoding without some letter end no work. Only where what is asked for is what is printed, a
result that cannot be written is an error, in the end.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO


class _Patient:
    """A stream that drops what cannot be written, and remembers the first reason."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        with self._trying():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._trying():
            self._stream.flush()

    @contextlib.contextmanager
    def _trying(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            self.failure = self.failure or (error if isinstance(error, OSError) else OSError())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Make the three streams reliable while a command runs."""
    _keep_places()
    out, error = sys.stdout, sys.stderr
    for stream in (out, error):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    with Path(os.devnull).open("w") as nowhere:
        # None where the place was closed when Python began
        said = _Patient(error or nowhere)
        sys.stdout, sys.stderr = _Patient(out or nowhere), said
        try:
            yield
        finally:
            sys.stdout, sys.stderr = out, error
            if said.failure is not None and error is not None:
                _lead_nowhere(error)  # or Python, which tries once more at its end, exits with 120


def _keep_places() -> None:
    """Fill the places of streams that are closed: the next file opened would get their number.

    What a library then writes to standard error would be written into that file.
    """
    for place in (0, 1, 2):
        try:
            os.fstat(place)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def unwritten_output() -> OSError | None:
    """Write out what was printed; return why that failed, after which no more is tried."""
    sys.stdout.flush()
    failure: OSError | None = getattr(sys.stdout, "failure", None)
    if failure is not None:
        _lead_nowhere(sys.stdout)
    return failure


def _lead_nowhere(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
