"""What is done on one block: pure and idempotent, on this machine or a cluster.

Every function takes the job and the number of a block first, and returns the number with what it
found. An `InputError` is returned, not raised: on a cluster, trying again would not help.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images import Output, Stack, Stored, open_stack
from paper_unet.large.journal import current_run
from paper_unet.large.verify import together
from paper_unet.segmentation.blocks import Box, size_of, within
from paper_unet.segmentation.flood import deep, flooded, with_rest
from paper_unet.segmentation.job import Job
from paper_unet.segmentation.numbering import Numbers
from paper_unet.segmentation.parts import (
    Labels,
    Parts,
    label,
    parts_of,
    sizes_and_firsts,
)
from paper_unet.segmentation.records import packed, unpacked
from paper_unet.system.memory import Budget

More = ParamSpec("More")
Found = TypeVar("Found")

_lock = threading.Lock()  # a stack has one reader at a time
_stack: tuple[str, Stack] | None = None


class Written(NamedTuple):
    """A block that is on disk: its bytes there if they are known, and what others need of it."""

    stored: Stored | None
    record: bytes | None = None


def _returning(
    work: Callable[Concatenate[Job, int, More], Found],
) -> Callable[Concatenate[Job, int, More], tuple[int, Found] | InputError]:
    """Return what does the work and returns the number of the block with what was found."""

    @wraps(work)
    def guarded(
        job: Job, index: int, /, *arguments: More.args, **more: More.kwargs
    ) -> tuple[int, Found] | InputError:
        with _lock:
            try:
                return index, work(job, index, *arguments, **more)
            except InputError as error:
                return error

    return guarded


@_returning
def find_parts(job: Job, index: int) -> bytes:
    """Find the parts of a block; return what others have to know of them, by `packed`."""
    box, seen = job.blocks.box(index), job.seen(index)
    values, layers = _labelled(job, index)
    arrays: dict[str, NDArray[Any]] = {"most": values.max(keepdims=True).reshape(1)}
    seeds = layers[0] > 0 if len(layers) > 1 else None
    for number, labels in enumerate(layers):
        parts = parts_of(labels, seen, box, job.blocks.shape, seeds if number else None)
        arrays |= _arrays(parts, number)
    return packed(arrays)


@_returning
def write_cells(job: Job, index: int, output: Output, numbers: list[Numbers]) -> Written:
    """Write the numbers of cells of a block, given those of its parts.

    Of a watershed these are its seeds, and the cells that have none.
    """
    box, seen = job.blocks.box(index), job.seen(index)
    _, layers = _labelled(job, index)
    cells = np.zeros(size_of(box), output.dtype)
    for labels, of_part in zip(layers, numbers, strict=True):
        if int(labels.max(initial=0)) != len(of_part):
            raise InputError(
                f"{job.source}: changed while it was being segmented; keep it as it is and start "
                "anew with `overwrite`"
            )
        table = np.concatenate([[0], of_part]).astype(output.dtype)
        found = table[labels[within(seen, box)]]
        np.copyto(cells, found, where=cells == 0)
    return Written(_write(job, index, output, cells))


@_returning
def flood(job: Job, index: int, seeds: Output, output: Output, largest: int) -> Written:
    """Flood a block from the seeds that it sees, write it, and return what others need of it."""
    box, around = job.blocks.box(index), job.flooded(index)
    values = _read(job, around)
    inside = job.scale.above(values, job.threshold, job.source)
    probability = job.scale.probability(values, job.source)
    del values
    numbers = np.empty(inside.shape, seeds.dtype)
    for k, z in enumerate(range(*around[0])):
        numbers[k] = seeds.read(z, *around[1:])
    seeds.close()
    here = within(around, box)
    found = flooded(probability, inside, numbers, job.structure)[here].astype(output.dtype)
    del probability, numbers
    cells, count = with_rest(found, inside[here], job.structure, largest)
    return Written(_write(job, index, output, cells), _flood_record(job, box, cells, count))


@_returning
def number_cells(
    job: Job, index: int, flooded_cells: Output, output: Output, old: Numbers, new: Numbers
) -> Written:
    """Write the final numbers of a block: ``new`` for ``old``, which are all of it, in order."""
    box = job.blocks.box(index)
    cells = np.stack([flooded_cells.read(*window) for window in job.blocks.windows(index)])
    flooded_cells.close()
    names = np.concatenate([[flooded_cells.dtype.type(0)], old])
    values = np.concatenate([[0], new]).astype(output.dtype)
    if len(names) == 1:
        numbered = np.zeros(size_of(box), output.dtype)
    elif int(names[-1]) < 2 * cells.size:  # a table is faster than a search
        table = np.zeros(int(names[-1]) + 1, output.dtype)
        table[names] = values
        numbered = table[cells]
    else:
        numbered = values[np.searchsorted(names, cells)]
    return Written(_write(job, index, output, numbered))


def parts_in(data: bytes, layer: int) -> Parts:
    """Return the parts of a block out of what `find_parts` returned."""
    arrays = unpacked(data)
    low, high = (
        (arrays[f"{layer}.{side}.0"], arrays[f"{layer}.{side}.1"], arrays[f"{layer}.{side}.2"])
        for side in ("low", "high")
    )
    return Parts(
        arrays[f"{layer}.sizes"], arrays[f"{layer}.firsts"], arrays[f"{layer}.seeded"], low, high
    )


def _arrays(parts: Parts, layer: int) -> dict[str, NDArray[Any]]:
    planes = {
        f"{layer}.{side}.{axis}": plane
        for side, found in (("low", parts.low), ("high", parts.high))
        for axis, plane in enumerate(found)
    }
    return {
        f"{layer}.sizes": parts.sizes,
        f"{layer}.firsts": parts.firsts,
        f"{layer}.seeded": parts.seeded,
        **planes,
    }


def _flood_record(job: Job, box: Box, cells: Numbers, rest: int) -> bytes:
    """Return the cells of a block, their sizes and first voxels, and the planes at its sides."""
    names, places = _compact(cells)
    sizes, firsts = sizes_and_firsts(places, len(names), box, job.blocks.shape)
    sides: dict[str, NDArray[Any]] = {}
    for axis, ((start, stop), size) in enumerate(zip(box, job.blocks.shape, strict=True)):
        if job.halo[axis]:
            if start > 0:
                sides[f"low.{axis}"] = np.ascontiguousarray(cells.take(0, axis))
            if stop < size:
                sides[f"high.{axis}"] = np.ascontiguousarray(cells.take(-1, axis))
    return packed(
        {"names": names, "sizes": sizes, "firsts": firsts, "rest": np.array([rest]), **sides}
    )


def _compact(cells: Numbers) -> tuple[Numbers, Labels]:
    """Return the numbers of a block but 0, in order, and the place of each voxel's, from 1."""
    flat = cells.reshape(-1)
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    names, places = np.unique(flat[starts], return_inverse=True)
    shift = 0 if names[0] == 0 else 1
    of_run = (places + shift).astype(np.int32)
    labels = np.repeat(of_run, np.diff(starts, append=flat.size)).reshape(cells.shape)
    return names[1 - shift :], labels


