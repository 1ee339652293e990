"""The partial output of a run and its journal: begun, gone on with, or left as if nothing was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from paper_unet.errors import InputError
from paper_unet.images import Output, Task
from paper_unet.large.journal import Journal
from paper_unet.large.verify import check_frame
from paper_unet.system.stop import Stop, Stopped


def goes_on(output: Output, journal: Journal, overwrite: bool) -> bool:
    """Take the partial output that is there, or make one; if told, replace a damaged one.

    Returns
    -------
    bool
        Whether pieces are there already.
    """
    if journal.done:
        try:
            output.prepare(resume=True)
            check_frame(journal, output)
        except InputError:
            if not overwrite:
                raise
            output.close()
            header = journal.header or {}
            journal.restart()
            journal.begin(header)
        else:
            return True
    output.start()
    journal.record_frame(output.frame())
    return False


@contextmanager
def nothing_for_nothing(output: Output, journal: Journal) -> Iterator[None]:
    """Leave no partial output behind if the run ends before its first piece."""
    try:
        yield
    except BaseException:
        output.close()
        if not journal.done:
            output.discard()
            journal.restart()
        raise


def do_stages(
    output: Output, tasks: Callable[[Output, Iterable[Task], Stop], Iterator[None]], stop: Stop
) -> None:
    """Compute what an output needs beside its pixels.

    Parameters
    ----------
    output : Output
        All pixels of which are written.
    tasks : callable
        Does some in any order, and yields after each.
    stop : Stop

    Raises
    ------
    Stopped
        If a signal came.
    """
    for stage in output.stages():
        for _ in tasks(output, stage, stop):
            pass
        if stop():
            raise Stopped(stop.signal)
