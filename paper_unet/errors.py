"""The one exception type for what a user can put right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that says what was found, what is accepted and what to do. The command
    line prints it and exits with code 2. It shows no user, password or signature of an address.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(without_secrets(str(message)))


class DivergedError(RuntimeError):
    """Training met a loss that is not finite; the last good checkpoint stays on disk."""


_ADDRESS = re.compile(
    r"\b(?P<scheme>[a-z][a-z0-9+.-]+):/{1,2}(?=[^\s/])(?P<rest>[^\s'\"<>]*)", re.I
)
_END = re.compile(r"[:;,.)\]]*\Z")


def without_secrets(text: str) -> str:
    """Return a text in which addresses show ``***`` for what may be a password or a signature.

    Parameters
    ----------
    text : str
        What is said or written.

    Returns
    -------
    str
        The user before an @, and what is behind a ? or a #, are left out of ``scheme://...``; an
        address that a path was made of has both its slashes again.
    """
    return _ADDRESS.sub(_shown_address, text) if ":/" in text else text


def _shown_address(found: re.Match[str]) -> str:
    rest = found["rest"]
    of_file = "." in found["scheme"] or found.string[: found.start()].endswith(".")
    if of_file and not found[0].startswith("://", len(found["scheme"])):  # a.h5:/volumes/raw
        return f"{found['scheme']}:/{without_secrets(rest)}"
    if "://" in rest:  # one address in another
        return f"{found['scheme']}://{without_secrets(rest)}"
    end = _END.search(rest)
    rest, after = (rest[: end.start()], end[0]) if end else (rest, "")
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    mark = rest[len(place) : len(place) + 1]
    authority, slash, path = place.partition("/")
    if "@" in authority:
        authority = "***@" + authority.rpartition("@")[2]
    elif re.match(r"[^\[:]*:(?!\d*$)", authority):  # no port: a password with a / or a ? in it
        return f"{found['scheme']}://***{after}"
    return f"{found['scheme']}://{authority}{slash}{path}{mark}{'***' if mark else ''}{after}"


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
