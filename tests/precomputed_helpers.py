"""Precomputed volumes as tensorstore writes them, which shares no code with the reader."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
from numpy.typing import NDArray

SHARDING = {
    "@type": "neuroglancer_uint64_sharded_v1", "preshift_bits": 1, "hash": "murmurhash3_x86_128",
    "minishard_bits": 2, "shard_bits": 2, "minishard_index_encoding": "gzip",
    "data_encoding": "gzip",
}  # fmt: skip
PLAIN = {**SHARDING, "hash": "identity", "preshift_bits": 0, "minishard_index_encoding": "raw",
         "data_encoding": "raw"}  # fmt: skip
PACKED = {"encoding": "compressed_segmentation"}
KINDS: dict[str, dict[str, Any]] = {
    "raw": {},
    "png": {"encoding": "png"},
    "compressed segmentation": {**PACKED, "compressed_segmentation_block_size": [8, 6, 4]},
    "sharded": {"sharding": SHARDING},
    "sharded by identity": {"sharding": PLAIN},
    "one shard": {"sharding": {**SHARDING, "shard_bits": 0, "minishard_bits": 0}},
    "sharded segmentation": {
        **PACKED, "compressed_segmentation_block_size": [8, 8, 8], "sharding": SHARDING,
    },
}  # fmt: skip


def write_precomputed(
    folder: Path,
    stack: NDArray[Any],
    chunk: tuple[int, int, int] = (50, 50, 2),
    *,
    of: str = "image",
    resolution: tuple[float, ...] = (4, 5, 50),
    before: int = 0,
    **scale: Any,
) -> Path:
    """Write (Z, Y, X) or (C, Z, Y, X) as a scale of a volume; it may have others already.

    So many sections ``before`` it are declared and not written.
    """
    stack = stack if stack.ndim == 4 else stack[None]
    wide, tall, deep = stack.shape[:0:-1]
    about = {"size": [wide, tall, deep + before], "encoding": "raw", "chunk_size": list(chunk),
             "resolution": list(resolution), **scale}  # fmt: skip
    spec = {
        "driver": "neuroglancer_precomputed", "create": True, "open": True,
        "kvstore": {"driver": "file", "path": str(folder)},
        "multiscale_metadata": {"type": of, "data_type": stack.dtype.name,
                                "num_channels": stack.shape[0]},
        "scale_metadata": about,
        "store_data_equal_to_fill_value": True,
    }  # fmt: skip
    made = tensorstore.open(spec).result()
    with tensorstore.Transaction() as transaction:
        first = made.domain[2].inclusive_min + before
        made.with_transaction(transaction)[:, :, first:] = stack.T
    return folder


def change_info(folder: Path, change: Callable[[Any], object]) -> None:
    """Change the document of a volume; what `change` returns, unless None, is in its place."""
    document = folder / "info"
    about = json.loads(document.read_text())
    document.write_text(json.dumps(change(about) or about))


def first_chunk(folder: Path) -> Path:
    """The chunk of the first section at the upper left, or a shard."""
    return min(
        (file for file in folder.rglob("*") if file.is_file() and file.name != "info"),
        key=lambda file: (
            [int(n) for n in file.name.split(".")[0].replace("_", "-").split("-")]
            if "-" in file.name
            else [np.inf]
        ),
    )
