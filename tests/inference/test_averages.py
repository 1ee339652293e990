"""The probability of the last class, of one pass and averaged."""

import math

import numpy as np
import pytest
import torch
from predict_helpers import (
    NARROW,
    Image,
    Window,
    mosaic,
    noise,
    one_pass,
    probability_of_the_last,
    random_network,
)
from torch import Tensor, nn

from paper_unet import predict_image
from paper_unet.errors import InputError
from paper_unet.inference.averaging import rotated_mean


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_the_probability_of_the_last_class(classes: int) -> None:
    model, image = random_network(2, out_channels=classes), noise(0, 40, 25)
    found = predict_image(model, image)
    assert found.dtype == np.float32
    assert found.shape == (40, 25)
    expected = probability_of_the_last(one_pass(model, image[None]))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_flips_are_the_mean_of_the_scores_of_four_images() -> None:
    image = noise(4, 50, 33)
    versions: list[tuple[int, int]] = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    scores = [one_pass(NARROW, image[None, ::y, ::x])[:, ::y, ::x] for y, x in versions]
    mean = np.mean(scores, axis=0)
    found = predict_image(NARROW, image, average="flips")
    np.testing.assert_allclose(found, probability_of_the_last(mean), rtol=0, atol=1e-5)
    # the four differ, and a mean of probabilities would be another map
    assert all(abs(mean - version).max() > 0.01 for version in scores)
    of_probabilities = np.mean([probability_of_the_last(s) for s in scores], axis=0)
    assert abs(found - of_probabilities).max() > 1e-4


def smooth_image(rows: int, columns: int) -> Image:
    y, x = np.mgrid[:rows, :columns]
    waves = 0.5 + 0.2 * np.sin(y / 9) + 0.2 * np.cos((x + y) / 11)
    return waves[None].astype(np.float32)


@pytest.mark.parametrize("shape", [(80, 120), (33, 33), (200, 30)])
def test_turned_there_and_back_an_image_is_itself(shape: tuple[int, int]) -> None:
    network, image = Window(), smooth_image(*shape)
    found = rotated_mean(
        lambda turned: mosaic(network, turned.numpy(), 572), torch.from_numpy(image)
    ).numpy()
    assert len(network.inputs) == 7
    np.testing.assert_allclose(found, image, rtol=0, atol=0.01)
    # pixel by pixel: the image moved by one would be as far off as this
    assert abs(image[:, 1:] - image[:, :-1]).max() > 0.02


class Gradients(nn.Module):
    """Notes in which direction the middle of its input grows."""

    def __init__(self) -> None:
        super().__init__()
        self.angles: list[float] = []

    def forward(self, image: Tensor) -> Tensor:
        middle = image[0, 0, 92:-92, 92:-92][10:30, 10:30]
        y = (middle[1:] - middle[:-1]).mean().item()
        x = (middle[:, 1:] - middle[:, :-1]).mean().item()
        self.angles.append(math.atan2(x, y) % (2 * math.pi))
        return image[:, :, 92:-92, 92:-92] * 0 + len(self.angles)


def test_seven_versions_a_seventh_of_a_turn_apart() -> None:
    network = Gradients()
    ramp = np.broadcast_to(np.linspace(0, 1, 40, dtype=np.float32)[:, None], (1, 40, 40)).copy()
    scores = rotated_mean(
        lambda turned: mosaic(network, turned.numpy(), 572), torch.from_numpy(ramp)
    )
    steps = np.array(sorted(network.angles)) * 7 / (2 * math.pi)
    np.testing.assert_allclose(steps, np.arange(7), atol=0.05)
    # each version is as good as another: 1, 2, ..., 7 average to 4
    np.testing.assert_allclose(scores, 4, rtol=1e-6)


def test_the_first_rotation_is_the_image_as_it_is() -> None:
    class Inputs(Window):
        def forward(self, image: Tensor) -> Tensor:
            seen.append(image.numpy().copy())
            return super().forward(image)

    seen: list[Image] = []
    image = noise(0, 1, 20, 20)
    rotated_mean(lambda turned: mosaic(Inputs(), turned.numpy(), 572), torch.from_numpy(image))
    straight = [array[0, :, 92:112, 92:112] for array in seen]
    assert np.array_equal(straight[0], image)
    assert not any(np.allclose(array, image, atol=0.1) for array in straight[1:])
    assert all(0 <= array.min() <= array.max() <= 1 for array in seen)


@pytest.mark.parametrize("average", ["none", "flips", "rotations"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (45, 2)])
def test_averages_of_the_smallest_images(average: str, shape: tuple[int, int]) -> None:
    found = predict_image(NARROW, noise(0, *shape), average=average)  # type: ignore[arg-type]
    assert found.shape == shape
    assert np.isfinite(found).all()


def test_an_unknown_average_or_tiling_is_refused() -> None:
    with pytest.raises(InputError, match="average is 'both'; it must be one of none"):
        predict_image(NARROW, noise(0, 5, 5), average="both")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tiling is 'both'"):
        predict_image(NARROW, noise(0, 5, 5), tiling="both")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="508 or 524"):
        predict_image(NARROW, noise(0, 5, 5), tile=512)
