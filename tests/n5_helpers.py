"""N5 stores as tensorstore writes them, which shares no code with the reader."""

import json
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
    *,
    before: int = 0,
    **attributes: Any,
) -> Path:
    """Write an array, whose axes are those of numpy; N5 has them in reverse.

    So many sections ``before`` it are declared and not written.
    """
    block = block or (2, *(50,) * (stack.ndim - 1))
    whole = stack.shape[0] + before, *stack.shape[1:]
    metadata = {
        "dimensions": list(whole[::-1]), "blockSize": list(block[::-1]),
        "dataType": stack.dtype.name, "compression": COMPRESSIONS[compression],
    }  # fmt: skip
    where = {"driver": "file", "path": str(store / name)}
    spec = {
        "driver": "n5", "kvstore": where, "metadata": metadata, "create": True,
        "store_data_equal_to_fill_value": True,
    }  # fmt: skip
    made = tensorstore.open(spec).result()
    made[..., before:] = stack.T
    if not (store / "attributes.json").exists():
        (store / "attributes.json").write_text('{"n5": "2.5.1"}')
    add_attributes(store / name, **attributes)
    return store / name


def add_attributes(folder: Path, **attributes: Any) -> None:
    document = folder / "attributes.json"
    about = json.loads(document.read_text()) if document.exists() else {}
    document.write_text(json.dumps(about | attributes))


def block_of(data: bytes, *shape: int, mode: int = 0) -> bytes:
    """A block's header, shape as numpy has it, and what comes behind it."""
    return struct.pack(f">HH{len(shape)}I", mode, len(shape), *reversed(shape)) + data
