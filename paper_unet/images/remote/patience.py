"""Requests that are tried again: some servers fail now and then, and some stop for a while."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from paper_unet.errors import InputError
from paper_unet.images.remote.failures import Failure, failure_of
from paper_unet.system.address import Address
from paper_unet.system.stop import Stopped, signal_came

LOG = logging.getLogger(__name__)

Answer = TypeVar("Answer")

TRIES = 10
"""Of one request; the pauses between them come to about 45 seconds."""

AT_FIRST = 4
"""Tries where the server has not answered at all yet: its name may be wrong."""

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
"""Seconds: the first, then twice as long each time up to the longest; less by chance."""

LONGEST = 180.0
"""Seconds after which a request is not tried again, however few its tries: stalls take long."""


SAID: set[str] = set()
"""Servers of which this process has said that they fail."""


class UnreachableError(InputError):
    """A server failed for so long that the work stops; what is recorded stays."""


@dataclass
class Server:
    """What is known of a server: who asks, and how it has done.

    Attributes
    ----------
    address : Address
        Of the store, for messages.
    answered : bool
        Whether it has answered.
    lost : bool
        Whether it failed for too long.
    """

    address: Address
    answered: bool = False
    lost: bool = False

    def ask(self, request: Callable[[], Answer]) -> Answer:
        """Return the answer to a request, which is tried again while that may help.

        Raises
        ------
        FileNotFoundError
            If there is no such object.
        RefusedError
            If the server answers that it will not.
        UnreachableError
            If it goes on failing.
        Stopped
            If a signal came meanwhile.
        """
        start, tries = time.monotonic(), 0
        while True:
            try:
                answer = request()
            except (FileNotFoundError, InputError):
                self.answered = True
                raise
            except Exception as error:
                failure = failure_of(error)
            else:
                self.answered = True
                return answer
            # no error is chained: that of the library shows the address with all its secrets
            tries += 1
            self.answered |= failure.status > 0
            self._judge(failure, tries, time.monotonic() - start)
            _pause(tries)

    def _judge(self, failure: Failure, tries: int, seconds: float) -> None:
        """Raise what ends the request; else say once that it is tried again."""
        if failure.gone:
            raise FileNotFoundError(str(self.address))
        if not failure.passing:
            raise RefusedError(failure)
        if tries >= (TRIES if self.answered else AT_FIRST) or seconds > LONGEST:
            self.lost = True
            what_now = "look at the address; when it is well, run the same command again"
            if self.answered:  # before; so something may have been done
                what_now = (
                    "what a prediction has finished is kept: when it is well again, run the same "
                    "command"
                )
            raise UnreachableError(
                f"{self.address}: the server {failure.what}, {tries} times within {seconds:.0f} s; "
                f"{what_now}"
            )
        if self.address.host not in SAID:
            SAID.add(self.address.host)
            LOG.warning(
                "%s: the server %s; each request is tried up to %d times, with pauses",
                self.address, failure.what, TRIES,
            )  # fmt: skip


class RefusedError(Exception):
    """A server will not do what it was asked; it is of no use to ask again."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.what)
        self.failure = failure


def _pause(tries: int) -> None:
    """Wait before the next try; a signal ends it."""
    most = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tries - 1))
    until = time.monotonic() + most * random.uniform(0.5, 1)  # noqa: S311  (no secret)
    while (left := until - time.monotonic()) > 0:
        if number := signal_came():
            raise Stopped(number)
        time.sleep(min(left, 0.1))
