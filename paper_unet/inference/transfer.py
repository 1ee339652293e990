"""Between the host and the device that computes: copies that wait for nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Received = tuple[NDArray[Any], ...]


class Link:
    """To the CPU: nothing is copied, nothing waits.

    Attributes
    ----------
    device : torch.device
    behind : int
        How many results may be on their way back while the device goes on.
    """

    behind = 0

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def send(self, values: NDArray[Any]) -> Tensor:
        """Return an array as a tensor on the device; it must stay as it is until that is used."""
        if not values.flags.writeable:  # a tensor has no such flag: nothing writes to it here
            values = np.array(values)
        return torch.from_numpy(values)

    def receive(self, *tensors: Tensor) -> Callable[[], Received]:
        """Begin to copy tensors back; what is returned gives them when they are there."""
        return lambda: tuple(tensor.numpy() for tensor in tensors)


class CudaLink(Link):
    """To a GPU: by streams of its own and through memory that the card can read by itself."""

    behind = 2

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._up: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._down: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def send(self, values: NDArray[Any]) -> Tensor:
        """Return an array as a tensor on the device."""
        source = torch.from_numpy(values)
        staged = torch.empty_like(source, pin_memory=True)
        staged.copy_(source)
        computing = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._up):
            there = staged.to(self.device, non_blocking=True)
        computing.wait_stream(self._up)
        there.record_stream(computing)
        return there

    def receive(self, *tensors: Tensor) -> Callable[[], Received]:
        """Begin to copy tensors back."""
        self._down.wait_stream(torch.cuda.current_stream(self.device))
        back = []
        with torch.cuda.stream(self._down):
            for tensor in tensors:
                host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                host.copy_(tensor, non_blocking=True)
                tensor.record_stream(self._down)
                back.append(host)
            there = torch.cuda.Event()  # type: ignore[no-untyped-call]
            there.record(self._down)

        def wait() -> Received:
            there.synchronize()
            return tuple(host.numpy() for host in back)

        return wait


@lru_cache
def link_to(device: torch.device) -> Link:
    """Return the link to a device."""
    return CudaLink(device) if device.type == "cuda" else Link(device)
