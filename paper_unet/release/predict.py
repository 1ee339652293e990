"""From a film on disk to its cells, by the procedure of the authors' driver of 2015."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError, naming
from paper_unet.images import TIFF_SUFFIXES, Stack, create_tiff, file_of, parse_slices
from paper_unet.inference.layers import Layers
from paper_unet.large.config import PredictConfig
from paper_unet.large.prepare import open_input
from paper_unet.large.report import Report
from paper_unet.networks.weights_file import load_model
from paper_unet.release.driver import release_cells, release_input
from paper_unet.release.settings import ReleaseSettings
from paper_unet.settings import options
from paper_unet.system.address import address_of
from paper_unet.system.device import pick_device, using_threads
from paper_unet.system.files import check_free_name, make_folder, refuse_same_file
from paper_unet.system.progress import progress_bar
from paper_unet.system.stop import Stop, Stopped, stopping

FIXED = (
    "of_class", "all_classes", "argmax", "engine", "tile", "tiling", "halo", "average", "dtype",
    "ome_zarr", "shard", "memory", "timings", "percentiles",
)  # fmt: skip
"""What the driver leaves no choice in."""

Write = Callable[[int, NDArray[np.uint16]], None]


def predict_release(
    config: PredictConfig,
    settings: ReleaseSettings,
    *,
    overwrite: bool = False,
    report: Report | None = None,
) -> int:
    """Segment a film and write its cells, a uint16 number for each.

    Parameters
    ----------
    config : PredictConfig
        Of which the procedure leaves no choice in `FIXED`. ``out`` is one stack, or a folder that
        gets a ``maskTTT.tif`` for each frame.
    settings : ReleaseSettings
    overwrite : bool
        Whether existing files may be replaced.
    report : Report, optional
        Takes lines of text; may show progress.

    Returns
    -------
    int
        How many frames were written.

    Raises
    ------
    InputError
        If the input or a setting cannot be used, or the output exists.
    Stopped
        If SIGINT or SIGTERM came.
    """
    report = report or Report()
    _refuse_others(config)
    refuse_same_file(file_of(config.source), config.out)
    with stopping() as stop, using_threads(config.threads), open_input(config) as stack:
        for file in stack.files:
            refuse_same_file(file, config.out)
        for note in stack.notes:
            report.say(note)
        frames = list(parse_slices(config.slices, len(stack)))
        with _output(config, stack, frames, overwrite) as write:
            for note in stack.notes:
                report.say(note)
            _segment(config, settings, stack, frames, write, stop, report)
    return len(frames)


def _is_stack(out: str | Path) -> bool:
    """Whether the cells of all frames go into one file."""
    return Path(out).suffix.lower() in TIFF_SUFFIXES


def _refuse_others(config: PredictConfig) -> None:
    for option in options(PredictConfig):
        if option.name in FIXED and getattr(config, option.name) != option.default:
            name = "value_range" if option.name == "percentiles" else option.name
            raise InputError(f"the release has a procedure of its own; leave `{name}` out")
    if config.weights is None:
        raise InputError(
            "the release needs `weights`: the authors' network, converted by paper-unet "
            "import-caffe, or another one for cells; the bundled one is for EM"
        )


def _segment(
    config: PredictConfig,
    settings: ReleaseSettings,
    stack: Stack,
    frames: list[int],
    write: Write,
    stop: Stop,
    report: Report,
) -> None:
    model = load_model(config.weights, pick_device(config.device))
    layers = Layers(model, config.precision)
    for z in progress_bar(frames, unit="frame", show=report.progress):
        if stop():
            if _is_stack(config.out):
                raise Stopped(stop.signal, "one stack is kept whole or not at all: give a folder")
            report.say(f"to go on: the same with `slices` {z}:{frames[-1] + 1}")
            raise Stopped(stop.signal)
        with naming(f"section {z}"):
            image = release_input(
                stack[z],
                model.grey_ranges,
                value_range=stack.value_range(config.value_range),
                fill=config.fill,
            )
            cells = release_cells(layers, image, settings)
        write(z, _sixteen_bits(cells))


def _sixteen_bits(cells: NDArray[np.int32]) -> NDArray[np.uint16]:
    if cells.max() > np.iinfo(np.uint16).max:
        raise InputError(f"{cells.max()} regions in one frame; give a larger `min_area`")
    return cells.astype(np.uint16)


@contextmanager
def _output(
    config: PredictConfig, stack: Stack, frames: list[int], overwrite: bool
) -> Iterator[Write]:
    """Take cells frame by frame: one stack of all, or a folder with a mask for each."""
    out = Path(config.out)
    create = partial(create_tiff, dtype=np.uint16, pixel_size=stack.pixel_size, overwrite=overwrite)
    if _is_stack(out):
        with create(out, (len(frames), *stack.shape[1:])) as writer:
            yield lambda z, cells: writer.__setitem__(frames.index(z), cells)
        return
    if out.suffix and not out.is_dir():
        raise InputError(
            f"{out}: the cells go into a folder of maskTTT.tif, whose name has no ending, or into "
            f"one stack that ends in {', '.join(TIFF_SUFFIXES)}"
        )
    numbers = _frame_numbers(Path(config.source), len(stack))
    masks = {z: out / f"mask{numbers[z]:03d}.tif" for z in frames}
    for path in masks.values():
        check_free_name(path, overwrite=overwrite)
    make_folder(out)

    def write(z: int, cells: NDArray[np.uint16]) -> None:
        with create(masks[z], (1, *cells.shape)) as writer:
            writer[0] = cells

    yield write


def _frame_numbers(source: Path, count: int) -> list[int]:
    """Return the number of each frame: that of tTTT.tif in a folder of these, else from 0.

    Parameters
    ----------
    source : Path
        File or folder that the frames come from.
    count : int
        How many frames it has.

    Returns
    -------
    list of int
        In the order of the frames.

    Raises
    ------
    InputError
        If two files are the same frame, such as t001.tif and t1.tif.
    """
    here = address_of(source) is None and source.is_dir()
    names = [path.name for path in source.iterdir()] if here else []
    name = re.compile(r"t(\d+)\.(tiff?|png|jpe?g)", re.ASCII | re.IGNORECASE)
    matches = map(name.fullmatch, names)
    numbers = sorted(int(match[1]) for match in matches if match)
    if twice := [one for one, other in pairwise(numbers) if one == other]:
        raise InputError(
            f"{source}: has two files of frame {twice[0]}, whose masks would be one file; leave "
            "one of them there"
        )
    return numbers if len(numbers) == count else list(range(count))
