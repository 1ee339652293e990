"""Which frames are learned from, which choose and which are scored, by the protocols of table 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from cells import NECKS, SEQUENCES, Sequences

from paper_unet.datasets.cell_tracking import CellFrames


@dataclass(frozen=True)
class Split:
    """What is learned from, what is kept for choices, and what is scored, by one protocol.

    Attributes
    ----------
    protocol : str
        "across" the two sequences, or "forward" in time.
    name : str
        The sequence that is learned from, or "forward".
    learned, held_out, scored : CellFrames
        Held out are the last frames of what could be learned from.
    frames : dict
        The numbers of all of them, by part and sequence.
    neck : float
        Pixels; where cells are told apart as they are read, see `cells.NECKS`.
    """

    protocol: str
    name: str
    learned: CellFrames
    held_out: CellFrames
    scored: CellFrames
    frames: Mapping[str, Mapping[str, tuple[int, ...]]]
    neck: float = 0.0

    @property
    def facts(self) -> dict[str, Any]:
        """What a row is known by: the frames, and their size, which a quick run has smaller."""
        parts = {part: {q: list(n) for q, n in of.items()} for part, of in self.frames.items()}
        shape = self.scored.images.shape[1:]
        return {
            "protocol": self.protocol,
            "frames": parts,
            "shape": shape,
            "unlearned": self.learned.border,  # nothing of it but what is around masks
            **({"around": self.learned.around} if self.learned.around else {}),
            **({"neck": self.neck} if self.neck else {}),
        }

    @property
    def pixels(self) -> int:
        """How many pixels are predicted, four flips of each frame."""
        return 4 * int(self.held_out.images.size + self.scored.images.size)


PROTOCOLS = ("across", "forward")


def splits(
    sequences: Sequences, protocols: tuple[str, ...] = PROTOCOLS, neck: float | None = None
) -> list[Split]:
    """Return the splits of a data set: both ways across, and the one forward in time.

    Across: a sequence without its last fifth is learned from, the other is scored. Forward: of the
    first two thirds of both the same, the last thirds are scored. What is learned from is never
    later than what is held out, and that never later than what is scored. ``neck`` is that of the
    set unless it is given.
    """
    neck = NECKS[sequences.name] if neck is None else neck
    counts = {name: len(frames.frames) for name, frames in sequences.frames.items()}
    found = []
    if "across" in protocols:
        for one, other in (SEQUENCES, SEQUENCES[::-1]):
            scored = {other: slice(0, counts[other])}
            found.append(_split(sequences, "across", one, {one: counts[one]}, scored))
    if "forward" in protocols:
        until = {name: counts[name] * 2 // 3 for name in SEQUENCES}
        scored = {name: slice(until[name], counts[name]) for name in SEQUENCES}
        found.append(_split(sequences, "forward", "forward", until, scored))
    return [replace(split, neck=neck) for split in found]


def _split(
    sequences: Sequences,
    protocol: str,
    name: str,
    until: Mapping[str, int],
    scored: Mapping[str, slice],
) -> Split:
    """Hold out the last fifth of the first frames, rounded up, of each sequence."""
    kept = {sequence: count - -(-count // 5) for sequence, count in until.items()}
    parts = {
        "learned": {sequence: slice(0, kept[sequence]) for sequence in until},
        "held_out": {sequence: slice(kept[sequence], until[sequence]) for sequence in until},
        "scored": scored,
    }
    chosen = {part: _frames(sequences, slices) for part, slices in parts.items()}
    numbers = {
        part: {sequence: sequences.frames[sequence].frames[s] for sequence, s in slices.items()}
        for part, slices in parts.items()
    }
    return Split(protocol, name, chosen["learned"], chosen["held_out"], chosen["scored"], numbers)


def _frames(sequences: Sequences, slices: Mapping[str, slice]) -> CellFrames:
    """Return some frames of each sequence, one sequence after the other."""
    parts = [(sequences.frames[name], chosen) for name, chosen in slices.items()]
    return CellFrames(
        tuple(number for part, s in parts for number in part.frames[s]),
        np.concatenate([part.images[s] for part, s in parts]),
        np.concatenate([part.instances[s] for part, s in parts]),
        np.concatenate([part.ignore[s] for part, s in parts]),
        parts[0][0].border,
        parts[0][0].around,
    )
