"""N5 stores as tensorstore writes them, which shares no code with the reader."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import tensorstore
from numpy.typing import NDArray

COMPRESSIONS: dict[str, dict[str, Any]] = {
    "raw": {"type": "raw"},
    "gzip": {"type": "gzip", "level": 1},
    "zlib": {"type": "gzip", "useZlib": True},
    "bzip2": {"type": "bzip2"},
    "xz": {"type": "xz"},
    "blosc": {"type": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1},
    "zstd": {"type": "zstd", "level": 3},
}


def write_n5(
    store: Path,
    name: str,
    stack: NDArray[Any],
    block: tuple[int, ...] | None = None,
    compression: str = "gzip",
    **attributes: Any,
) -> Path:
    """Write an array, whose axes are those of numpy; N5 has them in reverse."""  # fmt: skip
    block = block or (2, *(50,) * (stack.ndim - 1))
    metadata = {
        "dimensions": list(stack.shape[::-1]), "blockSize": list(block[::-1]),
        "dataType": stack.dtype.name, "compression": COMPRESSIONS[compression],
    }  # fmt: skip
    where = {"driver": "file", "path": str(store / name)}
    spec = {"driver": "n5", "kvstore": where, "metadata": metadata, "create": True}
    made = tensorstore.open(spec).result()
    with tensorstore.Transaction() as transaction:
        made.with_transaction(transaction)[...] = stack.T
    for k in range(math.prod(-(-n // c) for n, c in zip(stack.shape, block, strict=True))):
        put_zeros(store / name, stack, block, k)
    store.mkdir(exist_ok=True)
    if not (store / "attributes.json").exists():
        (store / "attributes.json").write_text('{"n5": "2.5.1"}')
    add_attributes(store / name, **attributes)
    return store / name


def put_zeros(folder: Path, stack: NDArray[Any], block: tuple[int, ...], k: int) -> None:
    """Tensorstore leaves blocks of zeros out; here none is needed."""
    grid = [-(-n // c) for n, c in zip(stack.shape, block, strict=True)]
    place = []
    for n in reversed(grid):
        k, one = divmod(k, n)
        place.append(str(one))
    assert (folder / "/".join(place)).is_file(), "give pixels that are not all zero"


def add_attributes(folder: Path, **attributes: Any) -> None:
    document = folder / "attributes.json"
    about = json.loads(document.read_text()) if document.exists() else {}
    document.write_text(json.dumps(about | attributes))


def block_of(data: bytes, *shape: int, mode: int = 0) -> bytes:
    """A block's header, shape as numpy has it, and what comes behind it."""
    return struct.pack(f">HH{len(shape)}I", mode, len(shape), *reversed(shape)) + data
