"""The front door: the names of the README, quiet to import, typed."""

import inspect
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import numpy as np

import paper_unet
from paper_unet import (
    TrainConfig,
    UNet,
    border_weight_map,
    input_size,
    load_model,
    output_size,
    predict_image,
    predict_stack,
    separate_touching,
    train,
    weight_map,
)

PUBLIC = [
    UNet, output_size, input_size, border_weight_map, weight_map, separate_touching, predict_image,
    predict_stack, load_model, train, TrainConfig,
]  # fmt: skip
PACKAGE = Path(paper_unet.__file__).parent


def defaults(function: object) -> dict[str, object]:
    parameters = inspect.signature(function).parameters  # type: ignore[arg-type]
    return {name: p.default for name, p in parameters.items()}


def test_the_public_names() -> None:
    assert sorted(paper_unet.__all__) == sorted(thing.__name__ for thing in PUBLIC)
    assert all(getattr(paper_unet, thing.__name__) is thing for thing in PUBLIC)


def test_every_public_name_is_documented() -> None:
    for thing in PUBLIC:
        text = inspect.getdoc(thing) or ""
        assert len(text.splitlines()) > 2


def test_the_signatures_that_were_promised() -> None:
    empty = inspect.Parameter.empty
    assert defaults(border_weight_map) == {"instances": empty, "w0": 10.0, "sigma": 5.0}
    network = defaults(UNet)
    assert list(network)[:3] == ["in_channels", "out_channels", "width"]
    assert (network["in_channels"], network["out_channels"], network["width"]) == (1, 2, 64)
    assert list(defaults(predict_image))[:2] == ["model", "image"]
    assert list(defaults(predict_stack))[:2] == ["model", "stack"]
    assert defaults(load_model)["path"] is None
    assert all(value is not empty for value in defaults(TrainConfig).values())
    assert next(iter(defaults(train))) == "config"


def test_they_work_together() -> None:
    """Three lines of a newcomer, with a network too narrow to be good."""
    assert output_size(input_size(5)) >= 5
    cells = separate_touching(np.array([[1, 1, 2], [0, 0, 2], [3, 0, 0]]))
    assert weight_map(cells).shape == border_weight_map(cells).shape == (3, 3)
    probability = predict_image(UNet(1, 2, 2), np.zeros((5, 9), np.uint8))
    assert probability.shape == (5, 9)
    assert predict_stack(UNet(1, 2, 2), np.zeros((2, 5, 9), np.uint8)).shape == (2, 5, 9)  # type: ignore[union-attr]


QUIET = """
import random, numpy, torch
def state():
    cudnn = torch.backends.cudnn
    return (
        torch.get_rng_state().tolist(), torch.get_num_threads(), torch.get_default_dtype(),
        torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(),
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32,
        str(numpy.random.get_state()), random.getstate(),
    )
before = state()
import paper_unet
assert state() == before
"""


def test_importing_prints_nothing_warns_of_nothing_and_changes_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", QUIET], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_the_package_is_typed_versioned_and_has_its_command() -> None:
    assert (PACKAGE / "py.typed").is_file()
    assert version("paper-unet") == paper_unet.__version__
    (command,) = entry_points(group="console_scripts", name="paper-unet")
    assert callable(command.load())


def test_the_front_door_is_short() -> None:
    lines = (PACKAGE / "__init__.py").read_text().splitlines()
    assert len(lines) < 20


def test_the_function_stands_before_the_module_of_its_name() -> None:
    """Whichever is imported first, and by whom."""
    code = (
        "import sys, paper_unet.weight_map, paper_unet.training.data\n"
        "from paper_unet import weight_map\n"
        "home = sys.modules[weight_map.__module__]\n"
        "assert callable(weight_map) and weight_map is home.weight_map\n"
        "assert paper_unet.weight_map is weight_map\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
