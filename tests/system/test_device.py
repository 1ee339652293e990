"""How much memory there is: the limits of containers and batch jobs."""

from pathlib import Path

import psutil
import pytest
import torch

from paper_unet.system import memory
from paper_unet.system.device import free_memory

CPU = torch.device("cpu")
MEGA = 10**6  # limits far below what any machine has
UNLIMITED = 9223372036854771712  # what version 1 shows


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any limit; its hierarchies lie in the folder."""
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
    return tmp_path


def member(groups: Path, *lines: str) -> None:
    """Say in which groups this process is."""
    (groups / "own").write_text("".join(f"{line}\n" for line in lines))


def version_2(folder: Path, limit: int | str, used: int, cache: int | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    if cache is not None:
        (folder / "memory.stat").write_text(f"anon 1\nactive_file 5\ninactive_file {cache}\n")


def version_1(folder: Path, limit: int, used: int, cache: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
    lines = f"cache 7\ninactive_file 3\ntotal_inactive_file {cache}\n"
    (folder / "memory.stat").write_text(lines)


def is_all_of_the_machine(free: int) -> bool:
    return free > 0.5 * psutil.virtual_memory().available


@pytest.mark.parametrize("own", ["/job", "/job/step", "/job/step/task_0"])
def test_a_limit_holds_for_all_groups_below(groups: Path, own: str) -> None:
    version_2(groups / "job", 80 * MEGA, 30 * MEGA)
    version_2(groups / "job/step", "max", 20 * MEGA)
    version_2(groups / "job/step/task_0", "max", 10 * MEGA)
    member(groups, f"0::{own}")
    assert free_memory(CPU) == 50 * MEGA


def test_the_least_rest_counts_and_not_the_least_limit(groups: Path) -> None:
    version_2(groups / "job", 90 * MEGA, 70 * MEGA)
    version_2(groups / "job/step", 80 * MEGA, 30 * MEGA)
    version_2(groups / "job/step/task_0", 60 * MEGA, 20 * MEGA)
    version_2(groups / "other", 1 * MEGA, 1 * MEGA)
    member(groups, "0::/job/step/task_0")
    assert free_memory(CPU) == 20 * MEGA


def test_page_cache_counts_as_free(groups: Path) -> None:
    version_2(groups / "job", 80 * MEGA, 79 * MEGA, cache=75 * MEGA)
    member(groups, "0::/job")
    assert free_memory(CPU) == 76 * MEGA


@pytest.mark.parametrize("name", ["memory", "cpu,memory"])
def test_version_1(groups: Path, name: str) -> None:
    version_1(groups / "memory", UNLIMITED, 900 * MEGA, 0)
    version_1(groups / "memory/job", 80 * MEGA, 70 * MEGA, 40 * MEGA)
    version_1(groups / "memory/job/task", UNLIMITED, 10 * MEGA, 0)
    version_1(groups / "cpu/job/task", 1, 1, 0)
    member(groups, "9:name=systemd:/job", f"4:{name}:/job/task", "1:cpu:/job/task", "0::/")
    assert free_memory(CPU) == 50 * MEGA


@pytest.mark.parametrize("line", ["4:memory:/docker/6f5e", "4:memory:/../6f5e", "4:memory:/"])
def test_a_container_that_sees_its_group_as_the_root(groups: Path, line: str) -> None:
    version_1(groups / "memory", 80 * MEGA, 30 * MEGA, 0)
    member(groups, line)
    assert free_memory(CPU) == 50 * MEGA


def test_version_2_beside_version_1(groups: Path) -> None:
    version_1(groups / "memory/job", UNLIMITED, 1, 0)
    version_2(groups / "unified/job", 80 * MEGA, 30 * MEGA, cache=0)
    member(groups, "4:memory:/job", "0::/job")
    assert free_memory(CPU) == 50 * MEGA


def test_more_used_than_allowed_leaves_nothing(groups: Path) -> None:
    version_2(groups / "job", 80 * MEGA, 90 * MEGA, cache=0)
    member(groups, "0::/job")
    assert free_memory(CPU) == 0


@pytest.mark.parametrize("line", ["", "0::/job", "4:memory:/job", "what is this", "0::/gone"])
def test_without_a_limit_it_is_what_the_machine_has(groups: Path, line: str) -> None:
    version_2(groups / "job", "max", 10 * MEGA)
    version_1(groups / "memory/job", UNLIMITED, 10 * MEGA, 0)
    member(groups, line)
    assert is_all_of_the_machine(free_memory(CPU))


def test_other_systems_have_no_cgroups(groups: Path) -> None:
    assert not (groups / "own").exists()
    assert is_all_of_the_machine(free_memory(CPU))


def test_a_damaged_statistic_counts_no_cache(groups: Path) -> None:
    version_2(groups / "job", 80 * MEGA, 30 * MEGA)
    (groups / "job/memory.stat").write_text("inactive_file many\n")
    member(groups, "0::/job")
    assert free_memory(CPU) == 50 * MEGA
