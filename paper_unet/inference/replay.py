"""The same calls again and again: on a GPU, from the third time on, one graph of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from paper_unet.system.device import recording

SEEN: Final = 2
"""How often a call is made as it is before it is recorded: cuDNN has then chosen its kernels."""

MOST: Final = 6
"""Graphs of one function at most; each keeps its memory."""

Function = Callable[[list[Tensor]], list[Tensor]]


class Recorder(Protocol):
    """What records the calls that a function makes and gives back what repeats them."""

    def __call__(self, work: Callable[[], list[Tensor]]) -> tuple[Callable[[], None], list[Tensor]]:
        """Return what repeats the work, and the tensors that then hold its results."""


@dataclass
class _Graph:
    inputs: list[Tensor]
    replay: Callable[[], None]
    outputs: list[Tensor]


class Replay:
    """A function of tensors whose calls are recorded when the same shapes come again.

    What is recorded reads its inputs from tensors that stay where they are and leaves its results
    in others; the inputs are copied in.

    Parameters
    ----------
    function : callable
        Maps a list of tensors to a list of tensors, and does the same for the same shapes.
    recorder : callable or None
        None: nothing is recorded.
    """

    def __init__(self, function: Function, recorder: Recorder | None) -> None:
        self._function, self._recorder = function, recorder
        self._seen: dict[Hashable, int] = {}
        self._graphs: dict[Hashable, _Graph] = {}

    @property
    def records(self) -> bool:
        """Whether anything is ever recorded."""
        return self._recorder is not None

    def __call__(
        self, shapes: Hashable, inputs: Callable[[], Sequence[Tensor]]
    ) -> list[Tensor] | None:
        """Return the results of the function by what is recorded, or None: it is to be called.

        Parameters
        ----------
        shapes : hashable
            Of the inputs; what is recorded is known by them.
        inputs : callable
            Gives the inputs.

        Returns
        -------
        list of Tensor or None
            The caller's until the next call.
        """
        if self._recorder is None:
            return None
        graph = self._graphs.get(shapes)
        if graph is None:
            self._seen[shapes] = self._seen.get(shapes, 0) + 1
            if self._seen[shapes] <= SEEN or len(self._graphs) == MOST:
                return None
            self._graphs[shapes] = graph = self._recorded(inputs(), self._recorder)
        else:
            _copy_all(graph.inputs, inputs())
        graph.replay()
        return graph.outputs

    def _recorded(self, inputs: Sequence[Tensor], recorder: Recorder) -> _Graph:
        kept = [tensor.clone(memory_format=torch.preserve_format) for tensor in inputs]
        replay, outputs = recorder(lambda: self._function(list(kept)))
        return _Graph(kept, replay, outputs)


class CudaRecorder:
    """Records into CUDA graphs that share their memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], list[Tensor]]) -> tuple[Callable[[], None], list[Tensor]]:
        """Record the work; it is not done until the first replay."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), recording(graph, self._pool):
            outputs = work()
        return graph.replay, outputs


def _copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy tensors into others, in one call for each dtype."""
    pairs: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for target, source in zip(targets, sources, strict=True):
        if target.numel():
            these = pairs.setdefault(target.dtype, ([], []))
            these[0].append(target)
            these[1].append(source)
    for group in pairs.values():
        torch._foreach_copy_(*group)


def recorder_for(device: torch.device) -> Recorder | None:
    """Return what records on a device; None where there is nothing to gain."""
    return CudaRecorder(device) if device.type == "cuda" else None
