"""HDF5 files for the tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Write = Callable[[Path, NDArray[Any]], Path]


def data_set(name: str = "volumes/raw", attrs: dict[str, Any] | None = None, **given: Any) -> Write:
    """Make a writer of a file with one data set; returns the path of the data set."""

    def written(path: Path, stack: NDArray[Any]) -> Path:
        with h5py.File(path, "w") as file:
            made = file.create_dataset(name, data=stack, **given)
            for key, value in (attrs or {}).items():
                made.attrs[key] = value
        return Path(f"{path}:/{name}")

    return written


KINDS: dict[str, Write] = {
    "one block": data_set(),
    "big endian": lambda path, stack: data_set()(path, stack.astype(stack.dtype.newbyteorder(">"))),
    "chunks": data_set(chunks=(1, 5, 9)),
    "deep chunks": data_set(chunks=(4, 7, 32)),
    "gzip": data_set(chunks=(4, 5, 9), compression="gzip"),
    "gzip, shuffle": data_set(chunks=(3, 16, 32), compression="gzip", shuffle=True),
    "gzip, fletcher32": data_set(chunks=(3, 16, 10), compression="gzip", fletcher32=True),
    "lzf": data_set(chunks=(2, 8, 8), compression="lzf"),
    "lzf, shuffle, fletcher32": data_set(
        chunks=(2, 8, 8), compression="lzf", shuffle=True, fletcher32=True
    ),
    "szip": data_set(chunks=(2, 8, 8), compression="szip"),
    "latest version": lambda path, stack: _latest(path, stack),
    "compact": lambda path, stack: _compact(path, stack),
    "big endian gzip": lambda path, stack: data_set(chunks=(2, 8, 8), compression="gzip")(
        path, stack.astype(stack.dtype.newbyteorder(">"))
    ),
}


def _latest(path: Path, stack: NDArray[Any]) -> Path:
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("raw", data=stack, chunks=(2, 8, 8), compression="gzip")
    return Path(f"{path}:/raw")


def _compact(path: Path, stack: NDArray[Any]) -> Path:
    with h5py.File(path, "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_layout(h5py.h5d.COMPACT)
        space, kind = h5py.h5s.create_simple(stack.shape), h5py.h5t.py_create(stack.dtype)
        made = h5py.Dataset(h5py.h5d.create(file.id, b"raw", kind, space, settings))
        made[...] = stack
    return Path(f"{path}:/raw")


def bytes_of_chunks(path: Path, name: str) -> list[tuple[int, int]]:
    """Where the chunks of a data set lie, and how many bytes they have."""
    with h5py.File(path) as file:
        made = file[name].id
        found = [made.get_chunk_info(k) for k in range(made.get_num_chunks())]
    return [(one.byte_offset, one.size) for one in found]


def replace_bytes(path: Path, place: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(data)


def noise(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    return np.random.default_rng(3).integers(0, 250, shape).astype(dtype)
