"""Amounts of memory, as people write them."""

from __future__ import annotations

import re

from paper_unet.errors import InputError, shown

MOST = 2.0**63
"""Bytes that no machine has."""


def bytes_of(text: str) -> int:
    """Read an amount of memory: ``2GB``, ``800 MB``, ``1.5GiB`` or a number of bytes."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT]?)(i?)B?)\s*", text, re.IGNORECASE)
    if match is None:
        raise InputError(f"memory is {shown(text)!r}; give an amount such as 2GB or 800MB")
    number, prefix, binary = match.groups()
    base = 1024 if binary else 1000
    power = " KMGT".index(prefix.upper() or " ")
    count = float(number) * float(base**power)
    if not count < MOST:
        raise InputError(f"memory is {shown(text)!r}; no machine has that: give less")
    return int(count)


def megabytes(count: float) -> str:
    """Return bytes as text, in MB or GB of 10^6 and 10^9 bytes."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
