from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from large_helpers import sections, small_network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a stack and a network."""
    small_network(tmp_path / "net.safetensors")
    sections(tmp_path / "in.tif")
    return tmp_path


@pytest.fixture(autouse=True)
def threads_are_put_back() -> Iterator[None]:
    """A prediction sets the threads of its process; the tests after it have theirs again."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan as a command would that has just begun: the tests before this one took memory, too."""
    monkeypatch.setattr("paper_unet.large.executor.resident_memory", lambda: 300 * 2**20)
