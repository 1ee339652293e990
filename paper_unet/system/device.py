"""Which device to compute on, and how much memory there is."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from paper_unet.errors import InputError

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux tells a container or a batch job its own limits."""

OWN_GROUPS = Path("/proc/self/cgroup")
"""Where Linux names the groups of this process."""

NO_LIMIT = 2**60
"""Version 1 has no word for it: there a limit of that many bytes or more is none."""


@dataclass(frozen=True)
class _Files:
    """Where a version of cgroup has its hierarchy of memory, and what its files are called."""

    roots: tuple[str, ...]
    limit: str
    used: str
    cache: str


VERSION_1 = _Files(
    ("memory",), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
)
VERSION_2 = _Files(("", "unified"), "memory.max", "memory.current", "inactive_file")


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

    On the CPU the least of what the system has and what the cgroups of a container or a batch job
    leave, versions 1 and 2: a limit holds for all groups below the one that has it. Page cache
    that the kernel would give up counts as free.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free) + kept  # PyTorch keeps what it freed, for itself
    return min([int(psutil.virtual_memory().available), *_cgroup_rest()])


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Compute with so many CPU threads, None for as many as now; they are as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def resident_memory() -> int:
    """Return the bytes of memory that this process takes now."""
    return int(psutil.Process().memory_info().rss)


def _cgroup_rest() -> list[int]:
    """Return what each limit leaves: of the cgroup of this process and of all above it."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return []
    rest: list[int] = []
    for line in lines:
        _, _, tail = line.partition(":")
        controllers, _, group = tail.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        files = VERSION_1 if controllers else VERSION_2
        for root in [CGROUP / name for name in files.roots]:
            found = [_rest(folder, files) for folder in _upwards(root, group)]
            rest += [value for value in found if value is not None]
    return rest


def _upwards(root: Path, group: str) -> list[Path]:
    """Return the folders of a group and of all above it.

    A container may see its own group as the root, under another name: then only the root exists.
    """
    own = root.joinpath(*(part for part in group.split("/") if part not in ("", "..")))
    return [own, *(folder for folder in own.parents if folder.is_relative_to(root))]


def _rest(folder: Path, files: _Files) -> int | None:
    """Return the bytes that the limit of one group leaves; None where it has none."""
    try:
        limit = int((folder / files.limit).read_text())  # no number is "max": no limit
        used = int((folder / files.used).read_text())
    except (OSError, ValueError):
        return None
    return None if limit >= NO_LIMIT else max(limit - max(used - _reclaimable(folder, files), 0), 0)


def _reclaimable(folder: Path, files: _Files) -> int:
    """Return the bytes of page cache that the kernel gives up when memory is asked for."""
    try:
        words = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return next((int(count) for name, count in words if name == files.cache), 0)
    except (OSError, ValueError):
        return 0


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
