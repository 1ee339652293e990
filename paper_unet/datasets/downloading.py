"""Downloading a file: silent, and never more bytes than it has as published."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pooch

from paper_unet.errors import InputError
from paper_unet.system.progress import progress_bar

TIMEOUT = 60  # seconds without an answer
DEADLINE = 3600  # seconds for all of it
# pooch exports its names implicitly, which a strict type checker does not follow
_POOCH: Any = pooch


def download(url: str, folder: Path, name: str, *, max_bytes: int, progress: bool) -> Path:
    """Download a file.

    Parameters
    ----------
    url : str
        Its address.
    folder : Path
        Where it goes.
    name : str
        Its name there.
    max_bytes : int
        Stop after this many, whatever the server says; and after `DEADLINE` seconds, however often
        it sends a little.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The file; its content is not verified.

    Raises
    ------
    InputError
        If the server does not give it, gives too much, takes too long, or breaks off.
    """
    downloader = _CappedDownloader(max_bytes, progress)
    try:
        return _in_time(lambda: _retrieve(url, folder, name, downloader), DEADLINE)
    except TimeoutError:
        raise InputError(
            f"{url}: is not downloaded after {DEADLINE} seconds; try again later, or get it by "
            "hand and give its folder as `source`"
        ) from None
    finally:
        downloader.cancel()


def _in_time(work: Callable[[], Path], seconds: float) -> Path:
    """Return what some work in a thread of its own does; raise TimeoutError after a time.

    A socket has a time limit for each answer, however small, and none for all of them.
    """
    found: list[Path | BaseException] = []

    def keep() -> None:
        try:
            found.append(work())
        except BaseException as error:  # for the caller, whatever it is
            found.append(error)

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    thread.join(seconds)
    if not found:
        raise TimeoutError
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def _retrieve(url: str, folder: Path, name: str, downloader: _CappedDownloader) -> Path:
    # pooch logs the hash of the container, which is not what is verified here
    logger = _POOCH.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        found = _POOCH.retrieve(url, None, fname=name, path=folder, downloader=downloader)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())
        raise InputError(
            f"{url}: cannot be downloaded ({reason}); check the network, or get it by hand and "
            "give its folder as `source`"
        ) from error
    finally:
        logger.setLevel(level)
    return Path(found)


class _CappedDownloader:
    """pooch's download that stops at a number of bytes, whatever the server says."""

    def __init__(self, max_bytes: int, progress: bool) -> None:
        self.max_bytes = max_bytes
        self.responses: list[Any] = []
        self.file: _CappedFile | None = None
        self.fetch = _POOCH.HTTPDownloader(
            progressbar=progress_bar(show=progress, unit="B", unit_scale=True),
            timeout=TIMEOUT,
            hooks={"response": self._remember},
        )

    def cancel(self) -> None:
        """Take nothing more: a thread that still waits for the server ends with what it sends."""
        self.max_bytes = -1
        if self.file is not None:
            self.file.left = -1

    def __call__(self, url: str, output_file: str, retriever: Any) -> None:
        try:
            with Path(output_file).open("wb") as file:
                self.file = _CappedFile(url, file, self.max_bytes)
                self.fetch(url, self.file, retriever)
        finally:
            # pooch leaves the connection open after an error
            for response in self.responses:
                response.close()

    def _remember(self, response: Any, **_: Any) -> None:
        self.responses.append(response)


class _CappedFile:
    """A file that takes so many bytes and no more."""

    def __init__(self, url: str, file: IO[bytes], max_bytes: int) -> None:
        self.url = url
        self.file = file
        self.left = max_bytes

    def write(self, data: bytes) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise InputError(f"{self.url}: sends more than was published; check the address")
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()
