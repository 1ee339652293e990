"""Which device to compute on, how much memory it has free, and how it computes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from paper_unet.errors import InputError
from paper_unet.system.memory import free_host_memory


def pick_device(name: str) -> torch.device:
    """Return the device of this name; ``auto`` is CUDA where there is one, else the CPU.

    Raises
    ------
    InputError
        If it is none of auto, cpu, cuda and cuda:N, or PyTorch does not see it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is not None and device.type == "mps":
        raise InputError(
            f"device is {name!r}, on which no result here was ever compared with the CPU's, so "
            "it is not offered; use auto or cpu"
        )
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"device is {name!r}; it must be auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device is {name!r}, and PyTorch sees {torch.cuda.device_count()} CUDA devices here; "
            "use auto or cpu"
        )
    return device


def free_memory(device: torch.device) -> int:
    """Return the bytes that this process may still take on a device.

    On the CPU see `paper_unet.system.memory.free_host_memory`.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free) + kept  # PyTorch keeps what it freed, for itself
    return free_host_memory()


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Compute with so many CPU threads, None for as many as now; they are as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def load_arithmetic() -> None:
    """Run each kind of layer once: their code, 40 MB of a build with CUDA, is read with that."""
    image, kernel = torch.zeros(1, 16, 8, 8), torch.zeros(16, 16, 2, 2)
    with torch.inference_mode():
        torch.nn.functional.conv2d(image, kernel)
        torch.nn.functional.conv_transpose2d(image, kernel, stride=2)


@contextmanager
def deterministic(*, tf32: bool) -> Iterator[None]:
    """Use kernels of a GPU that give the same each time; all is as before afterwards.

    Parameters
    ----------
    tf32 : bool
        Whether products of float32 round their factors to 10 bits, as tensor cores take them.
    """
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, tf32
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32
        ):
            yield
    finally:
        matmul.allow_tf32 = before


@contextmanager
def recording(graph: torch.cuda.CUDAGraph, pool: Any = None) -> Iterator[None]:
    """Record what is done within into a graph; it is not done until that is replayed.

    Nothing may be collected meanwhile: a graph that goes would end what is recorded.
    """
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        with torch.cuda.graph(graph, pool=pool):
            yield
    finally:
        if collecting:
            gc.enable()
