"""ONNX and torch.export compute what prediction does, for all sides that the network takes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.export import Dim

from paper_unet import UNet, load_model, predict_image
from paper_unet.errors import InputError
from paper_unet.export.graph import Probabilities, SameSize, sides_of
from paper_unet.export.onnx_file import opened_onnx
from paper_unet.export.run import Exported, export_file
from paper_unet.export.torch_file import ABOUT, opened_pt2, torchscript_bytes
from paper_unet.geometry import Sides, mirror_indices, mirror_window
from paper_unet.networks.base import Network
from paper_unet.networks.card import model_card
from paper_unet.networks.known_weights import TERMS
from paper_unet.networks.table import NETWORKS, make_network, network_class
from paper_unet.networks.weights_file import save_model
from paper_unet.synthetic import synthetic_stack

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
RUNS: dict[str, Callable[[bytes], Run]] = {".onnx": opened_onnx, ".pt2": opened_pt2}
pytest.importorskip("onnx", reason='pip install "paper-unet[export]"')


def moved(name: str, channels: int = 1, classes: int | None = None) -> Network:
    """A narrow network in which every value counts, with a centre of its own."""
    torch.manual_seed(3)
    model = make_network(name, channels, classes, 3, 0.5).eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if "running_var" in key:
                value.uniform_(0.5, 2)
            elif value.is_floating_point():
                value.add_(0.03 * torch.randn_like(value))
    model.centre = 0.25
    return model


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    """The bundled weights in both formats."""
    folder = tmp_path_factory.mktemp("exported")
    yield {end: export_file("bundled", folder / f"m{end}").path.read_bytes() for end in RUNS}


@pytest.fixture(scope="module")
def running(bundled: dict[str, bytes]) -> dict[str, Run]:
    return {end: RUNS[end](data) for end, data in bundled.items()}


def ours(model: Network, image: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """What the network would be given for an image of any size, and what prediction says."""
    context = model.context
    spans = []
    for side in image.shape:
        legal = context.nearest(side + context.before + context.after)[1]
        spans.append((-context.before, legal - context.before))
    grey = mirror_window(image, spans[0], spans[1]).astype(np.float32) / np.float32(255)
    return grey[None, None], predict_image(model, image)


@pytest.mark.slow
@pytest.mark.parametrize("end", RUNS)
def test_any_size_as_prediction_has_it(running: dict[str, Run], end: str) -> None:
    """Mirrored to a legal size, as prediction does, the graph gives the same to 1e-5."""
    model = load_model()
    section = synthetic_stack(sections=1, shape=(1000, 1300)).images[0]
    for shape in ((188, 188), (572, 444), (1000, 1300)):
        image = section[: shape[0], : shape[1]]
        given, expected = ours(model, image)
        found = running[end](given)[0, -1, : shape[0], : shape[1]]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        assert expected.std() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("end", RUNS)
def test_legal_sides_as_the_network_takes_them(running: dict[str, Run], end: str) -> None:
    model = load_model()
    for shape in ((188, 188), (572, 444)):
        batch = torch.rand((2 if shape == (188, 188) else 1, 1, *shape))
        with torch.no_grad():
            expected = torch.softmax(model(batch), 1).numpy()
        found = running[end](batch.numpy())
        assert found.shape[2:] == (shape[0] - 184, shape[1] - 184)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("end", RUNS)
@pytest.mark.parametrize(
    "shape", [(187, 188), (188, 189), (172, 188), (204, 12), (512, 512), (196, 212), (60, 60)]
)
def test_other_sides_are_refused(running: dict[str, Run], end: str, shape: tuple[int, int]) -> None:
    """The formats take them for granted; a node, or an assertion, does not."""
    with pytest.raises(Exception, match=r"16k_plus_60_188_or_more|Guard failed|16k \+ 60, 188"):
        running[end](np.zeros((1, 1, *shape), np.float32))


@pytest.mark.slow
def test_what_the_files_say_of_themselves(bundled: dict[str, bytes]) -> None:
    import onnx

    model = onnx.load_from_string(bundled[".onnx"])
    said = {entry.key: entry.value for entry in model.metadata_props}
    extra = {ABOUT: ""}
    torch.export.load(io.BytesIO(bundled[".pt2"]), extra_files=extra)
    assert json.loads(extra[ABOUT]) == said
    assert json.loads(said["grey_ranges"]) == {"uint8": [0.0, 255.0]}
    assert json.loads(said["classes"]) == ["membrane", "cell"]
    assert (float(said["centre"]), said["centre_subtracted"]) == (0.0, "inside")
    assert (said["sides"], said["lost"], said["terms"]) == ("16k + 60, 188 or more", "92", TERMS)
    assert json.loads(said["record"]) == load_model().record
    shape = [dim.dim_param or dim.dim_value for dim in
             model.graph.input[0].type.tensor_type.shape.dim]  # fmt: skip
    assert shape == ["batch", 1, "16*rows + 60", "16*columns + 60"]
    shape = [dim.dim_param or dim.dim_value for dim in
             model.graph.output[0].type.tensor_type.shape.dim]  # fmt: skip
    assert shape == ["batch", 2, "16*rows - 124", "16*columns - 124"]


@pytest.mark.slow
def test_no_file_names_the_machine_it_was_made_on(bundled: dict[str, bytes]) -> None:
    made = [*bundled.values(), torchscript_bytes(SameSize(moved("paper")))]
    here = str(Path(__file__).resolve().parents[2]).encode()
    library = str(Path(torch.__file__).parent).encode()
    assert not [data for data in made if here in data or library in data or b"model.py" in data]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_the_table(name: str, tmp_path: Path) -> None:
    """With a centre, colours and three classes; against the network, on sides not traced.

    What is in a ``.pt2`` is what ONNX is made of: it is opened for one of each padding and lattice.
    """
    sigmoid = network_class(name).least_outputs == 1
    model = moved(name, channels=3, classes=1 if sigmoid else 3)
    save_model(tmp_path / "w.safetensors", model)
    sides = sides_of(model.context)
    image = torch.rand((1, 3, sides.above(5), sides.smallest))
    with torch.no_grad():
        scores = model(image - 0.25)
        expected = torch.sigmoid(scores) if sigmoid else torch.softmax(scores, 1)
    for end, run in RUNS.items():
        if end == ".pt2" and name not in ("paper", "three_level", "popular_bilinear", "keras"):
            continue
        done = export_file(tmp_path / "w.safetensors", tmp_path / f"m{end}")
        opened = run(done.path.read_bytes())
        found = opened(image.numpy())
        np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)
        wrong = np.zeros((1, 3, sides.above(1) + 1, sides.above(1)), np.float32)
        with pytest.raises(Exception, match=r"must_be|Guard failed|must be"):
            opened(wrong)


@pytest.mark.parametrize("name", ["paper", "three_level", "keras"])
def test_the_wrapper_of_one_size_mirrors_as_prediction_does(name: str) -> None:
    """Down to sides that are mirrored several times, and over the whole image in one pass."""
    model = moved(name)
    graph = SameSize(model)
    for shape in ((32, 32), (32, 64), (80, 48), (224, 208)):
        image = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
        unit = torch.from_numpy(image.astype(np.float32) / np.float32(255))[None, None]
        with torch.no_grad():
            found = graph(unit)[0, -1].numpy()
        np.testing.assert_allclose(found, predict_image(model, image), rtol=0, atol=1e-5)


def test_the_mirror_is_that_of_the_geometry() -> None:
    graph = SameSize(moved("paper"))
    for side in (32, 48, 208):
        found = graph._mirrored(side, torch.zeros(1)).numpy()
        assert len(found) % 16 == 60 % 16
        np.testing.assert_array_equal(found, mirror_indices(-92, side + graph.after, side))


@pytest.mark.parametrize("name", ["paper", "release", "paper_batch_norm", "three_level"])
def test_a_halo_on_the_lattice_covers_what_is_seen(name: str) -> None:
    graph = SameSize(moved(name))
    assert graph.halo % graph.context.lattice == 0
    assert graph.halo >= max(graph.context.before, graph.context.after)
    assert graph.tile_sides.smallest == 2 * graph.halo + graph.context.lattice


def test_sides() -> None:
    sides = sides_of(UNet.context)
    assert [side for side in range(150, 240) if sides.fit(side)] == [188, 204, 220, 236]
    assert (str(sides), sides.above(2)) == ("16k + 60, 188 or more", 220)
    assert str(Sides(16, 0, 32)) == "16k, 32 or more"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_sides_of_a_graph_and_of_the_card_are_those_that_the_network_takes(name: str) -> None:
    context = moved(name).context
    legal = context.sides
    for side in range(1, 300):
        if legal.fit(side):
            assert context.output_side(side) == side - 2 * context.lost
        else:
            with pytest.raises(InputError):
                context.output_side(side)
    graph = sides_of(context)
    assert (graph.step, graph.base) == (legal.step, legal.base)
    assert legal.fit(graph.smallest)
    assert f"| sides | {legal}" in model_card(moved(name), "a title")


def test_a_network_can_be_exported_without_this_wing() -> None:
    """`torch.export` of the network itself: its check of the sides freezes none of them."""
    model = UNet(1, 2, 2).eval()
    dims = {2: 16 * Dim("rows", min=8) + 60, 3: 16 * Dim("columns", min=8) + 60}
    made = torch.export.export(model, (torch.rand(1, 1, 204, 220),), dynamic_shapes=(dims,))
    for shape in ((188, 188), (204, 252)):
        image = torch.rand(1, 1, *shape)
        with torch.no_grad():
            assert torch.equal(made.module()(image), model(image))


def test_sides_that_do_not_fit_are_still_refused() -> None:
    model = UNet(1, 2, 2)
    with pytest.raises(InputError, match="use 188"):
        model(torch.zeros(1, 1, 100, 188))
    with pytest.raises(InputError, match="588 or 604"):
        model(torch.zeros(1, 1, 188, 600))


def test_exporting_leaves_the_network_as_it_is() -> None:
    model = moved("paper_batch_norm").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torchscript_bytes(SameSize(model))
    assert all(layer.training for layer in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    plain = moved("paper").train()
    Probabilities(plain)
    assert plain.training and isinstance(plain.head, nn.Conv2d)


def test_a_graph_that_computes_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object) -> tuple[bytes, Exported]:
        return b"", Exported(tmp_path / "m.onnx", "", float("nan"))

    monkeypatch.setattr("paper_unet.export.run._onnx", wrong)
    with pytest.raises(InputError, match="nothing was written"):
        export_file(None, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
