"""What this software says of the pixels that it writes, in formats that have no word for it."""

from __future__ import annotations

import json
from typing import Any, Final

SAID: Final = "paper_unet"
"""The name of the entry, of JSON, in a file."""

SAYS_LABELS: Final = {"values": "labels"}
"""What stands in it where the values are numbers of cells or classes."""

LONGEST: Final = 2**16
"""Characters of an entry that is looked at."""


def says_labels(entry: object) -> bool:
    """Whether an entry, as it is read from a file, says that the values are labels.

    Parameters
    ----------
    entry : object
        JSON as text, or what was made of it; anything else says nothing.
    """
    about: Any = entry
    if isinstance(entry, str | bytes):
        try:
            about = json.loads(entry) if len(entry) <= LONGEST else None
        except (ValueError, RecursionError):
            return False
    return isinstance(about, dict) and SAYS_LABELS.items() <= about.items()
