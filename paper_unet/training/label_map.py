"""What the values of labels mean, as text: ``0,255:0,1``."""

from __future__ import annotations

import re
from typing import Final

from paper_unet.errors import InputError, shown

IGNORE: Final = "ignore"
"""The word for pixels that are not annotated."""

MOST: Final = 2**31 - 1
"""The largest number that a value can become."""

Value = int | float
Meanings = dict[Value, int | None]
"""What each value becomes: a number, or None for pixels to ignore."""


def parse_label_map(text: str) -> Meanings:
    """Read ``VALUE,...:CLASS,...``; a class is a number from 0, or ``ignore``.

    Parameters
    ----------
    text : str
        Such as ``0,255:0,1``, or ``0,1,2,255:0,1,1,ignore``.

    Returns
    -------
    dict
        What each value becomes, in their order; None: ignored.

    Raises
    ------
    InputError
        If it is of another form, the lists differ in length, or a value comes twice.
    """
    sides = [[word.strip() for word in side.split(",")] for side in text.split(":")]
    if len(sides) != 2 or not all(word for side in sides for word in side):
        raise InputError(
            f'`label_map` is "{shown(text)}"; give the values, a colon, and what each becomes, '
            "such as 0,255:0,1 or 0,1,255:0,1,ignore"
        )
    values, meanings = sides
    if len(values) != len(meanings):
        raise InputError(
            f'`label_map` is "{shown(text)}": {len(values)} values become {len(meanings)} classes; '
            "give a class, or ignore, for each value"
        )
    found: Meanings = {}
    for word, meaning in zip(values, meanings, strict=True):
        value = _value(word)
        if value in found:
            raise InputError(f'`label_map` is "{shown(text)}": the value {word} comes twice')
        found[value] = _class(meaning)
    return found


def meanings_of(label_map: str | None, ignore: int | None) -> Meanings | None:
    """Return what values become by both settings; None if every value is its own class.

    Raises
    ------
    InputError
        If a value that is to be ignored is mapped to a class, too.
    """
    if label_map is None:
        return None
    found = parse_label_map(label_map)
    if ignore is None:
        return found
    if found.get(ignore) is not None:
        raise InputError(
            f"`ignore` is {ignore}, which `label_map` makes class {found[ignore]}; give one of both"
        )
    return {**found, ignore: None}


def _value(word: str) -> Value:
    if re.fullmatch(r"[-+]?[0-9]{1,40}", word, re.ASCII):
        return int(word)
    if re.fullmatch(r"[-+]?[0-9]*\.?[0-9]+(e[-+]?[0-9]{1,3})?", word, re.ASCII | re.IGNORECASE):
        return float(word)
    raise InputError(f'`label_map`: "{shown(word)}" is no value of a label; give numbers')


def _class(word: str) -> int | None:
    if word.lower() == IGNORE:
        return None
    if re.fullmatch(r"[0-9]{1,12}", word, re.ASCII) and int(word) <= MOST:
        return int(word)
    raise InputError(
        f'`label_map`: "{shown(word)}" is no class; give whole numbers from 0, or {IGNORE}'
    )