def _labelled(job: Job, index: int) -> tuple[NDArray[Any], list[Labels]]:
    """Return the values that a block sees, and the parts of each layer in them.

    One layer of a search for components; of a watershed, first the seeds, then the foreground.
    """
    seen = job.seen(index)
    outer = job.blocks.grown(
        index,
        tuple(a + b for a, b in zip(job.halo, job.margin, strict=True)),  # type: ignore[arg-type]
        job.margin,
    )
    values = _read(job, outer)
    inside = job.scale.above(values, job.threshold, job.source)
    inner = within(outer, seen)
    if job.method == "components":
        return values, [label(inside, job.structure)]
    if job.seeds == "distance":
        seeds = deep(inside, job.seed_distance, job.sampling, job.dims)
    else:
        seeds = inside & job.scale.above(values, job.seed_threshold, job.source)
    return values[inner], [label(mask[inner], job.structure) for mask in (seeds, inside)]


def _read(job: Job, box: Box) -> NDArray[Any]:
    """Read the values of a box, as the stack has them."""
    stack = _opened(job)
    sections, rows, columns = box
    values = np.empty(size_of(box), stack.dtype)
    for k, z in enumerate(range(*sections)):
        values[k] = stack.window(z + job.first, rows, columns)
    return values


def _opened(job: Job) -> Stack:
    """Return the source, open in this process until another run needs one."""
    global _stack
    if _stack is None or _stack[0] != job.run:
        close()
        _stack = job.run, open_stack(
            job.source, labels=job.labels, axes=job.axes, series=job.series, missing=job.missing,
            channel=job.channel, time=job.time,
            budget=None if job.memory is None else Budget(job.memory),
        )  # fmt: skip
    return _stack[1]


def close() -> None:
    """Close the source in this process."""
    global _stack
    if _stack is not None:
        _stack[1].close()
    _stack = None


def _write(job: Job, index: int, output: Output, cells: Numbers) -> Stored | None:
    """Write a block; return its bytes when they are on disk."""
    if current_run(output.path) != job.run:
        raise InputError(
            f"{output.path}: its run is over or was started anew; this one writes no more"
        )
    windows = job.blocks.windows(index)
    stored = [
        output.write(z, rows[0], columns[0], section)
        for (z, rows, columns), section in zip(windows, cells, strict=True)
    ]
    for window in windows:
        output.sync(*window)
    return together(stored)
