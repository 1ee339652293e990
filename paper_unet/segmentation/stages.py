"""What happens before the numbers of cells can be written: parts are found and joined, or flooded.

Components: the parts of every block are found (pass 1, recorded), joined and numbered, and written
(pass 2, which finds them again: that is faster than to store them). A watershed takes the same two
passes for its seeds, into a scratch volume; floods every block, into another; and numbers what it
flooded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from paper_unet.images import Output
from paper_unet.large.journal import Journal
from paper_unet.large.report import Report
from paper_unet.large.verify import take_back_damaged
from paper_unet.segmentation import work
from paper_unet.segmentation.executor import Executor
from paper_unet.segmentation.job import Job
from paper_unet.segmentation.numbering import Cells, Ints, Numbers, join, label_dtype, numbered
from paper_unet.segmentation.records import Records, open_records, unpacked
from paper_unet.segmentation.rest import flooded_cells
from paper_unet.segmentation.scratch import (
    CELLS,
    FLOODS,
    PARTS,
    SEEDS,
    beside,
    drop_all,
    scratch_volume,
)
from paper_unet.system.memory import Budget
from paper_unet.system.progress import progress_bar
from paper_unet.system.stop import Stop, Stopped

KEPT = 12
"""Records of blocks that are kept unpacked, since their neighbours ask for them."""


@dataclass(frozen=True)
class Writing:
    """How the final numbers are written.

    Attributes
    ----------
    cells : int
        How many there are.
    call : callable
        Of `paper_unet.segmentation.work`.
    arguments : callable
        Takes the number of a block and the output; returns what the call takes behind them.
    """

    cells: int
    call: Callable[..., Any]
    arguments: Callable[[int, Output], tuple[Any, ...]]

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Of the numbers."""
        return label_dtype(self.cells)


