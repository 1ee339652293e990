"""torch.export: a ``.pt2`` that PyTorch loads without this package."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

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


def opened_pt2(data: bytes) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return what gives the output of a ``.pt2`` for an input."""
    with quiet():
        return _in_arrays(torch.export.load(io.BytesIO(data)).module())


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


def opened_torchscript(data: bytes) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return what gives the output of TorchScript for an input."""
    with quiet():
        return _in_arrays(torch.jit.load(io.BytesIO(data)))  # type: ignore[no-untyped-call]


def _in_arrays(module: Any) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        with quiet(), torch.inference_mode():
            found: NDArray[np.float32] = module(torch.from_numpy(image)).numpy()
        return found

    return run
