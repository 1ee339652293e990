"""What a file of weights says about its network: checked by a schema before anything is made of it.

Whatever the file says, each value ends in a range here, or the file is refused by the name of the
first that does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from paper_unet.errors import InputError, shown
from paper_unet.networks.base import NetworkConfig

DEEPEST: Final = 32
"""How far objects and lists may lie in each other."""

MOST_TEXT: Final = 2**20
"""Characters of a description; that of a network takes a few thousand."""

LARGEST: Final = 3.4e38
"""Of a number: what float32 can hold."""

MOST_RANGES: Final = 64
"""Types of grey values for which a network may know a range."""


def parse_description(text: str) -> dict[str, Any]:
    """Read a JSON object that may come from anywhere.

    Parameters
    ----------
    text : str
        JSON: an object of at most `MOST_TEXT` characters and `DEEPEST` levels.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        If it is anything else.
    """
    if len(text) > MOST_TEXT:
        raise InputError(f"a description of {len(text)} characters; up to {MOST_TEXT} are read")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"no description as JSON ({shown(error)})") from error
    if not isinstance(found, dict):
        raise InputError("no description as a JSON object")
    if _depth(found) > DEEPEST:
        raise InputError(f"a description of more than {DEEPEST} levels")
    return found


def _depth(found: object) -> int:
    """Count the levels of objects and lists, one after the other."""
    level, depth = [found], 0
    while level := [
        inner
        for outer in level
        if isinstance(outer, dict | list)
        for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]:
        depth += 1
    return depth


def stored_network(about: Mapping[str, Any]) -> NetworkConfig:
    """Return the configuration that a description declares; each field within its limits."""
    found = _object(about, "network")
    known = {field.name for field in fields(NetworkConfig)}
    if unknown := sorted(found.keys() - known):
        raise InputError(f"a network with {shown(unknown[0])}, which this version does not know")
    return NetworkConfig(**found)


def stored_variant(about: Mapping[str, Any], default: str) -> str:
    """Return the name of the network."""
    name = about.get("variant", default)
    if not isinstance(name, str):
        raise InputError(f"the network's name is {shown(name)}; it must be a text")
    return name


def stored_ranges(about: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return the grey values that mean 0 and 1, for each type."""
    found = _object(about, "grey_ranges")
    if len(found) > MOST_RANGES:
        raise InputError(f"grey ranges of {len(found)} types; up to {MOST_RANGES} are read")
    ranges = {}
    for name, pair in found.items():
        if not isinstance(pair, list) or len(pair) != 2:
            raise InputError(f"grey_ranges of {shown(name)} is {shown(pair)}; needed are two")
        low, high = (_number(value, f"grey_ranges of {shown(name)}") for value in pair)
        if not low < high:
            raise InputError(f"grey_ranges of {shown(name)} is {low:g} to {high:g}")
        ranges[name] = low, high
    return ranges


def stored_centre(about: Mapping[str, Any]) -> float:
    """Return what is subtracted from the input."""
    centre = _number(about.get("centre", 0.0), "centre")
    if not -1 <= centre <= 1:
        raise InputError(f"centre is {centre:g}; it must be in [-1, 1]")
    return centre


def stored_record(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known about the weights."""
    return dict(_object(about, "record"))


def _object(about: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = about.get(name)
    if not isinstance(found, dict):
        raise InputError(f"{name} is {shown(found)}; it must be an object")
    return found


def _number(value: object, name: str) -> float:
    """Return a finite number that float32 can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= LARGEST:
        raise InputError(f"{name} is {shown(value)}; it must be a number")
    return float(value)