class Stages:
    """The stages of one run; used in a ``with`` statement.

    Parameters
    ----------
    job : Job
    out : Path
        Of the output.
    min_size : int
        Voxels that a cell has at least.
    executor : Executor
    report : Report
    stop : Stop
    verify : bool
        Whether all of what an interrupted run left in scratch volumes is read.
    memory : int
        Bytes that numbering may take.
    """

    def __init__(
        self, job: Job, out: Path, min_size: int, executor: Executor, report: Report, stop: Stop,
        *, verify: bool, memory: int,
    ) -> None:  # fmt: skip
        self.job, self.out, self.min_size = job, out, min_size
        self.executor, self.report, self.stop = executor, report, stop
        self.verify, self.memory = verify, memory
        self._open = ExitStack()
        self._parts: Records | None = None

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @property
    def begun(self) -> bool:
        """Whether anything is recorded beside the output."""
        return self._parts is not None and len(self._parts) > 0

    def writing(self) -> Writing:
        """Do all that comes before the final numbers, or what an interrupted run left of it."""
        parts = self._found_parts()
        if self.job.method == "components":
            cells = self._joined(parts, 0)
            numbers = numbered(cells.firsts, cells.sizes >= max(self.min_size, 1))
            of_part = numbers[cells.of_part]
            self._warn_of_nothing(parts, len(numbers))
            return Writing(
                int(numbers.max(initial=0)),
                work.write_cells,
                lambda index, output: (output, [_of_block(of_part, cells.begins, index)]),
            )
        return self._watershed(parts)

    def fill(self, output: Output, journal: Journal, writing: Writing, what: str) -> None:
        """Write the blocks that are missing.

        Raises
        ------
        Stopped
            If a signal came.
        """
        jobs = ((k, *writing.arguments(k, output)) for k in self._missing(journal))
        for index, written in self._each(writing.call, jobs, len(journal.done), what):
            journal.record(index, written.stored)
        journal.flush()
        self._end(len(journal.done))

    def drop(self) -> None:
        """Remove all that lies beside the output."""
        self._open.close()
        self._parts = None
        drop_all(self.out)

    def _found_parts(self) -> Records:
        records = self._records(PARTS)
        self._parts = records
        jobs = ((index,) for index in records.missing())
        for index, record in self._each(work.find_parts, jobs, len(records), "parts"):
            records.append(index, record)
        self._end(len(records))
        return records

    def _joined(self, records: Records, layer: int) -> Cells:
        read = lru_cache(KEPT)(lambda index: work.parts_in(records[index], layer))
        return join(self.job.blocks, self.job.halo, read, self._allow)

    def _watershed(self, parts: Records) -> Writing:
        seeds, whole = self._joined(parts, 0), self._joined(parts, 1)
        of_seed = numbered(seeds.firsts, seeds.sizes > 0)
        of_rest = numbered(whole.firsts, ~whole.seeded & (whole.sizes > 0))
        count = int(of_seed.max(initial=0))
        largest = count + int(of_rest.max(initial=0))
        self._warn_of_nothing(parts, largest)
        layers = [
            (of_seed[seeds.of_part].astype(label_dtype(largest)), seeds.begins),
            (_shifted(of_rest, count, largest)[whole.of_part], whole.begins),
        ]
        floods = self._floods(layers, largest)
        cells = flooded_cells(self.job, floods, largest, self._allow)
        numbers = numbered(cells.firsts, cells.sizes >= max(self.min_size, 1))
        new = numbers[cells.of_part]

        def arguments(index: int, output: Output) -> tuple[Any, ...]:
            names = unpacked(floods[index])["names"]
            return self._cells, output, names, new[cells.places(index, names)]

        return Writing(int(numbers.max(initial=0)), work.number_cells, arguments)

    def _floods(self, layers: list[tuple[Numbers, Any]], largest: int) -> Records:
        """Write the seeds and flood every block; return what is known of each."""
        records = self._records(FLOODS)
        room = largest + self.job.largest_block
        self._cells, cells = self._volume(CELLS, label_dtype(room))
        done = [index for index in cells.done if index not in records]
        cells.take_back(done)
        if len(cells.done) == len(self.job.blocks):
            return records
        output, journal = self._volume(SEEDS, label_dtype(largest))
        writing = Writing(
            largest,
            work.write_cells,
            lambda index, output: (
                output, [_of_block(numbers, begins, index) for numbers, begins in layers]
            ),
        )  # fmt: skip
        self.fill(output, journal, writing, "seeds")
        jobs = ((index, output, self._cells, largest) for index in self._missing(cells))
        for index, written in self._each(work.flood, jobs, len(cells.done), "flood"):
            records.append(index, written.record)
            cells.record(index, written.stored)
        cells.flush()
        self._end(len(cells.done))
        return records

    def _volume(self, ending: str, dtype: np.dtype[np.unsignedinteger]) -> tuple[Output, Journal]:
        blocks = self.job.blocks
        volume = scratch_volume(beside(self.out, ending), blocks.shape, dtype, self.job.run)
        output, journal, left = self._open.enter_context(volume)
        if left:
            take_back_damaged(
                journal, output, blocks, every=self.verify, say=self.report.say, stop=self.stop,
                progress=self.report.progress,
            )  # fmt: skip
        return output, journal

    def _missing(self, journal: Journal) -> Iterator[int]:
        for some in journal.stored.missing(range(len(self.job.blocks))):
            yield from some.tolist()

    def _records(self, ending: str) -> Records:
        path = beside(self.out, ending)
        return self._open.enter_context(open_records(path, self.job.run, len(self.job.blocks)))

    def _each(
        self, call: Callable[..., Any], jobs: Iterable[tuple[Any, ...]], done: int, what: str
    ) -> Iterable[tuple[int, Any]]:
        """Call for one block after the other, and show how far it is."""
        total = len(self.job.blocks)
        all_jobs = ((self.job, *job) for job in jobs)
        with progress_bar(
            desc=what, total=total, initial=done, unit="block", show=self.report.progress
        ) as bar:
            for result in self.executor.map(call, all_jobs, self.stop):
                yield result
                bar.update()

    def _end(self, done: int) -> None:
        """Raise `Stopped` if a signal came before the end of a stage."""
        if self.stop():
            raise Stopped(self.stop.signal)
        if done != len(self.job.blocks):
            raise RuntimeError(f"{len(self.job.blocks) - done} blocks were not worked on")

    def _allow(self, need: int) -> None:
        Budget(self.memory).allow(
            need, self.job.source, "blocks hold so many parts of cells that numbering them",
            "allow more with `memory`, give a larger `block`, or a `threshold` that leaves fewer",
        )  # fmt: skip

    def _warn_of_nothing(self, records: Records, count: int) -> None:
        if count:
            return
        most = max(
            float(self.job.scale.probability(unpacked(records[k])["most"], self.job.source)[0])
            for k in range(len(self.job.blocks))
        )
        self.report.say(
            f"warning: no voxel is above the threshold {self.job.threshold:g}; the largest "
            f"probability is {most:.4g}"
        )


def _of_block(row: Numbers, begins: Ints, index: int) -> Numbers:
    """Return what of a row of all parts is of a block."""
    return row[begins[index] : begins[index + 1]]


def _shifted(numbers: Numbers, by: int, largest: int) -> Numbers:
    """Return numbers behind others; 0 stays."""
    dtype = label_dtype(largest)
    return np.where(numbers > 0, numbers.astype(dtype) + dtype.type(by), dtype.type(0))
