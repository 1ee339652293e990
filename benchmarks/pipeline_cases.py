"""What ``pipeline.py`` measures, each in a process of its own: the stubs, the cases, the disk."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

CASES = ("memory", "tiff", "zarr", "cpu_arithmetic")
VIEWS = frozenset(
    [
        "view",
        "slice",
        "permute",
        "transpose",
        "select",
        "expand",
        "alias",
        "detach",
        "t",
        "unsqueeze",
        "split",
        "as_strided",
        "_unsafe_view",
        "unbind",
        "empty",
        "new_empty",
        "empty_like",
        "reshape",
        "resolve_conj",
        "resolve_neg",
        "lift_fresh",
    ]
)
"""What is sent to no device."""
DISK = ("disk", "disk_files")
OPERATIONS = ("operations", "replayed_operations")
RUNS = 10
"""Of a case in a process, after a first one. The best counts: other work can only slow it."""


@contextmanager
def no_network() -> Iterator[None]:
    """Replace the network by one that gives scores of zero, whatever version this is."""
    from paper_unet.inference.pipeline import Pipeline

    made: dict[tuple[int, ...], Tensor] = {}

    def push(self: Any, image: Tensor) -> Tensor | None:
        """Give as many rows as the network would, from memory that is there."""
        rows = getattr(self, "_rows_in", 0) + image.shape[1]
        before, self._rows_in = getattr(self, "_rows_in", 0), rows
        count = _rows_out(rows) - _rows_out(before)
        if not count:
            return None
        shape = (2, count, image.shape[2] - 184)
        if shape not in made:
            made[shape] = torch.zeros(shape)
        return made[shape]

    with mock.patch.object(Pipeline, "push", push):
        yield


def _rows_out(rows: int) -> int:
    """Rows of scores that the first rows of input complete."""
    for _ in range(4):
        rows = (rows - 4) // 2
    rows -= 4
    for _ in range(4):
        rows = 2 * rows - 4
    return max(rows, 0)


@contextmanager
def no_device() -> Iterator[None]:
    """Replace all that is done on the device: scaling, network, softmax, rounding."""
    from paper_unet.inference.intake import Intake
    from paper_unet.inference.readout import Readout

    made: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
    there = torch.tensor(True)

    def taken_in(self: Any, values: NDArray[Any], rows: Any, columns: Any) -> Tensor:
        """Hand the grey values over as they are stored; nobody looks at them."""
        sent: Tensor = self.link.send(np.ascontiguousarray(values))
        return sent[:1, :1, :1].expand(1, len(rows), len(columns))

    def read_out(self: Any, scores: Tensor) -> tuple[Tensor, Tensor]:
        shape = tuple(scores.shape[1:])
        if shape not in made:
            dtype = getattr(torch, self.dtype.name)
            made[shape] = (torch.zeros(shape, dtype=dtype), there)
        return made[shape]

    with (
        no_network(),
        mock.patch.object(Intake, "__call__", taken_in),
        mock.patch.object(Readout, "__call__", read_out),
    ):
        yield


def section(side: int) -> NDArray[np.uint8]:
    """Return noise: as hard to compress as a section gets."""
    return np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)


def in_memory(model: Any, image: NDArray[np.uint8], dtype: str) -> Callable[[], object]:
    """Return a prediction in memory; versions without a dtype give float32."""
    from inspect import signature

    from paper_unet import predict_image

    known = "dtype" in signature(predict_image).parameters
    more: dict[str, Any] = {"dtype": dtype} if known else {}
    return lambda: predict_image(model, image, **more)


def from_file(folder: Path, image: NDArray[np.uint8], ending: str) -> Callable[[], object]:
    """Return a prediction from file to file."""
    from paper_unet.images import create_output
    from paper_unet.large import PredictConfig
    from paper_unet.large.run import predict_file

    source = create_output(folder / f"in{ending}", (1, *image.shape), "uint8")
    source.prepare(resume=False)
    source.write(0, 0, 0, image)
    source.sync(0, (0, image.shape[0]), (0, image.shape[1]))
    for tasks in source.stages():
        for task in tasks:
            source.run(task)
    source.finish()
    config = PredictConfig(
        str(folder / f"in{ending}"), str(folder / f"out{ending}"), dtype="uint8", device="cpu"
    )
    return lambda: predict_file(config)


def removed(folder: Path) -> None:
    """Remove the output of the run before, which is no part of the next one."""
    for path in folder.glob("out.*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that are sent to the device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        self.count += func.__name__.split(".")[0] not in VIEWS
        return func(*args, **(kwargs or {}))


def operations(replayed: bool) -> float:
    """Return how many operations a band in the steady state sends, from grey values to bytes.

    Parameters
    ----------
    replayed : bool
        Count the replay of what was recorded as one, as on a GPU.
    """
    import paper_unet.inference.layers as layers_module
    from paper_unet import UNet, predict_image
    from paper_unet.inference.pipeline import Pipeline

    counting, counts = Counting(), list[int]()
    push_of_old = Pipeline.push

    def noted(self: Any, image: Tensor) -> Tensor | None:
        if not replayed:
            counts.append(counting.count)
        return push_of_old(self, image)

    def recorder(work: Callable[[], list[Tensor]]) -> tuple[Callable[[], None], list[Tensor]]:
        outputs = work()

        def replay() -> None:
            counts.append(counting.count)
            counting.count += 1

        return replay, outputs

    patches: list[Any] = [
        mock.patch.object(layers_module, "GROUP", 10**6),  # as on a GPU: all channels at once
        mock.patch.object(Pipeline, "push", noted),
    ]
    if replayed:
        import paper_unet.inference.streaming as streaming

        patches.append(mock.patch.object(streaming, "recorder_for", lambda device: recorder))
    image = section(64 * 16)[:, :100]
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        with counting:
            predict_image(UNet(width=4).eval(), np.ascontiguousarray(image))
    return float(np.median(np.diff(counts[8:])))


def disk(folder: Path, image: NDArray[np.uint8]) -> float:
    """Return the rate at which the bytes of a section are written and synced, Mpx/s."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        with (folder / "bytes").open("wb") as file:
            for rows in np.array_split(image, max(1, len(image) // 1024)):
                file.write(rows.tobytes())
                file.flush()
                os.fsync(file.fileno())
        best = min(best, time.perf_counter() - start)
    return float(image.size / best / 1e6)


def disk_files(folder: Path, side: int) -> float:
    """Return the rate at which the files of a section's pyramid are made and synced, Mpx/s."""
    across = [-(-side // (512 << level)) for level in range(10) if side > 256 << level]
    best = float("inf")
    for repeat in range(3):
        start = time.perf_counter()
        for level, count in enumerate(across):
            for row in range(count):
                here = folder / f"{repeat}" / f"{level}" / f"{row}"
                here.mkdir(parents=True)
                for k in range(count):
                    (here / f"{k}.partial").write_bytes(b"30 bytes: a chunk of zeros is.")
                    (here / f"{k}.partial").rename(here / f"{k}")
                for name in (*(here / f"{k}" for k in range(count)), here):
                    descriptor = os.open(name, os.O_RDONLY)
                    os.fsync(descriptor)
                    os.close(descriptor)
        best = min(best, time.perf_counter() - start)
    return float(side * side / best / 1e6)


def measure(case: str, side: int) -> float:
    """Return the rate of one case in this process, Mpx/s: the best run after a first one."""
    from paper_unet import load_model

    model, image = load_model(), section(side)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if case == "disk":
            return disk(folder, image)
        if case == "disk_files":
            return disk_files(folder, side)
        if case in OPERATIONS:
            return operations(case == "replayed_operations")
        new = (Path(sys.modules["paper_unet"].__path__[0]) / "inference" / "intake.py").exists()
        replaced = no_device if new and case != "cpu_arithmetic" else no_network
        if case in ("memory", "cpu_arithmetic"):
            call = in_memory(model, image, "uint8")
        else:
            call = from_file(folder, image, f".{'tif' if case == 'tiff' else case}")
        best = float("inf")
        with replaced():
            for k in range(1 + RUNS):
                removed(folder)
                start = time.perf_counter()
                call()
                best = min(best, time.perf_counter() - start if k else float("inf"))
    return float(image.size / best / 1e6)
