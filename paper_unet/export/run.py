"""From a file of weights to one for other software, compared before it has its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from paper_unet.errors import InputError, shown
from paper_unet.export.about import metadata
from paper_unet.export.bioimageio import check_names, package
from paper_unet.export.graph import Probabilities, SameSize, example
from paper_unet.export.onnx_file import onnx_bytes, opened_onnx
from paper_unet.export.settings import ExportSettings
from paper_unet.export.tensors import grey_type, make_tensors
from paper_unet.export.torch_file import (
    opened_pt2,
    opened_torchscript,
    pt2_bytes,
    torchscript_bytes,
)
from paper_unet.networks.base import Network
from paper_unet.networks.card import input_words, percentiles_of
from paper_unet.networks.known_weights import is_known, locate, terms_of
from paper_unet.networks.weights_file import load_model
from paper_unet.system.files import (
    check_free_name,
    refuse_same_file,
    require_folder,
    write_atomic,
)
from paper_unet.system.libraries import require

ALLOWED: Final = 1e-4
"""Of a probability: what is written must not differ more from the network. Rounding is 1e-6."""

LIBRARIES: Final[dict[str, tuple[str, ...]]] = {
    ".pt2": (),
    ".onnx": ("onnx", "onnxscript", "onnxruntime"),
    ".zip": ("onnx", "onnxscript", "onnxruntime", "yaml"),
}
"""What a format needs beside PyTorch."""

Open = Callable[[bytes], Callable[[NDArray[np.float32]], NDArray[np.float32]]]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    path : Path
    sides : str
        Which sides of images it takes, in words.
    difference : float
        The largest one between its probabilities and the network's, on a small image.
    notes : tuple of str
        What the reader of the file has to know.
    """

    path: Path
    sides: str
    difference: float
    notes: tuple[str, ...] = ()


def export_file(
    weights: str | Path | None,
    out: str | Path,
    settings: ExportSettings | None = None,
    *,
    overwrite: bool = False,
) -> Exported:
    """Write a network for other software.

    Parameters
    ----------
    weights : path-like or str or None
        As `paper_unet.load_model` takes it; ``bundled`` are those of the package.
    out : path-like
        Ends in ``.onnx``, ``.pt2``, or ``.zip`` for a package of BioImage.IO.
    settings : ExportSettings, optional
        Of a package.
    overwrite : bool
        Whether it may take the place of a file.

    Returns
    -------
    Exported

    Raises
    ------
    InputError
        If the weights cannot be read, the name cannot be written, a library is not installed, or
        what would be written does not compute what the network does.
    """
    out, settings = Path(out), settings or ExportSettings()
    make = _maker(out, settings)
    require_folder(out)
    source, _ = locate(weights)
    if source.is_file():
        refuse_same_file(source, out)
    check_free_name(out, overwrite=overwrite, folders=False)
    data, exported = make(weights, out, settings)
    if not exported.difference <= ALLOWED:
        raise InputError(
            f"{out}: its probabilities would differ from the network's by "
            f"{exported.difference:.1g}, more than rounding does; nothing was written: try another "
            "version of PyTorch, onnx, onnxscript or onnxruntime"
        )
    write_atomic(out, data, overwrite=overwrite)
    return exported


Maker = Callable[[str | Path | None, Path, ExportSettings], tuple[bytes, Exported]]


def _maker(out: Path, settings: ExportSettings) -> Maker:
    """Return what writes files of this name."""
    makers: dict[str, Maker] = {".onnx": _onnx, ".pt2": _pt2, ".zip": _package}
    if out.suffix.lower() not in makers:
        raise InputError(
            f"{shown(out, 200)}: no format is known by this name; end it in .onnx, .pt2 "
            "(torch.export) or .bioimage.zip (a package of BioImage.IO)"
        )
    if out.suffix.lower() != ".zip" and settings != ExportSettings():
        raise InputError(
            "`title`, `author`, `licence`, `grey_type` and `valid` are of a package of "
            "BioImage.IO; leave them out, or end the name in .bioimage.zip"
        )
    check_names(settings)
    for library in LIBRARIES[out.suffix.lower()]:  # before minutes of work
        require(library, f"a file that ends in {out.suffix}", "export")
    return makers[out.suffix.lower()]


