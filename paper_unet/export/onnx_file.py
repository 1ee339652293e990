"""ONNX: by PyTorch's exporter, with a check of the sides and what the network is about inside."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.export.graph import Probabilities, program
from paper_unet.geometry import Sides
from paper_unet.system.libraries import needed

OPSET: Final = 18
"""The oldest that PyTorch's exporter writes as it is; read since onnxruntime 1.14."""

IR_VERSION: Final = 8
"""Of the container, that belongs to the opset."""

MOST_BYTES: Final = 2**31 - 2**20
"""Of a file: protobuf holds no more than 2 GiB, of which something is left for the graph."""

INPUT, OUTPUT = "image", "probability"


def onnx_bytes(graph: Probabilities, metadata: Mapping[str, str]) -> bytes:
    """Return a graph as an ONNX file.

    Parameters
    ----------
    graph : Probabilities
    metadata : mapping of str to str
        For its ``metadata_props``.

    Returns
    -------
    bytes
        Input ``image``, output ``probability``, float32; all weights inside. Other sides than the
        legal ones fail when it runs, by a node whose name says what the sides must be.

    Raises
    ------
    InputError
        If ONNX or its scripting is not installed, or the weights are too large for one file.
    """
    onnx = needed("onnx", "writing ONNX", "export")
    needed("onnxscript", "writing ONNX", "export")
    size = sum(value.numel() * value.element_size() for value in graph.state_dict().values())
    if size > MOST_BYTES:
        raise InputError(
            f"the weights are {size} bytes and an ONNX file holds {MOST_BYTES}; export to .pt2"
        )
    with quiet():
        made = torch.onnx.export(
            program(graph, checked=False),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    if made is None:
        raise RuntimeError("PyTorch's exporter gave nothing")
    model = made.model_proto
    _strip(model)
    _name_sides(model, graph)
    _check_sides(onnx, model.graph, graph.sides)
    model.ir_version = IR_VERSION
    model.producer_name = "paper_unet"
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def opened_onnx(data: bytes) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return what gives the output for an input, by onnxruntime on the CPU.

    Raises
    ------
    InputError
        If it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # from 1.29 on it reports home
    runtime = needed("onnxruntime", "comparing ONNX with the network", "export")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what goes wrong is raised as well
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run([OUTPUT], {INPUT: image})[0]
        return found

    return run


@contextmanager
def quiet() -> Iterator[None]:
    """Keep PyTorch's exporters from telling how they work, and what is to become of them."""
    logger = logging.getLogger("torch.onnx")
    before, level = logger.disabled, logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.disabled = before
            logger.setLevel(level)


def _strip(model: Any) -> None:
    """Remove what names files and functions of the machine that exported."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info,
                 *graph.initializer):  # fmt: skip
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


def _name_sides(model: Any, graph: Probabilities) -> None:
    """Write what the sides are in words, in place of the exporter's own symbols."""
    context = graph.sides
    for value, lost in ((model.graph.input[0], 0), (model.graph.output[0], 2 * graph.lost)):
        shape = value.type.tensor_type.shape.dim
        names = ("batch", "", "rows", "columns")
        for dim, name in zip(shape, names, strict=True):
            if not name:
                continue
            base = context.base - lost
            offset = f" {'+' if base > 0 else '-'} {abs(base)}" if base else ""
            dim.dim_param = name if name == "batch" else f"{context.step}*{name}{offset}"
    del model.graph.value_info[:]


def _check_sides(onnx: Any, graph: Any, sides: Sides) -> None:
    """Put nodes before all others that fail where a side is not legal, since ONNX has none for it.

    One zero can be reshaped to ``1 + what is wrong`` values only if nothing is; it is added to the
    image, so that no runtime leaves it out.
    """
    name = re.sub(r"\W+", "_", f"the sides must be {sides}".replace("+", "plus"))

    def constant(word: str, values: list[int], dtype: Any = np.int64) -> str:
        value = onnx.numpy_helper.from_array(np.array(values, dtype), f"sides_constant_{word}")
        graph.initializer.append(value)
        return str(value.name)

    make = onnx.helper.make_node
    nodes = [
        make("Shape", [INPUT], ["sides_all"], start=2, end=4),
        make("Sub", ["sides_all", constant("base", [sides.base])], ["sides_over"]),
        make("Mod", ["sides_over", constant("step", [sides.step])], ["sides_rest"]),
        make("Less", ["sides_all", constant("smallest", [sides.smallest])], ["sides_small"]),
        make("Cast", ["sides_small"], ["sides_lacking"], to=onnx.TensorProto.INT64),
        make("Add", ["sides_rest", "sides_lacking"], ["sides_wrong"]),
        make("ReduceSum", ["sides_wrong", constant("axis", [0])], ["sides_sum"], keepdims=1),
        make("Add", ["sides_sum", constant("one", [1])], ["sides_count"]),
        make("Reshape", [constant("zero", [0], np.float32), "sides_count"], ["sides_zero"], name),
        make("Add", [INPUT, "sides_zero"], ["image_of_legal_sides"]),
    ]
    for node in graph.node:
        for place, given in enumerate(node.input):
            if given == INPUT:
                node.input[place] = "image_of_legal_sides"
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
