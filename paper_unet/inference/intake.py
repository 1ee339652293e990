"""From grey values as they are stored to the input of the network, where the network is.

The rules are those of `paper_unet.images.to_unit_range`, and so are the values, to the bit; here
they are applied to whole bands, on any device. What is wrong with a value is noted there and asked
for later, so that nothing waits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paper_unet.images import to_unit_range
from paper_unet.inference.timings import NO_TIMINGS, Timings
from paper_unet.inference.transfer import Link, link_to

NOT_FINITE: Final = 1
OUT_OF_RANGE: Final = 2
"""What may be wrong with grey values: the bits of `Intake.flaws`."""


class Intake:
    """Makes the network's input of grey values.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the grey values as they are stored.
    value_range : (float, float), optional
        The grey values that become 0 and 1.
    fill : float, optional
        Grey value to take where one is not finite.
    link : Link, optional
        To the device where the network is; default: the CPU.
    timings : Timings
        Takes the seconds of what is sent.

    Raises
    ------
    InputError
        If the dtype has no scale of its own and there is no range, or the range or the fill is
        none.
    """

    def __init__(
        self,
        dtype: np.dtype[Any] | type = np.float32,
        value_range: tuple[float, float] | None = None,
        fill: float | None = None,
        link: Link | None = None,
        timings: Timings = NO_TIMINGS,
    ) -> None:
        self.dtype, self.value_range, self.fill = np.dtype(dtype), value_range, fill
        self.link = link or link_to(torch.device("cpu"))
        self._timings = timings
        self._flaws: Tensor | None = None
        to_unit_range(np.zeros(1, self.dtype), value_range, fill=fill)  # refuses what has no scale
        self._table: Tensor | None = None
        self._step: Tensor | None = None
        if self.dtype.kind == "u" and self.dtype.itemsize <= 2:
            self._look_up()
        elif value_range is not None:
            low, high = map(float, value_range)
            self._step = torch.tensor(high - low, dtype=torch.float64, device=self.link.device)

    def _look_up(self) -> None:
        """Tabulate what every value becomes; where one division says the same, that is faster."""
        every = np.arange(256**self.dtype.itemsize, dtype=self.dtype)
        table = to_unit_range(every, self.value_range)
        low, high = self.value_range or (0.0, 255.0)
        step = np.float32(high) - np.float32(low)
        quick = np.clip((every.astype(np.float32) - np.float32(low)) / step, 0, 1)
        device = self.link.device
        if np.array_equal(quick.astype(np.float32), table):
            self._step = torch.tensor(step, device=device)
        else:
            self._table = torch.from_numpy(table).to(device)

    def __call__(
        self, values: NDArray[Any], rows: NDArray[np.intp], columns: NDArray[np.intp]
    ) -> Tensor:
        """Return what a window shows.

        Parameters
        ----------
        values : ndarray, shape (C, h, w)
            Grey values as they are stored.
        rows, columns : ndarray of int, shapes (H,) and (W,)
            Which of its rows and columns the window shows.

        Returns
        -------
        Tensor of float32, shape (C, H, W)
            On the network's device, in [0, 1].
        """
        if values.dtype.newbyteorder("=") != self.dtype:
            raise ValueError(f"grey values of {values.dtype}; {self.dtype} were announced")
        with self._timings("send"):
            sent = self.link.send(np.ascontiguousarray(values, self.dtype))
        return placed(self._unit(sent), rows, columns)

    def flaws(self) -> Tensor | None:
        """Return the bits of what was wrong since the last call, uint8; None for most dtypes."""
        found, self._flaws = self._flaws, None
        return found

    def _unit(self, values: Tensor) -> Tensor:
        if self._table is not None:
            indices = values.to(torch.int32).flatten()
            return self._table.index_select(0, indices).view(values.shape)
        if self.dtype.kind == "f":
            values = self._looked_at(values)
        if self._step is None:  # floating values are what they are
            return values.to(torch.float32)
        unit = values.to(self._step.dtype, copy=True)
        if self.value_range is None:
            return unit.div_(self._step)
        unit = unit.sub_(float(self.value_range[0])) if self.value_range[0] else unit
        return unit.div_(self._step).clamp_(0, 1).to(torch.float32)

    def _looked_at(self, values: Tensor) -> Tensor:
        """Note what is wrong with floating values, and fill what is to be filled."""
        if self.fill is not None:
            values = values.nan_to_num(self.fill, self.fill, self.fill)
        low, high = values.aminmax()
        finite = low.isfinite() & high.isfinite()
        if self.value_range is None:
            beyond = OUT_OF_RANGE * ((low < 0) | (high > 1)).to(torch.uint8)
            found = torch.where(finite, beyond, NOT_FINITE)
        else:
            found = NOT_FINITE * (~finite).to(torch.uint8)
        self._flaws = found if self._flaws is None else self._flaws | found
        return values


def placed(image: Tensor, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Tensor:
    """Return the rows and columns of an image (C, h, w) that a window shows, on its device."""
    if not _as_they_are(rows, image.shape[1]):
        image = image.index_select(1, _indices(rows, image.device))
    if _as_they_are(columns, image.shape[2]):
        return image
    if image.device.type == "cpu":
        inside = _first_pass(columns, image.shape[2])
        if inside is not None:
            return _bordered(image, columns, inside)
    return image.index_select(2, _indices(columns, image.device))


def _as_they_are(indices: NDArray[np.intp], side: int) -> bool:
    return len(indices) == side and indices[0] == 0 and _first_pass(indices, side) == 0


def _first_pass(indices: NDArray[np.intp], side: int) -> int | None:
    """Return where the indices run from 0 to ``side`` - 1 one after the other, if they do."""
    for start in np.flatnonzero(indices == 0)[:2]:
        part = indices[start : start + side]
        if len(part) == side and part[-1] == side - 1 and (side < 2 or (np.diff(part) == 1).all()):
            return int(start)
    return None


def _bordered(image: Tensor, columns: NDArray[np.intp], start: int) -> Tensor:
    """Copy the image at once, and what is mirrored beside it column by column."""
    height, side = image.shape[1:]
    result = image.new_empty((len(image), height, len(columns)))
    result[:, :, start : start + side] = image
    for part in (slice(0, start), slice(start + side, len(columns))):
        if part.start < part.stop:
            result[:, :, part] = image.index_select(2, torch.from_numpy(columns[part]))
    return result


def _indices(indices: NDArray[np.intp], device: torch.device) -> Tensor:
    # pageable memory: the copy is made before this returns
    return torch.from_numpy(np.ascontiguousarray(indices)).to(device)