def _onnx(
    weights: str | Path | None, out: Path, settings: ExportSettings
) -> tuple[bytes, Exported]:
    return _single(weights, out, onnx_bytes, opened_onnx)


def _pt2(weights: str | Path | None, out: Path, settings: ExportSettings) -> tuple[bytes, Exported]:
    return _single(weights, out, pt2_bytes, opened_pt2)


def _single(
    weights: str | Path | None, out: Path, write: Callable[..., bytes], opened: Open
) -> tuple[bytes, Exported]:
    """Make a file of the network alone."""
    model = load_model(weights)
    graph = Probabilities(model)
    data = write(graph, metadata(model, graph, terms_of(model.record, weights)))
    image = example(graph)
    with torch.inference_mode():
        expected = graph(image).numpy()
    notes = (f"grey values have to come as {input_words(model)}",) if percentiles_of(model) else ()
    found = _difference(opened(data)(image.numpy()), expected)
    return data, Exported(out, str(graph.sides), found, notes)


def _package(
    weights: str | Path | None, out: Path, settings: ExportSettings
) -> tuple[bytes, Exported]:
    """Make a package; both of its files of weights are compared with its test tensors."""
    model = load_model(weights)
    _refuse_what_no_package_says(model, weights, settings)
    graph = Probabilities(model) if settings.valid else SameSize(model)
    tensors = make_tensors(model, graph, grey_type(model, settings.grey_type))
    about = metadata(model, graph, terms_of(model.record, weights))
    if is_known(weights):
        about["author"] = "The paper_unet developers"
    onnx, script = onnx_bytes(graph, about), torchscript_bytes(graph)
    differences = (
        _difference(opened_onnx(onnx)(tensors.unit), tensors.probability),
        _difference(opened_torchscript(script)(tensors.unit), tensors.probability),
    )
    files = {"onnx": onnx, "torchscript": script}
    data = package(model, graph, tensors, files, about, settings, name=_name(weights))
    sides = graph.tile_sides if isinstance(graph, SameSize) else graph.sides
    return data, Exported(out, str(sides), max(differences), tuple(_notes(graph)))


def _refuse_what_no_package_says(
    model: Network, weights: str | Path | None, settings: ExportSettings
) -> None:
    """Refuse another licence than known terms, and grey values that follow from a whole stack."""
    if settings.licence is not None and terms_of(model.record, weights):
        raise InputError(
            f"`licence` is {settings.licence}, and these weights have terms of their own, which go "
            "into the package; leave it out"
        )
    if percentiles := percentiles_of(model):
        raise InputError(
            "these weights learnt from grey values scaled by percentiles {:g} and {:g} of a whole "
            "stack, which other software would take of each image; export them as .onnx or .pt2, "
            "and scale the images yourself".format(*percentiles)
        )


def _name(weights: str | Path | None) -> str:
    """Return what weights are called: as their file, or, where all are called so, their folder."""
    source, _ = locate(weights)
    name = source.name.partition(".")[0]
    return source.resolve().parent.name if name in ("weights", "model") else name


def _notes(graph: Probabilities) -> list[str]:
    """Say where the tiles of other software do not give what one pass does."""
    if not graph.network.tiles:
        return [
            f"the network {graph.network.variant} gives other probabilities in tiles than in one "
            "pass: take whole images"
        ]
    if not isinstance(graph, SameSize):
        return ["other software cannot cut images into tiles for it: one image, one pass"]
    if graph.context.padded:
        return [
            f"the network {graph.network.variant} pads by zeros at the border of the image; other "
            f"software mirrors there, so up to {graph.halo} pixels from the border its "
            "probabilities are not those of paper-unet predict"
        ]
    return []


def _difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference of probabilities; infinite if the shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found.astype(np.float64) - expected).max())
