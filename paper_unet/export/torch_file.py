"""torch.export: a ``.pt2`` that PyTorch loads without this package."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paper_unet.export.graph import Probabilities, example, program
from paper_unet.export.onnx_file import quiet

ABOUT: Final = "paper_unet.json"
"""The extra file: what ONNX has as ``metadata_props``."""


def pt2_bytes(graph: Probabilities, metadata: Mapping[str, str]) -> bytes:
    """Return a graph as `torch.export.save` writes it.

    Parameters
    ----------
    graph : Probabilities
    metadata : mapping of str to str
        For its extra file, as JSON.

    Returns
    -------
    bytes
        Other sides than the legal ones fail when it runs.
    """
    file = io.BytesIO()
    with quiet():
        extra = {ABOUT: json.dumps(dict(metadata), sort_keys=True)}
        torch.export.save(program(graph, checked=True), file, extra_files=extra)
    return file.getvalue()


def run_pt2(data: bytes, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a ``.pt2`` computes."""
    with quiet(), torch.inference_mode():
        made = torch.export.load(io.BytesIO(data)).module()
        found: Tensor = made(torch.from_numpy(image))
    return found.numpy()


def torchscript_bytes(graph: Probabilities) -> bytes:
    """Return a graph as TorchScript, which Java software reads; it does not check the sides."""
    file = io.BytesIO()
    with quiet(), torch.inference_mode():
        made = torch.jit.trace(  # type: ignore[no-untyped-call]
            graph, (example(graph),), check_trace=False
        )
        torch.jit.save(torch.jit.freeze(made), file)
    return _without_paths(file)


def _without_paths(file: io.BytesIO) -> bytes:
    """Return TorchScript without the files in it that name the sources it was made from."""
    kept = io.BytesIO()
    with zipfile.ZipFile(file) as made, zipfile.ZipFile(kept, "w", zipfile.ZIP_STORED) as archive:
        for info in made.infolist():
            if not info.filename.endswith(".debug_pkl"):
                archive.writestr(zipfile.ZipInfo(info.filename), made.read(info))
    return kept.getvalue()


def run_torchscript(data: bytes, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what TorchScript computes."""
    with quiet(), torch.inference_mode():
        made = torch.jit.load(io.BytesIO(data))  # type: ignore[no-untyped-call]
        found: Tensor = made(torch.from_numpy(image))
    return found.numpy()
