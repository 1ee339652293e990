"""A layer as Neuroglancer's server asks for it; imported where the library is installed."""

from __future__ import annotations

from typing import Any

import neuroglancer.local_volume as library
import numpy as np
from neuroglancer.chunks import encode_npz

from paper_unet.errors import InputError
from paper_unet.view.layers import Layer


class StackVolume(library.LocalVolume):
    """A volume whose chunks, of all versions, come from a `Layer`, never the stack as a whole."""

    def __init__(self, layer: Layer, **options: Any) -> None:
        super().__init__(_Described(layer), **options)
        self._layer = layer

    def get_encoded_subvolume(
        self, data_format: str, start: Any, end: Any, scale_key: str
    ) -> tuple[bytes, str]:
        """Return a chunk, encoded.

        Raises
        ------
        ValueError
            If it is none of the volume, or cannot be read: then the page shows nothing there.
        """
        if data_format != "npz":
            raise ValueError(f"no chunks are given as {data_format}")
        factor = np.array(scale_key.split(","), dtype=np.int64)
        powers = (factor > 0) & ((factor & (factor - 1)) == 0)
        if len(factor) != self.rank or not powers.all() or (factor[3:] != 1).any():
            raise ValueError(f"no version of the volume is {scale_key} times smaller")
        size = -(-np.asarray(self.shape) // factor)
        if np.any(start < 0) or np.any(end <= start) or np.any(end > size):
            raise ValueError("outside of the volume")
        (x, y, z), (right, bottom, last) = start[:3].tolist(), end[:3].tolist()
        across, down, deep = factor[:3].tolist()
        try:
            found = self._layer.read((x, y, z), (right, bottom, last), (across, down, deep))
        except InputError as error:
            raise ValueError("what is there cannot be read") from error
        if found.ndim == 4:
            found = found[..., int(start[3]) : int(end[3])]
        return encode_npz(found), "application/octet-stream"

    def get_object_mesh(self, object_id: int) -> Any:
        """Refuse: a mesh would need the whole volume in memory."""
        raise library.MeshesNotSupportedForVolume


class _Described:
    """What the library asks of an array before any of it is read."""

    def __init__(self, layer: Layer) -> None:
        self.shape, self.dtype = layer.shape, layer.dtype
