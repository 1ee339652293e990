"""What a server did wrong, in words of our own: a library's message may show a whole address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

PASSING = (408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 530, 598, 599)
"""Answers of a server that may be another one a moment later."""

GONE = (404, 410)
DENIED = (401, 403, 407)

_METADATA_SERVERS = r"https?://(169\.254\.\d+\.\d+|metadata\.google|[^/\s]+/computeMetadata/v1)"
"""Where machines of a cloud ask for keys of their own; other machines have none there."""

_NAMES = re.compile(r'https?://\S+|\b(path|location): "(?:[^"\\]|\\.)*"')
"""What an error shows of the names that a user gave."""

_STATUS = re.compile(r"status code: (\d{3})|\bstatus: (\d{3})\b")


@dataclass(frozen=True)
class Failure:
    """Why a request failed.

    Attributes
    ----------
    what : str
        In words, behind "the server ...".
    passing : bool
        Whether it is worth trying again.
    status : int
        Of the answer; 0 if there was none.
    """

    what: str
    passing: bool
    status: int = 0

    @property
    def denied(self) -> bool:
        """Whether the rights, or the credentials, are missing."""
        return self.status in DENIED

    @property
    def gone(self) -> bool:
        """Whether there is nothing."""
        return self.status in GONE


def failure_of(error: Exception) -> Failure:
    """Return what an error of obstore is."""
    name, text = type(error).__name__, str(error)
    if isinstance(error, FileNotFoundError):
        return Failure("has nothing there", False, 404)
    if re.search(_METADATA_SERVERS, text):
        return Failure("was not asked, since no keys for it were found", False, 401)
    text = _NAMES.sub("", text)  # a folder may be called as what can fail
    found = _STATUS.search(text)
    status = int(found[1] or found[2]) if found else _status_by_name(name)
    if status:
        return _answered(status)
    for pattern, what, passing in _KINDS:
        if re.search(pattern, text, re.I):
            return Failure(what, passing)
    return Failure(f"failed in a way that is not known ({name})", name == "GenericError")


_KINDS = (
    (r"Content-Length Header missing", "does not say how long its answers are", False),
    (r"Content-Range|unexpected range|RangeNotSupported", "sends other bytes than asked", False),
    (r"certificate", "shows a certificate that is not trusted", False),
    (r"dns error|failed to lookup", "is not found (no such name)", True),
    (r"kind: Timeout|timed out|TimedOut", "has stalled", True),
    (r"kind: Connect|connection refused", "cannot be reached", True),
    (r"kind: (Interrupted|Request|Decode|Body)|IncompleteBody", "broke the connection", True),
    (r"MissingBucketRegion|redirect without LOCATION", "is in another region", False),
)


def _status_by_name(name: str) -> int:
    return {"UnauthenticatedError": 401, "PermissionDeniedError": 403}.get(name, 0)


def _answered(status: int) -> Failure:
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    return Failure(f"answers {phrase}", status in PASSING, status)
