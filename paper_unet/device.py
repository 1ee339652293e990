"""Which device to compute on, and how much memory there is."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from paper_unet.errors import InputError

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux tells a container or a batch job its own limits."""


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

    On the CPU the least of what the system has and what the cgroup of a container or a batch job
    leaves.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return min([int(psutil.virtual_memory().available), *_cgroup_rest()])


def resident_memory() -> int:
    """Return the bytes of memory that this process takes now."""
    return int(psutil.Process().memory_info().rss)


def _cgroup_rest() -> list[int]:
    """Return what the limit of the cgroup (version 2) leaves; nothing where there is none."""
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2]
        folder = CGROUP / own.lstrip("/")
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return []
    return [] if limit == "max" else [max(int(limit) - used, 0)]
