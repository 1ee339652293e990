"""Writing a stack as OME-Zarr into a bucket, object by object, by any number of processes.

An object cannot be renamed, so chunks get their final names at once. What describes them is written
last: until then no program finds an image there. Beside them, an object named as the output with
``.partial`` behind it says which run writes; each process looks at it before it writes. The journal
and the documents wait on this machine, under a name of their own in a folder for such things.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import cpu
from zarr.storage import MemoryStore, StorePath

from paper_unet.errors import InputError
from paper_unet.images.codecs import with_slack
from paper_unet.images.outputs.chunk_objects import ChunkObjects
from paper_unet.images.outputs.stored import Stored, stored_files
from paper_unet.images.outputs.tasks import Task
from paper_unet.images.outputs.zarr import ZarrOutput
from paper_unet.images.pyramid import Chunk
from paper_unet.images.readers.zarr_names import DOCUMENTS as ROOTS
from paper_unet.images.remote.patience import UnreachableError
from paper_unet.images.remote.store import RemoteStore
from paper_unet.images.stack import Span, Stack
from paper_unet.system.address import Address
from paper_unet.system.claim import Claim, remove
from paper_unet.system.files import make_folder, write_atomic
from paper_unet.system.folders import state_folder
from paper_unet.system.names import UNFINISHED
from paper_unet.system.stop import Stopped

RUN = "run"
"""File on this machine that says which run writes: in its partial output, or, of one that could not
be removed from the bucket, behind the name that stands for the output."""

MARK = "paper_unet"


class RemoteZarrOutput(ZarrOutput):
    """One OME-Zarr image in a bucket; see `ZarrOutput` and `Output`.

    Attributes
    ----------
    address : Address
        Of the output. `path` is the name that stands for it on this machine.
    """

    guarded = True

    def __init__(self, address: Address, *given: Any, **more: Any) -> None:
        self.address = address
        self._remote = RemoteStore(address, read_only=False)
        self._beside = RemoteStore(address.parent, read_only=False)
        self._mark = address.path.rpartition("/")[2] + UNFINISHED
        self._documents: dict[str, bytes] = {}
        self._replaces = False
        self._run, self._token = "", secrets.token_hex(16)
        self._sizes: NDArray[np.int64] | None = None  # of what an interrupted run left
        super().__init__(_stand_in(address), *given, **more)
        self.notes = (f"{address}: its journal is {self.path}.journal, until it is finished",)
        if self._replaces:
            self.notes += (
                f"{address}: the image that is there is removed before the first chunk is written; "
                "a bucket cannot keep it until the new one is complete",
            )

    @property
    def place(self) -> object:
        """The address; see `Output.place`."""
        return self.address

    @property
    def begun(self) -> str:
        """The address, and where its documents wait."""
        return f"{self.address} ({self.partial})"

    def in_the_way(self) -> InputError:
        """Return the error of something else on this machine; see `Output.in_the_way`."""
        return InputError(f"{self.address}: {super().in_the_way()}")

    def use_shards(self, shard: int) -> None:
        """Write shards of so many pixels a side; what is read back may be as large as these."""
        super().use_shards(shard)
        index = 32 * (self._side // self.chunk) ** 2
        self._remote.largest = with_slack(self._side**2 * self.dtype.itemsize) + index

    # of the driver

    def refuse_input(self, stack: Stack) -> None:
        """Refuse to replace what is read under another address of this bucket."""
        if self._replaces or self._marked():
            place = self._remote.with_read_only(True)
            place.missing = "fill"
            self._refuse_input(stack, place)

    def take(self, claim: Claim, *, left: bool) -> None:
        """Go by what a claim knows as our own; see `Output.take`.

        Raises
        ------
        InputError
            If a run of somebody else writes there, or left it unfinished, too.
        """
        super().take(claim, left=left)
        self._check_owner()

    def prepare(self, *, resume: bool) -> None:
        """Make the documents here and mark the place as ours; see `Output.prepare`."""
        self._documents, self._sizes = {}, None
        super().prepare(resume=resume)
        if resume:
            self._read_run()
            self._sizes = self._objects_of(0).sizes()
            return
        try:
            self._check_owner()
            self._run = secrets.token_hex(16)
            write_atomic(self.partial / RUN, self._run.encode())
            about = {MARK: "partial", "owner": self._owner(), "run": self._run}
            self._beside.write(self._mark, json.dumps(about).encode())
            remove(self._left)
            self._empty()
        except BaseException:
            shutil.rmtree(self.partial, ignore_errors=True)
            raise

    def discard(self) -> None:
        """Remove what was written, if it is our own; see `Output.discard`."""
        super().discard()
        if not self._run:
            return
        with suppress(InputError):  # another error is on its way
            if self._remote.reachable:
                if self._marked().get("run") == self._run:
                    self._empty()
                    self._beside.remove([self._mark])
                return
        write_atomic(self._left, self._run.encode())  # the next run removes it

    def finish(self) -> None:
        """Write what describes the chunks: the image is there; see `Output.finish`."""
        self.close()
        self._check()
        self._check_run()
        self._check_complete()
        for key in sorted(self._described(), key=lambda key: ("/" not in key, key in ROOTS)):
            self._remote.write(key, self._documents[key])  # of the whole image last
        self._beside.remove([self._mark])
        remove(self.partial)

    # of every process

    def write(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> Stored:
        """Store a window of whole objects; see `Output.write`.

        Raises
        ------
        InputError
            If another run writes there now, too.
        """
        self._check_run()
        self._sizes = None
        return super().write(z, row, column, pixels)

    def derive(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> list[Chunk]:
        """Compute what a window completes of the pyramid; see `write`, and `Output.derive`."""
        self._check_run()
        return super().derive(z, row, column, pixels)

    def run(self, task: Task) -> None:
        """Compute a row of chunks of a level; see `write`, and `Output.run`."""
        self._check_run()
        super().run(task)

    def stored(self, z: int, rows: Span, columns: Span) -> Stored:
        """Read back the objects of a window; see `Output.stored`."""
        objects = self._objects_of(0)
        return stored_files(
            one for plane in self._planes(z) for one in objects.stored(plane, rows, columns)
        )

    def size_stored(self, z: int, rows: Span, columns: Span) -> int:
        """Return the bytes of the objects of a window; see `Output.size_stored`."""
        sizes = self._objects_of(0).sizes() if self._sizes is None else self._sizes
        side = self._side
        down, across = (slice(first // side, -(-last // side)) for first, last in (rows, columns))
        return int(sizes[self._planes(z), down, across].sum())

    def looks_written(self, z: int, rows: Span, columns: Span) -> bool:
        """Whether the objects of a window are there and can be decoded."""
        try:
            self.read(z, rows, columns)
        except (Stopped, UnreachableError):
            raise
        except Exception:  # damage raises errors of many types
            return False
        return True

    def __getstate__(self) -> dict[str, Any]:
        with suppress(InputError):  # before there are any
            self._described()
        return {**super().__getstate__(), "_sizes": None}

    # where documents and chunks are

    def _group(self) -> Any:
        described = self._described().items()
        documents: dict[str, Any] = {key: cpu.Buffer.from_bytes(data) for key, data in described}
        return zarr.open_group(MemoryStore(documents, read_only=True), mode="r")

    def _chunks_of(self, level: int, array: Any) -> ChunkObjects:
        return ChunkObjects(self._remote, level, array)

    def _with_pixels(self, level: int, array: Any) -> Any:
        place = StorePath(self._remote, str(level))
        return zarr.Array(zarr.AsyncArray(array.metadata, place, array.async_array.config))

    def _objects_of(self, level: int) -> ChunkObjects:
        found = self._files_of(level)
        assert isinstance(found, ChunkObjects)  # noqa: S101  (`_chunks_of` makes no others)
        return found

    def _described(self) -> dict[str, bytes]:
        """Return the documents by their keys; another process has them with the output."""
        if not self._documents:
            super()._group()  # says what is wrong with the folder
            self._documents = {
                path.relative_to(self.partial).as_posix(): path.read_bytes()
                for path in self._metadata()
            }
        return self._documents

    # whose the place is

    def _check(self) -> None:
        super()._check()
        if self._marked():
            return  # whose it is says `_check_owner`
        self._replaces = any(self._remote.about(name) is not None for name in ROOTS)
        if self._replaces:
            if not self.overwrite:
                raise InputError(
                    f"{self.address}: exists already; choose another name or add `overwrite`"
                )
        elif (found := next(self._remote.objects(), None)) is not None:
            raise InputError(
                f"{self.address}: {found[0]} and maybe more lies there, and no run is known to "
                "have made it, so it stays as it is; remove it, or choose another output name"
            )

    def _check_owner(self) -> None:
        mark = self._marked()
        if mark and not self._is_own(mark) and not self.overwrite:
            raise InputError(
                f"{self.address}: another run writes it, or left it unfinished, whose journal is "
                f"not {self.path}.journal; go on where, and with the endpoint with which, that run "
                "was begun, add `overwrite` to start anew, or choose another output name"
            )

    def _is_own(self, mark: dict[str, Any]) -> bool:
        """Whether a mark is of a run of this journal, or of one that could not remove it."""
        known = {_text(self.partial / RUN), _text(self._left)} - {""}
        return mark.get("owner") == self._owner() or mark.get("run") in known

    def _owner(self) -> str:
        """Return what the runs of this journal are known by in the bucket; no other has it."""
        token = self._token if self._claim is None else self._claim.token
        return hashlib.sha256(f"{token} {self.path.name}".encode()).hexdigest()[:32]

    @property
    def _left(self) -> Path:
        return self.path.with_name(f"{self.path.name}.{RUN}")

    def _check_run(self) -> None:
        if self._marked().get("run") != self._run:
            raise InputError(
                f"{self.address}: its run is over or was started anew; this one writes no more"
            )

    def _read_run(self) -> None:
        self._run = _text(self.partial / RUN)
        if not self._run:
            raise self.nothing_left("does not say which run wrote it")
        if self._marked().get("run") != self._run:
            raise self.nothing_left(f"is of a run that {self.address} has no mark of any more")

    def _marked(self) -> dict[str, Any]:
        """Return what is said of the run that writes there; nothing if none does."""
        data = self._beside.fetch(self._mark)
        if data is None:
            return {}
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        if not isinstance(found, dict) or MARK not in found:
            raise InputError(
                f"{self.address.parent / self._mark}: an object that no run is known to have made "
                "is in the way and stays as it is; remove it, or choose another output name"
            )
        return found

    def _empty(self) -> None:
        """Remove all that is there, what shows an image first."""
        self._remote.remove(ROOTS)
        self._remote.remove(key for key, _ in self._remote.objects())

    # what a folder needs and a bucket does not

    def _check_room(self) -> None:
        """Do nothing: a bucket has no end."""

    def _sweep(self) -> None:
        """Do nothing: an object that was not written to its end is not there."""

    def _check_complete(self) -> None:
        for level in range(len(self.levels)):
            missing = int((self._objects_of(level).sizes() == 0).sum())
            if missing:
                raise InputError(
                    f"{self.address}: {missing} chunks of level {level} are missing; were they "
                    "removed? start anew with `overwrite`"
                )


def _stand_in(address: Address) -> Path:
    """Return the name that stands for an output on this machine."""
    endpoint = ""
    if address.scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    digest = hashlib.sha256(f"{address} {endpoint.rstrip('/')}".encode()).hexdigest()
    folder = state_folder()
    make_folder(folder)
    return folder / f"{address.name[-100:]}-{digest[:16]}"


def _text(path: Path) -> str:
    """Return what a file says; nothing if it is not there."""
    try:
        return path.read_text()
    except OSError:
        return ""


def create_remote(address: Address, *given: Any, labels: bool, **more: Any) -> RemoteZarrOutput:
    """Describe an output in a bucket; see `paper_unet.images.create_output`.

    Raises
    ------
    InputError
        Also if it is of a kind that is not written there.
    """
    if not address.in_bucket:
        raise InputError(
            f"{address}: nothing is written over {address.scheme}; give s3://BUCKET/NAME.zarr, "
            "gs://BUCKET/NAME.zarr, or a name on this machine"
        )
    if labels:
        raise InputError(
            f"{address}: labels are written to files and folders alone; write them to this machine "
            "and copy them"
        )
    if not address.path.lower().endswith(".zarr") or not address.name[: -len(".zarr")]:
        raise InputError(f"{address}: what is written to a bucket is OME-Zarr; end it in .zarr")
    return RemoteZarrOutput(address, *given, **more)
