"""Exports against prediction: largest differences, and what BioImage.IO's own reader says.

::

    python benchmarks/export.py parity                     # onnxruntime and torch.export
    python benchmarks/export.py package model.bioimage.zip # of `paper-unet export`

The second needs bioimageio.core, and onnxruntime or PyTorch. Where paper_unet is not installed,
``--expected FILE.npz`` has what it predicts, from ``python benchmarks/export.py expected FILE``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

SIZES = ((188, 188), (572, 444), (1000, 1300))
TILED = (500, 650)
"""Pixels, no multiples of 16; beside it the next multiples."""


def images() -> Iterator[tuple[str, Any, Any]]:
    """Yield a name, an image, and its prediction, which may be of a part of it."""
    from paper_unet import load_model, predict_image
    from paper_unet.synthetic import synthetic_stack

    model = load_model()
    rows, columns = (side + -side % 16 for side in TILED)
    section = synthetic_stack(sections=1, shape=(rows, columns)).images[0]
    yield f"{rows} x {columns}", section, predict_image(model, section)
    part = section[: TILED[0], : TILED[1]]
    pads = [(0, 96 + -side % 16) for side in TILED]
    mirrored = np.pad(part, pads, mode="reflect")
    yield f"{TILED[0]} x {TILED[1]}, mirrored first", mirrored, predict_image(model, part)


def parity(folder: Path) -> None:
    """Print the largest differences of both formats from `predict_image`."""
    from paper_unet import load_model, predict_image
    from paper_unet.export.onnx_file import opened_onnx
    from paper_unet.export.run import export_file
    from paper_unet.export.torch_file import opened_pt2
    from paper_unet.geometry import HALO, input_size, mirror_window
    from paper_unet.synthetic import synthetic_stack

    model = load_model()
    section = synthetic_stack(sections=1, shape=SIZES[-1]).images[0]
    opened = {".onnx": opened_onnx, ".pt2": opened_pt2}
    print("| image | " + " | ".join(opened) + " |")
    print("|---|---|---|")
    folder.mkdir(parents=True, exist_ok=True)
    run = {}
    for end, open_it in opened.items():
        made = export_file("bundled", folder / f"model{end}", overwrite=True)
        run[end] = open_it(made.path.read_bytes())
    for rows, columns in SIZES:
        image = section[:rows, :columns]
        spans = [(-HALO, input_size(side) - HALO) for side in image.shape]
        unit = mirror_window(image, spans[0], spans[1]).astype(np.float32) / np.float32(255)
        expected = predict_image(model, image)
        found = [
            np.abs(run[end](unit[None, None])[0, -1, :rows, :columns] - expected).max()
            for end in opened
        ]
        print(f"| {rows} x {columns} | " + " | ".join(f"{value:.1e}" for value in found) + " |")


def package(path: Path, expected: Path | None) -> None:
    """Print what bioimageio.core says of a package, and how far its tiles are from one pass."""
    import bioimageio.core
    from bioimageio.core import create_prediction_pipeline, load_model_description, test_model
    from bioimageio.core.digest_spec import create_sample_for_model
    from bioimageio.core.tensor import Tensor
    from loguru import logger

    logger.remove()
    print(f"bioimageio.core {bioimageio.core.__version__}")
    described = load_model_description(path)
    cases = list(images()) if expected is None else list(stored(expected))
    for kind in runnable():
        print(f"{kind}: {test_model(path, weight_format=kind).status}")
        with create_prediction_pipeline(described, weight_format=kind) as pipeline:
            for name, image, one_pass in cases:
                given = Tensor(image[None, None], dims=("batch", "channel", "y", "x"))
                sample = create_sample_for_model(described, inputs={"image": given})
                made = pipeline.predict_sample_with_blocking(sample, ns=9)  # tiles of 352
                tiled = np.asarray(made.members["probability"].data)[0, -1]
                rows, columns = one_pass.shape
                far = np.abs(tiled[:rows, :columns] - one_pass).max()
                print(f"{kind}: tiles against one pass, {name}: {far:.1e}")


def runnable() -> Iterator[Any]:
    """Yield the kinds of weights that can be run here."""
    for kind, library in (("onnx", "onnxruntime"), ("torchscript", "torch")):
        try:
            __import__(library)
        except ImportError:
            continue
        yield kind


def stored(path: Path) -> Iterator[tuple[str, Any, Any]]:
    """Yield what `images` does from a file."""
    with np.load(path) as arrays:
        for k, name in enumerate(arrays["names"]):
            yield str(name), arrays[f"image{k}"], arrays[f"expected{k}"]


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("parity", "package", "expected"))
    parser.add_argument("path", type=Path, nargs="?", default=Path("exported"))
    parser.add_argument("--expected", type=Path)
    given = parser.parse_args()
    if given.what == "parity":
        parity(given.path)
    elif given.what == "package":
        package(given.path, given.expected)
    else:
        arrays: dict[str, Any] = {"names": []}
        for k, (name, image, expected) in enumerate(images()):
            arrays["names"].append(name)
            arrays |= {f"image{k}": image, f"expected{k}": expected}
        np.savez(given.path, **arrays)


if __name__ == "__main__":
    main()
