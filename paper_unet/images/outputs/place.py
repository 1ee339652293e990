"""The name of an output: whose it is, and what stands there until everything is on disk."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paper_unet.errors import InputError
from paper_unet.images.stack import Stack
from paper_unet.system.claim import Claim, in_the_way, remove
from paper_unet.system.files import (
    check_free_name,
    naming_full_disk,
    no_space,
    refuse_same_file,
    require_folder,
    sync_file,
    sync_folder,
)
from paper_unet.system.identity import stamp_of
from paper_unet.system.names import UNFINISHED, kind_of, name_without_replacing


class Place(ABC):
    """Where an output is to be: begun under another name, and there in one step when it is whole.

    Parameters
    ----------
    path : Path
    overwrite : bool
        Whether it replaces what has this name.

    Attributes
    ----------
    path : Path
        The final name.
    partial : Path
        File or folder where the pixels are until then: the same name with ``.partial`` behind it.
    notes : tuple of str
        What a user has to know about where it is written, each a line.
    guarded : bool
        Whether it sees itself, whenever it writes, that no other run has begun in its place. Else
        the journal beside it says which run that is.
    """

    notes: tuple[str, ...] = ()
    guarded: bool = False
    remedy = "make room and run the same command again: it goes on where it stopped"

    def __init__(self, path: Path, overwrite: bool) -> None:
        self.path = path
        self.partial = path.with_name(path.name + UNFINISHED)
        self.overwrite = overwrite
        self._handle: Any = None  # what is open in this process
        self._claim: Claim | None = None  # of the driver alone
        self._found: object = None

    def _look(self) -> None:
        """Remember what has the name now; raise InputError unless it may be written."""
        self._check()
        self._found = stamp_of(self.path)

    @property
    def place(self) -> object:
        """What messages call it: its path, unless that only stands for it."""
        return self.path

    @property
    def begun(self) -> str:
        """What messages call the partial output."""
        return str(self.partial)

    def refuse_input(self, stack: Stack) -> None:
        """Refuse to replace what is read, also where names do not show it; before all else.

        Parameters
        ----------
        stack : Stack
            The input.

        Raises
        ------
        InputError
            If what has the name of the output is the input, or a copy of it.
        """
        for file in stack.files:
            refuse_same_file(file, self.path)

    def take(self, claim: Claim, *, left: bool) -> None:
        """Go by what a claim knows as our own, from now on; of the driver, before all else.

        Parameters
        ----------
        claim : Claim
            Of this output.
        left : bool
            Whether there is a record of an interrupted run: then a partial output that was copied
            here, or is of an earlier version, is taken as its own if it has the right form.

        Raises
        ------
        InputError
            If the output appeared or changed since it was described, or what has the name of the
            partial output is not our own.
        """
        self._check()
        if stamp_of(self.path) != self._found:
            raise InputError(
                f"{self.place}: was written by another process meanwhile; look at it, then run the "
                "same again or choose another name"
            )
        self._claim = claim
        if kind_of(self.partial) is None or claim.owns(self.partial):
            return
        if not (left and self._is_alone() and self._fits()):
            raise self.in_the_way()
        claim.adopt(self.partial)

    def start(self) -> None:
        """Make the partial output anew; what an interrupted run left of it goes.

        It is made under a name of our own and gets its name when it is whole, so what has that name
        is always known. Without `take`, the name must be free.

        Raises
        ------
        InputError
            As `prepare`, or if what has the name of the partial output is not our own.
        """
        self.close()
        if self._claim is None:
            self.prepare(resume=False)
            return
        claim, name = self._claim, self.partial
        claim.clear(name)
        self.partial = claim.own_name(self.path, UNFINISHED)
        try:
            self.prepare(resume=False)
            self.close()
            claim.publish(self.partial, name)
        except BaseException:
            self.close()
            remove(self.partial)
            raise
        finally:
            self.partial = name

    def discard(self) -> None:
        """Remove the partial output, if it is our own."""
        self.close()
        if self._claim is not None and self._claim.owns(self.partial):
            remove(self.partial)

    def _is_alone(self) -> bool:
        """Whether the partial output is a folder, or a file that has no other name."""
        kind = kind_of(self.partial)
        return kind == "folder" or (kind == "file" and self.partial.lstat().st_nlink == 1)

    def _fits(self) -> bool:
        """Whether the partial output has the form of this one; nothing is written."""
        return False

    @abstractmethod
    def prepare(self, *, resume: bool) -> None:
        """Make the partial output, or take the one that an interrupted run left.

        To be called through `start` where there is a claim.

        Parameters
        ----------
        resume : bool
            Whether to keep what is there.

        Raises
        ------
        InputError
            If the disk has too little room, the output exists, there is nothing to resume, or
            something has the name of the partial output that is to be made.
        """

    def finish(self) -> None:
        """Give the output its final name, in one step, when everything is on disk.

        Every window must have been written and synced, and every task done.

        Raises
        ------
        InputError
            If something of that name appeared meanwhile, or parts are seen to be missing.
        """
        self._check()
        with self._naming_full_disk():
            sync_file(self.partial)
        self.close()  # Windows does not rename an open file
        if self.overwrite:
            self.partial.replace(self.path)
        else:
            try:
                name_without_replacing(self.partial, self.path)
            except FileExistsError:
                self._check()
                raise
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Close the files of this process; they are opened again when needed."""
        self._handle = None

    def _check(self) -> None:
        """Raise InputError unless an output of this name may be written."""
        require_folder(self.path)
        check_free_name(self.path, overwrite=self.overwrite)

    @abstractmethod
    def _size(self) -> int:
        """Return an upper bound of the bytes on disk."""

    def __getstate__(self) -> dict[str, Any]:
        # another process may have another working folder
        absolute = {"path": self.path.absolute(), "partial": self.partial.absolute()}
        return {**self.__dict__, **absolute, "_handle": None, "_claim": None}

    def in_the_way(self) -> InputError:
        """Return the error of something else that has the name of the partial output."""
        return in_the_way(self.partial)

    def nothing_left(self, reason: str) -> InputError:
        """Return the error of a partial output that cannot be gone on with."""
        return InputError(
            f"{self.begun}: {reason}, so there is nothing to go on from; start anew with "
            "`overwrite` or another output name"
        )

    def _check_room(self) -> None:
        need = self._size()
        if need > shutil.disk_usage(self.path.parent).free:
            reason = "not enough room on the disk"
            raise no_space(self.path, need, reason, "make room or write elsewhere")

    @contextmanager
    def _naming_full_disk(self) -> Iterator[None]:
        """Turn the errors of a full disk into one line that says what to do."""
        with naming_full_disk(self.path, self._size(), self.remedy):
            yield
