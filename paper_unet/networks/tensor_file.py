"""Tensors on disk: safetensors with a JSON description and a SHA-256 over both.

Nothing here can run code from a file. A file is written beside its final name and moved there when
it is complete and on the disk, so a crash leaves the previous one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from paper_unet.errors import InputError, shown
from paper_unet.networks.stored_config import parse_description
from paper_unet.system.files import check_regular, open_regular, write_atomic
from paper_unet.system.memory import current_budget
from paper_unet.system.stop import interrupts_wait

FORMAT = "paper_unet-1"


def write_tensors(
    path: Path | str,
    tensors: Mapping[str, Tensor],
    about: object,
    *,
    overwrite: bool = True,
    token: str = "",
) -> None:
    """Write tensors and a JSON description, with a SHA-256 over both, as `write_atomic` does."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(about, sort_keys=True)
    # one entry, because safetensors writes several in no fixed order
    metadata = {FORMAT: json.dumps({"about": text, "sha256": digest_of(tensors, text)})}
    data = to_bytes(dict(tensors), metadata)
    write_atomic(Path(path), data, overwrite=overwrite, token=token)


def has_description(path: Path) -> bool:
    """Whether a file says of itself that `write_tensors` wrote it, sound or not."""
    with path.open("rb") as file:
        return f'"{FORMAT}"'.encode() in file.read(2**16)


@interrupts_wait()
def read_tensors(path: Path | str, published: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote and verify its SHA-256, which may have to be a certain one.

    Raises
    ------
    InputError
        If the file is missing, truncated, damaged, of another format, or not the one published.
    """
    with opened_tensors(Path(path), published) as stored:
        return stored.tensors(), stored.about


class StoredTensors:
    """An open file of tensors: its description is read, its tensors not yet."""

    def __init__(self, path: Path, file: Any, size: int) -> None:
        self.path, self._file, self._size = path, file, size
        self._names: list[str] = file.keys()
        metadata = file.metadata() or {}
        if FORMAT not in metadata:
            raise InputError(
                f"{path}: holds no {FORMAT!r} description; a file written by paper-unet train is "
                "needed"
            )
        try:
            entry = parse_description(metadata[FORMAT])
            self._text, self._sha256 = str(entry["about"]), str(entry["sha256"])
            self.about = parse_description(self._text)
        except (InputError, KeyError) as error:
            raise InputError(
                f"{path}: has no description of its network ({shown(error, 200)}); fetch or train "
                "it again"
            ) from error

    def check_published(self, sha256: str) -> None:
        """Raise InputError if it has to have a certain SHA-256 and was written with another."""
        if sha256 and self._sha256 != sha256:
            raise InputError(
                f"{self.path}: other weights than have this name (SHA-256 expected {sha256}, found "
                f"{shown(self._sha256, 64)}); move it away and fetch it again"
            )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all tensors."""
        return {name: tuple(self._file.get_slice(name).get_shape()) for name in self._names}

    def tensors(self) -> dict[str, Tensor]:
        """Read all tensors and verify the SHA-256 over them and the description."""
        current_budget().allow(3 * self._size, self.path, f"holds {self._size} bytes of weights")
        tensors = {name: self._file.get_tensor(name) for name in self._names}
        if digest_of(tensors, self._text) != self._sha256:
            raise InputError(
                f"{self.path}: damaged, its SHA-256 is not the one it was written with; fetch or "
                "train it again"
            )
        return tensors


def _check_header(path: Path, size: int) -> None:
    """Check that the header can be one, before the library takes room for the whole file."""
    with open_regular(path) as file:
        length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= size - 8:
        raise InputError(
            f"{path}: not a complete safetensors file ({size} bytes, of which {length} are the "
            "header); fetch or train it again"
        )
    current_budget().allow(2 * size, path, f"is a file of {size} bytes of weights")


@contextmanager
def opened_tensors(path: Path, published: str = "") -> Iterator[StoredTensors]:
    """Open a file of tensors, which stay unread; raise InputError as `read_tensors` does."""
    if not path.exists():
        raise InputError(f"{path}: no such file of weights; give a .safetensors file")
    size = check_regular(path)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{path}: the name is not UTF-8, which safetensors needs; rename the file"
        ) from None
    _check_header(path, size)
    try:
        with safe_open(path, framework="pt") as file:
            stored = StoredTensors(path, file, size)
            stored.check_published(published)
            yield stored
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: not a complete safetensors file ({size} bytes: {shown(error, 200)}); fetch "
            "or train it again"
        ) from error


def digest_of(tensors: Mapping[str, Tensor], text: str) -> str:
    """Return the SHA-256 of the description and of each tensor's name, dtype, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
