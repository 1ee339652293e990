"""A network that has stopped to look at its input: named, and stopped."""

from __future__ import annotations

from collections import deque
from typing import Final

from paper_unet.errors import DivergedError
from paper_unet.training.config import TrainConfig, learning_rate

STEPS: Final = 400
"""Steps after the warm-up that have to be without a trace of the input."""

SPREAD: Final = 0.01
"""Standard deviation of the scores over a tile below which they are the same everywhere."""

GAIN: Final = 0.002
"""Share of a constant map's loss by which a network has to be better than that."""


class Collapse:
    """Watches the losses of a run.

    Where all units of a layer have died, the scores are the same whatever the input is: the loss is
    that of a constant map and stays there. Parameters as of `Trainer`.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._seen: deque[tuple[float, float, float]] = deque(maxlen=STEPS)

    def look_at(self, found: list[list[float]], step: int) -> None:
        """Take what `Trainer` returned for the steps up to ``step``.

        Raises
        ------
        DivergedError
            If the last 400 steps, all after the warm-up, were those of a constant map.
        """
        first = step - len(found)
        rows = [row for k, row in enumerate(found, first) if k >= self._config.warm_up]
        self._seen.extend((loss, constant, spread) for loss, constant, spread in rows)
        if len(self._seen) < STEPS:
            return
        losses, constants, spreads = zip(*self._seen, strict=True)
        if sum(losses) < (1 - GAIN) * sum(constants) or max(spreads) > SPREAD:
            return
        raise DivergedError(
            f"the network collapsed: at step {step} its scores have been the same everywhere for "
            f"{STEPS} steps, at the loss of a constant map ({sum(losses) / STEPS:.3f}), with "
            f"learning rate {learning_rate(step - 1, self._config):.3g}; train anew with a smaller "
            "rate, a longer warm-up or a larger tile"
        )
