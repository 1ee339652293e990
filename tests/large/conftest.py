from pathlib import Path

import pytest
from large_helpers import sections, small_network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a stack and a network."""
    small_network(tmp_path / "net.safetensors")
    sections(tmp_path / "in.tif")
    return tmp_path
