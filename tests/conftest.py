import os
from pathlib import Path

import pytest
from hypothesis import settings

from paper_unet.networks.known_weights import known_weights

# how long an example takes is the machine's business
settings.register_profile("any_speed", settings.default, deadline=None)
settings.load_profile("any_speed")

if "PYTEST_XDIST_WORKER" in os.environ:  # two processes share the cores; for those they start, too
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # tests of more threads: waiting is idle


BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


def _real_data(name: str) -> Path:
    """A file or folder of the real data sets; the test is skipped where they are not."""
    path = Path(os.environ.get("PAPER_UNET_DATA") or BESIDE) / name
    if not path.exists():
        pytest.skip(f"{name} not found: fetch the data and set PAPER_UNET_DATA to its folder")
    return path


@pytest.fixture(scope="session")
def isbi2012_folder() -> Path:
    return _real_data("isbi2012/train-volume.tif").parent


@pytest.fixture(scope="session")
def vnc_stack() -> Path:
    return _real_data("drosophila-vnc/stack2-raw.tif")


@pytest.fixture(scope="session")
def width64() -> Path:
    """The file of isbi2012-width64: fetched, or in a folder of weights beside the data."""
    known = known_weights()["isbi2012-width64"]
    data = Path(os.environ.get("PAPER_UNET_DATA") or BESIDE)
    places = [data / "weights", data.parent / "weights", BESIDE.parent / "weights"]
    files = [place / name for place in places for name in (known.file, *known.also)]
    path = next((path for path in files if path.is_file()), None)
    if path is None:
        pytest.skip(f"{known.file} not found: fetch the weights and set PAPER_UNET_DATA")
    return path


@pytest.fixture(scope="session", params=["PhC-C2DH-U373", "DIC-C2DH-HeLa"])
def cell_set_folder(request: pytest.FixtureRequest) -> Path:
    """A training set of the Cell Tracking Challenge, one after the other."""
    return _real_data(f"{request.param}/01").parent
