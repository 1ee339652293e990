"""A package of BioImage.IO: a ZIP with a description, weights, and tensors to test them with.

https://bioimage.io/docs; the format is that of its model description 0.5.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from paper_unet.errors import InputError, shown
from paper_unet.export.graph import Probabilities, SameSize
from paper_unet.export.onnx_file import INPUT, OPSET, OUTPUT
from paper_unet.export.settings import ExportSettings
from paper_unet.export.tensors import Tensors, cover, grey_ranges
from paper_unet.networks.base import Network
from paper_unet.networks.card import PAPER, PAPER_DOI, model_card
from paper_unet.networks.classes import output_names
from paper_unet.networks.known_weights import TERMS
from paper_unet.system.libraries import needed

FORMAT: Final = "0.5.12"
"""Of the description: the first that says how an image is continued beyond its border."""

DATE: Final = (1980, 1, 1, 0, 0, 0)
"""Of every file in the ZIP, so that the same network gives the same bytes."""

SPDX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")

ISBI_CITATIONS: Final = (
    ("Cardona et al. 2010, PLoS Biology 8(10)", "10.1371/journal.pbio.1000502"),
    ("Arganda-Carreras et al. 2015, Frontiers in Neuroanatomy 9", "10.3389/fnana.2015.00142"),
)


def check_names(settings: ExportSettings) -> None:
    """Raise InputError if a title or a licence is none that a package can have."""
    if settings.title is not None and len(_allowed(settings.title)) < 5:
        raise InputError(
            f"`title` is {shown(settings.title)!r}; a model's name has at least 5 letters or "
            "digits: give a longer one"
        )
    if settings.licence is not None and not SPDX.fullmatch(settings.licence):
        raise InputError(
            f"`licence` is {shown(settings.licence)!r}; give an SPDX identifier, such as CC-BY-4.0 "
            "(https://spdx.org/licenses)"
        )


def package(
    model: Network,
    graph: Probabilities,
    tensors: Tensors,
    weights: dict[str, bytes],
    metadata: dict[str, str],
    settings: ExportSettings,
    *,
    name: str,
) -> bytes:
    """Return the package of a network.

    Parameters
    ----------
    model : Network
    graph : Probabilities
        What the weights were made of.
    tensors : Tensors
    weights : dict of str to bytes
        ``onnx`` and ``torchscript``.
    metadata : dict of str to str
        See `paper_unet.export.about`.
    settings : ExportSettings
    name : str
        Of the weights, where there is no title.

    Returns
    -------
    bytes
        A ZIP; the same input gives the same bytes.
    """
    yaml = needed("yaml", "a package for BioImage.IO", "export")
    title = _allowed(settings.title or f"{name} (U-Net)")
    terms = metadata["terms"]
    files = {
        "README.md": (
            model_card(model, title, settings.licence or terms) + _tiling(graph)
        ).encode(),
        "cover.png": cover(tensors),
        "test_input.npy": _npy(tensors.grey),
        "test_output.npy": _npy(tensors.probability),
        "weights.onnx": weights["onnx"],
        "weights.pt": weights["torchscript"],
    }
    if terms:
        files["LICENSE.txt"] = f"{terms}\n".encode()

    def file(name: str) -> dict[str, Any]:
        return {"source": name, "sha256": hashlib.sha256(files[name]).hexdigest()}

    licence = file("LICENSE.txt") if terms else settings.licence
    dtype = str(tensors.grey.dtype)
    what = output_names(model)[-1]
    description = {
        "type": "model",
        "format_version": FORMAT,
        "name": title,
        "description": f"U-Net of Ronneberger, Fischer and Brox (2015): probability of each class "
        f"({', '.join(output_names(model))}) at every pixel of a 2-D image.",
        "authors": [{"name": settings.author or metadata.get("author", "not stated")}],
        "cite": [{"text": PAPER, "doi": PAPER_DOI}]
        + [{"text": text, "doi": doi} for text, doi in ISBI_CITATIONS if terms == TERMS],
        **({} if licence is None else {"license": licence}),
        "tags": ["unet", "2d", "semantic-segmentation", "pytorch", "onnx", _tag(what)],
        "documentation": file("README.md"),
        "covers": [file("cover.png")],
        "inputs": [_input(model, graph, dtype) | {"test_tensor": file("test_input.npy")}],
        "outputs": [_output(model, graph) | {"test_tensor": file("test_output.npy")}],
        "weights": {
            "torchscript": file("weights.pt")
            | {"pytorch_version": torch.__version__.partition("+")[0]},
            "onnx": file("weights.onnx") | {"opset_version": OPSET, "parent": "torchscript"},
        },
        "config": {
            "bioimageio": {
                "reproducibility_tolerance": [
                    {"relative_tolerance": 0.0, "absolute_tolerance": 0.0001}
                ]
            },
            "paper_unet": {key: value for key, value in metadata.items() if value},
        },
    }
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True, width=100)
    return _zipped({"rdf.yaml": text.encode(), **files})


def _tiling(graph: Probabilities) -> str:
    """Return what the documentation says of tiles."""
    if not isinstance(graph, SameSize):
        return (
            f"\n## Sizes\n\nSides of images: {graph.sides} pixels. The output lacks {graph.lost} "
            "pixels on each side; software that cuts images into tiles cannot put its tiles "
            "together.\n"
        )
    step, halo = graph.sides.step, graph.halo
    padded = graph.context.padded
    if not graph.network.tiles:
        return (
            f"\n## Tiles\n\nThe network {graph.network.variant} has a sampling grid that depends "
            "on the size of the image: no tiles give what one pass over the whole image gives.\n"
        )
    border = (
        f" Within {halo} pixels of the border of the image it is not: there this network has "
        "zeros, and other software mirrors."
        if padded
        else f" For other images, mirror them first: numpy.pad(image, ((0, {halo} + -height % "
        f'{step}), (0, {halo} + -width % {step})), mode="reflect"), and cut the output.'
    )
    return (
        f"\n## Tiles\n\nTiles with a halo of {halo} pixels that start on multiples of {step} give "
        f"what one pass over the whole image gives. Software that moves the last tile back to end "
        f"with the image does so where height and width are multiples of {step}.{border}\n"
    )


def _input(model: Network, graph: Probabilities, dtype: str) -> dict[str, Any]:
    """Describe the input: grey values as they are stored, and how they become [0, 1]."""
    low, high = grey_ranges(model)[dtype]
    sides = graph.tile_sides if isinstance(graph, SameSize) else graph.sides
    size = {"min": sides.smallest, "step": sides.step}
    as_float = {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}
    scaling = {"gain": 1 / (high - low), "offset": (0 - low) / (high - low)}
    steps: list[dict[str, Any]] = [
        {**as_float},
        {"id": "scale_linear", "kwargs": scaling},
    ]
    whole = np.dtype(dtype).kind != "f" and (low, high) == (
        float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    )  # fmt: skip
    if not whole:
        steps.append({"id": "clip", "kwargs": {"min": 0.0, "max": 1.0}})
    names = [f"channel{k}" for k in range(model.config.in_channels)]
    return {
        "id": INPUT,
        "description": "Grey values as they are stored.",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": ["grey"] if len(names) == 1 else names},
            {"type": "space", "id": "y", "size": size},
            {"type": "space", "id": "x", "size": dict(size)},
        ],
        "data": {"type": dtype},
        "pad": {"mode": "reflect"},
        "preprocessing": [
            *steps,
            {**as_float},
        ],  # without the last one they would become grey again
    }


def _output(model: Network, graph: Probabilities) -> dict[str, Any]:
    """Describe the output: as large as the input, with a halo to drop; or smaller, without."""
    axes: list[dict[str, Any]] = [
        {"type": "batch"},
        {"type": "channel", "channel_names": [_tag(name) for name in output_names(model)]},
    ]
    for axis in ("y", "x"):
        size: dict[str, Any] = {"tensor_id": INPUT, "axis_id": axis}
        space: dict[str, Any] = {"type": "space", "id": axis, "size": size}
        if isinstance(graph, SameSize):
            space["halo"] = graph.halo
        elif graph.lost:
            size["offset"] = -2 * graph.lost
        axes.append(space)
    return {
        "id": OUTPUT,
        "description": "The probability of each class.",
        "axes": axes,
        "data": {"type": "float32", "range": [0.0, 1.0]},
    }


def _allowed(title: str) -> str:
    """Return a title in the letters that a model's name may have, 128 at most."""
    return " ".join(re.sub(r"[^A-Za-z0-9_+\- ()]", " ", title).split())[:128]


def _tag(words: str) -> str:
    return words.replace(" ", "-")


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, DATE)
            info.external_attr = 0o644 << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return file.getvalue()
