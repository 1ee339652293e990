"""From scores to what is stored, where the network is (sec. 3: pixel-wise softmax)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paper_unet.errors import InputError
from paper_unet.inference.settings import Classes


class Readout:
    """Makes the output's values of scores.

    Parameters
    ----------
    sigmoid : bool
        Whether the one score is a logit, of class 1; else the softmax over the classes is taken.
    of_class : int, optional
        Whose probability it is; default: the last one's.
    dtype : numpy.dtype
        float32: the probability; uint8 or uint16: that times the dtype's largest value, rounded.
    classes : {"one", "all", "argmax"}
        Whether it is the probability of a class, of each, or the number of the most probable one;
        the first of several that are.
    """

    def __init__(
        self,
        sigmoid: bool = False,
        of_class: int | None = None,
        dtype: np.dtype[Any] | type = np.float32,
        classes: Classes = "one",
    ) -> None:
        self.sigmoid, self.of_class, self.dtype = sigmoid, of_class, np.dtype(dtype)
        self.classes = classes
        self._softmax = SoftmaxOfRows()

    def __call__(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values of scores, and whether all scores are finite.

        Parameters
        ----------
        scores : Tensor of float32, shape (K, n, columns)

        Returns
        -------
        Tensor of the dtype, shape (n, columns), and Tensor of bool, shape ()
            On the device of the scores. Of all classes (n, K, columns).
        """
        low, high = scores.aminmax()  # NaN if one is
        finite = low.isfinite() & high.isfinite()
        if self.classes == "argmax":
            return self._most_probable(scores), finite
        if self.classes == "all":
            every = self._probabilities(scores).transpose(0, 1).contiguous()
            return stored(every, self.dtype), finite
        return stored(self._probability(scores), self.dtype), finite

    def shape(self, section: tuple[int, ...], count: int) -> tuple[int, ...]:
        """Return the shape of the values of a section (Y, X) with so many classes, rows first."""
        height, width = section
        return (height, count, width) if self.classes == "all" else (height, width)

    def placed(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values, rows first, as (Y, X), or (K, Y, X)."""
        return values.swapaxes(0, 1) if self.classes == "all" else values

    def _most_probable(self, scores: Tensor) -> Tensor:
        if self.sigmoid:
            return (scores[0] > 0).to(torch.uint8)
        return scores.argmax(dim=0).to(torch.uint8)

    def _probabilities(self, scores: Tensor) -> Tensor:
        if self.sigmoid:
            return torch.stack([sigmoid_of_rows(-scores[0]), sigmoid_of_rows(scores[0])])
        return self._softmax(scores)

    def _probability(self, scores: Tensor) -> Tensor:
        if self.sigmoid:
            logit = -scores[0] if self.of_class == 0 else scores[0]
            return sigmoid_of_rows(logit)
        chosen = -1 if self.of_class is None else self.of_class
        return self._softmax(scores, chosen)


def stored(probability: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """Return probabilities as they are stored: float32, or round(p x largest value), in float32."""
    if dtype.kind == "f":
        return probability
    steps = (probability * float(np.iinfo(dtype).max)).round_()
    if dtype.itemsize == 1:
        return steps.to(torch.uint8)
    return steps.to(torch.int32).to(torch.uint16)


def probability(
    scores: Tensor, sigmoid: bool = False, of_class: int | None = None
) -> NDArray[np.float32]:
    """Return the probability of a class from scores.

    Parameters
    ----------
    scores : Tensor of float32, shape (K, Y, X)
    sigmoid, of_class
        As of `Readout`.

    Returns
    -------
    ndarray of float32, shape (Y, X)

    Raises
    ------
    InputError
        If a score is not finite.
    """
    found, finite = Readout(sigmoid, of_class)(scores)
    refuse_infinite(bool(finite))
    values: NDArray[np.float32] = found.cpu().numpy()
    return values


def refuse_infinite(finite: bool) -> None:
    """Raise InputError unless the scores of a network are finite."""
    if not finite:
        raise InputError(
            "the network's scores are not finite: its weights are those of a training that "
            "diverged (use others), or too large for float16 (use bfloat16 or float32)"
        )


class SoftmaxOfRows:
    """The softmax over the classes; a row's values do not depend on the rows beside it.

    On a CPU, PyTorch's vector and scalar code round the exponential differently, and its threads
    share out whatever comes at once. So that a resumed run, which cuts rows elsewhere, gives the
    same bytes, every row is laid out as if it came alone: in one segment for each thread, and so
    many rows that the threads' shares end between rows.

    The memory for that is kept from call to call: asked for anew each time, it would be given back
    to the system and cleared again in between, which takes longer than the softmax.
    """

    def __init__(self) -> None:
        self._kept = torch.empty(0)

    def __call__(self, scores: Tensor, chosen: int | None = None) -> Tensor:
        """Return the softmax of scores, new memory.

        Parameters
        ----------
        scores : Tensor of float32, shape (K, n, columns)
        chosen : int, optional
            The class that is wanted; default: all.

        Returns
        -------
        Tensor of float32, shape (K, n, columns), or (n, columns) of a chosen class
        """
        wanted = slice(None) if chosen is None else chosen
        if scores.device.type != "cpu":
            return torch.softmax(scores, dim=0)[wanted]
        classes, height, columns = scores.shape
        threads = torch.get_num_threads()
        step, rows = -(-columns // threads), -(-height // threads) * threads
        starts = range(0, columns, step)
        result = scores.new_empty(scores[wanted].shape)
        for width in sorted({min(step, columns - start) for start in starts}):
            these = [start for start in starts if min(step, columns - start) == width]
            laid_out, found = self._memory(2, len(these), rows, classes, width)
            laid_out[:, height:] = 0
            for part, start in zip(laid_out, these, strict=True):
                part[:height] = scores[:, :, start : start + width].transpose(0, 1)
            flat = (-1, classes, width)
            torch.softmax(laid_out.view(flat), dim=1, out=found.view(flat))
            for part, start in zip(found, these, strict=True):
                result[..., start : start + width] = part[:height].transpose(0, 1)[wanted]
        return result

    def _memory(self, *shape: int) -> Tensor:
        size = math.prod(shape)
        if self._kept.numel() < size:
            self._kept = torch.empty(size)
        return self._kept[:size].view(shape)


def sigmoid_of_rows(logits: Tensor) -> Tensor:
    """Return the sigmoid of logits (n, columns), with the promise of `SoftmaxOfRows`."""
    if logits.device.type != "cpu":
        return torch.sigmoid(logits)
    return torch.stack([torch.sigmoid(row) for row in logits.contiguous()])
