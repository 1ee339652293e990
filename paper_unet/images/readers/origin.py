"""Files whose first pixel lies elsewhere than at 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paper_unet.errors import shown


def origin_note(
    path: Path, starts: Sequence[object], units: Sequence[object], aside: str = ""
) -> tuple[str, ...]:
    """Return what to say of where a file has its first pixel; nothing if at 0, or if damaged.

    Parameters
    ----------
    path : Path
        For the message.
    starts, units : sequence, (z, y, x)
        As the file has them; None where it says nothing.
    aside : str
        What is written where the file is all the same.
    """
    known = [_number(one) for one in starts]
    if not any(known):
        return ()
    places = ", ".join(
        f"{axis} {value:g} {shown(unit or '', 20)}".strip()
        for axis, value, unit in zip("zyx", known, units, strict=True)
    )
    return (f"{path}: begins at {places}; what is written from it begins at 0{aside}",)


def _number(value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return found if math.isfinite(found) else 0.0
