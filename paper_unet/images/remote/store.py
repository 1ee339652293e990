"""A Zarr store on a network: zarr's own over obstore, patient, bounded and without its secrets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any, Final, NamedTuple

import obstore
from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore

from paper_unet.errors import InputError
from paper_unet.images.readers.zarr_names import DOCUMENTS as ROOTS
from paper_unet.images.readers.zarr_names import Entry, joined
from paper_unet.images.readers.zarr_range import LARGEST_DOCUMENT, check_size, span_of
from paper_unet.images.remote.connect import connect
from paper_unet.images.remote.failures import Failure
from paper_unet.images.remote.kept import Kept
from paper_unet.images.remote.patience import RefusedError, Server
from paper_unet.system.address import Address

NAMES: Final = (*ROOTS, ".zattrs", ".zmetadata")
"""Of documents; everything else holds chunks."""

SHOWN: Final = 64
"""Numbers, at most, that are tried as names where nothing is listed."""

AT_ONCE: Final = 16
"""Requests at a time: each waits for the network, hardly for this machine."""

LISTED: Final = 1000
"""Objects that are listed, or removed, by a request."""


class About(NamedTuple):
    """What a server says of an object without sending it.

    Attributes
    ----------
    size : int
        Bytes.
    version : str
        What changes when it is written: the server's mark, or else its time; "" if it says neither.
    """

    size: int
    version: str


class RemoteStore(ObjectStore):  # type: ignore[type-arg]
    """The objects below an address, as a store of zarr and, in the thread that asks, by name.

    Attributes
    ----------
    address : Address
    largest : int
        Bytes of an object, or of a part of one, that may be read at once.
    missing : {"fail", "fill"}
        Whether an object that is not there is refused; documents may always be missing.
    at_once : int
        Requests at a time that it is good for.
    kept : Kept
        What was read, as far as it is kept for the next time.
    check : callable, optional
        Takes the key, the part asked for and the bytes of whatever is read of chunks.
    """

    def __init__(self, address: Address, *, read_only: bool = True) -> None:
        super().__init__(connect(address), read_only=read_only)
        self.address, self.at_once = address, AT_ONCE
        self.largest: int = LARGEST_DOCUMENT
        self.missing = "fail"
        self.kept = Kept()
        self.check: Callable[[str, ByteRequest | None, bytes], None] | None = None
        self.denied: Failure | None = None  # to read a document
        self._server = Server(address)

    def __str__(self) -> str:
        return str(self.address)

    def __getstate__(self) -> dict[str, Any]:
        # another process connects itself, with the keys that it has in its own environment
        kept = ("address", "largest", "missing")
        return {"read_only": self.read_only, **{name: getattr(self, name) for name in kept}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["address"], read_only=state["read_only"])  # type: ignore[misc]
        self.largest, self.missing = state["largest"], state["missing"]

    def with_read_only(self, read_only: bool = False) -> RemoteStore:
        """Return another one, connected anew."""
        return RemoteStore(self.address, read_only=read_only)

    # in the thread that asks

    def read(self, key: str, byte_range: ByteRequest | None = None) -> bytes | None:
        """Read an object, or a part of one; None if it is not there.

        Raises
        ------
        InputError
            If the server fails or refuses, the object is larger than it can be, or it is missing
            and must not be.
        """
        data = self.kept.get((key, byte_range), lambda: self.fetch(key, byte_range))
        if data is None and self.missing == "fail" and not _is_document(key):
            raise InputError(
                f"{self.address}: the chunk {key} is missing; copy or export it again, or, if "
                "nothing was written there, say `missing` fill to read it as the fill value"
            )
        return data

    def fetch(self, key: str, part: ByteRequest | None = None) -> bytes | None:
        """Read what is there now of an object; None if it is not there."""
        document = _is_document(key)
        try:
            data: bytes = self._ask(lambda: self._got(key, part))
        except FileNotFoundError:
            return None
        except RefusedError as error:
            if document and error.failure.denied:  # or absent, where nobody may list
                self.denied = error.failure
                return None
            raise self.refused(error.failure, f"read {key}") from None
        if document and data.lstrip()[:1] == b"<":  # a page that says that there is nothing
            return None
        if not document and self.check is not None:
            self.check(key, part, data)
        return data

    def about(self, key: str) -> About | None:
        """Return what the server says of an object; None if it is not there."""
        try:
            try:
                found = self._ask(lambda: obstore.head(self.store, key))
            except (RefusedError, FileNotFoundError):  # some servers allow only to get it
                if self.address.in_bucket:
                    raise
                found = self._ask(lambda: obstore.get(self.store, key).meta)
        except FileNotFoundError:
            return None
        except RefusedError as error:
            raise self.refused(error.failure, f"look at {key}") from None
        version = found.get("e_tag") or ""
        if not version and found["last_modified"].timestamp() > 0:  # else the server says nothing
            version = found["last_modified"].isoformat()
        return About(int(found["size"]), str(version).removeprefix("W/"))

    def stamp(self, key: str) -> dict[str, Any] | None:
        """Return what tells an object from another version of it; None if it is not there."""
        found = self.about(key)
        return None if found is None else {"bytes": found.size, "version": found.version}

    def listed(self, folder: str) -> list[Entry]:
        """Return the folders right below one; of a server, which lists nothing, 0, 1, 2, ..."""
        if self.address.in_bucket:

            def request() -> Any:
                return obstore.list_with_delimiter(self.store, folder or None)

            found = self._do(request, "list objects")["common_prefixes"]
            names = [str(path).rstrip("/").rpartition("/")[2] for path in found]
        else:
            names = list(
                takewhile(lambda name: self._is_zarr(folder, name), map(str, range(SHOWN)))
            )
        return [Entry(name, "folder") for name in names]

    def _is_zarr(self, folder: str, name: str) -> bool:
        return any(self.about(joined(folder, name, root)) is not None for root in ROOTS)

    def whole(self) -> dict[str, int]:
        """Return what tells the whole store from another: nothing does."""
        return {}

    def close(self) -> None:
        """Forget what is kept."""
        self.kept.clear()

    def named(self, key: str) -> str:
        """Return what a message calls an object."""
        return str(self.address / key)

    def write(self, key: str, data: bytes) -> None:
        """Write an object, whole; when this returns it is there to stay."""
        self._do(lambda: obstore.put(self.store, key, data, use_multipart=False), f"write {key}")

    def objects(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Yield key and size of all objects below a prefix, in order of their keys."""
        last: str | None = None
        while True:
            batch = self._listed_after(prefix, last)
            for one in batch:
                yield str(one["path"]), int(one["size"])
            if not batch:
                return
            last = str(batch[-1]["path"])

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; it does no harm if they are gone."""
        waiting: list[str] = []
        for key in keys:
            waiting.append(key)
            if len(waiting) == LISTED:
                self._remove(waiting)
                waiting = []
        self._remove(waiting)

    def _remove(self, keys: Sequence[str]) -> None:
        if not keys:
            return
        try:
            self._ask(lambda: obstore.delete(self.store, list(keys)))
        except FileNotFoundError:  # some say so of the first that is gone
            for key in keys if len(keys) > 1 else ():
                self._remove([key])
        except RefusedError as error:
            raise self.refused(error.failure, "remove objects") from None

    def _listed_after(self, prefix: str, last: str | None) -> Any:
        def request() -> Any:
            found = obstore.list(
                self.store, prefix or None, offset=last, chunk_size=LISTED, return_arrow=False
            )
            return next(iter(found), [])

        return self._do(request, "list objects")

    def _do(self, request: Callable[[], Any], what: str) -> Any:
        try:
            return self._ask(request)
        except FileNotFoundError:
            raise InputError(
                f"{self.address}: cannot {what}: there is no bucket {self.address.host}; make it, "
                "or check its name and region"
            ) from None
        except RefusedError as error:
            raise self.refused(error.failure, what) from None

    @property
    def reachable(self) -> bool:
        """Whether the server has not failed for so long that the work had to stop."""
        return not self._server.lost

    def _ask(self, request: Callable[[], Any]) -> Any:
        return self._server.ask(request)

    def _got(self, key: str, part: ByteRequest | None) -> bytes:
        """Get an object or a part of it; the size that the server says comes first."""
        if part is None:
            got = obstore.get(self.store, key)
            self._check_size(key, int(got.meta["size"]))
            return bytes(got.bytes())
        try:
            if isinstance(part, RangeByteRequest):
                self._check_size(key, part.end - part.start)
                return bytes(obstore.get_range(self.store, key, start=part.start, end=part.end))
            wanted: Any = {"offset": getattr(part, "offset", 0)}
            if isinstance(part, SuffixByteRequest):
                wanted = {"suffix": part.suffix}
            got = obstore.get(self.store, key, options={"range": wanted})
            self._check_size(key, got.range[1] - got.range[0])
            return bytes(got.bytes())
        except obstore.exceptions.NotSupportedError:  # a server that sends objects whole
            whole = self._got(key, None)
            start, stop = span_of(part, len(whole))
            return whole[start:stop]

    def _check_size(self, key: str, size: int) -> None:
        check_size(self.named(key), size, self.largest)

    def refused(self, failure: Failure, what: str) -> InputError:
        """Return the error of a request that the server refuses, and what to do."""
        return InputError(
            f"{self.address}: cannot {what}: the server {failure.what}; "
            f"{_remedy(self.address, failure)}"
        )

    # for zarr

    async def get(
        self,
        key: str,
        prototype: BufferPrototype,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read an object, or a part of one; None if it is not there."""
        data = await asyncio.to_thread(self.read, key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read parts of objects."""
        asked = [self.get(key, prototype, part) for key, part in key_ranges]
        return list(await asyncio.gather(*asked))

    async def exists(self, key: str) -> bool:
        """Whether an object is there."""
        return await asyncio.to_thread(self.about, key) is not None

    @property
    def supports_listing(self) -> bool:
        """Whether objects can be listed: those of a server cannot."""
        return self.address.in_bucket

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        """Yield the names of folders right below a prefix; see `listed`."""
        for entry in await asyncio.to_thread(self.listed, prefix.rstrip("/")):
            yield entry.name


def _is_document(key: str) -> bool:
    return key.rpartition("/")[2] in NAMES


def _remedy(address: Address, failure: Failure) -> str:
    """Return what to do about an answer."""
    if failure.denied and address.scheme == "s3":
        return (
            "check the name and the rights, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or AWS_NO_SIGN_REQUEST=YES for a public bucket"
        )
    if failure.denied and address.scheme == "gs":
        return (
            "check the name and the rights, and set GOOGLE_APPLICATION_CREDENTIALS, or "
            "GS_NO_SIGN_REQUEST=YES for a public bucket"
        )
    if failure.denied:
        return "check the address, and give user and password, or a new signature, with it"
    if address.scheme == "s3" and (failure.status in (301, 307, 400) or "region" in failure.what):
        return "check the name, and set AWS_REGION to the region of the bucket"
    return "check the address; if it is right, download the data and give the folder"


def open_store(address: Address) -> RemoteStore:
    """Return the store at an address, if a Zarr is there.

    Raises
    ------
    InputError
        If there is none, it may not be read, or the server fails.
    """
    store = RemoteStore(address)
    if any(store.read(name) is not None for name in ROOTS):
        return store
    if store.denied is not None:
        raise store.refused(store.denied, "read it")
    raise InputError(
        f"{address}: no Zarr is there (no {', '.join(ROOTS[:-1])} or {ROOTS[-1]}); check the "
        "address; other formats are not read over a network: download them"
    )
