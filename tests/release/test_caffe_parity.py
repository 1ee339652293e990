"""The imported network against OpenCV's reader and executor of Caffe networks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from caffe_helpers import Spec, as_trained, caffemodel, network, prototxt
from numpy.typing import NDArray

from paper_unet.inference.layers import Layers
from paper_unet.inference.pipeline import one_pass
from paper_unet.networks.weights_file import load_model, save_model
from paper_unet.release.caffe import PARTS, import_caffe


def opencv(text: str, binary: bytes) -> cv2.dnn.Net:
    files = (np.frombuffer(content, np.uint8) for content in (text.encode(), binary))
    net = cv2.dnn.readNetFromCaffe(*files)
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.enableWinograd(False)  # an approximation
    return net


def opencv_scores(layers: list[Spec], binary: bytes, image: NDArray[np.float32]) -> NDArray:
    net = opencv(prototxt(layers, *image.shape[1:], channels=len(image)), binary)
    net.setInput(image[None])
    scores: NDArray[np.float32] = net.forward()[0]  # of the last layer
    return scores


def compare(layers: list[Spec], binary: bytes, sides: tuple[int, int], folder: Path) -> None:
    """To 1e-4 with the network that is imported, saved, and loaded again."""
    path = folder / "net.caffemodel"
    path.write_bytes(binary)
    save_model(folder / "net.safetensors", import_caffe(path))
    model = load_model(folder / "net.safetensors")
    shape = (model.config.in_channels, *sides)
    image = np.random.default_rng(1).random(shape, np.float32)
    expected = opencv_scores(layers, binary, image)
    with torch.inference_mode():
        scores = model(torch.from_numpy(image)[None])[0].numpy()
        streamed = one_pass(Layers(model), torch.from_numpy(image)).numpy()
    assert expected.shape == (model.config.out_channels, sides[0] - 184, sides[1] - 184)
    assert expected.std() > 0.05  # of a size that 1e-4 means something for
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(streamed, expected, rtol=0, atol=1e-4)


def test_scores_of_a_full_tile(tmp_path: Path) -> None:
    layers = network(4)
    compare(layers, caffemodel(as_trained(layers)), (572, 572), tmp_path)


def test_scores_of_the_strip_that_the_driver_cuts(tmp_path: Path) -> None:
    layers = network(2, seed=3)
    compare(layers, caffemodel(layers), (444, 892), tmp_path)


def test_scores_of_a_file_of_the_new_style_with_colour_and_three_classes(tmp_path: Path) -> None:
    layers = network(4, classes=3, channels=3)
    compare(layers, caffemodel(layers, new=True), (220, 252), tmp_path)


@pytest.mark.slow
def test_scores_at_full_width(tmp_path: Path) -> None:
    """Every sum has its full number of terms; how many there are is for the tests of full tiles."""
    layers = network(64)
    compare(layers, caffemodel(as_trained(layers)), (252, 220), tmp_path)
    model = load_model(tmp_path / "net.safetensors")
    assert sum(p.numel() for p in model.parameters()) == 31_100_354


def test_every_weight_is_where_opencv_reads_it(tmp_path: Path) -> None:
    layers = network(3)
    binary = caffemodel(layers)
    (tmp_path / "net.caffemodel").write_bytes(binary)
    state = import_caffe(tmp_path / "net.caffemodel").state_dict()
    net = opencv(prototxt(layers, 188, 188), binary)
    modules = {part.caffe: part.module for part in PARTS}
    for layer in (one for one in layers if one.blobs):
        # OpenCV calls a convolution by the map that it writes
        place = max(net.getLayerId(layer.name), net.getLayerId(layer.tops[0]))
        for k, name in enumerate(("weight", "bias")):
            ours = state.pop(f"{modules[layer.name]}.{name}").numpy()
            np.testing.assert_array_equal(ours.ravel(), net.getParam(place, k).ravel())
    assert not state
