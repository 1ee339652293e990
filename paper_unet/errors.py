"""The one exception type for what a user can put right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that says what was found, what is accepted and what to do. The command
    line prints it and exits with code 2.
    """


class DivergedError(RuntimeError):
    """Training met a loss that is not finite; the last good checkpoint stays on disk."""


def shown(value: object, most: int = 60) -> str:
    """Return something a user gave as a message can have it: on one line, and not long."""
    text = " ".join(str(value).split())
    return text if len(text) <= most else f"{text[: most - 20]}... ({len(text)} characters)"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of a message that suggests the nearest known word; empty if none is near."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


@contextmanager
def naming(what: object) -> Iterator[None]:
    """Put what was worked on, such as ``section 3``, in front of an input error."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
