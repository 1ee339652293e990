"""Which channel and which time point of a file that has several is the stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paper_unet.errors import InputError, nearest, shown

KNOWN = "ZYXCST"
"""Letters of axes that mean something."""

NAMED = 8
"""Channels, at most, that a message lists by name."""


@dataclass(frozen=True)
class Choice:
    """What is taken of the axes C and T; None where nothing is chosen.

    Attributes
    ----------
    channel : int, str or None
        Number, from 0, or name. Text that is the number of a channel is that number.
    time : int or None
        Number of the time point, from 0.
    """

    channel: int | str | None = None
    time: int | None = None

    def __bool__(self) -> bool:
        return self.channel is not None or self.time is not None

    def find(
        self, path: Path, axes: str, shape: tuple[int, ...], names: Sequence[str] = ()
    ) -> dict[int, int]:
        """Return what is taken along which axis of a file.

        Parameters
        ----------
        path : Path
            For messages.
        axes : str
            One letter for each axis.
        shape : tuple of int
        names : sequence of str
            Of the channels, as far as they are known.

        Returns
        -------
        dict of int to int
            By the place of an axis that is longer than 1, a number along it.

        Raises
        ------
        InputError
            If there is no such channel or time point.
        """
        found = {}
        for letters, wanted, called in (("CS", self.channel, names), ("T", self.time, ())):
            places = [axes.index(one) for one in letters if one in axes]
            place = next((k for k in places if shape[k] > 1), next(iter(places), None))
            count = 1 if place is None else shape[place]
            if wanted is None:
                continue
            number = _index(wanted, count, called)
            if number is None and place is None and _unclear(axes, shape):
                several = KINDS[letters[0]][1]
                raise InputError(
                    f"{path}: no axis of its axes {axes} is known to be that of {several}; name "
                    f"them with `axes`, one letter for each, {letters[0]} for {several}"
                )
            if number is None:
                raise _none_such(path, letters[0], wanted, count, called)
            if place is not None and count > 1:
                found[place] = number
        return found


WHOLE = Choice()
"""Nothing is chosen."""

KINDS = {
    **dict.fromkeys("CS", ("channel", "channels", "channel")),
    "T": ("time", "time points", "time point"),
}
"""By the letter of an axis: the setting, several of what it chooses from, and one."""


def listed(letter: str, count: int, names: Sequence[str] = ()) -> str:
    """Return from what can be chosen, in words."""
    known = [shown(name, 40) for name in names[: min(count, NAMED)]]
    if letter in "CS" and count > 1 and any(known):
        known += [""] * (min(count, NAMED) - len(known))
        more = ", ..." if count > NAMED else ""
        return ", ".join(f"{k}: {name}" if name else str(k) for k, name in enumerate(known)) + more
    return f"0 to {count - 1}" if count > 1 else "0 alone"


def choosing(letter: str, count: int, names: Sequence[str] = ()) -> str:
    """Return by which setting one is chosen, and from what, in words."""
    return f"one with `{KINDS[letter][0]}`, {listed(letter, count, names)}"


def _unclear(axes: str, shape: tuple[int, ...]) -> bool:
    """Whether there are more axes than Z, Y and X, and one has no name, or another."""
    long = [axis for axis, length in zip(axes, shape, strict=False) if length > 1]
    return len(long) > 3 and bool(set(long) - set(KNOWN))


def _index(wanted: int | str, count: int, names: Sequence[str]) -> int | None:
    """Return the number that is chosen along an axis; None if there is none such."""
    text = str(wanted).strip()
    if text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < count:
        return int(text)
    same = [name.strip() for name in names[:count]] if text and isinstance(wanted, str) else []
    for alike in (str, str.casefold):
        matching = [k for k, name in enumerate(same) if alike(name) == alike(text)]
        if len(matching) == 1:
            return matching[0]
    return None


def _none_such(
    path: Path, letter: str, wanted: int | str, count: int, names: Sequence[str]
) -> InputError:
    setting, several, one = KINDS[letter]
    known = [name for name in names[:count] if name]
    near = nearest(str(wanted), known) if isinstance(wanted, str) else ""
    return InputError(
        f"{path}: has {count} {several if count > 1 else one} and none is {shown(wanted)!r}; give "
        f"`{setting}` {listed(letter, count, names)}{near}"
    )
