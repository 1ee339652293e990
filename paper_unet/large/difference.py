"""The first thing in which two JSON objects differ, as text."""

from __future__ import annotations

import json
from typing import Any

LONGEST_SHOWN = 200
"""Characters of a value in a message."""


def first_difference(
    then: dict[str, Any], now: dict[str, Any], prefix: str = ""
) -> tuple[str, str, str] | None:
    """Find the first field in which two headers differ.

    Parameters
    ----------
    then, now : dict
        JSON objects.
    prefix : str
        Before the names of the fields.

    Returns
    -------
    tuple of str, or None
        Its name, with dots between those of nested objects, and both values as JSON; the word
        "nothing" stands for a field that is not there.
    """
    for name in [*now, *(name for name in then if name not in now)]:
        left, right = then.get(name, _NOTHING), now.get(name, _NOTHING)
        if isinstance(left, dict) and isinstance(right, dict):
            difference = first_difference(left, right, f"{prefix}{name}.")
            if difference is not None:
                return difference
        elif left != right:
            return f"{prefix}{name}", _shown(left), _shown(right)
    return None


_NOTHING = object()


def _shown(value: object) -> str:
    text = "nothing" if value is _NOTHING else json.dumps(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
