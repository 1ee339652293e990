"""The path of a GPU as far as a CPU can go it: what is recorded gives what the calls give."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from predict_helpers import noise, random_network
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import paper_unet.inference.streaming as streaming_module
import paper_unet.inference.tiled as tiled_module
from paper_unet import UNet
from paper_unet.inference.averaging import image_scores
from paper_unet.inference.layers import Layers, evaluating
from paper_unet.inference.pipeline import Pipeline, Recorded, bands
from paper_unet.inference.predict import engine_for
from paper_unet.inference.replay import MOST, SEEN, Replay
from paper_unet.inference.settings import InferenceSettings

MODEL = random_network(4)


class Counting(TorchDispatchMode):
    """Counts the operations that are sent to the device; views cost nothing there."""

    VIEWS = ("view", "slice", "permute", "transpose", "select", "expand", "alias", "detach", "t",
             "unsqueeze", "split", "as_strided", "_unsafe_view", "unbind")  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        name = func.__name__.split(".")[0]
        if name not in self.VIEWS and not name.startswith("empty"):
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def plain_recorder(
    work: Callable[[], list[Tensor]],
) -> tuple[Callable[[], None], list[Tensor]]:
    """Stand in for `CudaRecorder` where there is no GPU: what repeats the work does it again."""
    outputs = work()

    def again() -> None:
        for target, source in zip(outputs, work(), strict=True):
            target.copy_(source)

    return again, outputs


class Recorder:
    """Records as a GPU does: what repeats the work sends one thing."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, work: Callable[[], list[Tensor]]) -> tuple[Callable[[], None], list[Tensor]]:
        self.recorded += 1
        return plain_recorder(work)


def pushed(layers: Layers, recorder: Recorder | None, image: Tensor, band: int) -> list[Tensor]:
    push = Recorded(layers, recorder).strip(image.shape[2])
    found = [push(image[:, top : top + band]) for top in range(0, image.shape[1], band)]
    return [scores.clone() for scores in found if scores is not None]


@pytest.mark.parametrize("band", [16, 48, 64])
@pytest.mark.parametrize("groups", [4, 256])
def test_what_is_recorded_gives_what_the_calls_give(
    band: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paper_unet.inference.layers.GROUP", groups)
    image = torch.from_numpy(noise(0, 1, 12 * 64 + 28, 204))
    recorder = Recorder()
    with evaluating(MODEL):
        layers = Layers(MODEL)
        expected = pushed(layers, None, image, band)
        found = pushed(layers, recorder, image, band)
    assert recorder.recorded >= 1
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_the_steady_state_is_recorded_once_and_kept_for_the_next_strip() -> None:
    image = torch.from_numpy(noise(0, 1, 20 * 32, 188))
    recorder = Recorder()
    with evaluating(MODEL):
        network = Recorded(Layers(MODEL), recorder)
        for strip in range(4):
            push = network.strip(188)
            for top in range(0, 640, 32):
                push(image[:, top : top + 32])
            counts = recorder.recorded
            assert counts >= 1
            if strip == 0:
                assert counts == 1  # the same shapes again and again
    assert recorder.recorded <= MOST


def sections(engine: Any, image: np.ndarray, times: int) -> list[Tensor]:
    with evaluating(MODEL):
        return [image_scores(engine, image) for _ in range(times)]


@pytest.mark.parametrize(
    "settings",
    [
        InferenceSettings(), InferenceSettings(average="flips"),
        InferenceSettings(average="rotations"), InferenceSettings(engine="tiles", tile=220),
    ],
    ids=["stream", "flips", "rotations", "tiles"],
)  # fmt: skip
def test_every_procedure_can_be_recorded(
    settings: InferenceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = noise(1, 1, 90, 130)
    expected = sections(engine_for(MODEL, settings), image, 1)[0]
    recorder = Recorder()
    for module in (streaming_module, tiled_module):
        monkeypatch.setattr(module, "recorder_for", lambda device: recorder)
    for found in sections(engine_for(MODEL, settings), image, SEEN + 3):
        assert torch.equal(found, expected)
    assert recorder.recorded >= 1


def test_what_is_recorded_holds_no_more_than_some_shapes() -> None:
    recorder = Recorder()
    replay = Replay(lambda inputs: [inputs[0] + 1], recorder)
    for _ in range(SEEN + 2):
        for size in range(1, 3 * MOST):
            one = torch.zeros(size)
            found = replay(size, lambda one=one: [one])  # type: ignore[misc]
            if found is not None:
                assert torch.equal(found[0], one + 1)
    assert recorder.recorded == MOST


def operations(model: UNet, recorded: bool) -> int:
    """How many operations a band in the steady state sends."""
    silent = False

    def recorder(work: Callable[[], list[Tensor]]) -> tuple[Callable[[], None], list[Tensor]]:
        again, outputs = plain_recorder(work)

        def replay() -> None:
            counting.names.append("replay")
            if not silent:
                again()

        return replay, outputs

    counting = Counting()
    with evaluating(model):
        network = Recorded(Layers(model), recorder if recorded else None)
        push = network.strip(188)
        for _ in range(9):
            push(torch.zeros(1, 64, 188))
        silent = True
        with counting:
            push(torch.zeros(1, 64, 188))
    return len(counting.names)


def test_a_band_in_the_steady_state_sends_a_handful_of_operations() -> None:
    model = random_network(8)
    called, replayed = operations(model, recorded=False), operations(model, recorded=True)
    assert called > 70
    # the rows, those on their way (copied, of the four levels joined), the graph, the scores
    assert replayed <= 12


def test_a_pipeline_goes_on_from_its_state() -> None:
    image = torch.from_numpy(noise(4, 1, 640, 204))
    with evaluating(MODEL):
        layers = Layers(MODEL)
        whole, parts = Pipeline(layers, 204), Pipeline(layers, 204)
        for start, stop in bands(400, 48):
            expected = whole.push(image[:, start:stop])
            successor = Pipeline(layers, 204)
            assert successor.shapes() != parts.shapes() or start == 0
            successor.take_up(parts.state())
            assert successor.shapes() == parts.shapes()
            parts = successor
            found = parts.push(image[:, start:stop])
            assert (found is None) == (expected is None)
            if found is not None and expected is not None:
                assert torch.equal(found, expected)
