"""Zarr arrays and OME-Zarr images on a network: as on a disk, but that nothing has to be listed."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from paper_unet.errors import InputError
from paper_unet.images.readers.chunk_keys import index_comes_first
from paper_unet.images.readers.zarr import DOCUMENTS_AND_ATTRIBUTES, ZarrStack
from paper_unet.images.readers.zarr_chunks import NOTHING
from paper_unet.images.readers.zarr_known import spread_keys, stamps
from paper_unet.images.remote.store import AT_ONCE, RemoteStore, open_store

LOOKED: Final = 64
"""Chunks, at most, that a server is asked about: a request each."""

SOUGHT: Final = 8
"""Of these, those that are looked for when the store is opened: one has to be there, unless what is
missing is to be filled."""

KEPT: Final = 2**28
"""Bytes, at most, of encoded chunks of several sections that are kept for the next section."""

SHARE: Final = 8
"""Of the memory that is allowed, what they may take: an eighth."""


class RemoteZarrStack(ZarrStack):
    """A stack in a Zarr store on a network; see `ZarrStack`.

    Only what windows need is fetched. Which chunks are there is not known before they are read: a
    server cannot be asked for a list, and a bucket takes long to give it.
    """

    format = "RemoteZarrStack"

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Whether it reads a file or folder: none, see `paper_unet.images.open_stack`."""
        return False

    @property
    def files(self) -> tuple[Path, ...]:
        """Nothing on this machine."""
        return ()

    def _open_files(self) -> tuple[Any, str]:
        return open_store(cast(Any, self.path)), ""

    @property
    def _store(self) -> RemoteStore:
        store: RemoteStore = self._array.store_path.store
        return store

    def _find_chunks(self, missing: str) -> None:
        """Refuse a store of which no chunk is found; from now on one that is missing is refused.

        If those are to be filled, it may be a sound store of few chunks: that is noted.
        """
        store, sides = self._store, self._file_shape
        looked = self._look_at(SOUGHT)
        if not any(looked.values()):
            none = (
                f"{self.path}: no chunk is there of the {len(looked)} that were looked "
                "at: its pixels were never written, or are named in another way than its metadata "
                "say; "
            )
            if missing == "fail":
                raise InputError(
                    f"{none}copy or export it again, or, if little was written of it, say "
                    "`missing` fill"
                )
            self.notes += (f"{none}what is missing is read as the fill value",)
        store.missing = missing
        if missing == "fail" and self._array.shards is not None:
            store.check = _ShardCheck(str(self.path), self._array, dict(self.taken))
        deep = 1 if self._axes.z is None else sides[self._axes.z]
        if deep > 1:
            self._keep(deep)

    def _keep(self, deep: int) -> None:
        """Keep encoded chunks, since the sections that they hold are read one after the other."""
        slab = deep * self.shape[1] * self.shape[2] * self.dtype.itemsize
        room = min(KEPT, self.budget.memory // SHARE)
        self._store.kept.room = min(room, 2 * slab)
        if slab > room and len(self) > 1:
            self.notes += (
                f"{self.path}: its chunks hold {deep} sections each, and may be fetched up to as "
                f"many times: all of them take {math.ceil(slab / 1e6)} MB, {room // 10**6} MB "
                "are kept; a copy on this machine, or chunks of fewer sections, are faster",
            )

    def _on_the_way(self, row: int) -> int:
        chunk: int = math.prod(self._array.chunks) * self.dtype.itemsize
        across = math.ceil(self.shape[2] / self._wide)
        most: int = 2 * min(across, AT_ONCE) * chunk + self._store.kept.room
        return super()._on_the_way(row) + most

    def _stamp(self) -> dict[str, Any]:
        """Digest the documents, and what the server says of them and of some chunks."""
        digest = hashlib.sha256()
        for folder in {"": 0, self._array.path: 0}:
            for key in (f"{folder}/{name}".lstrip("/") for name in DOCUMENTS_AND_ATTRIBUTES):
                data = self._store.read(key)
                if data is not None:
                    digest.update(f"{key} {len(data)}\n".encode())
                    digest.update(data)
        return {"metadata": digest.hexdigest(), "chunks": self._stamp_chunks()}

    def _stamp_chunks(self) -> str:
        """Digest size and version of as many chunks as `LOOKED`, evenly spread."""
        digest = hashlib.sha256()
        for key, stamp in self._look_at(LOOKED).items():
            digest.update(f"{key} {stamp}\n".encode())
        return digest.hexdigest()

    def _look_at(self, most: int) -> dict[str, dict[str, Any] | None]:
        """Return what the server says of so many chunks, evenly spread, by their keys."""
        return stamps(self._store, spread_keys(self._array, dict(self.taken), most))


class _ShardCheck:
    """Refuses shards in which chunks are missing, by the index that each of them has.

    Of an axis along which one place is taken, the chunks there are needed alone.
    """

    def __init__(self, name: str, array: Any, taken: dict[int, int]) -> None:
        self._name, self._array = name, array
        self._within = {
            axis: number % array.shards[axis] // array.chunks[axis]
            for axis, number in taken.items()
        }
        self._many = tuple(
            side // chunk for side, chunk in zip(array.shards, array.chunks, strict=True)
        )
        codecs = array.metadata.codecs
        self._plain = len(codecs) == 1 and hasattr(codecs[0], "index_location")
        if self._plain:
            self._first = index_comes_first(codecs[0])
            tail = 4 * (len(codecs[0].index_codecs) - 1)  # of the checksum
            self._size = 16 * math.prod(self._many) + tail

    def __call__(self, key: str, part: Any, data: bytes) -> None:
        """Look at the bytes that were read of a shard, if its index is among them."""
        if not self._plain or not self._holds_index(part):
            return
        index = data[: self._size] if self._first else data[-self._size :]
        place = self._place(key)
        if place is None or len(index) != self._size:
            return  # zarr says what is wrong
        offsets = np.frombuffer(index, "<u8", 2 * math.prod(self._many)).reshape(*self._many, 2)
        inner = (
            -(-length // side)
            for length, side in zip(self._array.shape, self._array.chunks, strict=True)
        )
        spans = tuple(
            slice(self._within[axis], self._within[axis] + 1)
            if axis in self._within
            else slice(0, min(count, n - k * count))
            for axis, (k, count, n) in enumerate(zip(place, self._many, inner, strict=True))
        )
        missing = int((offsets[..., 0][spans] == NOTHING).sum())
        if missing:
            raise InputError(
                f"{self._name}: {missing} chunks of the shard {key} are missing; copy or export it "
                "again, or, if nothing was written there, say `missing` fill to read them as the "
                "fill value"
            )

    def _holds_index(self, part: Any) -> bool:
        if part is None:
            return True
        if self._first:
            return getattr(part, "start", None) == 0 and getattr(part, "end", 0) == self._size
        return bool(getattr(part, "suffix", 0) == self._size)

    def _place(self, key: str) -> tuple[int, ...] | None:
        numbers = re.findall(r"\d+", key.removeprefix(self._array.path))
        return tuple(map(int, numbers)) if len(numbers) == self._array.ndim else None
