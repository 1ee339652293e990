"""How much memory this process may take, and the budget that a file has of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from paper_unet.errors import InputError, shown

if sys.platform != "win32":
    import resource

SHARE = 0.8
"""Of the free memory, what a job may take unless told."""

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


def free_host_memory() -> int:
    """Return the bytes of main memory that this process may still take.

    The least of what the system has, what its own limit of address space (``ulimit -v``) leaves,
    and what the cgroups of a container or a batch job leave, versions 1 and 2: a limit holds for
    all groups below the one that has it. Page cache that the kernel would give up counts as free.
    """
    return min([int(psutil.virtual_memory().available), *_address_space(), *_cgroup_rest()])


def resident_memory() -> int:
    """Return the bytes of memory that this process takes now."""
    return int(psutil.Process().memory_info().rss)


def _address_space() -> list[int]:
    """Return what the limit of the address space leaves, if there is one."""
    if sys.platform == "win32":
        return []
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return []
    return [max(limit - int(psutil.Process().memory_info().vms), 0)]


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


@dataclass(frozen=True)
class Budget:
    """What a file may make this process allocate.

    A file says in a few bytes how much there is of something; what is made of that is compared
    with the budget before it is made.

    Attributes
    ----------
    memory : int
        Bytes; default: most of what is free.
    """

    memory: int = field(default_factory=lambda: int(SHARE * free_host_memory()))

    def allow(
        self,
        need: int,
        path: object,
        what: str,
        remedy: str = "allow more, or copy the file again if this number is wrong",
    ) -> None:
        """Refuse what would take more than there is.

        Parameters
        ----------
        need : int
            Bytes.
        path : object
            The file, for the message.
        what : str
            What takes them, and what it would be good for the user to know.
        remedy : str
            What to do.

        Raises
        ------
        InputError
            If it is more than the budget.
        """
        if need > self.memory:
            raise InputError(
                f"{path}: {what}, which takes {shown(need // 10**6)} MB of memory, "
                f"{self.memory // 10**6} MB are allowed; {remedy}"
            )


_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)


def current_budget() -> Budget:
    """Return the budget that holds here: of `spending`, else of the machine."""
    return _budget.get() or Budget()


@contextmanager
def spending(budget: Budget | None) -> Iterator[Budget]:
    """Let a budget hold for all that is opened in a ``with`` statement; None: the one that does.

    What opens files comes from outside the package, too, and need not know of it.
    """
    budget = budget or current_budget()
    token = _budget.set(budget)
    try:
        yield budget
    finally:
        _budget.reset(token)
